# SPDX-License-Identifier: MIT
"""Where it is measured: mounts that are there already, or those of a virtual machine of the lab."""

import dataclasses
import json
import os
import re
import shlex
import signal
import subprocess
import sys
import time

from files import Files
from jobs import Failed, PASS_GROUPS
from workload import daemon_of

HERE = os.path.dirname(os.path.realpath(__file__))
FILES = "vfsdax-bench"

# What the summary compares. A configuration of a guest that is none of these has no role.
ROLES = {"virtiofs": "kernel's virtiofs, no DAX", "virtiofs-dax": "kernel's virtiofs, DAX",
         "vfsdaxfuse": "vfsdaxfuse", "vfsdaxfuse-never": "vfsdaxfuse -o dax=never",
         "virtiofsd": "kernel's virtiofs, stock virtiofsd",
         "passthrough-all": "vfsdaxfuse -o passthrough=all",
         "passthrough-ro": "vfsdaxfuse -o ro,passthrough=ro"}


@dataclasses.dataclass
class Config:
    """A way to mount; title is what it is."""
    name: str
    title: str
    directory: str

    @property
    def passthrough(self):
        """Whether the kernel shall read and write by itself."""
        return self.name.startswith("passthrough-")

    def covers(self, measure):
        """Whether the measurement is made with this one."""
        if not self.passthrough:
            return True
        return measure.rows[0].group in PASS_GROUPS and not (measure.writes and self.name.endswith("-ro"))


def say(text):
    """Progress, for people."""
    print(text, file=sys.stderr, flush=True)


def first_line(command):
    """The first line that a program prints, or what is wrong with it."""
    try:
        r = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                           stderr=subprocess.STDOUT, text=True, timeout=60)
    except (OSError, subprocess.TimeoutExpired):
        return "not there"
    return r.stdout.strip().splitlines()[0] if r.stdout.strip() else "not there"


def daemon_stats(mountpoint):
    """The counters of the vfsdaxfuse that serves a mount, by its option stats=, or None."""
    pid = daemon_of(mountpoint)
    if not pid:
        return None
    with open(f"/proc/{pid}/cmdline", encoding="utf-8", errors="surrogateescape") as f:
        found = re.search(r"[\0,]stats=([^,\0]+)", f.read())
    if not found:
        return None
    path = os.path.join(os.readlink(f"/proc/{pid}/cwd"), found.group(1))
    try:
        os.unlink(path)	# the daemon renames a new file into place
    except FileNotFoundError:
        pass
    os.kill(int(pid), signal.SIGUSR1)
    for _ in range(100):
        try:
            with open(path, encoding="ascii") as f:
                return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", f.read())}
        except FileNotFoundError:
            time.sleep(0.05)
    return None


def data_bytes(stats):
    """Data that the daemon has moved, whichever way."""
    return sum(stats[f"{way}_{what}_bytes"] for way in ("dax", "virtqueue") for what in ("read", "write"))


