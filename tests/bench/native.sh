#!/bin/bash
# SPDX-License-Identifier: MIT
# vfsdax-bench itself, as small as it can be: in a mount of vfsdaxfuse on this machine, a plain
# directory and one that cannot be written.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/e2e/lib.sh
. "$here/../e2e/lib.sh"

usage="usage: native.sh BUILD-DIRECTORY"
[ $# = 1 ] || {
	echo "$usage" >&2
	exit 2
}
host=$1/src/host/vfsdaxhost
fuse=$1/src/daemon/vfsdaxfuse
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
	spawn fuse "$fuse" -f --vhost-user="$work/fs.sock" "$work/mnt"
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
	[ "$rows" = 66 ]
	[ "$("$bench" --list --groups jobs | wc -l)" = 30 ]
	# The form of the patch series: a line for each configuration
	[ "$(grep -cE '^(vfsdaxfuse|virtiofs) +(seq|rand)(read|write|rw)-.*MiB/s\)$' "$work/out")" = 68 ]
}

# Numbers everywhere but where the reason says why not.
every_cell_is_measured()
{
	read_json '
without = {"memory/daemon", "idle/daemon-cpu", "meta/git-status"}
assert len(results) == 66, len(results)
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
	[ "$(grep -c '<svg' "$work/page.html")" = 9 ]
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
check "bench: nothing measured" nothing_measured
check "bench: wrong calls" wrong_calls
tally
