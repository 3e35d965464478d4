# SPDX-License-Identifier: MIT
"""vfsdaxhost, a virtual machine with its device, and measurements there, for the benchmarks."""

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
VFSDAX_WINDOW = "/opt/vfsdaxfuse/sbin/vfsdax-window"
PASSTHROUGH = {"passthrough-all": "passthrough=all", "passthrough-ro": "ro,passthrough=ro"}
# Of the yardstick in the virtual machine: data.0 and so on, one for each job, in its memory.
YARDSTICK_FILES, YARDSTICK_MIB = 4, 16


def sh(command):
    """A line of shell with tests/setup.sh at hand; its output."""
    setup = os.path.join(TESTS, "setup.sh")
    return subprocess.run(
        ["bash", "-ec", f". {shlex.quote(setup)}; {command}"],
        check=True, stdout=subprocess.PIPE, text=True).stdout.strip()


def say(text):
    print(text, file=sys.stderr, flush=True)


def build():
    """Where the native build is, which is up to date then."""
    say("building")
    return sh('{ need_root; ensure_packages "${build_packages[@]}"; mkdir -p "$lab_cache"; '
              'build_in "$native_build"; } >&2; echo "$native_build"')


def cpu():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return re.search(r"model name\s*: (.*)", f.read()).group(1)


def fio_command(**job):
    """The words of one fio job that reads what is there, as programs do."""
    job.setdefault("ioengine", "psync")
    # As programs have them; fio's own are uneven, and a large read of those is one request more.
    job.setdefault("iomem_align", "4k")
    return ["fio", "--name=job", "--group_reporting", "--invalidate=0", "--output-format=json",
            *(f"--{k}={v}" for k, v in job.items())]


def fio_result(output):
    """MiB/s, operations a second, and the time of one in microseconds, of a job's reads."""
    read = json.loads(output[output.index("{"):])["jobs"][0]["read"]
    clat = read["clat_ns"]
    return {"mib": read["bw_bytes"] / 2**20, "us": clat["mean"] / 1000, "iops": read["iops"],
            "bytes": read["io_bytes"],
            **{f"p{p}": clat["percentile"][f"{p}.000000"] / 1000 for p in (50, 99)}}


class Host:
    """vfsdaxhost; to be used as a context. The directory is of its own, or that of another one."""

    def __init__(self, window="1G", host_args=(), queues=1, parent=None, share=None,
                 native=None):
        self.window, self.host_args, self.queues = window, list(host_args), queues
        self.parent, self.share, self.native = parent, share, native
        self.host = None

    def __enter__(self):
        self.native = self.native or build()
        self.dir = tempfile.TemporaryDirectory(prefix="vfsdaxfuse-bench.", dir=self.parent)
        if not self.share:
            self.share = os.path.join(self.dir.name, "share")
            os.mkdir(self.share)
        try:
            self.start()
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

    def start(self):
        """All that runs."""
        self.start_host()

    def halt(self):
        """The end of what uses the host."""

    def start_host(self):
        socket = os.path.join(self.dir.name, "fs.sock")
        binary = os.path.join(self.native, "src/host/vfsdaxhost")
        self.host_log = os.path.join(self.dir.name, "host.log")
        with open(self.host_log, "w", encoding="utf-8") as log:
            self.host = subprocess.Popen(
                [binary, f"--shared-dir={self.share}", f"--socket-path={socket}", "--tag=bench",
                 f"--window={self.window}", "--cache=none",
                 f"--num-request-queues={self.queues}", *self.host_args], stderr=log)
        for _ in range(1000):
            if os.path.exists(socket) or self.host.poll() is not None:
                break
            time.sleep(0.01)
        if not os.path.exists(socket):
            with open(self.host_log, encoding="utf-8", errors="replace") as f:
                raise RuntimeError(f"vfsdaxhost does not listen: {f.read().strip()}")
        self.socket = socket

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

    def make_file(self, name, mib):
        """A file of random bytes, in the host's page cache."""
        path = os.path.join(self.share, name)
        with open(path, "wb") as f, open("/dev/urandom", "rb") as r:
            for _ in range(mib):
                f.write(r.read(2**20))
        with open(path, "rb") as f:
            while f.read(2**20):
                pass


