#!/bin/bash
# SPDX-License-Identifier: MIT
# End-to-end tests without a VM: vfsdaxfuse on vfsdaxhost by a socket, with a real FUSE mount.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/cross.sh
. "$here/cross.sh"

usage="usage: native.sh BUILD-DIRECTORY [CONFIGURATION...]
Configurations: none auto always never small few queues nowindow ends errors probe (default: all)."

# The machine itself is the guest.
guest()
{
	"$@"
}

stats()
{
	rm -f "$work/stats"
	signal USR1 fuse
	until_true 20 test -s "$work/stats"
	cat "$work/stats"
}

mounted()
{
	grep -q " $mnt fuse.vfsdaxfuse " /proc/self/mounts
}

not_mounted()
{
	fails mounted
}

# start_fuse OPTION... - returns when the mount works
start_fuse()
{
	spawn fuse "$fuse" -f -o "stats=$work/stats" --vhost-user="$work/fs.sock" "$@" "$mnt"
	until_true 50 mounted_and_answering
}

mounted_and_answering()
{
	mounted && timeout 5 ls "$mnt" >/dev/null
}

# end_by COMMAND... - it unmounts, and all is given back
end_by()
{
	"$@"
	[ "$(status_of fuse)" = 0 ]
	not_mounted
	[ "$(host_stat live_mappings)" = 0 ]
	[ "$(host_stat nodes)" -le 1 ]
	[ "$(host_stat handles)" = 0 ]
	fails grep -v 'has no DAX window' "$work/fuse.log"
}

