#!/bin/bash
# SPDX-License-Identifier: MIT
# The benchmarks that need no virtual machine, as small as they can be. vfsdax-bench: in a mount of
# vfsdaxfuse on this machine, a plain directory and one that cannot be written.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/e2e/lib.sh
. "$here/../e2e/lib.sh"

usage="usage: native.sh BUILD-DIRECTORY"
[ $# = 1 ] || {
	echo "$usage" >&2
	exit 2
}
build=$(realpath "$1")
host=$build/src/host/vfsdaxhost
fuse=$build/src/daemon/vfsdaxfuse
bench=$here/../../contrib/bench/vfsdax-bench

# Sizes that end in a moment; everything else is as always.
tiny=(--seconds 0.1 --ramp 0 --settle 0.1 --size 1 --cold 2 --files 20 --small 20 --idle 1
	--runs 1 --window 8)

all=$("$bench" --list)
rows=$(wc -l <<<"$all")

mounted_and_answering()
{
	grep -q " $work/mnt fuse.vfsdaxfuse " /proc/self/mounts && timeout 5 ls "$work/mnt" >/dev/null
}

start_mount()
{
	start_host --cache=none --window=8M
	spawn fuse "$fuse" -f -o stats="$work/stats" --vhost-user="$work/fs.sock" "$work/mnt"
	until_true 100 mounted_and_answering
}

run_bench()
{
	"$bench" --guest "vfsdaxfuse=$work/mnt" "virtiofs=$work/plain" "${tiny[@]}" --json \
		--output "$work/all.json" --html "$work/page.html" >"$work/out" 2>"$work/progress"
}

# read_json TEXT - an assertion in Python: s is the summary, a is everything, of --output
read_json()
{
	python3 - "$work" "$1" <<-'END'
		import json, sys
		lines = open(sys.argv[1] + "/out").read().splitlines()
		s = json.loads(lines[-1])
		a = json.load(open(sys.argv[1] + "/all.json"))
		results = {f"{r['group']}/{r['name']}": r["results"] for r in a["rows"]}
		exec(sys.argv[2])
	END
}

