#!/usr/bin/python3
# SPDX-FileCopyrightText: The libvhostd authors
# SPDX-License-Identifier: LGPL-2.1-or-later
"""Copies the pages into a folder, as the API reference wants them: links lead from one to another there too.

    reference-pages.py FOLDER PAGE...

A link to a page becomes one to its HTML; one to anything else, which the reference does not have, becomes its text. The
page index.md goes by another name, since the reference begins with a page of its own.
"""

import os
import pathlib
import re
import sys

NAMES = {"index": "where-to-begin"}


def name_of(page):
    return NAMES.get(page.stem, page.stem)


def main():
    folder, pages = pathlib.Path(sys.argv[1]), [pathlib.Path(name) for name in sys.argv[2:]]
    known = {page.name: page for page in pages}

    def link(match):
        text, target = match.groups()
        path, _, anchor = target.partition("#")
        if "://" in target or not path:
            return match.group(0)
        if path not in known:
            return text
        return f"[{text}]({name_of(known[path])}.html{'#' + anchor if anchor else ''})"

    folder.mkdir(parents=True, exist_ok=True)
    for page in pages:
        text = page.read_text(encoding="utf-8")
        text = re.sub(r"<!-- code: .*?-->\n", "", text, flags=re.S)
        text = re.sub(r"\[([^\]]+)\]\(([^)\s]+)\)", link, text)
        if not text.startswith("Title:"):
            title = re.search(r"^# (.*)$", text, re.M).group(1)
            text = f"Title: {title}\nSlug: {name_of(page)}\n\n{text}"
        (folder / f"{name_of(page)}.md").write_text(text, encoding="utf-8")
    os.utime(folder)  # what is built from it looks at the folder's own time


main()
