# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""One request of the guest: what it says, where the answer goes, and the way back.

What scripts get in place of the introspected Vhost.Chain, which costs ten times as much for each request. It does not
take over the name: where PyGObject makes objects by itself, as for filters in Python, it must find its own.
"""

import ctypes
import sys
import time

from . import failure, guest_memory, native

# Segments that are asked for in one go; more than this is seldom.
_FEW = 64
_Few = ctypes.c_uint64 * (2 * _FEW)
_rooms = []


class Chain:
    """A request. It has a part to read, which the driver wrote, and a part to write, which is the answer.

    It must be completed, now or later, from any thread: complete() does that, and leaving a `with` block. A request
    that is dropped without is completed with nothing written, and complained of. After that it cannot be used any more
    (ValueError).

    The driver can change its memory at any moment: read() copies, and what is copied stays as it was checked.
    """
    __slots__ = ("_pointer", "_written", "_read", "_segments")

    def __init__(self, pointer):
        self._pointer = pointer
        self._written = 0
        self._read = 0
        self._segments = None

    def __del__(self, complete=native.complete):
        pointer = self._pointer
        if pointer:
            self._pointer = 0
            complete(pointer, 0)
            _complain()

    def __enter__(self):
        return self

    def __exit__(self, kind, error, traceback):
        if self._pointer:
            self.complete(None if kind is None else 0)

    def __repr__(self):
        if not self._pointer:
            return "<Vhost.Chain, completed>"
        return f"<Vhost.Chain {self.head}, {self.readable_size} bytes to read, {self.writable_size} to write>"

    @property
    def in_flight(self):
        """Whether the request has not been completed yet."""
        return bool(self._pointer)

    @property
    def head(self):
        """The request's number in its ring; no two requests in flight in a queue share it."""
        return native.head(self._live())

    @property
    def readable_size(self):
        """Bytes that read() has not taken yet."""
        return native.readable_size(self._live()) - self._read

    @property
    def writable_size(self):
        """Bytes of the writable part, those that were written already included."""
        return native.writable_size(self._live())

    @property
    def written(self):
        """Bytes that write() has written so far: what complete() says if it is told nothing else."""
        return self._written

    @property
    def readable(self):
        """The readable part as it is in guest memory: a tuple of memoryviews, whatever read() has taken.

        They can be written to like all of guest memory, which a device must not do.
        """
        n_readable, segments, _memory = self._segments or self._describe()
        return tuple(segments[:n_readable])

    @property
    def writable(self):
        """The writable part as it is in guest memory: a tuple of writable memoryviews, which nothing copies.

        They may be kept: they stay good to look at for ever, but belong to the driver again once the request is
        completed.
        """
        n_readable, segments, _memory = self._segments or self._describe()
        return tuple(segments[n_readable:])

    def __iter__(self):
        """The writable segments: `for segment in chain: segment[:] = ...`."""
        n_readable, segments, _memory = self._segments or self._describe()
        return iter(segments[n_readable:])

    def read(self, n=None):
        """Takes the next n bytes of the readable part, or all that are left. Fewer when there are fewer."""
        n_readable, segments, _memory = self._segments or self._describe()
        skip = self._read
        if n_readable and n is not None and n >= 0:
            segment = segments[0]
            if skip + n <= len(segment):  # the usual case: a header in a segment of its own
                self._read = skip + n
                return bytes(segment[skip:skip + n])
        pieces = []
        left = sys.maxsize if n is None or n < 0 else n
        for segment in segments[:n_readable]:
            if skip >= len(segment):
                skip -= len(segment)
                continue
            piece = segment[skip:skip + left]
            skip = 0
            left -= len(piece)
            pieces.append(piece)
            if left == 0:
                break
        data = b"".join(pieces)
        self._read += len(data)
        return data

    def write(self, data, offset=None):
        """Writes bytes behind those of the calls before, or at an offset of the writable part.

        A negative offset counts from the part's end: where some devices have their status. Such a write does not
        change what complete() says by itself.

        Returns how many bytes were written: fewer than the data has when there was no more room.
        """
        if offset is None:
            if type(data) is not bytes:
                data = bytes(data)
            n = native.write(self._pointer or self._live(), data, len(data))
            self._written += n
            return n
        data = memoryview(data).cast("B")
        n_readable, segments, _memory = self._segments or self._describe()
        if offset < 0 and len(segments) > n_readable:  # the usual case: a status in the last segment
            at = len(segments[-1]) + offset
            if at >= 0:
                n = min(len(data), -offset)
                segments[-1][at:at + n] = data[:n]
                return n
        segments = segments[n_readable:]
        if offset < 0:
            offset = max(0, offset + sum(map(len, segments)))
        done = 0
        for segment in segments:
            if offset >= len(segment):
                offset -= len(segment)
                continue
            piece = data[done:done + len(segment) - offset]
            segment[offset:offset + len(piece)] = piece
            done += len(piece)
            offset = 0
            if done == len(data):
                break
        return done

    def complete(self, written=None):
        """Gives the request back to the driver. Now or later, from any thread, once.

        The driver is told how many bytes were written, from the first writable one on without a gap: what write() has
        written, unless you say so. Never more than there was room for.
        """
        pointer = self._pointer
        self._pointer = 0
        self._segments = None
        if not pointer:
            self._live()
        if written is None:
            written = self._written
        elif not 0 <= written <= 0xffffffff:
            native.complete(pointer, 0)
            raise ValueError(f"a request cannot have {written} bytes written; it was completed with none")
        native.complete(pointer, written)

    def hand_back(self):
        """Gives the request back unserved, while its queue stops (do_queue_stopping); it is served again later.

        Returns whether that was possible; otherwise it must be completed.
        """
        done = bool(native.hand_back(self._live()))
        if done:
            self._pointer = 0
            self._segments = None
        return done

    def _live(self):
        if not self._pointer:
            raise ValueError("the request was completed already: it belongs to the driver again")
        return self._pointer

    def _describe(self):
        """Fetches where the segments are."""
        pointer = self._live()
        # Each thread takes one of its own out and puts it back: the interpreter may switch threads in between.
        room = _rooms.pop() if _rooms else (_Few(), ctypes.c_uint())
        numbers, n_readable = room
        n = native.segments(pointer, numbers, _FEW, n_readable)
        if n > _FEW:
            numbers = (ctypes.c_uint64 * (2 * n))()
            native.segments(pointer, numbers, n, n_readable)
        memory = guest_memory.of_chain(pointer)
        self._segments = found = (n_readable.value, memory.views(numbers[:2 * n]), memory)
        _rooms.append(room)
        return found


_complained = 0.0
_unheard = 0


def _complain():
    """A warning, once a second at most: a guest must not fill a disk."""
    global _complained, _unheard
    now = time.monotonic()
    if now - _complained < 1:
        _unheard += 1
        return
    more = f" (and {_unheard} more since)" if _unheard else ""
    _complained, _unheard = now, 0
    failure.say("Vhost: a request was dropped without complete(); it was completed with nothing written. Keep a "
                f"reference to what is completed later{more}\n")
