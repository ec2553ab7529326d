#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The examples of the documentation, each with a front-end of this process, and what QEMU has a device for in a guest."""

import importlib
import os
import pathlib
import shutil
import struct
import subprocess
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "docs" / "examples"))

from driver import GLib, Vhost, tap, until, vm  # noqa: E402
from libvhostd import guest  # noqa: E402

EXAMPLES = vm.SOURCE / "docs" / "examples"
BUILT = vm.BUILD / "docs" / "examples"


def example(name):
    return importlib.import_module(name)


def request(queue, kind, sector, data=b"", in_size=0):
    """A disk's answer: (data, status)."""
    answer = queue.request(out=[struct.pack("<IIQ", kind, 0, sector), *([data] if data else [])], in_size=in_size + 1)
    return answer[:-1], answer[-1]


# ---- Entropy, in four languages ----

def draws(queue, fail_every):
    """Two drivers' worth of requests: which were answered with nothing."""
    answers = [queue.request(in_size=32) for _ in range(9)]
    tap.equal(len({answer for answer in answers if answer}), 9 - 9 // fail_every, "different answers")
    return [number for number, answer in enumerate(answers, 1) if not answer]


@tap.test("entropy with faults: every third request gets nothing")
def rng():
    with Vhost.Frontend.pair(example("rng").ShakyRng(fail_every=3)) as fe:
        tap.equal(draws(fe.queue(0), 3), [3, 6, 9], "requests without an answer")


def other_language(*command):
    with vm.scratch() as folder, vm.Backend(folder / "s", *command[1:], "--fail-every=3", binary=command[0]) as backend:
        with Vhost.Frontend.open(backend.socket) as fe:
            tap.equal(draws(fe.queue(0), 3), [3, 6, 9], "requests without an answer")


@tap.test("the same in C")
def rng_c():
    other_language(BUILT / "my-device")


@tap.test("the same in Vala")
def rng_vala():
    if not (BUILT / "entropy-vala").exists():
        raise vm.Unavailable("the Vala example is not built: install the package valac")
    other_language(BUILT / "entropy-vala")


@tap.test("the same in JavaScript, also when it is told to use threads")
def rng_gjs():
    other_language(vm.program("gjs", "gjs"), EXAMPLES / "entropy.js")
    other_language(vm.program("gjs", "gjs"), EXAMPLES / "entropy.js", "--workers=2")


SIGNALS = """
imports.gi.versions.Vhost = '1';
const { Vhost } = imports.gi;
const frontend = Vhost.Frontend.new();
let heard = 0;
const handler = frontend.connect('notify::timeout', () => heard++);
frontend.timeout = 5;
frontend.disconnect(handler);
frontend.timeout = 6;
frontend.close();
print(heard, frontend.is_connected());
"""


@tap.test("JavaScript connects and disconnects signals of a front-end")
def signals_gjs():
    answer = subprocess.run([vm.program("gjs", "gjs"), "-c", SIGNALS], capture_output=True, text=True, timeout=60)
    tap.equal((answer.stdout, answer.returncode), ("1 false\n", 0), f"what it prints, beside {answer.stderr!r}")


@tap.test("a guest draws from the entropy device in each language")
def rng_guest():
    commands = [[vm.VHOSTD, "run", EXAMPLES / "rng.py"], [BUILT / "my-device"]]
    if (BUILT / "entropy-vala").exists():
        commands.append([BUILT / "entropy-vala"])
    if shutil.which("gjs"):
        commands.append([shutil.which("gjs"), EXAMPLES / "entropy.js"])
    for command in commands:
        with vm.scratch() as folder:
            with subprocess.Popen([*command, f"--socket-path={folder / 's'}"]) as device:
                try:
                    vm.wait_for("the socket", lambda: vm.is_listening(folder / "s"))
                    said = guest.run_guest([(folder / "s", "vhost-user-rng-pci")],
                                           "head -c 64 /dev/hwrng | wc -c; cat /sys/class/misc/hw_random/rng_current")
                    tap.equal(said.split(), ["64", "virtio_rng.0"], f"what the guest says of {command[-1]}")
                finally:
                    device.terminate()


# ---- Disks ----

@tap.test("a disk in RAM reads what was written, and nothing beyond its end")
def ram_disk():
    module = example("ram_disk")
    with Vhost.Frontend.pair(module.RamDisk(size=1 << 20)) as fe:
        queue = fe.queue(0)
        tap.equal(fe.read_config(0, 8), struct.pack("<Q", 2048), "capacity")
        tap.equal(request(queue, module.WRITE, 5, b"x" * 1024), (b"", 0), "a write")
        tap.equal(request(queue, module.READ, 4, in_size=1536), (bytes(512) + b"x" * 1024, 0), "a read")
        tap.equal(request(queue, module.FLUSH, 0), (b"", 0), "a flush")
        tap.equal(request(queue, module.GET_ID, 0, in_size=20), (b"ram".ljust(20, b"\0"), 0), "its serial number")
        tap.equal(request(queue, 99, 0)[1], 2, "a request that it does not know")
        tap.equal(request(queue, module.READ, 2047, in_size=1024)[1], 1, "a read beyond the end")
        tap.equal(request(queue, module.WRITE, 2048, b"x" * 512)[1], 1, "a write beyond the end")
        tap.equal(request(queue, module.READ, (1 << 64) - 1, in_size=512)[1], 1, "a sector that wraps")
    try:
        Vhost.Frontend.pair(module.RamDisk(size=1000)).close()
    except GLib.Error as error:
        tap.equal("multiple of 512" in error.message, True, error.message)
    else:
        raise vm.Failed("a disk of 1000 bytes was accepted")


@tap.test("of a disk that fails the 7th write does, or all behind it")
def failing_disk():
    module = example("failing_disk")
    for for_ever, expected in ((False, [7]), (True, [7, 8, 9])):
        with Vhost.Frontend.pair(module.FailingDisk(size=1 << 20, for_ever=for_ever)) as fe:
            failed = [number for number in range(1, 10)
                      if request(fe.queue(0), example("ram_disk").WRITE, number, b"y" * 512)[1]]
            tap.equal(failed, expected, f"writes that failed, for_ever={for_ever}")
            tap.equal(request(fe.queue(0), example("ram_disk").READ, 7, in_size=512)[0], bytes(512), "the 7th block")


@tap.test("a guest uses the disk in RAM, and notices the write that fails")
def disks_guest():
    said = guest.run_guest(example("ram_disk").RamDisk(size=8 << 20), """
        dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>/dev/null
        dd if=/tmp/a of=/dev/vda bs=64k oflag=direct 2>/dev/null
        dd if=/dev/vda of=/tmp/b bs=64k count=16 iflag=direct 2>/dev/null
        cmp /tmp/a /tmp/b && echo same""")
    tap.equal(said.strip(), "same", "what was read back")
    said = guest.run_guest(example("failing_disk").FailingDisk(size=8 << 20), """
        for n in 1 2 3 4 5 6 7 8; do
          dd if=/dev/zero of=/dev/vda bs=512 seek=$n count=1 oflag=direct 2>/dev/null || echo $n
        done
        dmesg""")
    tap.equal("I/O error, dev vda" in said and "WRITE" in said, True, f"the write that failed, of {said!r}")


def command(queue, cdb, out=b"", in_size=0, lun=b"\1"):
    """A SCSI disk's answer: (answer of the adapter, status, sense data, bytes that did not come, data)."""
    sizes = [108, in_size] if in_size else [108]
    back = queue.request(out=[lun.ljust(8, b"\0") + bytes(11) + cdb.ljust(32, b"\0"), *([out] if out else [])], in_size=sizes)
    sense, residual, _, status, answer = struct.unpack("<IIHBB", back[:12])
    return answer, status, back[12:12 + sense], residual, back[108:]


def transfer(code, block, blocks):
    return struct.pack(">BxIxHx", code, block, blocks)


@tap.test("a SCSI disk does what it is told, says why not, and can be made read-only")
def scsi_disk():
    disk = example("scsi_disk").ScsiDisk(size=1 << 20)
    inquiry, read, write = struct.pack(">BBxBB", 0x12, 0, 0, 36), 0x28, 0x2a
    with Vhost.Frontend.pair(disk) as fe:
        queue = fe.queue(2)
        tap.equal(command(queue, inquiry, in_size=64)[:4], (0, 0, b"", 28), "an inquiry")
        tap.equal(command(queue, inquiry, in_size=36)[4][8:30], b"VHOSTD  Python disk   ", "its name")
        tap.equal(command(queue, inquiry, in_size=36, lun=b"\1\1")[0], 3, "another target")
        tap.equal(command(queue, b"\x25", in_size=8)[4], struct.pack(">II", 2047, 512), "its capacity")
        tap.equal(command(queue, transfer(write, 5, 2), b"x" * 1024), (0, 0, b"", 0, b""), "a write")
        tap.equal(command(queue, transfer(read, 4, 3), in_size=1536)[4], bytes(512) + b"x" * 1024, "a read")
        tap.equal(command(queue, transfer(read, 4, 3), in_size=100)[3:], (0, bytes(100)), "with little room")

        def refused(*arguments, **options):
            answer, status, sense, *_ = command(queue, *arguments, **options)
            return answer, status, sense[2], sense[12]
        tap.equal(refused(transfer(read, 2047, 2), in_size=1024), (0, 2, 5, 0x21), "a read beyond the end")
        tap.equal(refused(transfer(write, 0xffffffff, 0xffff)), (0, 2, 5, 0x21), "a write far beyond it")
        tap.equal(refused(transfer(write, 0, 2), b"y" * 512), (0, 2, 5, 0x24), "a write of less than it says")
        tap.equal(refused(b"\xff"), (0, 2, 5, 0x20), "no command")
        disk.props.read_only = True
        tap.equal(refused(transfer(write, 0, 1), b"y" * 512), (0, 2, 7, 0x27), "a write to what is read-only")
        tap.equal(command(queue, b"\x1a\0\0\0\xff", in_size=255)[4], b"\3\0\x80\0", "the mode")
        tap.equal(queue.request(out=[b"short"], in_size=108), b"", "half a request")
        tap.equal(fe.queue(0).request(out=[bytes(24)], in_size=5), bytes(5), "a task is aborted")
        fe.queue(1).request_async(in_size=16)
        fe.queue(1).stop()  # the buffer for events comes back


@tap.test("a guest writes to the SCSI disk and reads back, on split rings and packed ones")
def scsi_disk_guest():
    # One of some 90 boots did not come up, and it is not known why: not in a check whose failure must mean something.
    if not os.environ.get("VHOST_TEST_LONG"):
        raise vm.Unavailable("one boot of 90 hung for an unknown reason: VHOST_TEST_LONG=1 runs it")
    for packed in ("off", "on"):
        disk = example("scsi_disk").ScsiDisk(size=1 << 20)
        said = guest.run_guest([(disk, f"vhost-user-scsi-pci,packed={packed}")], """
            until [ -b /dev/sda ]; do usleep 10000; done
            cat /sys/class/scsi_device/*/device/model /sys/block/sda/size
            dd if=/dev/urandom of=/tmp/a bs=64k count=16 2>/dev/null
            dd if=/tmp/a of=/dev/sda bs=64k oflag=direct 2>/dev/null
            dd if=/dev/sda of=/tmp/b bs=64k count=16 iflag=direct 2>/dev/null
            cmp /tmp/a /tmp/b && echo same
            cut -c 35 /sys/bus/virtio/devices/virtio0/features""")
        tap.equal(said.split(), ["Python", "disk", "2048", "same", str(int(packed == "on"))], "what it says")


# ---- A file system ----

@tap.test("a file system answers what it knows, and nonsense with an error")
def file_system():
    module = example("file_system")
    with Vhost.Frontend.pair(module.FileSystem(name="x")) as fe:
        def ask_for(operation, inode=1, said=b"", in_size=4096):
            head = module.HEADER.pack(40 + len(said), operation, 77, inode) + bytes(16)
            answer = fe.queue(1).request(out=[head + said], in_size=in_size)
            length, error, number = struct.unpack("<IiQ", answer[:16])
            tap.equal((length, number), (len(answer), 77), "length and number")
            return -error, answer[16:]
        tap.equal(struct.unpack("<II", ask_for(module.INIT, said=bytes(64))[1][:8]), (7, 31), "a beginning")
        tap.equal(ask_for(module.LOOKUP, said=b"y\0")[0], 2, "a name that is not there")
        tap.equal(ask_for(module.LOOKUP, said=b"x\0")[1][:8], struct.pack("<Q", 2), "one that is")
        handle = ask_for(module.OPEN, 2, bytes(8))[1][:8]
        tap.equal(ask_for(module.READ, 2, handle + struct.pack("<QI", 0, 4096))[1], b"opened 1 times\n", "its text")
        tap.equal(ask_for(module.READ, 2, handle + struct.pack("<QI", 1 << 63, 4096))[1], b"", "behind its end")
        tap.equal(ask_for(module.READ, 2, b"\xff" * 20)[0], 38, "a file that is not open")
        tap.equal(ask_for(module.READDIR, 1, bytes(20))[1][24:25], b"x", "the folder")
        for _ in range(module.HANDLES - 1):
            ask_for(module.OPEN, 2)
        tap.equal(ask_for(module.OPEN, 2)[0], 24, "one too many")
        tap.equal(ask_for(module.RELEASE, 2, handle)[0], 0, "one less")
        tap.equal(ask_for(module.OPEN, 2)[0], 0, "one more")
        tap.equal(ask_for(0xffffffff, 1 << 60, b"\xff" * 60)[0], 38, "nonsense")
        tap.equal(fe.queue(1).request(out=[b"short"], in_size=64), b"", "half a request")
        tap.equal(len(fe.queue(1).request(out=[module.HEADER.pack(40, module.INIT, 77, 1) + bytes(16)], in_size=9)), 9,
                  "little room")


@tap.test("a guest reads a file of the host's making")
def file_system_guest():
    said = guest.run_guest(example("file_system").FileSystem(),
                           "mount -t virtiofs host /mnt && cd /mnt && ls && cat opened opened; cat nothing || true")
    tap.equal(said, "opened\nopened 1 times\nopened 2 times\ncat: can't open 'nothing': No such file or directory\n",
              "what it says")


# ---- Network ----

@tap.test("the host behind the network card answers who it is, and pings of any length; nothing else is for it")
def network():
    card = example("network").Network(host="10.9.8.7")
    me, host = bytes.fromhex("525400000001"), bytes.fromhex("0a090807")
    with Vhost.Frontend.pair(card) as fe:
        tap.equal(fe.read_config(0, 6), me, "the address of the card")
        heard = [fe.queue(0).request_async(in_size=1526) for _ in range(4)]

        def say(kind, packet):
            fe.queue(1).request(bytes(12) + b"\xff" * 6 + me + kind + packet)
        ask = bytes.fromhex("0001 0800 0604 0001") + me + bytes.fromhex("0a090801") + bytes(6)
        say(b"\x08\x06", ask + b"\x0a\x09\x08\x06")
        say(b"\x86\xdd", bytes(40))
        say(b"\x08\x00", b"")
        say(b"\x08\x06", ask + host)
        frame = heard[0].result()[12:]
        tap.equal((frame[:6], frame[12:14], frame[20:22], frame[28:32]), (me, b"\x08\x06", b"\0\2", host), "who it is")
        for number, length in enumerate((0, 1, 56), 1):
            data = os.urandom(length)
            ip = bytes.fromhex("45000000 00004000 4001 0000 0a090801") + host
            say(b"\x08\x00", ip + b"\x08\0\0\0\1\2\3\4" + data)
            frame = heard[number].result()[12:]
            tap.equal((frame[26:30], frame[34], frame[42:]), (host, 0, data), f"an answer of {length} bytes")
            tap.equal(example("network").checksum(frame[34:]), b"\0\0", "the sum of all, with the sum in it")
        fe.queue(0).request_async(in_size=64)
        fe.queue(0).stop()  # the buffer that is left comes back


@tap.test("a guest pings the host behind the network card, also as a driver from before VIRTIO 1")
def network_guest():
    for properties in ("", ",disable-modern=on,disable-legacy=off"):
        said = guest.run_guest([(example("network").Network(), f"virtio-net-pci,vectors=0{properties}")], """
            ip link set eth0 up
            ip addr add 10.0.0.1/24 dev eth0
            ping -c 3 10.0.0.2
            ping -c 1 -W 1 10.0.0.3 || echo nobody""")
        tap.equal("3 packets received" in said and "nobody" in said, True, f"both, in {said!r}")


@tap.test("a guest uses two pairs of queues")
def network_pairs_guest():
    network_module = example("network")

    @Vhost.device("net", queues=4)
    class Pairs(network_module.Network):
        Config = Vhost.config_space("mac:6B", "status:H", "pairs:H")

        def do_get_features(self):
            return network_module.F_MAC | 1 << 17 | 1 << 22  # a control queue, of QEMU's, and MQ

        def do_start(self):
            super().do_start()
            self.config.pairs, self.received, self.sent = 2, {0: [], 2: []}, {1: 0, 3: 0}

        def do_process_chain(self, queue, chain):
            index = queue.get_index()
            if index in self.received:
                self.received[index].append(chain)
                return
            self.sent[index] += 1
            self.buffers = self.received[index - 1]
            answer = self.answer(chain.read()[len(self.header):])
            chain.complete()
            if answer and self.buffers:
                with self.buffers.pop(0) as buffer:
                    buffer.write(self.header + answer)

        def do_queue_stopping(self, queue):
            while self.received.get(queue.get_index()):
                self.received[queue.get_index()].pop().complete(0)

    card = Pairs()
    said = guest.run_guest(card, """
        ip link set eth0 up
        ip addr add 10.0.0.1/24 dev eth0
        for n in 1 2 3 4 5 6 7 8; do taskset $((n % 2 + 1)) ping -c 1 -W 5 10.0.0.2 | grep -c ' 0%'; done""",
                           extra=["-smp", "2"])
    tap.equal((said.split(), min(card.sent.values()) > 0), (["1"] * 8, True), f"both, {card.sent}")


# ---- Sockets ----

REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST = range(1, 8)


class SocketDriver:
    """Speaks with the host as the guest at address 3, from its port 1000."""

    def __init__(self, fe, buffers=16, size=4096):
        self.fe, self.head = fe, example("vsock").HEADER
        self.heard = [fe.queue(0).request_async(in_size=size) for _ in range(buffers)]

    def say(self, operation, data=b"", *, port=7, flags=0, room=1 << 16, read=0, source=3, kind=1):
        self.fe.queue(1).request(out=[self.head.pack(source, 2, 1000, port, len(data), kind, operation, flags, room, read)
                                      + data])

    def hear(self):
        """(operation, data, bytes that the host has read) of the next packet."""
        packet = self.heard.pop(0).result()
        head = self.head.unpack(packet[:self.head.size])
        tap.equal((head[:3], head[4]), ((2, 3, head[2]), len(packet) - self.head.size), "addresses and length")
        return head[6], packet[self.head.size:], head[9]


@tap.test("the host behind the sockets says everything back, and no more than the guest has room for")
def sockets():
    with Vhost.Frontend.pair(example("vsock").Echo()) as fe:
        tap.equal(fe.read_config(0, 8), struct.pack("<Q", 3), "the guest's address")
        driver = SocketDriver(fe)
        driver.say(REQUEST, room=10)
        tap.equal(driver.hear(), (RESPONSE, b"", 0), "a connection")
        driver.say(RW, b"fifteen letters", room=10)
        tap.equal(driver.hear(), (RW, b"fifteen le", 10), "what there was room for")
        driver.say(CREDIT_REQUEST, room=10)
        tap.equal(driver.hear(), (CREDIT_UPDATE, b"", 10), "what it has read")
        driver.say(SHUTDOWN, flags=2, room=10)
        driver.say(CREDIT_UPDATE, room=10, read=10)
        tap.equal([driver.hear(), driver.hear()], [(RW, b"tters", 15), (RST, b"", 15)], "the rest, and the end")
        driver.say(RW, b"more")
        tap.equal(driver.hear(), (RST, b"", 0), "a stream that has ended")
        driver.say(REQUEST, port=8)
        tap.equal(driver.hear(), (RST, b"", 0), "nobody listens")
        driver.say(REQUEST)
        driver.say(SHUTDOWN, flags=3)
        tap.equal([driver.hear()[0], driver.hear()[0]], [RESPONSE, RST], "a short visit")
        fe.queue(0).stop()  # the buffers that are left come back


@tap.test("a guest that breaks the rules of sockets gets a reset, or nothing, and costs little")
def sockets_hostile():
    module = example("vsock")
    device = module.Echo()
    with Vhost.Frontend.pair(device) as fe:
        driver = SocketDriver(fe)
        for packet in (b"", b"short", b"\xff" * 44, b"\0" * 44):
            fe.queue(1).request(out=[packet] if packet else [], in_size=0 if packet else 8)
        tap.equal([driver.hear()[0], driver.hear()[0]], [RST, RST], "senders that do not exist")
        driver.say(REQUEST, room=0)
        driver.say(REQUEST)
        tap.equal([driver.hear()[0], driver.hear()[0]], [RESPONSE, RST], "the same connection twice")
        driver.say(REQUEST, room=0)
        driver.say(RW, b"x" * module.ROOM, room=0)
        driver.say(RW, b"x", room=0)
        tap.equal([driver.hear()[0], driver.hear()[0]], [RESPONSE, RST], "more than there is room for")
        driver.say(99)
        tap.equal(driver.hear()[0], RST, "an operation that is none")
        packets = [driver.head.pack(3, 2, port, 7, 0, 1, REQUEST, 0, 0, 0) for port in range(2000, 2000 + 3 * module.MOST)]
        said = [fe.queue(1).request_async(out=[packet]) for packet in packets]
        until(lambda: len(device.answers) == module.MOST, "answers that nobody takes")
        tap.equal((len(device.streams), fe.queue(1).in_flight > 0), (module.MOST, True), "streams, and what has to wait")
        driver.heard += [fe.queue(0).request_async(in_size=64) for _ in packets]
        fe.queue(1).wait()
        operations = [driver.hear()[0] for _ in said]
        tap.equal((operations.count(RESPONSE), operations.count(RST)), (module.MOST, 2 * module.MOST), "answers")
        fe.queue(0).stop()
        fe.queue(1).stop()
        until(lambda: not device.streams, "forgets what nobody knows any more")


@tap.test("a stream waits while the guest's buffers have no room")
def sockets_small_buffers():
    with Vhost.Frontend.pair(example("vsock").Echo()) as fe:
        driver = SocketDriver(fe, 1, 44)
        driver.say(REQUEST)
        tap.equal(driver.hear(), (RESPONSE, b"", 0), "a connection")
        driver.heard.append(fe.queue(0).request_async(in_size=44))
        driver.say(RW, b"data")
        fe.queue(0).stop()  # the buffer that could hold no data comes back
        driver.heard.clear()
        fe.queue(0).restart()
        driver.heard += [fe.queue(0).request_async(in_size=46) for _ in range(2)]
        tap.equal([driver.hear()[1], driver.hear()[1]], [b"da", b"ta"], "in two pieces")


# Without modules: the guest has the interpreter alone.
VISITOR = rb"""
sub visit {
  my ($port, $n) = @_;
  socket(my $s, 40, 1, 0) or die "socket: $!";
  connect($s, pack("S S L L x4", 40, 0, $port, 2)) or return print("refused: $!\n");
  my $text = substr("the quick brown fox " x ($n / 20 + 1), 0, $n);
  my ($back, $sent) = ("", 0);
  while (length $back < $n) {
    if ($sent < $n) { $sent += syswrite($s, $text, 16384, $sent) or die "write: $!"; }
    sysread($s, $back, 65536, length $back) or die "read: $!";
  }
  print length $back, $back eq $text ? " the same\n" : " different\n";
}
visit(7, 5); visit(7, 1000000); visit(8, 5);
"""


@tap.test("a guest's sockets speak with the host, a megabyte through buffers of 64 KiB")
def sockets_guest():
    said = guest.run_guest(example("vsock").Echo(guest_cid=42), "perl /visitor", programs=["perl"],
                           files={"/visitor": VISITOR})
    tap.equal(said.split("\n")[:3], ["5 the same", "1000000 the same", "refused: Connection reset by peer"], "what it says")


# ---- Console ----

@tap.test("a console answers with what it is told, and keeps the driver's buffers until then")
def console():
    with Vhost.Frontend.pair(example("console").Console()) as fe:
        heard = [fe.queue(0).request_async(in_size=4) for _ in range(3)]
        tap.equal(fe.queue(1).request(out=[b"hello", b" you"]), b"", "what is said")
        tap.equal([one.result() for one in heard], [b"hell", b"o yo", b"u"], "what is heard")
        fe.queue(0).request_async(in_size=4)
        fe.queue(0).stop()  # the buffer that is left comes back


@tap.test("a console speaks with a terminal of the host")
def console_pty():
    device = example("console").Console(pty=True)
    with Vhost.Frontend.pair(device) as fe:
        other = os.open(device.path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK)
        try:
            fe.queue(1).request(out=[b"login: "])
            tap.equal(os.read(other, 100), b"login: ", "what the terminal shows")
            heard = fe.queue(0).request_async(in_size=64)
            os.write(other, b"root")
            tap.equal(heard.result(), b"root", "what the guest hears")
        finally:
            os.close(other)


# ---- Input ----

def ask(fe, select, subsel):
    fe.write_config(bytes((select, subsel)))
    size = fe.read_config(2, 1)[0]
    return fe.read_config(8, size) if size else b""


@tap.test("a keyboard says what it is and types")
def keyboard():
    module = example("keyboard")
    with Vhost.Frontend.pair(module.Keyboard(text="hi", interval=1)) as fe:
        tap.equal(ask(fe, module.NAME, 0), b"libvhostd keyboard", "its name")
        tap.equal(ask(fe, module.EVENT_BITS, module.KEY), module.bits([35, 23]), "its keys")
        tap.equal(ask(fe, 0x77, 1), b"", "what it does not know")
        events = [fe.queue(0).request_async(in_size=8) for _ in range(8)]
        tap.equal([module.EVENT.unpack(event.result()) for event in events],
                  [(1, 35, 1), (0, 0, 0), (1, 35, 0), (0, 0, 0), (1, 23, 1), (0, 0, 0), (1, 23, 0), (0, 0, 0)], "events")


@tap.test("a keyboard replays events from a file")
def replay():
    module = example("keyboard")
    with vm.scratch() as folder:
        (folder / "events").write_text("1 30 1\n0 0 0\n\n1 30 0\n0 0 0\n", encoding="ascii")
        with Vhost.Frontend.pair(module.Keyboard(events=str(folder / "events"), interval=1)) as fe:
            events = [fe.queue(0).request_async(in_size=8) for _ in range(4)]
            tap.equal([module.EVENT.unpack(event.result()) for event in events],
                      [(1, 30, 1), (0, 0, 0), (1, 30, 0), (0, 0, 0)], "events")


@tap.test("a guest reads what the keyboard types")
def keyboard_guest():
    # QEMU 7.2 refuses this device with an emulated CPU ("requires kvm"), and not every /dev/kvm works.
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise vm.Unavailable("no /dev/kvm, and QEMU has a vhost-user-input device with KVM only")
    try:
        guest.run_guest([], "true", accel="kvm", timeout=20)
    except guest.GuestFailed as error:
        raise vm.Unavailable("/dev/kvm does not run guests here, and QEMU has a vhost-user-input device with KVM "
                             "only") from error
    # Slow enough for the reader to be there before the last key.
    device = example("keyboard").Keyboard(text="abc" * 40, interval=50)
    said = guest.run_guest([(device, "vhost-user-input-pci")], accel="kvm", command="""
        until [ -c /dev/input/event0 ]; do usleep 10000; done
        cat /sys/class/input/event0/device/name
        timeout 60 head -c 240 /dev/input/event0 | od -A n -v -t u2 -w24 | awk '$9 == 1 && $11 == 1 { print $10 }'""")
    lines = said.split("\n")
    tap.equal(lines[0], "libvhostd keyboard", "its name")
    keys = [int(line) for line in lines[1:] if line.strip()]
    tap.equal(len(keys) >= 2 and set(keys) <= {30, 46, 48}, True, f"keys that were pressed: {keys}")


# ---- Made up ----

@tap.test("a device that nobody knows adds up, answers late and counts")
def made_up():
    with Vhost.Frontend.pair(example("made_up").MadeUp()) as fe:
        numbers = struct.Struct("<4I")
        tap.equal(fe.queue(0).request(out=[numbers.pack(1, 2, 3, 0xffffffff)], in_size=8),
                  struct.pack("<Q", 6 + 0xffffffff), "a sum")
        fe.write_config(struct.pack("<I", 10))
        late = [fe.queue(1).request_async(out=[numbers.pack(n, 0, 0, 0)], in_size=8) for n in (1, 2, 3)]
        tap.equal([one.result() for one in late], [struct.pack("<Q", 10 * n) for n in (1, 2, 3)], "late answers")
        tap.equal(fe.read_config(4, 4), struct.pack("<I", 4), "its count")
        tap.equal(fe.queue(0).request(out=[b"odd"], in_size=8), b"", "nonsense gets nothing")
        until(lambda: fe.get_config_generation() > 0, "the news of the count")
        fe.queue(1).request_async(out=[numbers.pack(1, 0, 0, 0)], in_size=8)
        fe.queue(1).stop()


@tap.test("each example is a program that tells its options")
def programs():
    for path in sorted(EXAMPLES.glob("*.py")):
        run = subprocess.run([vm.VHOSTD, "run", path, "--help"], capture_output=True, text=True, timeout=60, check=False)
        tap.equal((run.returncode, "--socket-path" in run.stdout), (0, True), f"{path.name}: {run.stdout}{run.stderr}")
        tap.equal(os.access(path, os.X_OK), True, f"{path.name} can be run")


tap.main()
