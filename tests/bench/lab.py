# SPDX-License-Identifier: MIT
"""A virtual machine with a device of vfsdaxhost, and measurements in it, for the benchmarks."""

import json
import os
import re
import shlex
import subprocess
import sys
import tempfile
import time

HERE = os.path.dirname(os.path.abspath(__file__))
TESTS = os.path.dirname(HERE)
VM = os.path.join(TESTS, "vm", "vm")
MNT = "/mnt/host"


def sh(command):
    """A line of shell with tests/setup.sh at hand; its output."""
    setup = os.path.join(TESTS, "setup.sh")
    return subprocess.run(
        ["bash", "-ec", f". {shlex.quote(setup)}; {command}"],
        check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def say(text):
    print(text, file=sys.stderr, flush=True)


class Lab:
    """vfsdaxhost and a guest; to be used as a context."""

    def __init__(self, kernel="6.12", window="1G", mem="2G", host_args=(), queues=1):
        self.kernel, self.window, self.mem = kernel, window, mem
        self.host_args, self.queues = list(host_args), queues
        self.name = f"bench-{os.getpid()}"
        self.host = None
        self.alive = False

    def __enter__(self):
        say("preparing and building")
        need = "need_root; ensure_packages \"${build_packages[@]}\"; mkdir -p \"$lab_cache\""
        sh(f"{need}; {TESTS}/vm/prepare >&2; build_in \"$native_build\" >&2; "
           f"{TESTS}/vm/build-guest >&2")
        self.dir = tempfile.TemporaryDirectory(prefix="vfsdaxfuse-bench.")
        self.share = os.path.join(self.dir.name, "share")
        os.mkdir(self.share)
        try:
            self.start_host()
            self.boot()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(self, *unused):
        self.halt()
        if self.host:
            self.host.terminate()
            self.host.wait()
        self.dir.cleanup()

    def start_host(self):
        socket = os.path.join(self.dir.name, "fs.sock")
        binary = os.path.join(sh('echo "$native_build"'), "src/host/vfsdaxhost")
        with open(os.path.join(self.dir.name, "host.log"), "w", encoding="utf-8") as log:
            self.host = subprocess.Popen(
                [binary, f"--shared-dir={self.share}", f"--socket-path={socket}", "--tag=bench",
                 f"--window={self.window}", "--cache=none",
                 f"--num-request-queues={self.queues}", *self.host_args], stderr=log)
        self.socket = socket

    def boot(self):
        subprocess.run([VM, "start", "--name", self.name, "--kernel", self.kernel, "--mem",
                        self.mem, "--num-request-queues", str(self.queues), "--socket",
                        self.socket], check=True, stdout=sys.stderr)
        self.alive = True

    def halt(self):
        if self.alive:
            subprocess.run([VM, "stop", "--name", self.name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        self.alive = False

    def guest(self, text, timeout=300):
        """A line of shell in the guest; its output. Raises when it fails."""
        r = subprocess.run(
            [VM, "exec", "--name", self.name, "--timeout", str(timeout), "sh", "-ec", text],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if r.returncode:
            if r.returncode == 255:
                self.alive = False
            raise RuntimeError(f"{text}: status {r.returncode}: {r.stderr.strip()[-300:]}")
        return r.stdout

    def mount(self, how):
        self.guest({
            "kernel": f"mount -t virtiofs bench {MNT}",
            "kernel-dax": f"mount -t virtiofs -o dax bench {MNT}",
            "vfsdaxfuse": f"vfsdaxfuse -o stats=/run/stats {MNT}",
            "vfsdaxfuse-never": f"vfsdaxfuse -o dax=never,stats=/run/stats {MNT}",
        }[how])

    def umount(self):
        self.guest(f"umount {MNT}; for i in $(seq 200); do pidof vfsdaxfuse >/dev/null || exit 0;"
                   " sleep 0.05; done; exit 1")

    def stats(self):
        """The daemon's counters."""
        out = self.guest("rm -f /run/stats; kill -USR1 $(pidof vfsdaxfuse); for i in $(seq 100);"
                         " do [ ! -s /run/stats ] || exec cat /run/stats; sleep 0.05; done; exit 1")
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", out)}

    def fio(self, how, timeout=300, **job):
        """One fio job; MiB/s, microseconds an operation and operations a second of its reads.

        Without DAX the guest's page cache would answer in the kernel's stead: there O_DIRECT asks
        the host, as vfsdaxfuse does by itself.
        """
        job.setdefault("ioengine", "psync")
        job.setdefault("direct", 1 if how == "kernel" else 0)
        args = " ".join(shlex.quote(f"--{k}={v}") for k, v in job.items())
        out = self.guest(f"cd {MNT} && fio --name=job --group_reporting --invalidate=0 "
                         f"--output-format=json {args}", timeout)
        read = json.loads(out[out.index("{"):])["jobs"][0]["read"]
        return {"mib": read["bw_bytes"] / 2**20, "us": read["clat_ns"]["mean"] / 1000,
                "iops": read["iops"], "bytes": read["io_bytes"]}

    def make_file(self, name, mib):
        """A file of random bytes, in the host's page cache."""
        path = os.path.join(self.share, name)
        with open(path, "wb") as f, open("/dev/urandom", "rb") as r:
            for _ in range(mib):
                f.write(r.read(2**20))
        with open(path, "rb") as f:
            while f.read(2**20):
                pass

    def about(self):
        """What every table of numbers must be read with."""
        with open("/proc/cpuinfo", encoding="utf-8") as f:
            cpu = re.search(r"model name\s*: (.*)", f.read()).group(1)
        qemu = sh('. "$(dirname "$lab_source/tests/vm/lib.sh")/lib.sh"; '
                  'exec_in_tree "$lab_qemu" qemu-system-x86_64 --version | head -n 1')
        return {
            "host_cpu": cpu, "cpus": os.cpu_count(), "accelerator": sh(f"{VM} accel"),
            "qemu": qemu, "kernel": self.guest("uname -r").strip(), "window": self.window,
            "vfsdaxfuse": self.guest("vfsdaxfuse --version").strip(),
            "date": time.strftime("%Y-%m-%d"),
        }


def table(head, rows):
    """A table for people."""
    rows = [head] + [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(r, widths))) for r in rows)
