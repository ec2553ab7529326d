# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Vhost.Frontend as a tester wants it: the driver's side of a device, without a virtual machine.

    with Vhost.Frontend.pair(MyBackend()) as fe:
        print(fe.queue(0).request(out=[b"question"], in_size=64))

What was not asked for is done when it is needed first: features are negotiated, memory is added, queues are started.
Calls that wait run the main context meanwhile, so that a device of the same thread can answer; each has a deadline, the
property `timeout` in milliseconds, after which it raises GLib.Error with Vhost.Error.TIMED_OUT.
"""

import contextlib
import os
import re
import socket
import tempfile
import time

from gi.overrides import override
from gi.repository import GLib, GObject, Vhost

from .frontend_memory import Memory
from .frontend_queue import FrontendRequests, failed
from .main_context import iterate_until

__all__ = ["Frontend"]

ALL = (1 << 64) - 1
_VERSION_1 = 1 << 32
# Where guests have memory above their devices; what else there is may be added anywhere.
_MEMORY_BASE, _MEMORY_SIZE = 1 << 32, 16 << 20
_QUEUE_SIZE = 256
_INFLIGHT = 12  # VHOST_USER_PROTOCOL_F_INFLIGHT_SHMFD
_CONFIG_SIZE = 256


class _Connect:
    """Frontend.connect: of the class, it opens a path; of an object, it connects a handler to a signal."""

    def __get__(self, frontend, owner):
        if frontend is not None:
            return GObject.Object.connect.__get__(frontend, owner)

        def connect(path, *arguments, **options):
            if isinstance(path, GObject.Object):
                return GObject.Object.connect(path, *arguments)
            return owner.open(path, *arguments, **options)
        return connect


@override
class Frontend(Vhost.Frontend):
    """A vhost-user front-end. Make one by pair() or open(), and use it in a `with` block, or call close()."""
    __module__ = "gi.overrides.Vhost"

    connect = _Connect()
    daemon = None
    device = None
    _negotiated = _was_negotiated = _has_memory = False
    _memory_size = _MEMORY_SIZE
    _backend_watch = 0
    _reopen = None

    @classmethod
    def pair(cls, backend, *, memory_size=_MEMORY_SIZE, timeout=10000, **daemon_properties):
        """A front-end and a device of this process: the daemon that serves the device is `daemon`."""
        frontend = cls(iterate_context=True, timeout=timeout)
        frontend._memory_size = memory_size
        frontend.device = backend.get_device_name()
        daemon = Vhost.Daemon(backend=backend, **daemon_properties)
        # A socket without a name, so that the daemon goes on serving after a connection has ended.
        with tempfile.TemporaryDirectory(prefix="vhost-") as folder, socket.socket(socket.AF_UNIX) as listener:
            listener.bind(os.path.join(folder, "s"))
            listener.listen(1)
            daemon.adopt_fd(listener.detach())
        daemon.start()
        frontend.daemon = daemon
        frontend._reopen = frontend._open_daemon
        try:
            frontend._open_daemon()
        except BaseException:
            frontend.close()
            raise
        return frontend

    @classmethod
    def open(cls, path, *, memory_size=_MEMORY_SIZE, timeout=10000, device=None):
        """A front-end of the back-end that listens at a path; `device` ("block" ...) is for the names of features."""
        frontend = cls(iterate_context=True, timeout=timeout)
        frontend._memory_size = memory_size
        frontend.device = device
        frontend._reopen = lambda: frontend.connect_path(os.fspath(path))
        frontend._reopen()
        return frontend

    def _open_daemon(self):
        # The session before may still wait for its requests.
        end = time.monotonic() + (self.props.timeout + self.daemon.props.drain_timeout) / 1000
        while True:
            try:
                self.connect_take_fd(self.daemon.open_frontend())
                return
            except GLib.Error as error:
                if not error.matches(Vhost.error_quark(), Vhost.Error.BUSY) or time.monotonic() > end:
                    raise
            iterate_until(lambda: False, 0.01)

    @property
    def _memory(self):
        return self._own("_memory_pool", lambda: Memory(self))

    @property
    def _queues(self):
        return self._own("_queue_map", dict)

    def _own(self, name, make):
        if name not in self.__dict__:
            self.__dict__[name] = make()
        return self.__dict__[name]

    # ---- The connection ----

    def kill(self):
        """Closes the connection without a word, as when a virtual machine dies. Memory and queues stay, see
        reconnect()."""
        self._unwatch()
        self._negotiated = False
        super().close()

    def reconnect(self):
        """A new connection instead of a lost one: the new back-end is told everything, and queues go on."""
        self.kill()
        if self._reopen is None:
            raise failed(Vhost.Error.INVALID, "this front-end was not made by pair() or open(): it cannot reconnect")
        self._reopen()
        if self._was_negotiated:
            self.resume()
            self._negotiated = True
            self._watch()
        return self

    def close(self):
        """Ends the connection, and the daemon of pair(). What memory() gave stays usable."""
        for queue in list(self._queues.values()):
            queue.close()
        self._queues.clear()
        self.kill()
        self._reopen = None
        daemon, self.daemon = self.daemon, None
        if daemon is not None and daemon.props.state != Vhost.DaemonState.STOPPED:
            daemon.stop_async(None, None)
            if not iterate_until(lambda: daemon.props.state == Vhost.DaemonState.STOPPED, self.props.timeout / 1000):
                raise failed(Vhost.Error.TIMED_OUT,
                             f"the daemon did not stop within {self.props.timeout} ms: is a request kept for ever?")

    def __enter__(self):
        return self

    def __exit__(self, kind, value, trace):
        if kind is None:
            self.close()
        else:
            with contextlib.suppress(GLib.Error):  # the first exception is what matters
                self.close()

    # ---- Negotiation ----

    def negotiate(self, features=None, protocol_features=None):
        """Agrees on features: None for what both know, a number as a mask, or names and bits.

        Names are the specification's, with or without prefix: "VIRTIO_F_RING_PACKED", "RING_PACKED". VERSION_1 comes
        by itself with names. One that the device does not offer is an error. Returns self.
        """
        names = not isinstance(features, int) and features is not None
        mask = self._mask(features, lambda bit: Vhost.Frontend.feature_name(self.device, bit))
        protocol = self._mask(protocol_features, Vhost.Frontend.protocol_feature_name)
        super().negotiate(mask | _VERSION_1 if names else mask, protocol)
        self._negotiated = self._was_negotiated = True
        if names:
            missing = mask & ~self.get_features()
            if missing:
                raise failed(Vhost.Error.NOT_NEGOTIATED, "the device does not offer "
                             + ", ".join(self._names(missing)))
        self._watch()
        return self

    @staticmethod
    def _mask(features, name_of):
        if features is None:
            return ALL
        if isinstance(features, int):
            return features
        mask = 0
        names = {name_of(bit): bit for bit in range(64)}
        for feature in {features} if isinstance(features, str) else features:
            if not isinstance(feature, int):
                plain = re.sub(r"^(VIRTIO|VHOST_USER)_(\w+?_)?F_", "", feature)
                if plain not in names:
                    raise ValueError(f"no feature is called {feature}: give its name, or its bit as a number")
                feature = names[plain]
            mask |= 1 << feature
        return mask

    def _names(self, mask):
        return [Vhost.Frontend.feature_name(self.device, bit) or str(bit) for bit in range(64) if mask >> bit & 1]

    @property
    def feature_names(self):
        """Names of the VIRTIO features that were negotiated; numbers of those that have none."""
        return self._names(self.get_features())

    @property
    def protocol_feature_names(self):
        """Names of the vhost-user protocol features that were negotiated."""
        mask = self.get_protocol_features()
        return [Vhost.Frontend.protocol_feature_name(bit) or str(bit) for bit in range(64) if mask >> bit & 1]

    def _ready(self):
        if not self._negotiated:
            self.negotiate()

    def _watch(self):
        """Serves the back-end's own requests while the main context runs: config-changed and the like."""
        fd = self.get_backend_channel_fd()
        if fd < 0 or self._backend_watch:
            return
        reference = self.weak_ref()

        def arrived(fd, condition):
            frontend = reference()
            if frontend is None:
                return False
            frontend.process_backend_messages(0)
            if frontend._backend_watch and frontend.get_backend_channel_fd() == fd:
                return True
            frontend._backend_watch = 0
            return False
        self._backend_watch = GLib.io_add_watch(fd, GLib.PRIORITY_DEFAULT, GLib.IOCondition.IN | GLib.IOCondition.HUP,
                                                arrived)

    def _unwatch(self):
        if self._backend_watch:
            GLib.source_remove(self._backend_watch)
            self._backend_watch = 0

    # ---- The device ----

    def read_config(self, offset=0, size=None):
        """Bytes of the configuration space; without a size, as many as the device answers.

        A back-end may fill up with zeros what its device does not have.
        """
        self._ready()
        if size is None:
            size = self._config_size() - offset
        return self.get_config(offset, size).get_data() if size > 0 else b""

    def _config_size(self):
        if "CONFIG" not in self.protocol_feature_names:
            return 0
        low, high = 0, _CONFIG_SIZE
        while low < high:
            middle = (low + high + 1) // 2
            try:
                self.get_config(0, middle)
                low = middle
            except GLib.Error as error:
                if not error.matches(Vhost.error_quark(), Vhost.Error.REFUSED):
                    raise
                high = middle - 1
        return low

    def write_config(self, data, offset=0, flags=0):
        """Writes to the configuration space, as far as the device allows it."""
        self._ready()
        return self.set_config(offset, GLib.Bytes.new(bytes(data)), flags)

    def save_state(self, max_size=16 << 20):
        """The device's own state, a GLib.Bytes; its queues must be stopped."""
        return super().save_state(max_size)

    def load_state(self, state):
        """Gives a device the state that save_state() returned."""
        return super().load_state(state if isinstance(state, GLib.Bytes) else GLib.Bytes.new(bytes(state)))

    # ---- Memory ----

    def _ensure_memory(self):
        self._ready()
        if not self._has_memory:
            self.add_memory(_MEMORY_BASE, self._memory_size)

    def add_memory(self, guest_address, size):
        """Makes a region of guest memory, and tells the back-end."""
        self._ready()
        super().add_memory(guest_address, size)
        self._has_memory = True

    def remove_memory(self, guest_address):
        """Takes a region away from the back-end, that begins at this address."""
        super().remove_memory(guest_address)
        self._memory.forget(guest_address)

    def memory(self, guest_address, length):
        """Guest memory as a writable memoryview; it stays valid whatever becomes of the front-end."""
        return self._memory.view(guest_address, length)

    # ---- Queues ----

    def queue(self, index=0, size=_QUEUE_SIZE):
        """The driver of a queue, which is started when it is asked for the first time."""
        if index not in self._queues:
            self._ensure_memory()
            if super().get_queue(index) is None:
                self._make_room(size)
                super().add_queue(index, size)
            self._queues[index] = FrontendRequests(self, super().get_queue(index).ref())
        return self._queues[index]

    def _make_room(self, size):
        """A network device counts pairs of queues: the in-flight area that the first queue fetches would be too small."""
        if self.device != "net" or self._queues or not self.props.inflight or \
                not self.get_protocol_features() >> _INFLIGHT & 1 or self.get_inflight_fd()[0] >= 0:
            return
        queues = self.daemon.props.backend.props.num_queues if self.daemon else 2 * max(1, self.get_max_queues())
        self.prepare_inflight(queues, size)

    def add_queue(self, index, size=_QUEUE_SIZE):
        """The same as queue()."""
        return self.queue(index, size)

    def get_queue(self, index):
        """The driver of a queue that was started; None if it was not."""
        return self.queue(index) if super().get_queue(index) is not None else None

    # ---- Messages, right and wrong ----

    def send_raw(self, data, fds=()):
        """Bytes for the socket, whatever they are; descriptors go with the first."""
        return super().send_raw(bytes(data), _numbers(fds))

    def send(self, number, payload=b"", fds=(), flags=0):
        """One message as told; nothing is checked, and no answer waited for."""
        return super().send(number, flags, bytes(payload), _numbers(fds))

    def receive(self):
        """The back-end's next message: (number, flags, payload, descriptors); the descriptors are the caller's."""
        payload, number, flags, fds = self.receive_bytes()
        return number, flags, payload.get_data() or b"", list(fds or ())

    def message(self, number, payload=b"", fds=(), flags=0):
        """Sends a message and returns the payload of its answer.

        For messages that have an answer of their own; with flags=9 the answer to others is an acknowledgement, where
        REPLY_ACK was negotiated.
        """
        self.send(number, payload, fds, flags)
        answered, _, data, received = self.receive()
        for fd in received:
            os.close(fd)
        if answered != number:
            raise failed(Vhost.Error.PROTOCOL, f"message {number} was answered by message {answered}")
        return data


def _numbers(fds):
    return [fd if isinstance(fd, int) else fd.fileno() for fd in fds]
