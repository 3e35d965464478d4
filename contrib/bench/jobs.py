# SPDX-License-Identifier: MIT
"""What is measured: the rows, their groups and the measurements that fill them."""

import dataclasses
import json
import re
import shlex

DATA_FILES = 4
GROUPS = ["jobs", "large", "latency", "cold", "pressure", "meta", "small", "open", "memory", "idle"]
# Passthrough is measured in these. The others are about names, the daemon, and files larger than the window.
PASS_GROUPS = ["jobs", "large", "latency", "open"]
# With passthrough no data comes by requests, except for last pages: the most that a row may have, and still count.
PASS_REQUESTS, PASS_BYTES = 8, 2**16
ENGINES = ["psync", "libaio", "mmap"]
PATTERNS = {"seqread": "read", "randread": "randread", "seqwrite": "write",
            "randwrite": "randwrite", "randrw": "randrw"}
FACTORS = [0.5, 1, 2, 4]
# To estimate how long a run takes: seconds of a fio job besides its runtime, MiB and files a second.
FIO_S, MIB_S, FILES_S = 1.0, 300, 150


class Failed(Exception):
    """A measurement cannot be made; the text says why."""


@dataclasses.dataclass(frozen=True)
class Row:
    """One line of the tables."""
    name: str
    group: str
    unit: str
    more_is_better: bool = True
    mixed: bool = False	# reads and writes; not of the patch series

    def ratio(self, mine, other):
        """How many times better mine is."""
        if not mine or not other:
            return None
        return mine / other if self.more_is_better else other / mine


@dataclasses.dataclass(frozen=True)
class Measure:
    """Something that runs once and fills rows; run(target, config) gives a value for each name."""
    rows: tuple
    run: callable
    fresh: bool = False	# on a mount that nobody has used
    writes: bool = False	# not on a mount that is read-only
    seconds: float = 0	# about how long it takes


def fio_reason(job, output, errors):
    """Why fio failed, in its own words, and what they mean where that is known."""
    found = re.search(r"func=([^,]+), error=(.+)", errors + output)
    if not found:
        lines = [line for line in (errors + "\n" + output).splitlines() if line.strip()]
        return f"fio: {lines[-1].strip()[-200:]}" if lines else "fio says nothing"
    call, error = found.group(1), found.group(2).strip()
    reason = f"{call}: {error}"
    if job.get("ioengine") == "mmap" and error == "No such device":
        reason += " (no shared mapping of a file that is opened for direct I/O without DAX)"
    return reason


def check_passed(before, after, done):
    """That a job's bytes did not come by requests. Raises when they did; False when nobody knows.

    A mapping that is not passed through is read from the guest's page cache, but that is empty after each open.
    """
    if not before or not after:
        return False
    grown = {k: after[k] - before[k] for k in after}
    if grown.get("host_requests", 0) > PASS_REQUESTS:
        raise Failed(f"not passed through: {grown['host_requests']} requests to read or write reached the host")
    if grown["daemon_bytes"] > min(PASS_BYTES, done):
        raise Failed(f"not passed through: {grown['daemon_bytes']} bytes went through the daemon")
    return True


def fio(target, config, job, timeout):
    """Run one fio job; what it says of reads and writes, and what reached the host."""
    # fio's buffers are not aligned to pages without direct=1, which splits each large read.
    # invalidate=0: the host's page cache is to be warm, and only the mount decides about the guest's.
    job = {"name": "job", "directory": target.files_dir(config), "group_reporting": 1,
           "invalidate": 0, "fallocate": "none", "iomem_align": "4k",
           # The files are there, and keep their size: a file that is passed through cannot change it.
           "overwrite": 1, "allow_file_create": 0, **job}
    args = " ".join(shlex.quote(f"--{k}={v}") for k, v in job.items())
    before = target.counts(config)
    status, output, errors = target.sh(f"exec fio --output-format=json {args}", timeout)
    after = target.counts(config)
    if status:
        raise Failed(fio_reason(job, output, errors))
    try:
        result = json.loads(output[output.index("{"):])["jobs"][0]
    except (ValueError, KeyError, IndexError) as e:
        raise Failed(f"what fio says is not JSON: {e}") from e
    if result["error"]:
        raise Failed(fio_reason(job, output, errors))
    r = {"read": result["read"]["bw_bytes"] / 2**20, "write": result["write"]["bw_bytes"] / 2**20,
         "bytes": result["read"]["io_bytes"] + result["write"]["io_bytes"],
         "minor_faults": result["minf"], "fio": result}
    if not r["bytes"]:
        raise Failed("fio did nothing in its time: --seconds is too short")
    if config.passthrough:
        r["passed"] = check_passed(before, after, r["bytes"])
    if before and after:
        r.update({k: after[k] - before[k] for k in after})
    return r


