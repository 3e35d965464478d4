#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a document names something that does not exist.

usage: docs.py SOURCE-ROOT

Checked are relative links and their anchors, paths of the repository (anywhere in the text), file names
and functions in backquotes, and the values of constants in doc/tuning.md.
"""

import fnmatch
import os
import pathlib
import re
import sys

TOPS = "src|include|doc|tests|contrib|man"
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
PATH = re.compile(rf"(?<![\w/.$~-])(?:{TOPS})/[\w./*-]+")
QUOTED = re.compile(r"`([^`\n]+)`")
FILE = re.compile(r"[\w*-]+(?:/[\w*-]+)*\.(?:[ch]|sh|py|md|scd|ini)")
FUNCTION = re.compile(r"([a-z]\w*_\w*)\(\)")
KERNEL = "fs/fuse/"  # in the sources of Linux
# In a row, or in a sentence: `NAME` (VALUE). A name without a value need only exist.
CONSTANT = re.compile(r"`([A-Z][A-Z0-9_]+|[a-z]+(?:_[a-z]+)*)`(?:(?: \| | \()(\d+)(?: (KiB|MiB|us|ms|s))?(?= \||\)))?")
UNITS = {"": 1, "KiB": 1024, "MiB": 1 << 20, "us": 1000, "ms": 1000_000, "s": 1000_000_000}
PARAMS = "include/policy/params.h"  # a list of numbers, in lower case
PARAM = re.compile(r"\bX\((\w+), ([^,]+), ")
DEFINE = re.compile(r"^[ \t]*#[ \t]*define[ \t]+([A-Z]\w*)[ \t]+(.+?)[ \t]*(?:/[/*].*)?$", re.M)


def anchors(text):
    """What the headings of a document are called in links."""
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-")
            for h in re.findall(r"(?m)^#+ +(.+?) *$", text)}


def links(path, text):
    """Yield links that lead nowhere."""
    for target in LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        name, _, anchor = target.partition("#")
        at = path.parent / name if name else path
        if not at.exists():
            yield f"no such file: {target}"
        elif anchor and anchor not in anchors(at.read_text(encoding="utf-8")):
            yield f"no such heading: {target}"


def names(text, files, words):
    """Yield paths, files and functions that do not exist."""
    for found in PATH.findall(text):
        name = found.rstrip("./-")
        # A program is named without the suffix of its source.
        if not any(fnmatch.fnmatch(f, name) or f == name + ".c" or f.startswith(name + "/")
                   for f in files):
            yield f"no such path: {name}"
    for quoted in QUOTED.findall(text):
        first = quoted.split()[0] if quoted.split() else ""
        if FILE.fullmatch(first) and not first.startswith(KERNEL) and \
                not any(fnmatch.fnmatch("/" + f, "*/" + first) for f in files):
            yield f"no such file: {first}"
        for name in FUNCTION.findall(quoted):
            if name not in words:
                yield f"no such function: {name}()"


def value(name, defines, seen=()):
    """All values that a constant has in the sources, times in ns."""
    r = set()
    for expression in defines.get(name, []):
        text = re.sub(r"\b(\d+)[uUlL]+\b", r"\1", expression).replace("UINT64_C", "")
        for other in set(re.findall(r"[A-Z]\w+", text)) - {name, *seen}:
            for v in value(other, defines, (*seen, name)):
                text = re.sub(rf"\b{other}\b", str(v), text)
        if re.fullmatch(r"[\d\s()*+<>-]+", text):
            r.add(eval(text))  # pylint: disable=eval-used # only digits and operators
    return r


def constants(text, defines):
    """Yield constants that do not have the value that a document says."""
    for name, number, unit in CONSTANT.findall(text):
        values = value(name, defines)
        if name not in defines:
            if name.isupper():  # otherwise it is some other word
                yield f"no such constant: {name}"
        elif number and int(number) * UNITS[unit] not in values:
            yield f"{name} is {number} {unit} in the document, {sorted(values)} in the sources"
    for row in re.findall(r"(?m)^\| `[A-Z].*$", text):
        if not CONSTANT.match(row, 2).group(2):
            yield f"no value: {row[:60]}"


def main():
    """Check all documents."""
    root = pathlib.Path(sys.argv[1]).resolve()
    files = []
    for top, directories, inside in os.walk(root):
        here = pathlib.Path(top).relative_to(root)
        directories[:] = [d for d in directories if not d.startswith((".git", "__pycache__")) and
                          not (here == pathlib.Path(".") and d.startswith("build"))]
        files += [(here / f).as_posix() for f in inside]
    sources = "\n".join((root / f).read_text(encoding="utf-8") for f in files
                        if f.endswith((".c", ".h")))
    words = set(re.findall(r"\w+", sources))
    defines = {}
    for name, expression in DEFINE.findall(sources):
        defines.setdefault(name, []).append(expression)
    for name, expression in PARAM.findall((root / PARAMS).read_text(encoding="utf-8")):
        defines.setdefault(name, []).append(expression)
    documents = sorted(f for f in files if f.endswith(".md") or f == "NEWS")
    wrong, counted = [], 0
    for name in documents:
        text = (root / name).read_text(encoding="utf-8")
        found = [*links(root / name, text), *names(text, files, words)]
        if name == "doc/tuning.md":
            counted = sum(bool(c[1]) for c in CONSTANT.findall(text))
            found += constants(text, defines)
        wrong += [f"{name}: {w}" for w in found]
    print("\n".join(wrong) or f"{len(documents)} documents, {counted} constants")
    return 1 if wrong or not documents or not counted else 0


sys.exit(main())