class Lab(Host):
    """vfsdaxhost and a guest; to be used as a context.

    With virtiofsd the guest has a second device, by stock virtiofsd, for the same directory.
    """

    def __init__(self, kernel="6.12", window="1G", mem="2G", host_args=(), queues=1,
                 virtiofsd=False, parent=None, passthrough=False):
        super().__init__(window, host_args, queues, parent)
        self.kernel, self.mem, self.passthrough = kernel, mem, passthrough
        self.kernel_has_window = False
        self.name = f"bench-{os.getpid()}"
        self.stock, self.stock_missing = None, ""
        if not virtiofsd:
            self.stock_missing = "it was not asked for"
        self.alive = False

    def start(self):
        for script in ["prepare", "build-guest"]:
            subprocess.run([os.path.join(TESTS, "vm", script)], check=True, stdout=sys.stderr)
        super().start()
        self.boot()

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

    def boot(self):
        subprocess.run([VM, "start", "--name", self.name, "--kernel", self.kernel, "--mem",
                        self.mem, "--timeout", "300", "--num-request-queues", str(self.queues), "--socket",
                        self.socket, *self.start_virtiofsd(),
                        *(["--pmem-window"] if self.passthrough else [])],
                       check=True, stdout=sys.stderr)
        self.alive, self.kernel_has_window = True, False

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

    def use_window(self, by_kernel):
        """Give the window to the kernel as persistent memory, or to the device's driver.

        Neither can have it while the other has.
        """
        if by_kernel == self.kernel_has_window:
            return
        self.kernel_has_window = None	# if this fails, the next call does it again
        if by_kernel and self.host_stats()["live_mappings"]:
            raise RuntimeError("a file is mapped in the window: the namespace would be written into it")
        self.guest(f"{VFSDAX_WINDOW} {'setup' if by_kernel else 'remove'}")
        self.kernel_has_window = by_kernel

    def mount(self, how):
        if how == "virtiofsd" and self.stock_missing:
            raise RuntimeError(self.stock_missing)
        self.use_window(by_kernel=how in PASSTHROUGH)
        said = self.guest({
            "virtiofs": f"mount -t virtiofs bench {MNT}",
            "virtiofs-dax": f"mount -t virtiofs -o dax bench {MNT}",
            "vfsdaxfuse": f"vfsdaxfuse -o stats=/run/stats bench {MNT}",
            "vfsdaxfuse-never": f"vfsdaxfuse -o dax=never,stats=/run/stats bench {MNT}",
            "virtiofsd": f"mount -t virtiofs fs1 {MNT}",
            **{name: f"vfsdaxfuse -o {options},stats=/run/stats bench {MNT} 2>&1"
               for name, options in PASSTHROUGH.items()},
            # What FUSE itself takes: a server that answers from its own memory.
            "yardstick": f"setsid /opt/vfsdaxfuse/build/tests/bench/yardstick --files={YARDSTICK_FILES} "
                         f"--size={YARDSTICK_MIB} --threads=2 --spin {MNT} </dev/null >/dev/null 2>&1 & "
                         f"for i in $(seq 200); do ! mountpoint -q {MNT} || exit 0; sleep 0.05; done; "
                         "exit 1",
        }[how])
        # It mounts without passthrough, too, and says why.
        why = [line for line in said.splitlines() if "passthrough: " in line]
        if how in PASSTHROUGH and why:
            self.umount()
            raise RuntimeError(why[0])

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
        job.setdefault("direct", 1 if how == "virtiofs" else 0)
        return fio_result(self.guest(f"cd {MNT} && {shlex.join(fio_command(**job))}", timeout))

    def about(self):
        """What every table of numbers must be read with."""
        qemu = sh('. "$(dirname "$lab_source/tests/vm/lib.sh")/lib.sh"; '
                  'exec_in_tree "$lab_qemu" qemu-system-x86_64 --version | head -n 1')
        return {
            "host_cpu": cpu(), "cpus": os.cpu_count(), "accelerator": sh(f"{VM} accel"),
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