def bandwidth(target, config, name, job, timeout):
    """One row of bandwidth, by one fio job."""
    r = fio(target, config, job, timeout)
    del r["fio"]
    return {name: {"value": r["read"] + r["write"], **r}}


def timed(args, job):
    """The job for --seconds, after a while that does not count."""
    return {"time_based": 1, "ramp_time": f"{int(args.ramp * 1000)}ms",
            "runtime": f"{int(args.seconds * 1000)}ms", **job}


def on_files(args, multi):
    """One job on one file, or four on four."""
    if multi:
        return {"numjobs": DATA_FILES, "filename_format": "data.$jobnum", "size": f"{args.size}M"}
    return {"filename": "data.0", "size": f"{args.size}M"}


def fio_measure(args, group, name, job):
    """A measurement of bandwidth that stops by itself after --seconds."""
    timeout = 60 + 20 * (args.ramp + args.seconds)
    job = timed(args, job)
    return Measure((Row(name, group, "MiB/s", mixed=job["rw"] == "randrw"),),
                   lambda target, config: bandwidth(target, config, name, job, timeout),
                   writes="read" not in job["rw"], seconds=args.ramp + args.seconds + FIO_S)


def jobs_group(args):
    """The jobs of the DAX patch series, and mixed ones: 30 rows."""
    for multi in (False, True):
        for pattern, rw in PATTERNS.items():
            for engine in ENGINES:
                job = {"ioengine": engine, "rw": rw, "bs": "4k", "iodepth": 16,
                       **on_files(args, multi)}
                if rw == "randrw":
                    job["rwmixread"] = 75
                yield fio_measure(args, "jobs", f"{pattern}-{engine}" + "-multi" * multi, job)


def large_group(args):
    """Large requests to data that was touched before."""
    for multi in (False, True):
        for rw in ("read", "write"):
            for bs in ("128k", "1m"):
                job = {"ioengine": "psync", "rw": rw, "bs": bs, **on_files(args, multi)}
                yield fio_measure(args, "large", f"{rw}-{bs}" + "-multi" * multi, job)


def latency_group(args):
    """One request at a time."""
    for rw in ("randread", "randwrite"):
        job = timed(args, {"ioengine": "psync", "rw": rw, "bs": "4k",
                           "percentile_list": "50:90:99:99.9", **on_files(args, False)})
        names = {"mean": None, "p50": "50.000000", "p90": "90.000000", "p99": "99.000000",
                 "p99.9": "99.900000"}
        rows = tuple(Row(f"{rw}-{n}", "latency", "us", False) for n in names)

        def run(target, config, rw=rw, job=job, names=names):
            r = fio(target, config, job, 60 + 20 * (args.ramp + args.seconds))
            clat = r["fio"]["read" if rw == "randread" else "write"]["clat_ns"]
            return {f"{rw}-{n}": {"value": (clat["percentile"][p] if p else clat["mean"]) / 1000}
                    for n, p in names.items()}
        yield Measure(rows, run, writes="write" in rw, seconds=args.ramp + args.seconds + FIO_S)


