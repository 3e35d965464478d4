#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""What vfsdax-bench runs in the guest besides fio; it prints one line of JSON with a value for each row."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import time

PER_DIR = 1000


def rate(count, begin):
    """Operations a second since then."""
    return count * 1e9 / (time.monotonic_ns() - begin)


def meta(top, count):
    """Create, stat, list and remove files in directories of a thousand."""
    count = int(count)
    top = os.path.join(top, f"meta.{os.getpid()}")
    os.mkdir(top)
    dirs = [os.path.join(top, str(d)) for d in range((count + PER_DIR - 1) // PER_DIR)]
    paths = [os.path.join(dirs[i // PER_DIR], f"file-{i:06d}") for i in range(count)]
    r = {}
    try:
        for d in dirs:
            os.mkdir(d)
        begin = time.monotonic_ns()
        for p in paths:
            os.close(os.open(p, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o644))
        r["create"] = rate(count, begin)
        begin = time.monotonic_ns()
        for p in paths:
            os.stat(p)
        r["stat"] = rate(count, begin)
        begin = time.monotonic_ns()
        seen = sum(1 for d in dirs for e in os.scandir(d) if e.stat(follow_symlinks=False).st_size == 0)
        r["readdirplus"] = rate(count, begin)
        begin = time.monotonic_ns()
        out = subprocess.run(["ls", "-lR", top], check=True, stdout=subprocess.PIPE).stdout
        r["ls-lR"] = rate(count, begin)
        listed = out.count(b"file-")
        if seen != count or listed != count:
            raise OSError(f"{count} files were made, {seen} and {listed} were listed")
        begin = time.monotonic_ns()
        for p in paths:
            os.unlink(p)
        r["unlink"] = rate(count, begin)
    finally:
        shutil.rmtree(top, ignore_errors=True)
    return r


def git(top):
    """Look for changes in a repository that has none; files a second."""
    repo = os.path.join(top, "git")
    if not shutil.which("git"):
        raise OSError("git is not installed")
    if not os.path.isdir(os.path.join(repo, ".git")):
        raise OSError("git was not there to make a repository")
    command = ["git", "--no-optional-locks", "-c", "safe.directory=*", "-C", repo]
    files = subprocess.run([*command, "ls-files"], check=True,
                           stdout=subprocess.PIPE).stdout.count(b"\n")
    begin = time.monotonic_ns()
    out = subprocess.run([*command, "status", "--porcelain"], check=True,
                         stdout=subprocess.PIPE).stdout
    r = rate(files, begin)
    if out or not files:
        raise OSError(f"git status finds changes: {out[:80]!r}")
    return {"git-status": r}


def small(top):
    """Open, read and close each small file, and once more."""
    paths = [os.path.join(d, n) for d, _, names in os.walk(os.path.join(top, "small"))
             for n in names]
    if not paths:
        raise OSError("there are no small files")
    r = {}
    for name in ("read-first", "read-again"):
        begin = time.monotonic_ns()
        for p in paths:
            fd = os.open(p, os.O_RDONLY)
            try:
                while os.read(fd, 65536):
                    pass
            finally:
                os.close(fd)
        r[name] = rate(len(paths), begin)
    return r


def opened(top, files, seconds):
    """How long open() and close() of a file take, in us: the first of each file, and later ones. Medians."""
    paths = [os.path.join(top, f"data.{i}") for i in range(int(files))]
    for p in paths:
        os.stat(p)	# so that the name's LOOKUP is not in it

    def cost(path):
        begin = time.monotonic_ns()
        os.close(os.open(path, os.O_RDONLY))
        return (time.monotonic_ns() - begin) / 1000

    r = {"open-first": statistics.median(map(cost, paths))}
    end = time.monotonic() + float(seconds)
    costs = [cost(paths[0])]
    while time.monotonic() < end:
        costs.append(cost(paths[0]))
    r["open-again"] = statistics.median(costs)
    return r


def daemon_of(mountpoint):
    """The process of vfsdaxfuse that serves a mount, or None."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                argv = [os.fsdecode(a) for a in f.read().split(b"\0")]
            where = os.readlink(f"/proc/{pid}/cwd")
        except OSError:
            continue
        if os.path.basename(argv[0]) == "vfsdaxfuse" and mountpoint in [
                os.path.normpath(os.path.join(where, a)) for a in argv[1:] if a]:
            return pid
    return None


def fields(path):
    """Numbers of a file of the form 'Name: number kB', in MiB."""
    with open(path, encoding="ascii") as f:
        pairs = [line.split() for line in f]
    return {p[0].rstrip(":"): int(p[1]) / 1024 for p in pairs if len(p) == 3 and p[2] == "kB"}


def memory_now(pid):
    """Page cache, used memory, and the daemon's own (without what it maps of others)."""
    info = fields("/proc/meminfo")
    r = {"page-cache": info["Cached"] + info["Buffers"],
         "memory-used": info["MemTotal"] - info["MemFree"]}
    if pid:
        r["daemon"] = fields(f"/proc/{pid}/status")["RssAnon"]
    return r


def drop_caches():
    """Forget what the kernel keeps, where we may."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
            f.write("3")
    except OSError:
        pass


def memory(top, name, mountpoint):
    """How memory grows while a file is read from its begin to its end."""
    pid = daemon_of(mountpoint)
    buffer = bytearray(2**20)	# there before, so that it does not count
    path = os.path.join(top, name)
    size = os.stat(path).st_size
    drop_caches()
    before = memory_now(pid)
    total = 0
    with open(path, "rb", buffering=0) as f:
        while True:
            n = f.readinto(buffer)
            if not n:
                break
            total += n
        after = memory_now(pid)
    if total != size:
        raise OSError(f"{total} of {size} bytes were read")
    r = {k: after[k] - before[k] for k in after}
    if not pid:
        r["daemon"] = {"unsupported": "there is no daemon"}
    return r


def cpu_ticks(pid):
    """Processor time of all threads of a process."""
    with open(f"/proc/{pid}/stat", encoding="utf-8") as f:
        stat = f.read().rpartition(")")[2].split()
    return int(stat[11]) + int(stat[12])


def idle(top, name, mountpoint, seconds):
    """Processor time of the daemon while nothing happens, after it had work."""
    seconds = float(seconds)
    pid = daemon_of(mountpoint)
    if not pid:
        return {"daemon-cpu": {"unsupported": "there is no daemon"}}
    with open(os.path.join(top, name), "rb", buffering=0) as f:
        for _ in range(8):
            f.read(2**20)
    time.sleep(1)
    before = cpu_ticks(pid)
    begin = time.monotonic()
    time.sleep(seconds)
    used = (cpu_ticks(pid) - before) / os.sysconf("SC_CLK_TCK")
    return {"daemon-cpu": 100 * used / (time.monotonic() - begin)}


COMMANDS = {"meta": meta, "git": git, "small": small, "open": opened, "memory": memory, "idle": idle}


def main():
    try:
        print(json.dumps(COMMANDS[sys.argv[1]](*sys.argv[2:])))
    except (OSError, subprocess.CalledProcessError) as e:
        print(e, file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
