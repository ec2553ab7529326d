# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A device's configuration space as a ctypes structure: what the driver may read, and what of it it may write."""

import ctypes

from gi.repository import GLib, Vhost

__all__ = ["config_space"]

_MOST = 256
_CODES = {"b": ctypes.c_int8, "B": ctypes.c_uint8, "h": ctypes.c_int16, "H": ctypes.c_uint16, "i": ctypes.c_int32,
          "I": ctypes.c_uint32, "l": ctypes.c_int32, "L": ctypes.c_uint32, "q": ctypes.c_int64, "Q": ctypes.c_uint64}


class _Space(ctypes.LittleEndianStructure):
    """An array takes what has as many numbers: `self.config.mac = bytes.fromhex("525400aabb01")`."""

    def __setattr__(self, name, value):
        kind = dict(self._fields_).get(name)
        if isinstance(kind, type) and issubclass(kind, ctypes.Array) and not isinstance(value, kind):
            values = list(value)
            if len(values) != kind._length_:
                raise ValueError(f"{name} has {kind._length_} numbers, not {len(values)}")
            value = kind(*values)
        super().__setattr__(name, value)


def config_space(*fields, writable=()):
    """Makes a class Config out of fields in order, each "name:code".

    The codes are those of the module struct, little-endian and without padding; "6B" is an array of six bytes.

        Config = Vhost.config_space("capacity:Q", "size_max:I", "writeback:B", writable=["writeback"])
    """
    found = []
    for field in fields:
        name, separator, code = field.partition(":")
        count, code = code[:-1], code[-1:]
        if not separator or code not in _CODES or (count and not count.isdigit()):
            raise ValueError(f'"{field}" is no field "name:code", with a code of {" ".join(_CODES)}, as in "mac:6B"')
        found.append((name, _CODES[code] * int(count) if count else _CODES[code]))
    return type("Config", (_Space,), {"_pack_": 1, "_fields_": found, "_writable_": tuple(writable)})


def prepare(cls):
    """A class has a Config: its methods for the configuration space work on self.config."""
    size = ctypes.sizeof(cls.Config)
    if not 1 <= size <= _MOST:
        raise ValueError(f"{cls.__name__}.Config has {size} bytes: a configuration space has 1 to {_MOST}")
    mask = bytearray(size)
    for name in getattr(cls.Config, "_writable_", ()):
        field = getattr(cls.Config, name)
        mask[field.offset:field.offset + field.size] = b"\xff" * field.size
    cls._config_mask = bytes(mask)
    if "do_get_config" not in cls.__dict__:
        cls.do_get_config = _get_config
    cls._check_config = cls.__dict__.get("do_set_config", _accept)
    cls.do_set_config = _set_config


def _accept(self, offset, data, flags):
    return True


def _get_config(self):
    return bytes(self.config)


def _set_config(self, offset, data, flags):
    """The class's own do_set_config(), if there is one, may refuse; then all is written, or nothing."""
    space = memoryview(self.config).cast("B")
    for at, byte in enumerate(data, offset):
        old = space[at] if at < len(space) else 0
        fixed = flags != Vhost.ConfigFlags.MIGRATION and (at >= len(space) or not self._config_mask[at])
        if byte != old and (fixed or at >= len(space)):
            raise GLib.Error.new_literal(Vhost.error_quark(), f"byte {at} of the configuration space cannot be changed "
                                         f"from 0x{old:02x} to 0x{byte:02x}: it is not writable", Vhost.Error.REFUSED)
    if self._check_config(offset, data, flags) is False:
        return False
    data = data[:max(0, len(space) - offset)]
    space[offset:offset + len(data)] = data
    return True
