# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""What kind of device a class is: the decorator, and the numbers of the known types."""

__all__ = ["device"]

# VIRTIO 1.3, section 5: "Device Types". Names as the vhost-user program conventions and this project write them, and as
# QEMU does where that differs.
VIRTIO_IDS = {
    "net": 1, "block": 2, "blk": 2, "console": 3, "rng": 4, "entropy": 4, "balloon": 5, "iomemory": 6, "rpmsg": 7,
    "scsi": 8, "9p": 9, "mac80211-wlan": 10, "rproc-serial": 11, "caif": 12, "memory-balloon": 13, "gpu": 16,
    "timer": 17, "clock": 17, "input": 18, "vsock": 19, "crypto": 20, "signal-dist": 21, "pstore": 22, "iommu": 23,
    "mem": 24, "sound": 25, "fs": 26, "pmem": 27, "rpmb": 28, "mac80211-hwsim": 29, "video-encoder": 30,
    "video-decoder": 31, "scmi": 32, "nitro-sec-mod": 33, "i2c": 34, "watchdog": 35, "can": 36, "dmabuf": 37,
    "param-serv": 38, "audio-policy": 39, "bt": 40, "bluetooth": 40, "gpio": 41, "rdma": 42, "camera": 43,
}
# How many queues such a device has where nobody says, if more than one.
_QUEUES = {"net": 2, "console": 2, "balloon": 2, "scsi": 3, "gpu": 2, "input": 2, "vsock": 3, "crypto": 2, "sound": 4,
           "fs": 2, "video-encoder": 2, "video-decoder": 2, "can": 3, "bt": 2, "bluetooth": 2, "gpio": 2}


def device(name, virtio_id=None, queues=None, max_queues=None):
    """Class decorator: what device a subclass of Vhost.Backend is.

    name        the type, as `vhostd` and `--print-capabilities` write it: "rng", "block" ...
    virtio_id   its VIRTIO number; known types have theirs
    queues      how many queues it has; known types have as many as their drivers ask for at least
    max_queues  the most that the option --num-queues may ask for, if that is more

        @Vhost.device("rng")
        class Rng(Vhost.Backend):
            def do_process_chain(self, queue, chain): ...
    """
    if not isinstance(name, str) or not name:
        raise TypeError('the decorator needs the type of the device: @Vhost.device("rng")')
    if virtio_id is None:
        virtio_id = VIRTIO_IDS.get(name)
        if virtio_id is None:
            raise ValueError(f'"{name}" is no device type with a known number: give virtio_id=NUMBER '
                             f'(VIRTIO 1.3, section 5), or one of {", ".join(VIRTIO_IDS)}')
    if not 1 <= virtio_id <= 0xffff:
        raise ValueError(f"virtio_id={virtio_id} is no device number: 1 to 65535")
    if queues is None:
        queues = _QUEUES.get(name, 1)
    if max_queues is None:
        max_queues = queues
    if not 1 <= queues <= max_queues <= 256:
        raise ValueError(f"queues={queues}, max_queues={max_queues}: a device has 1 to 256, and not more than its most")

    def decorate(cls):
        cls.set_device(name, virtio_id, max_queues)
        cls.set_option_default("workers", "0")
        cls.set_option_default("num-queues", str(queues))
        cls.device_type, cls.default_queues = name, queues
        return cls
    return decorate