# with_mount NAME HOST-OPTIONS FUSE-OPTIONS COMMAND... - the command with a mount, then the end of both
with_mount()
{
	local name=$1 host_options fuse_options
	read -ra host_options <<<"$2"
	read -ra fuse_options <<<"$3"
	shift 3
	check "$name: host starts" start_host "${host_options[@]}"
	check "$name: mount" start_fuse "${fuse_options[@]}"
	mounted && "$@" "$name"
	check "$name: end" end_by umount "$mnt"
	stop fuse
	stop host
	check "$name: host ends" test "$(cat "$work/host.status")" = 0
	rm -rf "${share:?}"/*
}

# fstest_and_cross WINDOW-USED NAME
fstest_and_cross()
{
	local window=$1 name=$2
	most_of_fstest "$name"
	check "$name: 256 MiB read" read_whole "$window" 256
	check "$name: 32 MiB written" write_whole "$window" 32
	check "$name: guest changes" guest_changes
}

# Ten thousand files take 8 s: once is enough.
most_of_fstest()
{
	if [ "$1" = none ]; then
		run_fstest "$1" --timeout 30 "$mnt"
	else
		run_fstest "$1" --timeout 30 --except ten_thousand "$mnt"
	fi
}

cross_none()
{
	check "$1: host changes an open file" host_changes_open
	check "$1: host changes names" host_changes_names
	fstest_and_cross yes "$1"
	check "$1: read-only files" read_only_open
}

read_only_open()
{
	"$host_fstest" --make "$share/ro" 100000 1
	chmod 400 "$share/ro"
	"$host_fstest" --verify "$mnt/ro" 100000 1
	rm -f "$share/ro"
}

cross_auto()
{
	fstest_and_cross yes "$1"
}

cross_never()
{
	check "$1: host changes an open file" host_changes_open
	fstest_and_cross no "$1"
}

cross_small()
{
	check "$1: files larger than the window" larger_set 24
	fstest_and_cross some "$1"
	check "$1: four readers at a time" four_readers
}

# Each has 32 MiB; the window holds half of them.
four_readers()
{
	local i pids=()
	for i in 1 2 3 4; do
		"$host_fstest" --make "$share/r$i" 32M "$i"
	done
	for i in 1 2 3 4; do
		timeout 60 "$host_fstest" --verify "$mnt/r$i" 32M "$i" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i"
	done
	rm "$share"/r?
}

# Only few mappings: what is refused goes over the virtqueue.
cross_few()
{
	most_of_fstest "$1"
	check "$1: 32 MiB written" write_any 32
	check "$1: guest changes" guest_changes
}

write_any()
{
	guest "$guest_fstest" --make "$mnt/any" "$1M" 5
	guest "$guest_fstest" --put "$mnt/any" 0 "$1M" 6
	"$host_fstest" --verify "$share/any" "$1M" 6
}

cross_nowindow()
{
	most_of_fstest "$1"
	check "$1: 256 MiB read" read_whole no 256
}

# The ways in which a mount ends; the host serves one after the other.
ends()
{
	local by
	check "ends: host starts" start_host --cache=none
	for by in "fusermount3 -u $mnt" "umount $mnt" "signal TERM fuse" "signal INT fuse"; do
		check "ends: mount" start_fuse
		check "ends: data" same_data
		# shellcheck disable=SC2086 # words
		check "ends: ${by%% "$mnt"}" end_by $by
	done
	check "ends: killed while the host does nothing" kill_blocked
	check "ends: a signal while the host does nothing" signal_blocked
	check "ends: TERM while in use" term_in_use
	check "ends: daemon in the background" background
	check "ends: read-only mount" read_only_mount
	check "ends: host killed" host_killed
	stop fuse
	stop host
}

same_data()
{
	"$host_fstest" --make "$share/data" 5M 7
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
}

# killed_one NAME COMMAND... - a process that waits for the host can be killed
killed_one()
{
	local name=$1
	shift
	spawn "$name" "$@"
	sleep 0.5
	running "$name"
	signal KILL "$name"
	[ "$(status_of "$name")" = 137 ]
}

# While the host does nothing; and later nothing is missing there, and nothing left over.
kill_blocked()
{
	local handles nodes
	start_fuse
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	handles=$(host_stat handles) nodes=$(host_stat nodes)
	signal STOP host
	killed_one stat stat "$mnt/data"
	killed_one cat cat "$mnt/data"
	signal CONT host
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	signal STOP host
	killed_one list ls "$mnt"
	killed_one other stat "$mnt/none"
	signal CONT host
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	stat "$mnt/data"
	[ "$(host_stat handles)" = "$handles" ]
	[ "$(host_stat nodes)" = "$nodes" ]
	end_by umount "$mnt"
}

# A signal that a process survives does not fail its request.
signal_blocked()
{
	start_fuse
	signal STOP host
	spawn verify "$host_fstest" --verify "$mnt/data" 5M 7
	sleep 0.3
	# STOP and CONT wake it, and it waits again
	signal STOP verify
	signal CONT verify
	sleep 0.5
	signal CONT host
	[ "$(status_of verify)" = 0 ]
	end_by umount "$mnt"
}

# Files that are open do not hold the daemon up for ever.
term_in_use()
{
	start_fuse
	exec 5<"$mnt/data"
	signal TERM fuse
	[ "$(status_of fuse)" = 0 ]
	not_mounted
	fails timeout 5 head -c 1 <&5
	[ "$(host_stat live_mappings)" = 0 ]
}

# Without -f the command returns when the mount works; the child is found by its command line.
background()
{
	local pid
	timeout 20 "$fuse" --vhost-user="$work/fs.sock" "$mnt" >"$work/out" 2>&1 </dev/null
	mounted
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	pid=$(pgrep -f -x "$fuse --vhost-user=$work/fs.sock $mnt")
	umount "$mnt"
	until_true 50 test ! -e "/proc/$pid"
	[ "$(host_stat live_mappings)" = 0 ]
}

read_only_mount()
{
	start_fuse -o ro
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	fails touch "$mnt/new" 2>"$work/out"
	grep -q 'Read-only' "$work/out"
	end_by umount "$mnt"
}

# The host dies in the middle of work: everything ends with an error within seconds.
host_killed()
{
	start_fuse
	spawn load timeout 60 "$host_fstest" --ops 10000000 --timeout 50 "$mnt" random_model
	sleep 1
	running load
	signal KILL host
	[ "$(status_of load)" = 1 ]
	cat "$work/load.log"
	grep -qE 'Input/output error|not connected' "$work/load.log"
	fails timeout 10 ls "$mnt" 2>"$work/out"
	grep -qE 'Input/output error|not connected' "$work/out"
	timeout 10 umount "$mnt"
	[ "$(status_of fuse)" = 2 ]
	not_mounted
	[ "$(wc -l <"$work/fuse.log")" -ge 1 ]
}

# refused STATUS PATTERN ARGUMENT... - one line on stderr says why
refused()
{
	local status=0 want=$1 pattern=$2
	shift 2
	timeout 20 "$fuse" "$@" >"$work/out" 2>"$work/err" </dev/null || status=$?
	cat "$work/err"
	[ "$status" = "$want" ]
	[ "$(wc -l <"$work/err")" = 1 ]
	grep -qE "^vfsdaxfuse: .*$pattern" "$work/err"
	[ ! -s "$work/out" ]
	if [ "$pattern" = 'already mounted' ]; then
		mounted
	else
		not_mounted
	fi
}

# twice ... - in the foreground and as a daemon the same must happen
twice()
{
	local name=$1 status=$2 pattern=$3
	shift 3
	check "errors: $name" refused "$status" "$pattern" "$@"
	check "errors: $name, -f" refused "$status" "$pattern" -f "$@"
}

answers()
{
	"$fuse" "$1" >"$work/out" 2>"$work/err"
	grep -q vfsdaxfuse "$work/out"
	[ ! -s "$work/err" ]
}

busy()
{
	start_fuse
	refused 32 'already mounted' --vhost-user="$work/fs.sock" "$mnt"
	end_by umount "$mnt"
}

errors()
{
	local sock=--vhost-user=$work/fs.sock
	: >"$work/file"
	check "errors: host starts" start_host --window=0
	check "errors: --help" answers --help
	check "errors: --version" answers --version
	twice "no mountpoint" 1 'mountpoint'
	twice "no such mountpoint" 1 'No such file' "$sock" "$work/none"
	twice "mountpoint is a file" 32 'not a directory' "$sock" "$work/file"
	twice "no socket" 32 'No such file|socket' --vhost-user="$work/none" "$mnt"
	twice "not a socket" 32 'refused|socket' --vhost-user="$work/file" "$mnt"
	twice "no such device" 32 'ffff:1f:1f.7' --pci=ffff:1f:1f.7 "$mnt"
	twice "dax=always without a window" 32 'no DAX window' "$sock" -o dax=always "$mnt"
	twice "dax=maybe" 1 'dax=maybe' "$sock" -o dax=maybe "$mnt"
	twice "too many arguments" 1 'too many' "$sock" tag "$mnt" more
	twice "max_threads=0" 1 'max_threads' "$sock" -o max_threads=0 "$mnt"
	twice "two transports" 1 'exclude' "$sock" --pci=0000:00:10.0 "$mnt"
	check "errors: already mounted" busy
	stop host
}

# probed - --probe ends well, says nothing but lines "name: value", and leaves nothing
probed()
{
	timeout 60 "$fuse" --probe --vhost-user="$work/fs.sock" >"$work/out" 2>"$work/err" </dev/null
	cat "$work/out" "$work/err"
	[ ! -s "$work/err" ]
	fails grep -vE '^[a-z0-9_-]+: .' "$work/out"
	not_mounted
	[ "$(host_stat live_mappings)" = 0 ]
	[ "$(host_stat nodes)" -le 1 ]
	[ "$(host_stat handles)" = 0 ]
}

# value NAME - of a line of the last probed
value()
{
	[ "$(grep -c "^$1: " "$work/out")" = 1 ]
	sed -n "s/^$1: //p" "$work/out"
}

probe_device()
{
	probed
	[ "$(value transport)" = vhost-user ]
	[ "$(value socket)" = "$work/fs.sock" ]
	[ "$(value pci-address)" = none ]
	[ "$(value iommu-group)" = none ]
	[ "$(value tag)" = 'tag of it' ]
	[ "$(value queues)" = 4 ]
	[ "$(value request-queues)" = 3 ]
	[ "$(value window)" = "$((64 * 1048576)) bytes" ]
	value features-used | grep -qw F_VERSION_1
	value host-fuse-flags | grep -qw MAP_ALIGNMENT
	[ "$(value host-max-write)" = '1048576 bytes' ]
	[ "$(value host-map-alignment)" = '4096 bytes' ]
	[ "$(value kernel)" = "$(uname -r) $(uname -m)" ]
	value round-trip-polling | grep -qE '^[0-9.]+ us$|^not measured'
	value round-trip-interrupt | grep -qE '^[0-9.]+ us$'
}

# There are files, but none is large enough.
probe_small()
{
	mkdir -p "$share/sub/below"
	head -c 65535 /dev/urandom >"$share/small"
	head -c 5M /dev/urandom >"$share/sub/below/too-deep"
	probe_device
	[ "$(value window-memory)" = 'not measured (no file of 64 KiB in the root or one level below)' ]
	fails grep -q '^copy-' "$work/out"
	[ "$(host_stat map_total)" = 0 ]
}

# probe_file BYTES - a directory with many files, and one that is large enough; it stays as it is
probe_file()
{
	local before i
	for i in $(seq 200); do
		: >"$share/sub/$i"
	done
	"$host_fstest" --make "$share/sub/file" 300000 3
	before=$(stat -c '%s %Y %Z' "$share/sub/file")
	probe_device
	[ "$(value window-test-bytes)" = "$1" ]
	value mapping-setup | grep -qE '^[0-9.]+ us$'
	value mapping-remove | grep -qE '^[0-9.]+ us$'
	value copy-from-window-memcpy | grep -qE '^[1-9][0-9]* MiB/s$'
	value copy-from-memory-memcpy | grep -qE '^[1-9][0-9]* MiB/s$'
	[ "$(grep -c '^copy-from-window-' "$work/out")" = "$(grep -c '^copy-from-memory-' "$work/out")" ]
	grep -q "^copy-from-window-$(value copy-routine-read): " "$work/out"
	[ "$(value copy-routine-write)" = 'not measured' ]
	# A page of the page cache, mapped here: memory like any other.
	[ "$(value window-memory)" = 'write-back like' ]
	"$host_fstest" --verify "$share/sub/file" 300000 3
	[ "$(stat -c '%s %Y %Z' "$share/sub/file")" = "$before" ]
}

# In the middle of it, while the host does nothing: it ends, and soon.
probe_interrupted()
{
	local begin i
	# Thousands of small files, so that it does not end before it is told to.
	for i in $(seq 16); do
		mkdir -p "$work/many/$i"
		(cd "$work/many/$i" && seq 1000 | xargs touch)
	done
	spawn host2 "$host" --shared-dir="$work/many" --socket-path="$work/fs2.sock" --window=64M
	until_true 50 test -S "$work/fs2.sock"
	spawn probe "$fuse" --probe --vhost-user="$work/fs2.sock"
	until grep -q '^round-trip-polling' "$work/probe.log"; do
		running probe
	done
	signal STOP host2
	signal "$1" probe
	begin=$SECONDS
	[ "$(status_of probe)" = 32 ]
	[ $((SECONDS - begin)) -le 15 ]
	cat "$work/probe.log"
	grep -q '^vfsdaxfuse: interrupted$' "$work/probe.log"
	signal CONT host2
	stop host2
	rm -f "$work/fs2.sock"
}

probe_no_window()
{
	probed
	[ "$(value window)" = none ]
	fails grep -qE '^(window-|copy-|mapping-)' "$work/out"
	value round-trip-interrupt | grep -qE '^[0-9.]+ us$'
}

# probe_wrong STATUS PATTERN ARGUMENT... - as refused, with --probe
probe_wrong()
{
	local status=$1 pattern=$2
	shift 2
	refused "$status" "$pattern" --probe "$@"
}

probe()
{
	local sock=--vhost-user=$work/fs.sock
	: >"$work/file"
	check "probe: host starts" start_host --window=64M --num-request-queues=3 --tag='tag of it'
	check "probe: host without files" probe_device
	check "probe: small files" probe_small
	check "probe: a file" probe_file $((300000 / 4096 * 4096))
	check "probe: mount afterwards" start_fuse
	check "probe: data" same_data
	check "probe: end" end_by umount "$mnt"
	check "probe: SIGINT while the host does nothing" probe_interrupted INT
	check "probe: SIGTERM while the host does nothing" probe_interrupted TERM
	check "probe: a host that is gone" probe_host_killed
	stop host
	# With cache=none it has no READDIRPLUS.
	rm -rf "${share:?}"/*
	check "probe, cache=none: host starts" start_host --cache=none --window=64M \
		--num-request-queues=3 --tag='tag of it'
	check "probe, cache=none: small files" probe_small
	check "probe, cache=none: a file" probe_file $((300000 / 4096 * 4096))
	stop host
	check "probe: host without a window" start_host --window=0
	check "probe: no window" probe_no_window
	check "probe: no socket" probe_wrong 32 'No such file' --vhost-user="$work/none"
	check "probe: not a socket" probe_wrong 32 'refused' --vhost-user="$work/file"
	check "probe: no such device" probe_wrong 32 'ffff:1f:1f.7' --pci=ffff:1f:1f.7
	check "probe: no device" probe_wrong 32 'virtio-fs|PCI' nonesuch
	check "probe: too many arguments" probe_wrong 1 'too many' "$sock" tag "$mnt"
	check "probe: a mount option" probe_wrong 1 'no mount options' "$sock" -o ro
	check "probe: dax=never" probe_wrong 1 'no mount options' "$sock" -o dax=never
	stop host
}

# The socket tells; what was asked for fails.
probe_host_killed()
{
	spawn host2 "$host" --shared-dir="$share" --socket-path="$work/fs2.sock" --window=64M
	until_true 50 test -S "$work/fs2.sock"
	signal STOP host2
	spawn probe "$fuse" --probe --vhost-user="$work/fs2.sock"
	sleep 0.3
	signal KILL host2
	[ "$(status_of probe)" = 32 ]
	cat "$work/probe.log"
	[ "$(grep -c '^vfsdaxfuse: ' "$work/probe.log")" = 1 ]
}

run_configuration()
{
	case $1 in
	none) with_mount none "--cache=none" "-o dax=always" cross_none ;;
	auto) with_mount auto "--cache=auto" "" cross_auto ;;
	always) with_mount always "--cache=always" "" cross_auto ;;
	never) with_mount never "--cache=none" "-o dax=never" cross_never ;;
	small) with_mount small "--cache=none --window=64M" "-o dax=always" cross_small ;;
	few) with_mount few "--cache=auto --max-mappings=2" "" cross_few ;;
	queues)
		with_mount queues "--cache=auto --num-request-queues=4" "-o dax=always,max_threads=3" \
			cross_auto
		;;
	nowindow) with_mount nowindow "--cache=always --window=0" "" cross_nowindow ;;
	ends | errors | probe) "$1" ;;
	*) echo "$usage" >&2; exit 2 ;;
	esac
}

[ $# != 0 ] || { echo "$usage" >&2; exit 2; }
build=$(realpath "$1")
shift
# shellcheck disable=SC2034 # lib.sh and cross.sh use them
fuse=$build/src/daemon/vfsdaxfuse host=$build/src/host/vfsdaxhost
# shellcheck disable=SC2034
host_fstest=$build/tests/e2e/fstest guest_fstest=$build/tests/e2e/fstest
[ "$(id -u)" = 0 ] || { echo "native.sh: needs root" >&2; exit 1; }
# A mount namespace that others begin meanwhile must not keep a copy of our mounts.
[ -n "${VFSDAXFUSE_E2E-}" ] || VFSDAXFUSE_E2E=1 exec unshare --mount "$0" "$build" "$@"
make_work
mnt=$work/mnt
trap finish_all EXIT
trap 'exit 1' INT TERM HUP
[ $# != 0 ] || set -- none auto always never small few queues nowindow ends errors probe
for configuration; do
	began=$SECONDS
	run_configuration "$configuration"
	echo "# $configuration: $((SECONDS - began)) s"
done
tally
