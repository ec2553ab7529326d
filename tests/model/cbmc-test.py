#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""The harnesses in cbmc/: the library's own code under any input. CBMC, where it is installed, proves them. Here a
compiler makes programs that try a million random inputs each, which proves nothing and says so; a check that is taken
out of a copy of the library must be missed by both, or the harness would be worth nothing."""

import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
CBMC = HERE / "cbmc"
sys.path.insert(0, str(HERE.parent / "lib"))
import tap  # noqa: E402
import vm  # noqa: E402

COMPILE = ["-std=gnu11", "-D_GNU_SOURCE", "-w", f"-I{CBMC / 'glib'}"]
# What a harness does not call is not there: sections that nothing refers to go away.
LINK = ["-O1", "-ffunction-sections", "-fdata-sections", "-Wl,--gc-sections"]
PROVE = ["--nondet-volatile", "--unwinding-assertions", "--bounds-check", "--pointer-check", "--div-by-zero-check",
         "--signed-overflow-check", "--undefined-shift-check"]
WALK = "vhost-ring-walk-private.h"
SLOT = "vhost-memory-private.h"

# Harness: what it says, how far CBMC unrolls its loops, and the checks that it must miss: file, text, without it.
HARNESSES = {
    "walk-split": ("a split chain is taken whole and inside the regions, or refused, whatever the driver writes", 40, [
        ("vhost-ring-split.c", "if (G_UNLIKELY (at >= limit))", "if (G_UNLIKELY (at > limit))"),
        ("vhost-ring-split.c", "limit = length / VHOST_RING_DESCRIPTOR;", "limit = length / VHOST_RING_DESCRIPTOR + 1;"),
        ("vhost-ring-split.c", "if (G_UNLIKELY (head >= ring->size))", "if (G_UNLIKELY (head > ring->size))"),
        ("vhost-ring-split.c", "if (G_UNLIKELY (ring->in_flight[head]))", "if (FALSE)"),
        ("vhost-ring-split.c", "if (G_UNLIKELY (++steps > limit))", "if (FALSE)"),
        ("vhost-ring-split.c", "vhost_ring_walk_add (walk, &count, address, length,",
         "vhost_ring_walk_add (walk, &count, address, RING32 (entry->length),"),
        (SLOT, "return offset < slot->size && length <= slot->size - offset;",
         "return offset < slot->size && length <= slot->size;"),
        (WALK, "|| count->next == count->end || ", "|| "),
        (WALK, "return G_LIKELY (slot->access & access) ? slot : NULL;", "return slot;"),
        (WALK, "|| count->writing != writable\n", "\n"),
        ("vhost-ring.c", "if (more - old > *ring->segments_left)", "if (FALSE)"),
        ("vhost-ring.c", "n = (guint32) MIN (slot->size - offset, length - done);", "n = length - done;"),
    ]),
    "walk-packed": ("a packed list is taken whole and inside the regions, or refused, whatever the driver writes", 40, [
        ("vhost-ring-packed.c", "if (G_UNLIKELY (slots + ring->slots_in_flight >= ring->size))", "if (FALSE)"),
        ("vhost-ring-packed.c", "if (G_UNLIKELY (id >= ring->size))", "if (G_UNLIKELY (id > ring->size))"),
        ("vhost-ring-packed.c", "if (G_UNLIKELY (ring->in_flight[id]))", "if (FALSE)"),
        ("vhost-ring-packed.c", "if (++at == ring->size)", "if (++at > ring->size)"),
        ("vhost-ring-packed.c", "i < length / VHOST_RING_DESCRIPTOR", "i <= length / VHOST_RING_DESCRIPTOR"),
        (SLOT, "return offset < slot->size && length <= slot->size - offset;",
         "return offset < slot->size && length <= slot->size;"),
    ]),
    "memory-ranges": ("regions that overlap are refused, and a range is found when one region holds all of it", 6, [
        (SLOT, "length <= slot->size - offset;", "offset + length <= slot->size;"),
        (SLOT, "base = base[half] <= address", "base = base[half] < address"),
        ("vhost-memory.c", "if (second - first >= first_size)", "if (second - first > first_size)"),
        ("vhost-memory.c", "qsort (infos, n, sizeof *infos, compare_guest);", ""),
        (SLOT, "cache->slots[1].guest_address < cache->slots[1].size",
         "cache->slots[1].guest_address <= cache->slots[1].size"),
    ]),
    "dirty-log": ("the dirty log has the bits of a range's pages and no others, whatever the range", 40, [
        ("vhost-dirty-log.c", "if (G_UNLIKELY (last / 8 >= self->size))", "if (G_UNLIKELY (last / 8 > self->size))"),
        ("vhost-dirty-log.c", "if (G_UNLIKELY (first / 8 >= self->size))", "if (FALSE)"),
        ("vhost-dirty-log.c", "(0xffu >> (7 - page % 8))", "(0xffu >> (8 - page % 8))"),
        ("vhost-dirty-log.c", "end - at >= 8)", "end - at >= 7)"),
        ("vhost-dirty-log.c", "last = length - 1 > G_MAXUINT64 - guest_address ? G_MAXUINT64 : ", "last = "),
        ("vhost-dirty-log.c", "set_byte (begin, pages_from (first) & pages_to (last));",
         "set_byte (begin, pages_from (first));"),
        ("vhost-dirty-log.c", "if (G_LIKELY (mark.byte < self->size))", "if (TRUE)"),
        ("vhost-dirty-log.c", "collect (self, batch, begin, pages_from (first) & pages_to (last));",
         "collect (self, batch, begin, pages_to (last));"),
        ("vhost-dirty-log.c", "  collect (self, batch, end, pages_to (last));\n", ""),
        ("vhost-dirty-log.c", "batch->aside[batch->n_aside++] = *mark;", "batch->n_aside = 0;"),
        ("vhost-dirty-log-private.h", "(guest_address / VHOST_DIRTY_LOG_PAGE % 8)",
         "(guest_address / VHOST_DIRTY_LOG_PAGE % 7)"),
    ]),
    "call-split": ("V31: a split ring's driver is called when the entry that it names was passed, and only then", 12, [
        ("vhost-ring-split.c", "__ATOMIC_RELAXED) - 1) < ", "__ATOMIC_RELAXED)) < "),
        ("vhost-ring-split.c", "__ATOMIC_RELAXED) - 1) < ", "__ATOMIC_RELAXED) - 1) <= "),
        ("vhost-ring-split.c", "ring->called_valid && ring->n_uncalled <= G_MAXUINT16", "ring->called_valid"),
        ("vhost-ring-split.c", "  ring->called_used = now;\n", ""),
    ]),
    "call-packed": ("V35: a packed ring's driver is called when the slot that it names was passed, and only then", 24, [
        ("vhost-ring-packed.c", "called < now ? called", "called <= now ? called"),
        ("vhost-ring-packed.c", "(wrap == ring->used_wrap ? 0", "(wrap != ring->used_wrap ? 0"),
        ("vhost-ring-packed.c", "(now - event - 1)", "(now - event)"),
        ("vhost-ring-packed.c", "ring->called_valid && ring->n_uncalled <= ring->size", "ring->called_valid"),
        ("vhost-ring-packed.c", "  ring->called_used = ring->next_used;\n  ring->called_valid = TRUE;\n",
         "  ring->called_valid = TRUE;\n"),
    ]),
    "inflight-place": ("IF3: an in-flight area that is accepted holds all entries, and its file holds the area", 4, [
        ("vhost-inflight.c", "if (self->size < needed)", "if (FALSE)"),
        ("vhost-inflight.c", "if (self->offset + self->size > (guint64) status.st_size)",
         "if (self->size > (guint64) status.st_size)"),
        ("vhost-inflight.c", "self->offset > G_MAXINT64 || self->size > G_MAXINT64 - self->offset\n      || ", ""),
        ("vhost-inflight.c", "(size + REGION_ALIGNMENT - 1) & ~(guint64)", "size & ~(guint64)"),
    ]),
    "inflight-split": ("IF5: recovery of a split ring's area, whatever is in it, names each request once", 20, [
        ("vhost-inflight-split.c", "if (head >= self->desc_num)", "if (FALSE)"),
        ("vhost-inflight-split.c", "if (i >= self->size)", "if (FALSE)"),
        ("vhost-inflight-split.c", "      vhost_inflight_store16 (&area->used_idx, used_index);\n    }", "    }"),
        ("vhost-inflight-split.c", "  self->last_batch_head = head;\n", ""),
        ("vhost-inflight.c", "first->counter < second->counter ? -1 : 1", "first->counter < second->counter ? 1 : -1"),
    ]),
    "inflight-packed": ("IF9: recovery of a packed ring's area, whatever is in it, names each entry once", 20, [
        ("vhost-inflight-packed.c", "if (at > self->desc_num)", "if (FALSE)"),
        ("vhost-inflight-packed.c", "if (num == 0 || num > self->size - self->slots)", "if (num == 0)"),
        ("vhost-inflight-packed.c", "if (at != last)", "if (FALSE)"),
        ("vhost-inflight-packed.c", "if (at >= self->desc_num)", "if (FALSE)"),
        ("vhost-inflight-packed.c", "    if (!seen[i])\n", "    if (FALSE)\n"),
    ]),
}


def run(command, **options):
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120, **options)


def tried(name, library, folder, milliseconds):
    """Exit status and words of the random runs of a harness over this copy of the library."""
    program = folder / name
    built = run([vm.program("gcc", "gcc"), *COMPILE, *LINK, f"-I{library}", CBMC / f"{name}.c", "-o", program])
    if built.returncode != 0:
        raise vm.Failed(f"{name} does not compile: {built.stderr}")
    return run([program, str(milliseconds), "1"])


def with_broken(broken, check):
    """Calls @check with a copy of the library in which one check is missing."""
    file, old, new = broken
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        library = folder / "library"
        library.mkdir()
        # A file includes what lies beside it first, so all of them must be there.
        for path in (ROOT / "libvhostd").glob("*.[ch]"):
            if path.name != file:
                (library / path.name).symlink_to(path)
        text = (ROOT / "libvhostd" / file).read_text()
        if text.count(old) != 1:
            raise vm.Failed(f"{file} has {old!r} {text.count(old)} times, not once")
        (library / file).write_text(text.replace(old, new))
        return check(library, folder)


def add(name, sentence, unwind, broken):
    @tap.test(f"random inputs, no proof: {sentence}")
    def random():
        with tempfile.TemporaryDirectory() as folder:
            result = tried(name, ROOT / "libvhostd", pathlib.Path(folder), 1500)
        if result.returncode != 0:
            raise vm.Failed(f"{name} ends with {result.returncode}: {result.stdout}{result.stderr}")
        print(f"# {result.stdout.strip()}")

    @tap.test(f"random inputs find each of {len(broken)} checks missing: {name}")
    def random_broken():
        missed = [what for what in broken
                  if with_broken(what, lambda library, folder: tried(name, library, folder, 10000)).returncode == 0]
        if missed:
            raise vm.Failed(f"not found by {name}: " + "; ".join(f"{file}: {old!r}" for file, old, _ in missed))

    @tap.test(f"proved by CBMC: {sentence}")
    def proved():
        if shutil.which("cbmc") is None:
            raise vm.Unavailable("cbmc is not installed; random inputs were tried")

        def verdict(library, _folder):
            said = run(["cbmc", *PROVE, "--unwind", str(unwind), f"-I{CBMC / 'glib'}", f"-I{library}", "-D_GNU_SOURCE",
                        CBMC / f"{name}.c"])
            if "VERIFICATION" not in said.stdout:
                raise vm.Failed(f"cbmc cannot read {name}: {said.stdout[-2000:]}{said.stderr[-2000:]}")
            return "VERIFICATION SUCCESSFUL" in said.stdout

        tap.equal(verdict(ROOT / "libvhostd", None), True, f"{name} is proved")
        for what in broken:
            tap.equal(with_broken(what, verdict), False, f"{name} is proved without {what}")


for key, (words, loops, taken_out) in HARNESSES.items():
    add(key, words, loops, taken_out)


@tap.test("the prover's half of each harness is C, which is all that can be said of it without the prover")
def readable():
    for name in HARNESSES:
        said = run([vm.program("gcc", "gcc"), *COMPILE, f"-I{ROOT / 'libvhostd'}", "-D__CPROVER__", "-fsyntax-only",
                    "-Werror=implicit-function-declaration", "-include", CBMC / "prover.h", CBMC / f"{name}.c"])
        if said.returncode != 0:
            raise vm.Failed(f"{name}: {said.stderr}")


if __name__ == "__main__":
    tap.main()
