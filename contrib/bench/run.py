# SPDX-License-Identifier: MIT
"""Runs measurements in rounds, so that all configurations meet the same changes of the machine."""

import statistics
import time

from jobs import Failed
from target import say


# So many measurements of one configuration follow each other, then it is the next one's turn: a minute
# in which the machine is slow is shared by all. With fewer, mounting would take longer than measuring.
TURN = 5
# What a mount takes besides, with its first reads; to say at the start how long all will take.
MOUNT_S = 2.5


class Cell:
    """What was measured in one row with one configuration."""

    def __init__(self):
        self.values, self.extra, self.reason = [], [], ""

    @property
    def mean(self):
        """The mean, or None."""
        return statistics.fmean(self.values) if self.values and not self.reason else None

    @property
    def spread(self):
        """From the least to the largest, as a part of the mean."""
        if not self.mean:
            return 0.0
        return (max(self.values) - min(self.values)) / abs(self.mean)

    def part(self, key):
        """The mean of read or write alone."""
        found = [e[key] for e in self.extra if key in e]
        return statistics.fmean(found) if found else 0.0

    def as_json(self):
        """Everything."""
        r = {"unsupported": self.reason} if self.reason else {} if not self.values else {
            "mean": self.mean, "stdev": statistics.stdev(self.values) if len(self.values) > 1 else 0.0,
            "spread": self.spread}
        return {**r, "values": self.values, "runs": self.extra}


class Run:
    """All measurements with all configurations, several times."""

    def __init__(self, target, measures, args):
        self.target, self.measures, self.args = target, measures, args
        self.rows = [r for m in measures for r in m.rows if args.wanted(r)]
        self.cells = {r: {c.name: Cell() for c in target.configs if c.covers(m)}
                      for m in measures for r in m.rows if r in self.rows}
        self.counters = {c.name: [] for c in target.configs}
        self.done, self.complete = 0, False
        self.begin = time.monotonic()
        self.total = sum(self.runs_of(m) for m in measures for c in target.configs if c.covers(m))

    def runs_of(self, measure):
        """How often a measurement is repeated."""
        short = measure.rows[0].group in ("jobs", "large", "latency")
        return self.args.runs if short else self.args.group_runs

    def expected(self):
        """About how many seconds it will take."""
        seconds = 0.0
        for n in range(self.rounds()):
            for measures in self.turns(n):
                for c in self.target.configs:
                    covered = [m.seconds for m in measures if c.covers(m)]
                    seconds += sum(covered) + (MOUNT_S if covered else 0)
        return seconds

    def rounds(self):
        """How many there are."""
        return max((self.runs_of(m) for m in self.measures), default=0)

    def all(self):
        """Round by round, each with every configuration; who is first changes."""
        seconds = self.expected()
        say(f"{self.total} measurements, {len(self.target.configs)} configurations by turns: about " +
            (f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{seconds:.0f} seconds"))
        for n in range(self.rounds()):
            for turn, measures in enumerate(self.turns(n)):
                first = (n + turn) % len(self.target.configs)
                for c in self.target.configs[first:] + self.target.configs[:first]:
                    self.session(n, c, [m for m in measures if c.covers(m)])
        self.complete = True

    def turns(self, n):
        """What is measured on one mount: a few measurements, or one that wants it fresh."""
        turns = []
        for m in self.measures:
            if n >= self.runs_of(m):
                continue
            if not turns or m.fresh or turns[-1][0].fresh or len(turns[-1]) == TURN:
                turns.append([])
            turns[-1].append(m)
        return turns

    def session(self, n, config, measures):
        """Measurements on one mount, as turns() gives them."""
        mounted, fresh = False, bool(measures) and measures[0].fresh
        for m in measures:
            rows = [r for r in m.rows if r in self.cells]
            cells = {r.name: self.cells[r][config.name] for r in rows}
            self.done += 1
            # What failed once is not tried again: it may cost the virtual machine each time.
            if all(c.reason for c in cells.values()):
                continue
            try:
                if not mounted:
                    self.target.mount(config, fresh)
                    mounted = True
                    if not fresh:
                        self.warm_up(config)
                values = m.run(self.target, config)
            except Failed as e:
                for cell in cells.values():
                    cell.reason = str(e)
                self.progress(n, config, rows, cells)
                if not self.still_there(config):
                    self.target.recover()
                    mounted = False
                continue
            self.keep(cells, values)
            self.progress(n, config, rows, cells)
        if mounted:
            try:
                self.counters[config.name].append(self.target.umount(config))
            except Failed as e:
                say(f"{config.name}: {e}")
                self.target.recover()

    @staticmethod
    def keep(cells, values):
        """Put what was measured where it belongs."""
        for name, cell in cells.items():
            v = values.get(name, {"unsupported": "it was not measured"})
            if "unsupported" in v:
                cell.reason = v["unsupported"]
            else:
                cell.values.append(v["value"])
                cell.extra.append({k: w for k, w in v.items() if k != "value"})

    def warm_up(self, config):
        """Read the files, so that the first row does not pay for what the others find done."""
        directory = self.target.files_dir(config)
        self.target.sh(f"cd '{directory}' && cat data.* >/dev/null", 60 + self.args.size)

    def still_there(self, config):
        """Whether the mount still answers."""
        try:
            return self.target.sh(f"ls '{self.target.mount_dir(config)}' >/dev/null", 30)[0] == 0
        except Failed:
            return False

    def progress(self, n, config, rows, cells):
        """One line."""
        seconds = int(time.monotonic() - self.begin)
        head = f"[{100 * self.done // self.total:3d} % {seconds // 60:2d}:{seconds % 60:02d}] " \
               f"run {n + 1} {config.name}"
        for r in rows:
            c = cells[r.name]
            text = f"unsupported: {c.reason}" if c.reason else f"{c.values[-1]:.1f} {r.unit}"
            say(f"{head} {r.group}/{r.name}: {text}")
