#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""A guest whose devices stand behind a vIOMMU, in strict mode: each buffer is mapped for its request and no longer."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402
from vm import MIB, sha256  # noqa: E402

BEHIND = "iommu_platform=on,ats=on,disable-legacy=on"


def behind_iommu(props="", options=(), seconds=6):
    with vm.served(*options) as (image, sock, _):
        with vm.Guest("load", [vm.disk(sock, props=BEHIND + props)], arguments={"seconds": seconds},
                      machine=",kernel-irqchip=split", kernel_words=["intel_iommu=on", "iommu.strict=1"],
                      # Before the device that stands behind it.
                      before=["-device", "intel-iommu,intremap=on,device-iotlb=on"]) as guest:
            values = guest.finish(vm.DEADLINE + 2 * seconds)
        tap.equal(values["features"][33], "1", "the device uses the platform's addresses")
        tap.equal(values["io_errors"], "0", "I/O errors in the guest's log")
        for index in (1, 2, 3, 4):
            tap.equal(sha256(vm.read_at(image, index * 4 * MIB, 2 * MIB)), values[f"sum_{index}"],
                      f"what writer {index} wrote last")
        return values


@tap.test("a guest behind a strict vIOMMU finds its data again")
def strict():
    behind_iommu()


@tap.test("a packed ring works behind a vIOMMU")
def packed():
    tap.equal(behind_iommu(",packed=on")["features"][34], "1", "packed ring")


@tap.test("a ring whose parts are longer than a page works behind a vIOMMU")
def long_ring():
    behind_iommu(",queue-size=1024")


if __name__ == "__main__":
    tap.main()
