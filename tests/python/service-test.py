#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A script puts its device on a bus in three lines, and is controlled from there while a driver uses it."""

import contextlib
import io
import shutil

from gi.repository import Gio, GObject

from driver import Driver, GLib, Vhost, serve, stop, tap, until, vm

PREFIX = "io.github.libvhostd1"


@Vhost.device("rng")
class Faulty(Vhost.Backend):
    fail = GObject.Property(type=bool, default=False, blurb="Fail at each request")
    level = GObject.Property(type=int, default=1, minimum=1, maximum=9, blurb="What is answered")

    kept = "good"

    @GObject.Property(type=str, default="good")
    def mood(self):
        return self.kept

    @mood.setter
    def mood(self, value):
        if value == "bad":
            raise ValueError("no bad moods")
        self.kept = value

    def do_process_chain(self, queue, chain):
        if self.fail:
            raise ValueError("on purpose")
        chain.write(b"%d" % self.level)
        chain.complete()


@contextlib.contextmanager
def bus():
    if shutil.which("dbus-daemon") is None:
        raise vm.Unavailable("dbus-daemon is missing: install the package dbus-daemon")
    private = Gio.TestDBus.new(Gio.TestDBusFlags.NONE)
    private.up()
    flags = Gio.DBusConnectionFlags.AUTHENTICATION_CLIENT | Gio.DBusConnectionFlags.MESSAGE_BUS_CONNECTION
    connections = [Gio.DBusConnection.new_for_address_sync(private.get_bus_address(), flags, None, None)
                   for _ in range(2)]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close_sync()
        private.stop()


@tap.test("a device in Python is paused, set, watched and resumed over D-Bus while a driver uses it")
def controlled():
    with bus() as (ours, theirs):
        backend = Faulty()
        daemon, fd = serve(backend)
        service = Vhost.Service(connection=ours)
        service.add(daemon)
        driver = Driver(daemon, fd)
        name = ours.get_unique_name()

        def call(path, interface, method, arguments, kind):
            return driver.run(theirs.call_sync, name, path, interface, method, arguments,
                              GLib.VariantType(kind) if kind else None, Gio.DBusCallFlags.NONE, 20000, None)

        def objects():
            found = call("/" + PREFIX.replace(".", "/"), "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", None,
                         None)
            return found.unpack()[0]

        try:
            driver.start()
            until(lambda: len(objects()) == 1, "the device on the bus")
            path, interfaces = objects().popitem()
            tap.equal(interfaces[PREFIX + ".Device"]["Options"]["level"], 1, "the option")

            def device(method, arguments=None):
                return call(path, PREFIX + ".Device", method, arguments, None)

            device("SetOptions", GLib.Variant("(a{sv})", ({"level": GLib.Variant("i", 5)},)))
            tap.equal((backend.level, driver.request(into=(1,))), (5, b"5"), "after SetOptions")
            device("SetOptions", GLib.Variant("(a{sv})", ({"mood": GLib.Variant("s", "fair")},)))
            tap.equal(backend.mood, "fair", "an option with a setter")
            try:
                with contextlib.redirect_stderr(io.StringIO()):
                    device("SetOptions", GLib.Variant("(a{sv})", ({"level": GLib.Variant("i", 7),
                                                                   "mood": GLib.Variant("s", "bad")},)))
            except GLib.Error as error:
                tap.equal("did not take the new mood, it is still \"fair\"" in error.message, True, error.message)
            else:
                raise vm.Failed("a refused value was taken")
            tap.equal((backend.level, backend.mood), (5, "fair"), "all or none")
            device("Pause")
            driver.offer((), (1,))
            driver.kick()
            device("GetStatistics", GLib.Variant("(a{sv})", ({},)))
            tap.equal(driver.take(), None, "an answer while it is paused")
            device("Resume")
            tap.equal(driver.collect(1), [1], "the answer after it")
            backend.fail = True
            with contextlib.redirect_stderr(io.StringIO()):
                driver.request(into=(1,))
            until(lambda: "on purpose" in objects()[path][PREFIX + ".Device"]["LastError"][1], "the last error")
            service.remove(daemon)
            until(lambda: not objects(), "the device to be gone")
        finally:
            driver.close()
            stop(daemon)


tap.main()
