# SPDX-License-Identifier: MIT
"""A virtual machine with a device of vfsdaxhost, and measurements in it, for the benchmarks."""

import json
import os
import re
import shlex
import signal
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
    """vfsdaxhost and a guest; to be used as a context.

    With virtiofsd the guest has a second device, by stock virtiofsd, for the same directory.
    """

    def __init__(self, kernel="6.12", window="1G", mem="2G", host_args=(), queues=1,
                 virtiofsd=False, parent=None):
        self.kernel, self.window, self.mem = kernel, window, mem
        self.host_args, self.queues, self.parent = list(host_args), queues, parent
        self.name = f"bench-{os.getpid()}"
        self.host = None
        self.stock, self.stock_missing = None, ""
        if not virtiofsd:
            self.stock_missing = "it was not asked for"
        self.alive = False

    def __enter__(self):
        say("preparing and building")
        need = "need_root; ensure_packages \"${build_packages[@]}\"; mkdir -p \"$lab_cache\""
        sh(f"{need}; {TESTS}/vm/prepare >&2; build_in \"$native_build\" >&2; "
           f"{TESTS}/vm/build-guest >&2")
        self.dir = tempfile.TemporaryDirectory(prefix="vfsdaxfuse-bench.", dir=self.parent)
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

    def start_virtiofsd(self):
        """Stock virtiofsd of the lab's Debian 13; its socket, or None. It ends with its guest."""
        if self.stock_missing:
            return []
        if not self.in_qemu_tree("test -x /usr/libexec/virtiofsd"):
            self.stock_missing = "the lab has no virtiofsd"
            return []
        socket = os.path.join(self.dir.name, "stock.sock")
        if os.path.exists(socket):
            os.unlink(socket)
        # As vfsdaxhost does it: nothing cached but what is mapped, and extended attributes.
        self.stock = self.in_qemu_tree(
            f"/usr/libexec/virtiofsd --shared-dir={shlex.quote(self.share)} --cache=never "
            f"--allow-mmap --xattr --socket-path={shlex.quote(socket)} --log-level=error",
            background=os.path.join(self.dir.name, "virtiofsd.log"))
        return ["--device", "vhost-user-fs", "--socket", socket]

    def stop_virtiofsd(self):
        if not self.stock:
            return
        try:
            self.stock.wait(5)
        except subprocess.TimeoutExpired:
            self.stock.terminate()
            self.stock.wait()
        self.stock = None

    def in_qemu_tree(self, command, background=None):
        """Whether a command in the tree with QEMU succeeds; in the background, its process."""
        words = ["bash", "-ec", f". {shlex.quote(os.path.join(TESTS, 'vm', 'lib.sh'))}; "
                 f'exec_in_tree "$lab_qemu" {command}']
        if not background:
            return subprocess.run(words, stdin=subprocess.DEVNULL).returncode == 0
        with open(background, "a", encoding="utf-8") as log:
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def start_host(self):
        socket = os.path.join(self.dir.name, "fs.sock")
        binary = os.path.join(sh('echo "$native_build"'), "src/host/vfsdaxhost")
        self.host_log = os.path.join(self.dir.name, "host.log")
        with open(self.host_log, "w", encoding="utf-8") as log:
            self.host = subprocess.Popen(
                [binary, f"--shared-dir={self.share}", f"--socket-path={socket}", "--tag=bench",
                 f"--window={self.window}", "--cache=none",
                 f"--num-request-queues={self.queues}", *self.host_args], stderr=log)
        self.socket = socket

    def boot(self):
        subprocess.run([VM, "start", "--name", self.name, "--kernel", self.kernel, "--mem",
                        self.mem, "--timeout", "300", "--num-request-queues", str(self.queues), "--socket",
                        self.socket, *self.start_virtiofsd()], check=True, stdout=sys.stderr)
        self.alive = True

    def halt(self):
        if self.alive:
            subprocess.run([VM, "stop", "--name", self.name], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL)
        self.alive = False
        self.stop_virtiofsd()

    def run(self, text, timeout=300):
        """A line of shell in the guest: the completed process. Status 255: the guest is gone."""
        r = subprocess.run(
            [VM, "exec", "--name", self.name, "--timeout", str(int(timeout)), "sh", "-ec", text],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        if r.returncode and (r.returncode == 255 or self.vm_is_gone()):
            self.alive = False
        return r

    def vm_is_gone(self):
        """Whether QEMU has ended by itself."""
        r = subprocess.run([VM, "status", "--name", self.name], stdout=subprocess.PIPE,
                           stderr=subprocess.DEVNULL, text=True)
        return "running" not in r.stdout

    def guest(self, text, timeout=300):
        """A line of shell in the guest; its output. Raises when it fails."""
        r = self.run(text, timeout)
        if r.returncode:
            raise RuntimeError(f"{text}: status {r.returncode}: {r.stderr.strip()[-300:]}")
        return r.stdout

    def why(self, error):
        """An error of guest(), with QEMU's last words if the virtual machine is gone."""
        if self.alive:
            return str(error)
        log = os.path.join(sh('echo "$lab_run"'), self.name, "qemu.log")
        try:
            with open(log, encoding="utf-8", errors="replace") as f:
                last = [line.strip() for line in f if line.strip()][-1:]
        except OSError:
            last = []
        return "the virtual machine ended" + (f": {last[0][-200:]}" if last else "")

    def mount(self, how):
        if how == "virtiofsd" and self.stock_missing:
            raise RuntimeError(self.stock_missing)
        self.guest({
            "virtiofs": f"mount -t virtiofs bench {MNT}",
            "virtiofs-dax": f"mount -t virtiofs -o dax bench {MNT}",
            "vfsdaxfuse": f"vfsdaxfuse -o stats=/run/stats bench {MNT}",
            "vfsdaxfuse-never": f"vfsdaxfuse -o dax=never,stats=/run/stats bench {MNT}",
            "virtiofsd": f"mount -t virtiofs fs1 {MNT}",
        }[how])

    def umount(self):
        self.guest(f"umount {MNT}; for i in $(seq 200); do pidof vfsdaxfuse >/dev/null || exit 0;"
                   " sleep 0.05; done; exit 1")

    def stats(self):
        """The daemon's counters."""
        out = self.guest("rm -f /run/stats; kill -USR1 $(pidof vfsdaxfuse); for i in $(seq 100);"
                         " do [ ! -s /run/stats ] || exec cat /run/stats; sleep 0.05; done; exit 1")
        return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", out)}

    def host_stats(self):
        """The counters of vfsdaxhost."""
        def lines():
            with open(self.host_log, encoding="utf-8", errors="replace") as f:
                return [line for line in f if "stats:" in line and line.endswith("\n")]
        before = len(lines())
        self.host.send_signal(signal.SIGUSR1)
        for _ in range(500):
            now = lines()
            if len(now) > before:
                return {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", now[-1])}
            time.sleep(0.01)
        raise RuntimeError("vfsdaxhost does not answer SIGUSR1")

    def fio(self, how, timeout=300, **job):
        """One fio job; MiB/s, microseconds an operation and operations a second of its reads.

        Without DAX the guest's page cache would answer in the kernel's stead: there O_DIRECT asks
        the host, as vfsdaxfuse does by itself.
        """
        job.setdefault("ioengine", "psync")
        # As programs have them; fio's own are uneven, and a large read of those is one request more.
        job.setdefault("iomem_align", "4k")
        job.setdefault("direct", 1 if how == "virtiofs" else 0)
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
            "virtiofsd": self.stock_missing or "stock, Debian 13",
            "fio": self.guest("fio --version").strip(),
            "date": time.strftime("%Y-%m-%d"),
        }


def table(head, rows):
    """A table for people."""
    rows = [head] + [[str(c) for c in row] for row in rows]
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(r, widths))) for r in rows)
