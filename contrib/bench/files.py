# SPDX-License-Identifier: MIT
"""The files that are measured with; made once, in the host where it can be."""

import os
import random
import shutil
import subprocess

from jobs import DATA_FILES, FACTORS

BLOCK = 2**20
SMALL_PER_DIR = 100
GIT_FILES = 1000


class Files:
    """A directory of files; remembers what it made, to remove no more than that."""

    def __init__(self, top, args):
        self.top, self.args = top, args
        self.made = []
        # Random, so that nothing between can compress or share it; the same block again with
        # a number in front is enough for that.
        self.block = random.Random(1).randbytes(BLOCK)

    def make(self, measures):
        """What these measurements need, and is not there with the right size."""
        groups = {r.group for m in measures for r in m.rows}
        if not os.path.isdir(self.top):
            os.mkdir(self.top)
            self.made.append(self.top)
        if groups & {"jobs", "large", "latency", "open", "idle"}:
            for i in range(DATA_FILES):
                self.make_file(f"data.{i}", self.args.size)
        if groups & {"cold", "memory"}:
            self.make_file("cold", self.args.cold)
        if "pressure" in groups and self.args.window:
            for i in range(DATA_FILES):
                self.make_file(f"set.{i}", int(self.args.window * max(FACTORS)) // DATA_FILES)
        if "small" in groups:
            self.make_small()
        if any(r.name == "git-status" for m in measures for r in m.rows):
            self.make_git()

    def make_file(self, name, mib):
        """A file that fills the page cache; what is there is read, so that it does, too."""
        path = os.path.join(self.top, name)
        try:
            there = os.stat(path).st_size
        except FileNotFoundError:
            there = None
        if there == mib * BLOCK:
            with open(path, "rb", buffering=0) as f:
                while f.read(BLOCK):
                    pass
            return
        if there is None:
            self.made.append(path)
        with open(path, "wb", buffering=0) as f:
            for i in range(mib):
                f.write(i.to_bytes(8, "little") + self.block[8:])
            # What is written back while a row runs would be in its number.
            os.fsync(f.fileno())

    def make_small(self):
        """Files of 1 to 16 KiB, a hundred to a directory."""
        top = os.path.join(self.top, "small")
        count = sum(len(names) for _, _, names in os.walk(top))
        if count == self.args.small:
            return
        if count:
            shutil.rmtree(top)
        self.made.append(top)
        rng = random.Random(2)
        for i in range(self.args.small):
            if i % SMALL_PER_DIR == 0:
                os.makedirs(os.path.join(top, str(i // SMALL_PER_DIR)))
            with open(os.path.join(top, str(i // SMALL_PER_DIR), str(i)), "wb") as f:
                f.write(self.block[:rng.randint(1024, 16384)])

    def make_git(self):
        """A repository without changes, where there is git to make it."""
        repo = os.path.join(self.top, "git")
        if os.path.isdir(repo) or not shutil.which("git"):
            return
        self.made.append(repo)
        for i in range(GIT_FILES):
            if i % SMALL_PER_DIR == 0:
                os.makedirs(os.path.join(repo, str(i // SMALL_PER_DIR)))
            with open(os.path.join(repo, str(i // SMALL_PER_DIR), str(i)), "w",
                      encoding="ascii") as f:
                f.write(f"file {i}\n" * 20)
        # Sizes and times are looked at, as on any machine; the inode's number and device are the
        # mount's own affair and would make all files look changed.
        command = ["git", "-c", "safe.directory=*", "-c", "user.name=vfsdax-bench",
                   "-c", "user.email=vfsdax-bench@localhost", "-C", repo]
        for words in (["init", "-q"], ["config", "core.checkStat", "minimal"], ["add", "."],
                      ["commit", "-q", "-m", "files"]):
            subprocess.run([*command, *words], check=True, stdin=subprocess.DEVNULL,
                           stdout=subprocess.DEVNULL)

    def remove(self):
        """Remove what was made."""
        for path in reversed(self.made):
            if os.path.isdir(path) and path != self.top:
                shutil.rmtree(path, ignore_errors=True)
            elif os.path.isdir(path):
                try:
                    os.rmdir(path)
                except OSError:
                    pass
            else:
                try:
                    os.unlink(path)
                except OSError:
                    pass
