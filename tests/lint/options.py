#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Fails when a program's --help and its manual page do not have the same options and values.

usage: options.py MAN-PAGE.scd COMMAND...
"""

import os
import re
import subprocess
import sys

OPTION = re.compile(r"(?<![\w-])(--?[A-Za-z][A-Za-z0-9-]*)")
# Values with --quick, without, and with --full, where there are these.
VALUES = re.compile(r"\[([0-9.]+(?:, [0-9.]+)+)\]")


def blocks(lines, option_line, mount_line):
    """Names of options, each with the values in the text that belongs to it."""
    r, names = {}, []
    for line in lines:
        option = option_line(line)
        mount = mount_line.match(line)
        if option:
            names = OPTION.findall(option)
        elif mount:
            names = ["-o " + mount.group(1)]
        for name in names:
            r.setdefault(name, [])
            r[name] += VALUES.findall(line)
    return r


def of_help(command):
    """The options of --help: they stand at the begin of a line, their text after two blanks."""
    out = subprocess.run([*command, "--help"], check=True, stdout=subprocess.PIPE, text=True,
                         env={**os.environ, "COLUMNS": "200"}).stdout

    def option_line(line):
        found = re.match(r"\s+(-.*?)(?:  .*)?$", line)
        return found.group(1) if found else None
    return blocks(out.splitlines(), option_line, re.compile(r"^ {8}([a-z_]+)="))


def of_man(path):
    """The options of the section OPTIONS: a line that begins with one in bold."""
    with open(path, encoding="utf-8") as f:
        section = re.split(r"(?m)^# ", f.read())
    text = next(s for s in section if s.startswith("OPTIONS\n"))

    def option_line(line):
        return re.sub(r"_[^_]*_|\*", "", line) if line.startswith("*-") else None
    return blocks(text.splitlines(), option_line, re.compile(r"^\t\*([a-z_]+)="))


def main():
    man, said = of_man(sys.argv[1]), of_help(sys.argv[2:])
    wrong = [f"{n}: not in {sys.argv[1]}" for n in said if n not in man]
    wrong += [f"{n}: not in --help" for n in man if n not in said]
    wrong += [f"{n}: {man[n]} in the manual page, {said[n]} in --help"
              for n in man if n in said and man[n] != said[n]]
    print("\n".join(wrong) or f"{len(man)} options")
    return 1 if wrong or not man else 0


sys.exit(main())
