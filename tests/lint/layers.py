#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a file includes a header that its layer must not see, or when files call each other in a circle."""

import pathlib
import re
import sys

# What each layer may see (doc/architecture.md). No layer sees one that stands behind it.
SEES = {
    "base": {"base"},
    "ring": {"base", "ring"},
    "wire": {"base", "wire"},
    "hw": {"base", "hw"},
    "virtio": {"base", "ring", "wire", "hw", "virtio"},
    "policy": {"base", "policy"},
    "dax": {"base", "policy", "dax"},
    "pass": {"base", "dax", "pass"},
    "fs": {"base", "wire", "virtio", "dax", "pass", "fs"},
    "daemon": {"base", "wire", "virtio", "dax", "pass", "fs", "daemon"},
    "window": {"base", "hw", "virtio", "pass", "window"},
    "host": {"base", "ring", "wire", "host"},
}
# In these layers files use each other in one direction only. The functions of x.c are declared in x.h.
NO_CIRCLE = {"policy", "dax"}
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')


def check(root, path, layer):
    """Yield one line for each wrong include of a file."""
    for number, line in enumerate(path.read_text().splitlines(), 1):
        found = INCLUDE.match(line)
        if not found:
            continue
        target = found.group(1)
        where = f"{path.relative_to(root)}:{number}"
        if "/" not in target:
            if not (path.parent / target).is_file():
                yield f'{where}: "{target}" is not beside the file that includes it'
            elif path.parts[-3] == "include":
                yield f'{where}: a public header must name its layer: "{layer}/{target}"'
            continue
        other = target.split("/")[0]
        if not (root / "include" / target).is_file():
            yield f'{where}: "{target}" is no public header'
        elif other not in SEES[layer]:
            yield f"{where}: {layer} must not see {other} ({target})"


def beside(path):
    """Yield the names, without suffix, of the headers beside a file that it includes, also by others."""
    seen, todo = set(), [path]
    while todo:
        for line in todo.pop().read_text().splitlines():
            found = INCLUDE.match(line)
            if found and "/" not in found.group(1) and found.group(1) not in seen:
                seen.add(found.group(1))
                todo.append(path.parent / found.group(1))
                yield pathlib.Path(found.group(1)).stem


def circles(root, layer):
    """Yield one line for each circle of files of a layer that may call each other."""
    files = {path.stem: path for path in sorted((root / "src" / layer).glob("*.c"))}
    uses = {name: sorted(set(beside(path)) & set(files) - {name}) for name, path in files.items()}
    visited = set()

    def visit(name, chain):
        if name in chain:
            yield f"src/{layer}: a circle: {' -> '.join(chain[chain.index(name):] + [name])}"
        elif name not in visited:
            visited.add(name)
            for other in uses[name]:
                yield from visit(other, chain + [name])

    for name in files:
        yield from visit(name, [])


def main():
    """Check all of src/ and include/."""
    root = pathlib.Path(sys.argv[1]).resolve()
    files = 0
    wrong = []
    for top in ("src", "include"):
        for path in sorted((root / top).rglob("*.[ch]")):
            layer = path.relative_to(root / top).parts[0]
            files += 1
            if layer in SEES:
                wrong += check(root, path, layer)
            else:
                wrong.append(f"{path.relative_to(root)}: not in a layer")
    for layer in sorted(NO_CIRCLE):
        wrong += circles(root, layer)
    print("\n".join(wrong) or f"{files} files, all includes go downward")
    return bool(wrong)


sys.exit(main())
