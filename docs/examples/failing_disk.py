#!/usr/bin/env -S vhostd run
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: CC0-1.0
"""A disk whose 7th write fails, and every one behind it if it is told so: does the file system notice?"""
from gi.repository import GObject, Vhost

import ram_disk


@Vhost.device("block")
class FailingDisk(ram_disk.RamDisk):
    failing_write = GObject.Property(type=int, default=7, minimum=0,
                                     blurb="Number of the write that fails, counted from 1 (0: none)")
    for_ever = GObject.Property(type=bool, default=False, blurb="All writes behind it fail, too")
    writes = 0

    def write(self, at, data):
        self.writes += 1
        behind = self.writes - self.failing_write
        if self.failing_write and (behind == 0 or self.for_ever and behind > 0):
            return ram_disk.IO_ERROR
        return super().write(at, data)