all_rows_printed()
{
	local group_row row
	for group_row in $all; do
		row=${group_row#*/}
		grep -q "^$row, " "$work/out"
	done
	[ "$rows" = 68 ]
	[ "$("$bench" --list --groups jobs | wc -l)" = 30 ]
	# The form of the patch series: a line for each configuration
	[ "$(grep -cE '^(vfsdaxfuse|virtiofs) +(seq|rand)(read|write|rw)-.*MiB/s\)$' "$work/out")" = 68 ]
}

# Numbers everywhere but where the reason says why not.
every_cell_is_measured()
{
	read_json '
without = {"memory/daemon", "idle/daemon-cpu", "meta/git-status"}
assert len(results) == 68, len(results)
for name, r in results.items():
    assert set(r) == {"vfsdaxfuse", "virtiofs"}, (name, r)
    for config, cell in r.items():
        if "unsupported" in cell:
            assert cell["unsupported"] and name in without, (name, config, cell)
        else:
            assert len(cell["values"]) == 1 and cell["mean"] == cell["values"][0], (name, cell)
            assert cell["mean"] > 0 or name.split("/")[0] in ("memory", "idle"), (name, cell)
assert "mean" in results["idle/daemon-cpu"]["vfsdaxfuse"], results["idle/daemon-cpu"]
assert "mean" in results["memory/daemon"]["vfsdaxfuse"], results["memory/daemon"]
assert "no daemon" in results["idle/daemon-cpu"]["virtiofs"]["unsupported"]'
}

summary_has_all_keys()
{
	read_json '
for key in ("min_vs_nodax", "geomean_vs_nodax", "meta_mean", "memory_growth_mib",
            "idle_cpu_percent"):
    assert isinstance(s[key], (int, float)), (key, s)
assert s["geomean_vs_kernel_dax"] is None, s
for key in ("geomean_vs_kernel_dax", "geomean_vs_nodax", "min_vs_kernel_dax", "mixed_vs_kernel_dax",
            "ro_vs_kernel_dax"):
    assert s["pass_" + key] is None, s
cost = s["open_cost_us"]
assert cost["not"] > 0 and cost["pass"] is None and cost["pass_to_not"] is None, s
assert 0 < s["min_vs_nodax"] <= s["geomean_vs_nodax"], s
assert s["failed"] == [] and s["complete"] and s == a["summary"], s
ratios = [r["ratios"]["virtiofs"] for r in a["rows"] if r["group"] == "jobs"]
assert len(ratios) == 30 and abs(min(ratios) / s["min_vs_nodax"] - 1) < 1e-3, ratios'
}

says_where()
{
	read_json '
for key in ("cpu", "accelerator", "kernel", "window", "window_memory", "vfsdaxfuse", "fio"):
    assert a["about"][key], key
    assert str(a["about"][key]) in "\n".join(lines), key'
}

# The numbers are those of the machine: the daemon has seen the requests.
bytes_came_through()
{
	[ "$(host_stat map_total)" -gt 0 ]
	[ "$(host_stat write_bytes)" -gt $((4 * 1024 * 1024)) ]
}

page_is_complete()
{
	[ "$(grep -c '<svg' "$work/page.html")" = 10 ]
	grep -q 'randrw-mmap-multi' "$work/page.html"
	fails grep -Eq '(src|href)="(http|[a-z]+\.)' "$work/page.html"
}

nothing_is_left()
{
	[ -z "$(ls -A "$work/plain")" ]
	[ -z "$(ls -A "$share")" ]
}

# A row that fails is unsupported and says why; the others are measured.
failing_rows()
{
	local only=(--rows 'randread-psync,randwrite-*' --groups jobs)
	mkdir -p "$work/mnt-ro"
	"$bench" --guest "virtiofs=$work/plain" "${tiny[@]}" "${only[@]}" --keep >"$work/kept" 2>&1
	mount --bind "$work/plain" "$work/mnt-ro"
	mount -o remount,bind,ro "$work/mnt-ro"
	"$bench" --guest "vfsdaxfuse=$work/mnt-ro" "virtiofs=$work/plain" "${tiny[@]}" "${only[@]}" \
		--json --output "$work/all.json" >"$work/out" 2>"$work/progress"
	umount "$work/mnt-ro"
	read_json '
assert "mean" in results["jobs/randread-psync"]["vfsdaxfuse"]
bad = [n for n in results if "randwrite" in n]
assert len(bad) == 6 and sorted(s["failed"]) == sorted(n[5:] for n in bad), s
for n in bad:
    assert "Read-only file system" in results[n]["vfsdaxfuse"]["unsupported"], results[n]
    assert results[n]["virtiofs"]["mean"] > 0
assert s["min_vs_nodax"] == 0 and s["geomean_vs_nodax"] > 0, s
assert not any("0.00(" in line for line in lines), lines'
	grep -Eq '^unsupported: jobs/randwrite-psync, vfsdaxfuse: .*Read-only file system' "$work/out"
	grep -Eq '^vfsdaxfuse +randwrite-psync +unsupported$' "$work/out"
}

# Numbers of passthrough are of the 24 rows of the series, and of 12 where the mount is read-only.
# A plain directory has no daemon to ask: each row says so.
pass_keys()
{
	mkdir -p "$work/plain2" "$work/plain3" "$work/plain4"
	"$bench" --guest "passthrough-all=$work/plain" "passthrough-ro=$work/plain2" "virtiofs-dax=$work/plain3" \
		"vfsdaxfuse=$work/plain4" "${tiny[@]}" --groups jobs,open,meta --json --output "$work/all.json" \
		>"$work/out" 2>"$work/progress"
	read_json '
def ratios(mine, mixed):
    r = [n["results"] for n in a["rows"]
         if n["group"] == "jobs" and n["name"].startswith("randrw") == mixed and mine in n["results"]]
    return [v[mine]["mean"] / v["virtiofs-dax"]["mean"] for v in r]
def same(key, want):
    assert abs(s[key] / want - 1) < 2e-3, (key, s[key], want)
import math
of_all, of_ro = ratios("passthrough-all", False), ratios("passthrough-ro", False)
assert len(of_all) == 24 and len(of_ro) == 12 and not ratios("passthrough-ro", True), (of_all, of_ro)
same("pass_min_vs_kernel_dax", min(of_all))
same("pass_geomean_vs_kernel_dax", math.exp(sum(map(math.log, of_all)) / 24))
same("pass_ro_vs_kernel_dax", math.exp(sum(map(math.log, of_ro)) / 12))
assert s["pass_mixed_vs_kernel_dax"] > 0 and s["pass_geomean_vs_nodax"] is None, s
cost = s["open_cost_us"]
assert cost["pass_to_not"] > 0 and abs(cost["pass"] / cost["not"] / cost["pass_to_not"] - 1) < 2e-3, cost
assert cost["kernel_dax"] > 0 and cost["pass_first"] > 0, cost
assert s["pass_failed"] == [] and s["pass_unchecked"] == 30 + 12, s
assert not any("passthrough" in c for n, r in results.items() if n.startswith("meta/") for c in r), results'
	[ "$(grep -c '^unchecked: jobs/.*, passthrough-' "$work/out")" = 42 ]
	grep -Eq '^Jobs of .* all to virtiofs-dax .* ro to virtiofs-dax$' "$work/out"
	grep -Eq '^[0-9]+ measurements, 4 configurations by turns: about ' "$work/progress"
}

# A mount without passthrough is not taken for one: no row has a number.
not_passed_through()
{
	"$bench" --guest "passthrough-all=$work/mnt" "virtiofs-dax=$work/plain" "${tiny[@]}" --groups jobs \
		--rows 'seqread-*,randwrite-*' --json --output "$work/all.json" >"$work/out" 2>"$work/progress"
	read_json '
for name, r in results.items():
    assert "not passed through: " in r["passthrough-all"]["unsupported"], (name, r["passthrough-all"])
    assert r["virtiofs-dax"]["mean"] > 0
assert s["pass_min_vs_kernel_dax"] == 0 and s["pass_geomean_vs_kernel_dax"] is None, s
assert len(s["pass_failed"]) == len(results) == 12 and s["pass_unchecked"] == 0, s'
	[ "$(grep -c '^unsupported: jobs/.*, passthrough-all: not passed through: [0-9]* bytes' "$work/out")" = 12 ]
}

# Nothing measured is no success.
nothing_measured()
{
	local status=0
	mkdir -p "$work/empty"
	"$bench" --guest "vfsdaxfuse=$work/empty" "${tiny[@]}" --groups idle --rows 'daemon-cpu' \
		>"$work/out" 2>&1 || status=$?
	[ "$status" = 1 ]
	grep -q 'unsupported: idle/daemon-cpu, vfsdaxfuse: there is no daemon' "$work/out"
}

wrong_calls()
{
	local words status
	for words in '--quick --full' '--groups nothing' '--configs nothing' '--rows nothing' \
		'--runs 0' '--window 9' '--guest /nonexistent' '--nothing'; do
		status=0
		# shellcheck disable=SC2086 # several words
		"$bench" $words >/dev/null 2>&1 || status=$?
		[ "$status" = 2 ]
	done
}

# start_yardstick OPTION...
start_yardstick()
{
	spawn yardstick "$build/tests/bench/yardstick" "$@" "$work/mnt-yard"
	until_true 100 mountpoint -q "$work/mnt-yard"
}

# Each page has its own byte, in the file and behind all ways to read it; the end is where it should be.
yardstick_bytes()
{
	python3 - "$work/mnt-yard" <<-'END'
		import os, sys
		top = sys.argv[1]
		for n in range(2):
		    want = b"".join(bytes([(page + n) % 255 + 1]) * 4096 for page in range(512))
		    with open(f"{top}/data.{n}", "rb", buffering=0) as f:
		        got = b"".join(iter(lambda: f.read(2**20), b""))
		        assert got == want, n
		        assert os.pread(f.fileno(), 5000, 4090) == want[4090:9090]
		        assert os.pread(f.fileno(), 8192, 2**21 - 10) == want[-10:]
		        assert os.pread(f.fileno(), 10, 2**21 + 10) == b""
		        assert os.fstat(f.fileno()).st_size == 2**21
		for name in ("data.2", "data.-1", "data"):
		    assert not os.path.exists(f"{top}/{name}"), name
	END
}

# yardstick_serves OPTION... - from its mount to its end
yardstick_serves()
{
	mkdir -p "$work/mnt-yard"
	start_yardstick --files=2 --size=2 "$@"
	yardstick_bytes
	umount "$work/mnt-yard"
	[ "$(status_of yardstick)" = 0 ]
	start_yardstick "$@"
	signal TERM yardstick
	[ "$(status_of yardstick)" = 0 ]
	fails mountpoint -q "$work/mnt-yard"
	[ ! -s "$work/yardstick.log" ]
}

yardstick_wrong_calls()
{
	local words
	for words in "" "--files=0 $work" "--size=1x $work" "--threads=65 $work" "--files=-1 $work" \
		"$work $work" "--nothing $work" "$work/nothing-there"; do
		# shellcheck disable=SC2086 # several words
		fails "$build/tests/bench/yardstick" $words >"$work/out" 2>&1
		[ -s "$work/out" ]
	done
	fails "$here/yardstick" --build "$build" --size 16 --window 32 >"$work/out" 2>&1
	grep -q 'do not fit a window' "$work/out"
}

run_yardstick()
{
	"$here/yardstick" --build "$build" --size 1 --window 16 --seconds 0.05 --ramp 0 --rounds 1 --json \
		>"$work/out" 2>"$work/progress"
}

# A row for each server, a ratio of each row; nothing of the mounts is seen here.
yardstick_table()
{
	[ "$(grep -cE '^(yardstick|the same|vfsdaxfuse).*( +[0-9.e+]+ \([0-9.]+\)[* ]?){5}$' "$work/out")" = 6 ]
	python3 - "$work/out" <<-'END'
		import json, sys
		s = json.loads(open(sys.argv[1]).read().splitlines()[-1])
		rows = ["read_1m", "read_1m_multi", "latency_mean", "latency_p50", "latency_p99"]
		assert set(s) == {f"{r}_{n}" for r in rows for n in ("dax", "never", "no-copy")}, s
		assert all(v > 0 for v in s.values()), s
	END
	fails grep -q 'vfsdaxfuse-bench\.' /proc/self/mounts
}

make_work
mkdir "$work/plain"
trap finish_all EXIT
check "bench: mount" start_mount
check "bench: a run of everything" run_bench
check "bench: all rows are printed" all_rows_printed
check "bench: every cell is measured" every_cell_is_measured
check "bench: summary" summary_has_all_keys
check "bench: says where" says_where
check "bench: bytes came through" bytes_came_through
check "bench: page of charts" page_is_complete
check "bench: nothing is left" nothing_is_left
check "bench: rows that fail" failing_rows
check "bench: passthrough" pass_keys
check "bench: passthrough that is none" not_passed_through
check "bench: nothing measured" nothing_measured
check "bench: wrong calls" wrong_calls
check "yardstick: sleeping" yardstick_serves --threads=3
check "yardstick: looking" yardstick_serves --threads=2 --spin
check "yardstick: no copy" yardstick_serves --no-copy
check "yardstick: wrong calls" yardstick_wrong_calls
check "yardstick: a run of everything" run_yardstick
check "yardstick: table" yardstick_table
tally
