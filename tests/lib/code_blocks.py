# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Finds the code blocks of pages: fenced and indented ones of Markdown, literal ones of reStructuredText.

Comments right before a block say what a reader need not see:

    <!-- code: not run: REASON -->      the block is left out, and listed with its reason
    <!-- code: run -->                  a shell block, or a program in C, is run
    <!-- code: file NAME -->            the block is there under this name for the blocks that are run after it
    <!-- code: around                   code before the block, and after a line "@@" code behind it
    ...
    -->

In reStructuredText it is ".. code: not run: REASON".
"""

import dataclasses
import re

COMMENT = re.compile(r"<!-- code: (not run: |run|file |around)\s*(.*?)\s*-->\s*$", re.S)
RST_COMMENT = re.compile(r"\.\. code: (not run: |run)\s*(.*)$")


@dataclasses.dataclass
class Block:
    page: str
    line: int
    language: str
    text: str
    reason: str = ""
    run: bool = False
    file: str = ""
    before: str = ""
    after: str = ""

    def __str__(self):
        return f"{self.page}:{self.line}"


def _annotate(block, comments):
    for match in comments:
        kind, text = match.group(1).strip(), match.group(2)
        if kind == "run":
            block.run = True
        elif kind == "file":
            block.file = text
        elif kind == "around":
            block.before, _, block.after = f"{text}\n".partition("@@\n")
        else:
            block.reason = text
    return block


def _indented(lines, start):
    """The lines from start on that are indented or empty, without the empty ones at the end, and where they end."""
    end = start
    while end < len(lines) and (not lines[end].strip() or lines[end].startswith("    ")):
        end += 1
    while end > start and not lines[end - 1].strip():
        end -= 1
    return [line[4:] for line in lines[start:end]], end


def of_markdown(page, text):
    lines, blocks, number, comments = text.split("\n"), [], 0, []
    while number < len(lines):
        line = lines[number]
        if line.startswith("<!--"):
            end = number
            while "-->" not in lines[end]:
                end += 1
            found = COMMENT.match("\n".join(lines[number:end + 1]))
            comments += [found] if found else []
            number = end + 1
            continue
        fence = re.match(r"```(\w*)$", line)
        if fence:
            end = lines.index("```", number + 1)
            block = Block(page, number + 1, fence.group(1), "\n".join(lines[number + 1:end]) + "\n")
            blocks.append(_annotate(block, comments))
            number = end + 1
        elif line.startswith("    ") and line.strip() and (not lines[number - 1].strip() or lines[number - 1].endswith("-->")) \
                and not _in_list(lines, number):
            body, end = _indented(lines, number)
            blocks.append(_annotate(Block(page, number + 1, "sh", "\n".join(body) + "\n"), comments))
            number = end
        else:
            number += 1
        if line.strip():
            comments = []
    return blocks


def _in_list(lines, number):
    """An indented paragraph behind an item of a list belongs to it."""
    while number > 0:
        number -= 1
        if lines[number].strip() and not lines[number].startswith(" "):
            return re.match(r"([-*]|\d+\.) ", lines[number]) is not None
    return False


def of_restructured_text(page, text):
    lines, blocks, number, comments = text.split("\n"), [], 0, []
    while number < len(lines):
        line = lines[number]
        number += 1
        found = RST_COMMENT.match(line)
        if found:
            comments.append(found)
        elif line.rstrip().endswith("::") and not line.startswith(".. "):
            while number < len(lines) and not lines[number].strip():
                number += 1
            body, end = _indented(lines, number)
            blocks.append(_annotate(Block(page, number + 1, "sh", "\n".join(body) + "\n"), comments))
            number, comments = end, []
    return blocks


def of_page(page, text):
    blocks = of_markdown(page, text) if page.endswith(".md") else of_restructured_text(page, text)
    for block in blocks:
        # A device file has no marker of its own where a block is indented.
        if block.language == "sh" and re.search(r"^\[Device\]$", block.text, re.M):
            block.language = "ini"
    return blocks