def cold_group(args):
    """A file that was never mapped, once from its begin to its end."""
    for bs in ("128k", "1m"):
        name = f"cold-read-{bs}"
        job = {"ioengine": "psync", "rw": "read", "bs": bs, "filename": "cold",
               "size": f"{args.cold}M"}
        yield Measure((Row(name, "cold", "MiB/s"),),
                      lambda target, config, name=name, job=job:
                      bandwidth(target, config, name, job, 60 + args.cold), fresh=True,
                      seconds=args.cold / MIB_S + FIO_S)


def pressure_group(args):
    """Random reads of a set of files smaller and larger than the window."""
    def run(target, config, name, factor):
        if not args.window:
            raise Failed("the size of the window is not known (--window)")
        job = timed(args, {"ioengine": "psync", "rw": "randread", "bs": "4k", "norandommap": 1,
                           "numjobs": DATA_FILES, "filename_format": "set.$jobnum",
                           "size": f"{int(args.window * factor / DATA_FILES)}M"})
        # The window must settle first.
        job["ramp_time"] = f"{int(args.settle * 1000)}ms"
        return bandwidth(target, config, name, job, 60 + 20 * (args.settle + args.seconds))

    for factor in FACTORS:
        name = f"randread-{factor:g}-windows"
        yield Measure((Row(name, "pressure", "MiB/s"),),
                      lambda target, config, name=name, factor=factor:
                      run(target, config, name, factor), fresh=True,
                      seconds=args.settle + args.seconds + FIO_S)


def workload_measure(group, rows, words, timeout, seconds, writes=False):
    """A measurement by a command of workload.py, which prints a value for each row."""
    def run(target, config):
        out = target.workload([str(w) for w in words(target, config)], timeout)
        return {name: {"value": value} if not isinstance(value, dict) else value
                for name, value in out.items()}
    return Measure(tuple(Row(n, group, *unit) for n, unit in rows.items()), run, fresh=True,
                   writes=writes, seconds=seconds)


def meta_group(args):
    """Names and attributes."""
    per_s = ("ops/s",)
    yield workload_measure(
        "meta",
        {"create": per_s, "stat": per_s, "readdirplus": per_s, "ls-lR": per_s, "unlink": per_s},
        lambda target, config: ["meta", target.files_dir(config), args.files], 600 + args.files / 5,
        4 * args.files / FILES_S, writes=True)
    yield workload_measure(
        "meta", {"git-status": per_s},
        lambda target, config: ["git", target.files_dir(config)], 600, 3)


def small_group(args):
    """Files that are opened, read and closed."""
    yield workload_measure(
        "small", {"read-first": ("files/s",), "read-again": ("files/s",)},
        lambda target, config: ["small", target.files_dir(config)], 600 + args.small / 10,
        2 * args.small / FILES_S)


def open_group(args):
    """What an open() and close() cost: of files that nobody has opened on this mount, and again."""
    us = ("us", False)
    yield workload_measure(
        "open", {"open-first": us, "open-again": us},
        lambda target, config: ["open", target.files_dir(config), DATA_FILES, args.seconds],
        120, args.seconds + 1)


def memory_group(args):
    """What a large file that is read once costs the guest in memory."""
    less = ("MiB", False)
    yield workload_measure(
        "memory", {"page-cache": less, "memory-used": less, "daemon": less},
        lambda target, config: ["memory", target.files_dir(config), "cold", target.mount_dir(config)],
        120 + args.cold, args.cold / MIB_S + 1)


def idle_group(args):
    """The daemon when nobody wants anything of it."""
    yield workload_measure(
        "idle", {"daemon-cpu": ("%", False)},
        lambda target, config: ["idle", target.files_dir(config), "data.0", target.mount_dir(config),
                                args.idle], 120 + args.idle, args.idle + 1)


def measures(args):
    """All measurements that are wanted, in their order."""
    groups = {"jobs": jobs_group, "large": large_group, "latency": latency_group,
              "cold": cold_group, "pressure": pressure_group, "meta": meta_group,
              "small": small_group, "open": open_group, "memory": memory_group, "idle": idle_group}
    return [m for g in GROUPS if g in args.groups for m in groups[g](args)
            if any(args.wanted(r) for r in m.rows)]