class GuestTarget:
    """Mounts of this machine that somebody else made."""

    def __init__(self, args):
        self.args = args
        self.configs = [self.config(word) for word in args.guest]
        names = [c.name for c in self.configs]
        for c in self.configs:
            if names.count(c.name) > 1:
                raise ValueError(f"two directories are {c.name}: name them, as in NAME={c.directory}")
        self.files = []

    def config(self, word):
        """NAME=DIRECTORY, or a directory that is named for what is mounted there."""
        name, equals, directory = word.partition("=")
        if not equals or "/" in name:
            name, directory = "", word
        directory = os.path.realpath(directory)
        if not os.path.isdir(directory):
            raise ValueError(f"{directory} is no directory")
        fstype, options = self.mount_of(directory)
        if not name:
            name = {"virtiofs": "virtiofs", "fuse.vfsdaxfuse": "vfsdaxfuse"}.get(
                fstype, os.path.basename(directory))
            if fstype == "virtiofs" and any(o == "dax" or o.startswith("dax=always")
                                            for o in options.split(",")):
                name = "virtiofs-dax"
        return Config(name, f"{fstype} at {directory}", directory)

    @staticmethod
    def mount_of(directory):
        """Type and options of the file system where a directory is."""
        best, found = "", ("unknown", "")
        with open("/proc/self/mounts", encoding="utf-8") as f:
            for line in f:
                _, where, fstype, options = line.split()[:4]
                where = where.encode().decode("unicode_escape")
                inside = directory == where or directory.startswith(where.rstrip("/") + "/")
                if inside and len(where) >= len(best):
                    best, found = where, (fstype, options)
        return found

    def prepare(self, measures):
        """The files, through the mounts; mounts of one directory share them."""
        for c in self.configs:
            self.files.append(Files(os.path.join(c.directory, FILES), self.args))
            say(f"files in {self.files[-1].top}")
            try:
                self.files[-1].make(measures)
            except (OSError, subprocess.CalledProcessError) as e:
                say(f"{c.name}: {e}")	# rows say it again, with what they could not do

    def close(self):
        """Remove what was made."""
        if not self.args.keep:
            for f in self.files:
                f.remove()

    def mount_dir(self, config):
        """Where the file system stands."""
        return config.directory

    def files_dir(self, config):
        """Where the files stand."""
        return os.path.join(self.mount_dir(config), FILES)

    def mount(self, config, fresh):
        """Nothing but to make the guest's kernel forget, which removes its mappings, too."""
        if not fresh:
            return
        os.sync()
        try:
            with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as f:
                f.write("3")
        except OSError as e:
            raise Failed(f"a fresh mount needs root, to drop caches: {e.strerror}") from e

    def umount(self, config):
        """Mounts stay."""
        return {}

    def recover(self):
        """Nothing that we could do."""

    def counts(self, config):
        """The data that went through the daemon or the host, as far as counted, or None."""
        if not config.passthrough:
            return None
        stats = daemon_stats(config.directory)
        return {"daemon_bytes": data_bytes(stats)} if stats else None

    def sh(self, text, timeout):
        """A line of shell; status, output and errors."""
        # In a session of its own, so that all of it can be ended: fio has children.
        p = subprocess.Popen(["sh", "-c", text], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            out, err = p.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            os.killpg(p.pid, signal.SIGKILL)
            p.communicate()
            raise Failed(f"not done after {timeout:.0f} s") from None
        except BaseException:
            os.killpg(p.pid, signal.SIGKILL)
            raise
        return p.returncode, out, err

    def about(self):
        """What every table of numbers must be read with."""
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            info = f.read()
        found = re.search(r"(?:model name|Processor)\s*:\s*(.*)", info)
        cpu = found.group(1) if found else os.uname().machine
        try:
            with open("/sys/class/dmi/id/sys_vendor", encoding="utf-8") as f:
                vendor = f.read().strip()
            with open("/sys/class/dmi/id/product_name", encoding="utf-8") as f:
                vendor += " " + f.read().strip()
        except OSError:
            vendor = "unknown"
        accelerator = "none" if not re.search(r"^flags.*\bhypervisor\b", info, re.M) else (
            "TCG" if "TCG" in info else "KVM or another")
        window = f"{self.args.window} MiB (as told)" if self.args.window else "not told"
        return {"cpu": cpu, "cpus": os.cpu_count(), "accelerator": accelerator, "machine": vendor,
                "kernel": os.uname().release, "window": window, "window_memory": self.probe(""),
                "vfsdaxfuse": first_line(["vfsdaxfuse", "--version"]),
                "fio": first_line(["fio", "--version"]), "date": time.strftime("%Y-%m-%d")}

    def probe(self, device):
        """What vfsdaxfuse --probe says of the window's memory, where there is that option."""
        try:
            status, out, _ = self.sh("vfsdaxfuse --help 2>&1 | grep -q -e --probe && "
                                     f"exec vfsdaxfuse --probe {device}", 60)
        except Failed:
            return "not probed"
        for line in out.splitlines():
            if status == 0 and line.startswith("window-memory:"):
                return line.split(":", 1)[-1].strip()
        return "not probed"

    def workload(self, words, timeout):
        """A command of workload.py; what it measured."""
        words = [self.python(), os.path.join(self.program_dir(), "workload.py"), *words]
        status, out, err = self.sh("exec " + " ".join(map(shlex.quote, words)), timeout)
        if status:
            lines = err.strip().splitlines()
            raise Failed(lines[-1][-200:] if lines else f"workload.py: status {status}")
        return json.loads(out)

    def python(self):
        """The interpreter."""
        return sys.executable

    def program_dir(self):
        """Where these files are, for the guest."""
        return HERE


class LabTarget(GuestTarget):
    """A virtual machine with one device of vfsdaxhost and, where it is there, one of virtiofsd."""

    def __init__(self, args):
        sys.path.insert(0, os.path.join(HERE, "..", "..", "tests", "bench"))
        import lab
        self.args, self.lab_module = args, lab
        self.lab = lab.Lab(kernel=args.kernel, window=f"{args.window}M", mem="3G",
                           virtiofsd="virtiofsd" in args.configs, parent=args.dir,
                           passthrough=any(n in lab.PASSTHROUGH for n in args.configs))
        self.configs = [Config(n, ROLES[n], lab.MNT) for n in args.configs]
        self.files = []
        self.entered = False

    def prepare(self, measures):
        """The virtual machine, and the files in the host."""
        self.lab.__enter__()
        self.entered = True
        say("making files")
        self.files = [Files(os.path.join(self.lab.share, FILES), self.args)]
        self.files[0].make(measures)

    def close(self):
        if self.entered:
            self.lab.__exit__(None, None, None)

    def mount(self, config, fresh):
        try:
            if not self.lab.alive:
                self.lab.boot()
            self.lab.guest("echo 3 >/proc/sys/vm/drop_caches")
            self.lab.mount(config.name)
        except (RuntimeError, subprocess.CalledProcessError) as e:
            raise Failed(self.lab.why(e)) from e

    def umount(self, config):
        """Counters of the daemon, if there is one; the mount ends."""
        r = {}
        try:
            if config.name.startswith("vfsdaxfuse") or config.passthrough:
                r = self.lab.stats()
            self.lab.umount()
        except RuntimeError as e:
            raise Failed(self.lab.why(e)) from e
        return r

    def recover(self):
        """The next mount() boots again; that it can fail is that row's affair."""
        self.lab.halt()

    def counts(self, config):
        if config.name == "virtiofsd":
            return None
        try:
            stats = self.lab.host_stats()
            daemon = {"daemon_bytes": data_bytes(self.lab.stats())} if config.passthrough else {}
        except RuntimeError as e:
            raise Failed(self.lab.why(e)) from e
        return {"host_bytes": stats["read_bytes"] + stats["write_bytes"],
                "host_requests": stats.get("read", 0) + stats.get("write", 0), **daemon}

    def sh(self, text, timeout):
        r = self.lab.run(text, timeout)
        if r.returncode == 255:
            raise Failed(self.lab.why(RuntimeError("the virtual machine is gone")))
        if r.returncode == 124:
            raise Failed(f"not done after {timeout:.0f} s")
        return r.returncode, r.stdout, r.stderr

    def about(self):
        r = self.lab.about()
        r["window_memory"] = self.probe("bench")
        return r

    def python(self):
        return "python3"

    def program_dir(self):
        return "/opt/vfsdaxfuse-src/contrib/bench"
