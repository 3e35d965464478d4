#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Print all that can be seen of a tree, a line an entry: kind, owner, times, links, content."""

import hashlib
import os
import stat
import sys


def content(path, st):
    if stat.S_ISLNK(st.st_mode):
        return os.readlink(path)
    if stat.S_ISREG(st.st_mode):
        with open(path, "rb") as file:
            return str(st.st_size).encode() + b" " + hashlib.md5(file.read()).hexdigest().encode()
    if stat.S_ISCHR(st.st_mode) or stat.S_ISBLK(st.st_mode):
        return b"%d:%d" % (os.major(st.st_rdev), os.minor(st.st_rdev))
    return b""


def attributes(path):
    names = sorted(os.listxattr(path, follow_symlinks=False))
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}


def main(top):
    links = {}
    for directory, names, files in os.walk(top):
        names.sort()
        for name in sorted(names + files) + ([b""] if directory == top else []):
            path = os.path.join(directory, name)
            st = os.lstat(path)
            shown = os.path.relpath(path, top)
            links.setdefault(st.st_ino, shown)
            # The size and link count of directories are the file system's own business.
            count = 0 if stat.S_ISDIR(st.st_mode) else st.st_nlink
            print(shown, oct(st.st_mode), st.st_uid, st.st_gid, st.st_mtime_ns, count,
                  links[st.st_ino] if count > 1 else "", content(path, st), attributes(path))


main(os.fsencode(sys.argv[1]))
