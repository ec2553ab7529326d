# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
# What scenarios share inside the guest. Busybox only; no sleep without a condition that it waits for.

# A line for the host.
say() { echo "@@ $*"; }

# A line for people who watch.
tell() { echo "-- $*"; }

# Waits until the command given succeeds: wait_until SECONDS COMMAND...
wait_until() {
  tries=$(($1 * 20))
  shift
  until "$@" 2>/dev/null; do
    tries=$((tries - 1))
    [ $tries -gt 0 ] || { say "gave_up=$*"; return 1; }
    usleep 50000
  done
}

# Checksum of COUNT MiB of a device from MiB SKIP on, read past the page cache: region_sum DEVICE SKIP COUNT
region_sum() {
  dd if="$1" bs=1M skip="$2" count="$3" iflag=direct 2>/dev/null | sha256sum | cut -d' ' -f1
}

drop_caches() {
  sync
  echo 3 > /proc/sys/vm/drop_caches
}

# Uptime in hundredths of a second.
now() {
  cut -d' ' -f1 /proc/uptime | tr -d .
}
