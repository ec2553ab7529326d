# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Vhost.Backend for subclasses in Python.

How it works: when a subclass is made, its do_... methods are wrapped before PyGObject puts them into the class
structure, so that bytes are bytes, exceptions become errors, and a method that returns nothing has succeeded. And a
class with do_process_chain() gets a do_process_queue() that takes requests by the batch: PyGObject's way to call
do_process_chain() itself costs more than all the rest of a request.

Classes in C that derive from the same type must not notice: nothing here touches their class structure, which is why
the class below has no do_... methods of its own.
"""

import inspect

from gi.overrides import override
from gi.repository import Vhost

from . import config_space, coroutine, failure, native, threads
from .chain import Chain
from .queue import BATCH, Batch

__all__ = ["Backend"]


@override
class Backend(Vhost.Backend):
    """A device: derive from it, decorate the class with @Vhost.device, and write do_process_chain (queue, chain).

    A class `Config`, a ctypes.Structure or what Vhost.config_space() makes, becomes the configuration space: its fields
    are attributes of self.config, and what is set there is what the driver reads next (notify_config() tells it).

    Queues are served in the main context, unless the property `workers` asks for threads.
    """
    __module__ = "gi.overrides.Vhost"

    device_type = None
    default_queues = None
    config = None
    _in_python = False

    def __init_subclass__(cls, **kwargs):
        super().__init_subclass__(**kwargs)
        if cls.__module__.startswith("gi.") or issubclass(cls, getattr(Vhost, "Filter")):
            return  # a class of the library's, made known to Python
        cls._in_python = True
        own = cls.__dict__
        if getattr(cls, "Config", None) is not None and {"Config", "do_get_config", "do_set_config"} & own.keys():
            config_space.prepare(cls)
        if "do_process_chain" in own:
            cls._is_coroutine = inspect.iscoroutinefunction(cls.do_process_chain)
            if not any("do_process_queue" in base.__dict__ for base in _python_bases(cls)):
                cls.do_process_queue = _serve
        failure.wrap_methods(cls)
        threads.wrap_methods(cls)

    def __init__(self, **properties):
        # Where the library makes the object, as vhostd does, all this is there already: options have their defaults.
        if self._in_python:
            properties.setdefault("workers", 0)
            if self.default_queues is not None and "num-queues" not in properties:
                properties.setdefault("num_queues", self.default_queues)
        super().__init__(**properties)
        if getattr(self, "Config", None) is not None:
            self.config = self.Config()

    @classmethod
    def new_simple(cls, device, virtio_id, num_queues):
        """A device without code of its own, for a daemon's signal "kick"; its queues are served in the main context."""
        backend = _new_simple(device, virtio_id, num_queues)
        backend.props.workers = 0
        return backend

    def set_config_space(self, data, writable=None):
        """The configuration space as bytes, and as many bytes whose set bits the driver may change.

        For devices without a class Config.
        """
        data = bytes(data)
        if len(data) > 256:
            raise ValueError(f"a configuration space of {len(data)} bytes cannot be: it has 256 at most")
        if writable is not None and len(writable) != len(data):
            raise ValueError(f"{len(writable)} bytes say what of {len(data)} is writable")
        native.set_config_space(hash(self), data, len(data), None if writable is None else bytes(writable))


_new_simple = Backend.__mro__[1].new_simple


def _python_bases(cls):
    return [base for base in cls.__mro__ if issubclass(base, Backend) and base._in_python]


def _serve(self, queue):
    """do_process_queue() of all classes that have a do_process_chain()."""
    pointer = hash(queue)
    handle = coroutine.starter(self) if self._is_coroutine else self.do_process_chain
    pop_many = native.pop_many
    n = BATCH
    while n == BATCH:
        batch = Batch()
        n = pop_many(pointer, batch, BATCH)
        taken = 0
        try:
            for address in batch[:n]:
                chain = Chain(address)
                taken += 1
                try:
                    handle(queue, chain)
                except BaseException as error:
                    # What keeps the traceback must not keep the guest waiting.
                    if chain._pointer:
                        chain.complete(0)
                    if not failure.report(self, error, "do_process_chain"):
                        raise
        except BaseException:
            for rest in batch[taken:n]:
                native.complete(rest, 0)
            raise


_serve.is_ready = True  # reports by itself, and knows its request
