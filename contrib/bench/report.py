# SPDX-License-Identifier: MIT
"""Tables, the summary and JSON."""

import math

from jobs import GROUPS

MINE, NODAX, KERNEL_DAX, NEVER = "vfsdaxfuse", "virtiofs", "virtiofs-dax", "vfsdaxfuse-never"
PASS, PASS_RO = "passthrough-all", "passthrough-ro"
# Side by side in the tables: who is compared with whom.
COMPARED = {MINE: (NODAX, KERNEL_DAX, NEVER, "virtiofsd"), PASS: (NODAX, KERNEL_DAX, MINE),
            PASS_RO: (KERNEL_DAX,)}
SHORT = {MINE: "", PASS: "all ", PASS_RO: "ro "}
TITLES = {"jobs": "Jobs of the DAX patch series, 4 KiB",
          "large": "Large requests, data touched before",
          "latency": "4 KiB at depth 1", "cold": "A file never mapped before, once, sequentially",
          "pressure": "4 KiB random reads of sets smaller and larger than the window, four jobs",
          "meta": "Names and attributes", "small": "Small files, opened, read and closed",
          "open": "An open() and close(), median", "memory": "Growth while a file is read once", "idle": "The daemon with nothing to do"}
# A row that the host saw less of was answered by a cache of the guest.
SEEN_BY_HOST = 0.9


def table(head, rows):
    """A table for people."""
    rows = [head] + rows
    widths = [max(len(r[i]) for r in rows) for i in range(len(head))]
    return "\n".join("  ".join(c.ljust(w) if i == 0 else c.rjust(w)
                               for i, (c, w) in enumerate(zip(r, widths))).rstrip() for r in rows)


def number(v):
    """With a sensible count of digits."""
    return f"{v:.0f}" if abs(v) >= 100 else f"{v:.1f}" if abs(v) >= 10 else f"{v:.2f}"


def geomean(ratios):
    """The geometric mean, or None of nothing."""
    if not ratios:
        return None
    return math.exp(sum(map(math.log, ratios)) / len(ratios))


def rounded(v):
    """For the line of JSON."""
    return None if v is None else float(f"{v:.4g}")


def mean(ratios):
    """The geometric mean of those that are more than nothing, for the line of JSON."""
    return rounded(geomean([v for v in ratios if v > 0]))


