# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The front-end's guest memory from Python: views of it, and blocks for requests.

How it works: each region is a file that Python maps for itself, so a view that a script keeps does not dangle, whatever
becomes of the front-end. The library hands addresses out and takes none back; so blocks are kept here, by powers of
two, and used again.
"""

import mmap

from gi.repository import GLib, Vhost

_SMALLEST = 64


class Memory:
    def __init__(self, frontend):
        self._reference = frontend.weak_ref()
        self._maps = {}  # begin of a region: (end, view)
        self._free = {}  # size: addresses

    def view(self, address, length):
        if length < 0 or not 0 <= address < 1 << 64:
            raise _no_memory(address, length)
        for start, (end, view) in self._maps.items():
            if start <= address and address + length <= end:
                return view[address - start:address - start + length]
        frontend = self._reference()
        found, start, size = frontend.find_memory(address)
        if not found or address + length > start + size:
            raise _no_memory(address, length)
        view = memoryview(mmap.mmap(frontend.get_memory_fd(address), size))
        self._maps[start] = start + size, view
        return view[address - start:address - start + length]

    def forget(self, start):
        if start in self._maps:
            end, _ = self._maps.pop(start)
            self._free = {size: [address for address in blocks if not start <= address < end]
                          for size, blocks in self._free.items()}

    def take(self, length):
        """The address of a block for so many bytes."""
        size = _block_size(length)
        blocks = self._free.get(size)
        if blocks:
            return blocks.pop()
        address = self._reference().allocate(size, min(size, 4096))
        if address == 0:
            text = f"no {size} bytes of guest memory are left: add_memory() makes more"
            raise GLib.Error.new_literal(Vhost.error_quark(), text, Vhost.Error.FAILED)
        return address

    def give(self, address, length):
        if any(start <= address < end for start, (end, _) in self._maps.items()):
            self._free.setdefault(_block_size(length), []).append(address)


def _no_memory(address, length):
    return IndexError(f"guest memory has no {length} bytes at 0x{address:x}: add_memory() makes some")


def _block_size(length):
    return max(_SMALLEST, 1 << (length - 1).bit_length()) if length > 0 else _SMALLEST
