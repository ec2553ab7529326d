# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Guest memory as memoryviews that never point to nothing.

How it works: each region of a memory map becomes one memoryview, and a segment is a slice of it, which costs little.
All of them hold a reference to the map, so the memory stays mapped as long as Python has any of them, though the
request and the session may be over by then. The maps themselves are kept by the requests that use them and by nobody
else: a guest's memory must not stay here because a script is idle.
"""

import ctypes
import weakref

from . import native


class _Hold:
    """A reference to the library's memory map."""
    __slots__ = ("pointer",)

    def __init__(self, pointer):
        self.pointer = native.memory_ref(pointer)

    def __del__(self, unref=native.memory_unref):
        unref(self.pointer)


class GuestMemory:
    """One memory map: where a segment's bytes are."""
    __slots__ = ("regions", "pointer", "__weakref__")

    def __init__(self, pointer):
        hold = _Hold(pointer)
        self.pointer = pointer
        self.regions = []
        length = ctypes.c_size_t()
        for index in range(native.memory_n_regions(pointer)):
            address = native.memory_region(pointer, index, length)
            array = _array_type(length.value).from_address(address)
            array.hold = hold
            self.regions.append((address, address + length.value, memoryview(array).cast("B")))

    def views(self, numbers):
        """The segments whose addresses in this process and lengths are given in turn, writable."""
        found = []
        begin = end = 0
        pairs = iter(numbers)
        for address, length in zip(pairs, pairs):
            if not begin <= address < end:
                begin, end, view = self._find(address)
            address -= begin
            found.append(view[address:address + length])
        return found

    def _find(self, address):
        for region in self.regions:
            if region[0] <= address < region[1]:
                return region
        raise ValueError(f"0x{address:x} is in no region of the guest's memory")


_types = {}


def _array_type(length):
    # One type per size of a region; they are few. A class of our own, since only such have attributes.
    found = _types.get(length)
    if found is None:
        if len(_types) >= 64:
            _types.clear()
        found = _types[length] = type("Region", (ctypes.Array,), {"_type_": ctypes.c_ubyte, "_length_": length})
    return found


_latest = lambda: None  # noqa: E731  (what a weak reference to nothing is)


def of_chain(chain):
    """The map of a request in flight, shared with the requests before it."""
    global _latest
    pointer = native.memory_of(chain)
    latest = _latest()
    if latest is None or latest.pointer != pointer:
        latest = GuestMemory(pointer)
        _latest = weakref.ref(latest)
    return latest