class Report:
    """What a run has measured, in words."""

    def __init__(self, run, about):
        self.run, self.about = run, about
        self.names = [c.name for c in run.target.configs]
        self.groups = [g for g in GROUPS if any(r.group == g for r in run.rows)]

    def rows(self, *groups):
        """The rows of some groups."""
        return [r for r in self.run.rows if r.group in groups]

    def cell(self, row, name):
        """The cell, or None for a configuration that was not wanted, or not in this row."""
        return self.run.cells[row].get(name)

    def ratio(self, row, name, mine=MINE):
        """How many times better vfsdaxfuse is than another, or None."""
        a, b = self.cell(row, mine), self.cell(row, name)
        return row.ratio(a.mean, b.mean) if a and b else None

    def heading(self):
        """Where and with what it was measured."""
        about = ", ".join(f"{k.replace('_', ' ')}: {v}" for k, v in self.about.items())
        configs = "\n".join(f"  {c.name}: {c.title}" for c in self.run.target.configs)
        return f"{about}\n{configs}"

    def series(self):
        """The table in the form that the DAX patch series has."""
        rows = []
        for name in self.names:
            for r in self.rows("jobs", "large", "cold", "pressure"):
                c = self.cell(r, name)
                if not c:
                    continue
                if c.mean is None:
                    text = self.shown(r, name)
                elif c.part("read") and c.part("write"):
                    text = f"{number(c.part('read'))}/{number(c.part('write'))}(MiB/s)"
                else:
                    text = f"{number(c.mean)}(MiB/s)"
                rows.append([name, r.name, text])
        if not rows:
            return ""
        return table(["NAME", "I/O Operation", "BW(Read/Write)"], rows)

    def shown(self, row, name):
        """The text of a cell."""
        c = self.cell(row, name)
        if not c:
            return "-"
        if c.mean is None:
            return "unsupported" if c.reason else "not measured"
        spread = f" ±{50 * c.spread:.0f}%" if len(c.values) > 1 else ""
        return number(c.mean) + spread

    def comparison(self, group):
        """All configurations side by side, and how many times better vfsdaxfuse and passthrough are."""
        names = [n for n in self.names if any(self.cell(r, n) for r in self.rows(group))]
        pairs = self.pairs(names)
        head = [f"{TITLES[group]}"] + names + [f"{SHORT[mine]}to {n}" for mine, n in pairs]
        rows = []
        for r in self.rows(group):
            ratios = [self.ratio(r, n, mine) for mine, n in pairs]
            rows.append([f"{r.name}, {r.unit}"] + [self.shown(r, n) for n in names] +
                        ["-" if v is None or r.group in ("memory", "idle") else f"{v:.2f}"
                         for v in ratios])
        return table(head, rows)

    @staticmethod
    def pairs(names):
        """Which of these configurations are compared with which: as COMPARED, and vfsdaxfuse with all else."""
        return [(mine, n) for mine in COMPARED if mine in names for n in names
                if n in COMPARED[mine] or (mine == MINE and n != MINE and n not in (PASS, PASS_RO))]

    def reasons(self):
        """A line for each cell without a number."""
        return [f"unsupported: {r.group}/{r.name}, {n}: {self.cell(r, n).reason}"
                for r in self.run.rows for n in self.names if self.cell(r, n) and self.cell(r, n).reason]

    def unchecked(self):
        """Rows of which nobody could tell whether they were passed through."""
        return [f"unchecked: {r.group}/{r.name}, {n}: there are no counters that say whether it was passed through"
                for r in self.run.rows for n in (PASS, PASS_RO)
                if self.cell(r, n) and any(not e.get("passed", True) for e in self.cell(r, n).extra)]

    def cached(self):
        """Rows that the kernel's virtiofs without DAX did not ask the host for.

        With cache=none all of its reads and writes go to the host, as vfsdaxfuse's do; only what
        is mapped stays in the guest's page cache, in both.
        """
        lines = []
        for name in (NODAX, NEVER):
            for r in self.rows("jobs", "large", "cold", "pressure"):
                c = self.cell(r, name)
                if not c or "-mmap" in r.name or not all("host_bytes" in e for e in c.extra):
                    continue
                seen = sum(e["host_bytes"] for e in c.extra)
                done = sum(e["bytes"] for e in c.extra)
                if seen < SEEN_BY_HOST * done:
                    lines.append(f"cached: {r.group}/{r.name}, {name}: the host saw {seen} of {done} "
                                 "bytes, the rest came from the guest's page cache: not comparable")
        return lines

    def failed(self, mine=MINE):
        """Rows that work with another configuration and not with this one."""
        return [r.name for r in self.run.rows
                if self.cell(r, mine) and self.cell(r, mine).reason and
                r.group not in ("memory", "idle") and
                any(c.mean is not None for c in self.run.cells[r].values())]

    def ratios(self, name, *groups, mine=MINE, mixed=None):
        """Those that there are; a row that only the other can do counts as nothing.

        With mixed only rows that read and write, or only the others.
        """
        r = []
        for row in self.rows(*groups):
            if mixed not in (None, row.mixed) or not self.cell(row, mine):
                continue
            v = self.ratio(row, name, mine)
            if v is None and row.name in self.failed(mine) and self.cell(row, name) and \
                    self.cell(row, name).mean is not None:
                v = 0.0
            if v is not None:
                r.append(v)
        return r

    def growth(self):
        """Of the guest's page cache and the daemon while a file is read."""
        parts = [c.mean for r in self.rows("memory") if r.name in ("page-cache", "daemon")
                 for c in [self.cell(r, MINE)] if c and c.mean is not None]
        return sum(max(p, 0.0) for p in parts) if parts else None

    def open_cost(self):
        """What an open and close cost, in microseconds, where it was measured."""
        rows = {r.name: r for r in self.rows("open")}

        def us(row, name):
            c = self.cell(rows[row], name) if row in rows else None
            return rounded(c.mean) if c else None

        passed, other = us("open-again", PASS), us("open-again", MINE)
        return {"pass_first": us("open-first", PASS), "pass": passed, "not": other,
                "kernel_dax": us("open-again", KERNEL_DAX),
                "pass_to_not": rounded(passed / other) if passed and other else None}

    def pass_summary(self):
        """What the line of JSON says of passthrough: over the 24 rows of the patch series, and the mixed ones."""
        dax = self.ratios(KERNEL_DAX, "jobs", mine=PASS, mixed=False)
        return {"pass_geomean_vs_kernel_dax": mean(dax),
                "pass_geomean_vs_nodax": mean(self.ratios(NODAX, "jobs", mine=PASS, mixed=False)),
                "pass_min_vs_kernel_dax": rounded(min(dax, default=None)),
                "pass_mixed_vs_kernel_dax": mean(self.ratios(KERNEL_DAX, "jobs", mine=PASS, mixed=True)),
                "pass_ro_vs_kernel_dax": mean(self.ratios(KERNEL_DAX, "jobs", mine=PASS_RO, mixed=False)),
                "open_cost_us": self.open_cost(), "pass_failed": self.failed(PASS),
                "pass_unchecked": len(self.unchecked())}

    def summary(self):
        """What the line of JSON says."""
        nodax = self.ratios(NODAX, "jobs")
        idle = [self.cell(r, MINE).mean for r in self.rows("idle") if self.cell(r, MINE)]
        large = []
        for r in self.rows("large"):
            best = [v for v in (self.ratio(r, KERNEL_DAX), self.ratio(r, NEVER)) if v is not None]
            large += [min(best)] if best else []

        cold = self.ratios(KERNEL_DAX, "cold")
        return {"min_vs_nodax": rounded(min(nodax, default=None)), "geomean_vs_nodax": mean(nodax),
                "geomean_vs_kernel_dax": mean(self.ratios(KERNEL_DAX, "jobs")),
                "meta_mean": mean(self.ratios(NODAX, "meta", "small")),
                "meta_min": rounded(min(self.ratios(NODAX, "meta", "small"), default=None)),
                "large_min_vs_best": rounded(min(large, default=None)),
                "cold_vs_kernel_dax": mean(cold), "memory_growth_mib": rounded(self.growth()),
                "idle_cpu_percent": rounded(idle[0]) if idle else None,
                **self.pass_summary(), "failed": self.failed(), "cached": len(self.cached()),
                "complete": self.run.complete}

    def text(self):
        """All of it, for people."""
        parts = [self.heading(), self.series()]
        parts += [self.comparison(g) for g in self.groups]
        parts.append("\n".join(self.reasons() + self.cached() + self.unchecked()))
        if any(len(c.values) > 1 for cells in self.run.cells.values() for c in cells.values()):
            parts.append("± is half of the way from the least to the largest run")
        if MINE in self.names:
            parts.append("\"to\" says how many times better vfsdaxfuse is: above 1 it is faster; "
                         "\"all to\" and \"ro to\" the same of passthrough-all and passthrough-ro")
        return "\n\n".join(p for p in parts if p)

    def as_json(self, options):
        """Everything, for programs."""
        return {"about": self.about, "options": options, "summary": self.summary(),
                "configurations": {c.name: c.title for c in self.run.target.configs},
                "counters": self.run.counters,
                "rows": [{"name": r.name, "group": r.group, "unit": r.unit,
                          "more_is_better": r.more_is_better,
                          "results": {n: c.as_json() for n, c in self.run.cells[r].items()},
                          "ratios": {n: self.ratio(r, n) for n in self.names if n != MINE},
                          "pass_ratios": {n: self.ratio(r, n, PASS) for n in self.names if n != PASS}}
                         for r in self.run.rows]}
