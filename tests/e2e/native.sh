#!/bin/bash
# SPDX-License-Identifier: MIT
# End-to-end tests without a VM: vfsdaxfuse on vfsdaxhost by a socket, with a real FUSE mount.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/lib.sh
. "$here/../vm/lib.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/local.sh
. "$here/local.sh"
# shellcheck source=tests/e2e/cross.sh
. "$here/cross.sh"
# shellcheck source=tests/e2e/random.sh
. "$here/random.sh"
# shellcheck source=tests/e2e/hosts.sh
. "$here/hosts.sh"
# shellcheck source=tests/e2e/fidelity.sh
. "$here/fidelity.sh"
# shellcheck source=tests/e2e/locks.sh
. "$here/locks.sh"
# shellcheck source=tests/e2e/memory.sh
. "$here/memory.sh"
# shellcheck source=tests/e2e/storm.sh
. "$here/storm.sh"
# shellcheck source=tests/e2e/trees.sh
. "$here/trees.sh"
# shellcheck source=tests/e2e/options.sh
. "$here/options.sh"
# shellcheck source=tests/e2e/probe.sh
. "$here/probe.sh"
# shellcheck source=tests/e2e/socket.sh
. "$here/socket.sh"
# shellcheck source=tests/e2e/places.sh
. "$here/places.sh"
# shellcheck source=tests/e2e/programs-lib.sh
. "$here/programs-lib.sh"
# shellcheck source=tests/e2e/programs-native.sh
. "$here/programs-native.sh"

usage="usage: native.sh BUILD-DIRECTORY [CONFIGURATION...]
Configurations: none auto always never small few queues nowindow inode refuse quirks handles memory
storm (VFSDAXFUSE_STORM_FILES) locks quota bad trees uring ends errors options automount probe socket ids
chain binds (default: all these); programs (sqlite, git and others); random (operations of several
processes, VFSDAXFUSE_RANDOM_SECONDS long)."

# The daemon's own books agree; it writes them at its end.
removed_what_was_mapped()
{
	cat "$work/stats"
	[ "$(number maps "$(cat "$work/stats")")" = "$(number unmaps "$(cat "$work/stats")")" ]
}

# end_by COMMAND... - it unmounts, and all is given back
end_by()
{
	"$@"
	[ "$(status_of fuse)" = 0 ]
	not_mounted
	[ -n "${host_keeps-}" ] || { nothing_mapped; removed_what_was_mapped; }
	[ "$(host_stat nodes)" -le 1 ]
	[ "$(host_stat handles)" = 0 ]
	fails grep -vE 'has no DAX window|mounting with nosuid,nodev' "$work/fuse.log"
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
		run_fstest "$1" --timeout 120 "$mnt"
	else
		run_fstest "$1" --timeout 120 --except ten_thousand "$mnt"
	fi
}

cross_none()
{
	check "$1: host changes an open file" host_changes_open
	check "$1: host changes names" host_changes_names
	fstest_and_cross yes "$1"
	check "$1: read-only files" read_only_open
	check "$1: close asks nothing" close_asks_nothing
	sanitized || check "$1: the host is confined" confined
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
	fidelity_group perm "$1"
}

# fidelity_group GROUP NAME - the fidelity tests of GROUP that pass beside the mount pass in it, too. The table in
# doc/fidelity.md has --cache=none only. Tests that fail in the table are left out.
fidelity_group()
{
	local names line
	names=$("$host_fidelity" --list | grep "^$1 " | grep -vxF \
		"$(table_rows "$here/../../doc/fidelity.md" | sed -n 's/^fail //p')" | cut -d ' ' -f 2)
	# shellcheck disable=SC2086 # words
	"$host_fidelity" "$share" $names >"$work/local" 2>&1 || true
	# shellcheck disable=SC2086
	"$host_fidelity" "$mnt" $names >"$work/vfsdaxfuse" 2>&1 || true
	[ -s "$work/local" ] || not_ok "$2: fidelity" "it says nothing"
	while read -r line; do
		case $line in
		ok\ *) pass "$2: fidelity, ${line#ok }" ;;
		*) line=${line#not ok }; not_ok "$2: fidelity, ${line%% - *}" "${line#* - }" ;;
		esac
	done < <(verdicts "$work/local")
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

cross_nowindow()
{
	most_of_fstest "$1"
	check "$1: 256 MiB read" read_whole no 256
}

# Which files go through the window with dax=inode is the host's choice. Files of more than a 256th of the
# window are mapped at their first reading, smaller ones when they have earned it.
inode()
{
	with_mount "inode: size" "--cache=none --inode-dax=size:1M --window=64M" "-o dax=inode" check_as \
		inode_dax_by_size
	with_mount "inode: xattr" "--cache=none --inode-dax=xattr --window=64M" "-o dax=inode" check_as \
		inode_dax_by_xattr
	with_mount "inode: auto" "--cache=auto --inode-dax=size:1M --window=64M" "-o dax=inode" check_as \
		inode_dax_cached
	with_mount "inode: all" "--cache=none --inode-dax=all" "-o dax=inode" cross_never_but yes
	with_mount "inode: none" "--cache=none --inode-dax=none" "-o dax=inode" cross_never_but no
}

# check_as COMMAND NAME - one check of this name
check_as()
{
	check "$2" "$1"
}

cross_never_but()
{
	check "$2: 32 MiB read" read_whole "$1" 32
	check "$2: 16 MiB written" write_whole "$1" 16
}

# Whatever the host refuses is served, and right.
refuse()
{
	refuse_by ENOSPC map-error=ENOSPC:5
	refuse_by everything map-error=EIO
	refuse_by ENOSYS map-error=ENOSYS:3
	refuse_by some map-error=EINVAL:0:2
	refuse_by ENXIO map-error=ENXIO:1:3
	refuse_by ENOMEM map-error=ENOMEM:2:5,map-delay=2000
	# Such a host is left with what it did not remove.
	host_keeps=yes
	with_mount "refuse: REMOVEMAPPING" "--window=64M --quirk=unmap-error=EIO:2:2" "" \
		with_refusals_of unmap
	with_mount "refuse: every REMOVEMAPPING" "--window=64M --quirk=unmap-error=EINVAL" "" \
		with_refusals_of unmap
	host_keeps=""
}

refuse_by()
{
	with_mount "refuse: $1" "--quirk=$2" "" with_refusals_of map
}

with_refusals_of()
{
	with_refusals "$2" "$1"
}

# Only what serving needs, in each thread; and what is not needed ends it. Not with a sanitizer, whose
# runtime needs more.
confined()
{
	local task
	for task in /proc/"$(cat "$work/host.pid")"/task/*; do
		grep -qE '^Seccomp:\s+2$' "$task/status"
		grep -qE '^NoNewPrivs:\s+1$' "$task/status"
	done
}

# Hosts that offer less or demand more.
quirks()
{
	with_mount "quirks: no INDIRECT_DESC" "--quirk=no-indirect-desc" "-o dax=always" with_quirk
	with_mount "quirks: no EVENT_IDX" "--quirk=no-event-idx,need-read" "-o dax=always" with_quirk
	with_mount "quirks: old ring, 64 entries, 3 queues" \
		"--quirk=no-event-idx,no-indirect-desc --num-request-queues=3" \
		"-o dax=always,queue_size=64,max_threads=5" with_quirk
	with_mount "quirks: 16 entries" "" "-o dax=always,queue_size=16" with_quirk
	with_mount "quirks: no MAP_ALIGNMENT" "--quirk=no-map-alignment,access-platform" "-o dax=always" \
		with_quirk
	with_mount "quirks: MAP_ALIGNMENT of 1 MiB" "--quirk=map-alignment=1048576" "-o dax=always" with_quirk
}

# A quota is less than the room that there is, and on btrfs what is written over takes room, too. So nothing
# is mapped there for writing, and no copy to the window meets a page for which there is no room.
quota()
{
	prepare_quota "$share/quota"
	if [ ! -d "$share/quota" ]; then
		skipped=$((skipped + 1))
		echo "skip quota - no btrfs with quotas on this machine"
		return
	fi
	check "quota: host starts" start_host --cache=none
	check "quota: mount" start_fuse -o dax=always
	check "quota: EDQUOT" quota_write
	check "quota: end" end_by umount "$mnt"
	stop host
	umount "$share/quota"
	rmdir "$share/quota"
}

quota_write()
{
	"$host_fidelity" --timeout 100 "$mnt" quota_write | tee "$work/out"
	grep -qx 'pass full quota_write' "$work/out"
	until_true 100 "$host_fstest" --make "$share/quota/read" 1M 3 # removed files give room back later
	"$host_fstest" --verify "$mnt/quota/read" 1M 3
	stats
	[ "$(number dax_faults "$(stats)")" = 0 ]
	[ "$(number dax_write_bytes "$(stats)")" = 0 ]
	[ "$(number dax_read_bytes "$(stats)")" -gt 0 ]
}

# A bad block on the host is an error for the guest and not the end of a file, with and without the window.
bad()
{
	prepare_bad "$share/bad"
	if [ ! -d "$share/bad" ]; then
		skipped=$((skipped + 1))
		echo "skip bad - no btrfs on this machine"
		return
	fi
	bad_with "bad: none" --cache=none -o dax=always
	bad_with "bad: auto" --cache=auto
	bad_with "bad: always" --cache=always -o dax=always
	bad_with "bad: never" --cache=none -o dax=never
	umount "$share/bad"
	rmdir "$share/bad"
}

# bad_with NAME HOST-OPTION FUSE-OPTION...
bad_with()
{
	local name=$1
	check "$name: host starts" start_host "$2"
	shift 2
	check "$name: mount" start_fuse "$@"
	fidelity_group error "$name"
	check "$name: end" end_by umount "$mnt"
	stop fuse
	stop host
}

# Inodes that are closed at once when nobody uses them, and those that are not.
handles()
{
	with_mount "handles: cold" "--cache=none --quirk=idle-nodes=1" "-o dax=always" cross_cold
	with_mount "handles: cold, cached" "--cache=auto --quirk=idle-nodes=1 --num-request-queues=3" \
		"-o dax=always" cross_cold_cached
	# So that what is mounted later is there in the host's mount namespace, too.
	mount --bind "$share" "$share"
	mount --make-shared "$share"
	with_mount "handles: cold, mandatory" "--inode-file-handles=mandatory --quirk=idle-nodes=1" \
		"" cross_submount
	umount "$share"
	with_mount "handles: never" "--inode-file-handles=never --quirk=idle-nodes=1" "" cross_kept
	check "handles: mandatory where there are none" mandatory_without
}

cross_cold()
{
	check "$1: host changes an open file" host_changes_open
	check "$1: host changes names" host_changes_names
	cross_cold_cached "$1"
}

cross_cold_cached()
{
	fstest_and_cross yes "$1"
	check "$1: opened again" many_reopened
}

# Nothing of this would mean much if the descriptors had been kept.
many_reopened()
{
	local line
	line=$(host_stats)
	echo "$line"
	[ "$(number reopened "$line")" -gt 1000 ]
}

cross_submount()
{
	check "$1: a mount in it" submount
}

# The host mounts after it has begun to share; what the guest knows of it is in use here.
submount()
{
	mkdir "$share/sub"
	mount -t tmpfs test "$share/sub"
	echo deep >"$share/sub/file"
	echo flat >"$share/file"
	[ "$(cat "$mnt/sub/file" "$mnt/file" "$mnt/sub/file")" = "deep${nl}flat${nl}deep" ]
	[ "$(host_stat reopened)" -gt 0 ]
	exec 5<"$mnt/sub/file"
	rm "$mnt/sub/file"
	ls "$mnt" "$mnt/sub"
	[ "$(cat <&5)" = deep ]
	exec 5<&-
	until_true 100 submount_forgotten
}

submount_forgotten()
{
	echo 2 >/proc/sys/vm/drop_caches
	umount "$share/sub" 2>"$work/out"
}

nl='
'

cross_kept()
{
	check "$1: descriptors are kept" all_kept
	sanitized || check "$1: no privilege for handles" no_privilege
}

all_kept()
{
	local line
	(cd "$share" && seq 500 | xargs touch)
	[ "$(find "$mnt" -type f -size -1 | wc -l)" = 500 ]
	line=$(host_stats)
	echo "$line"
	[ "$(number nodes "$line")" -ge 500 ]
	[ "$(number open_nodes "$line")" = "$(number nodes "$line")" ]
	[ "$(number reopened "$line")" = 0 ]
}

# CAP_DAC_READ_SEARCH is number 2.
no_privilege()
{
	local caps
	caps=$(awk '/^CapPrm:/ { print $2 }' "/proc/$(cat "$work/host.pid")/status")
	[ $((0x$caps & 4)) = 0 ]
}

mandatory_without()
{
	spawn host "$host" --shared-dir=/proc/self --socket-path="$work/fs.sock" --sandbox=none \
		--inode-file-handles=mandatory
	[ "$(status_of host)" = 1 ]
	cat "$work/host.log"
	grep -q 'inode-file-handles=mandatory.*not supported' "$work/host.log"
}

# More files than there are descriptors on many machines.
cross_storm()
{
	storm_rounds "$1" "${VFSDAXFUSE_STORM_FILES:-30000}"
	sed 's/^/# /' "$work/times"
}

# FUSE over io_uring. The kernel's switch for it is everybody's: one test at a time has it.
uring_switch=/sys/module/fuse/parameters/enable_uring

uring()
{
	local before
	check "uring: host starts" start_host
	if [ ! -e $uring_switch ]; then
		check "uring: not in this kernel" refused 32 'kernel does not offer' \
			--vhost-user="$work/fs.sock" -o io_uring=on "$mnt"
		check "uring: auto without it" uring_auto
		stop host
		return
	fi
	exec 8<$uring_switch
	flock 8
	before=$(cat $uring_switch)
	# shellcheck disable=SC2064 # as it is now
	trap "echo $before >$uring_switch; finish_all" EXIT
	echo N >$uring_switch
	check "uring: switched off" refused 32 'kernel does not offer' \
		--vhost-user="$work/fs.sock" -o io_uring=on "$mnt"
	check "uring: auto without it" uring_auto
	echo Y >$uring_switch
	check "uring: auto with it" uring_auto
	check "uring: off with it" uring_unused -o io_uring=off
	stop host
	with_mount uring "--cache=none" "-o io_uring=on,dax=always" cross_uring
	with_mount uring-never "--cache=auto" "-o io_uring=on,dax=never,max_threads=1" cross_uring_never
	with_mount uring-locks "--posix-lock --flock" "-o io_uring=on" cross_local_locks
	common=(-o io_uring=on)
	ends uring-ends
	common=()
	echo "$before" >$uring_switch
	trap finish_all EXIT
	exec 8<&-
}

uring_auto()
{
	start_fuse -o io_uring=auto
	echo data >"$mnt/file"
	grep -q data "$share/file"
	end_by umount "$mnt"
}

# uring_unused OPTION... - requests are counted, and none of them came that way
uring_unused()
{
	local counters
	start_fuse "$@"
	echo data >"$mnt/file"
	counters=$(stats)
	[ "$(number kernel_requests "$counters")" -gt 1 ]
	[ "$(number uring_requests "$counters")" = 0 ]
	end_by umount "$mnt"
}

# rings_used PERCENT - of all requests, at least
rings_used()
{
	local counters
	counters=$(stats)
	echo "$counters"
	[ $(($(number uring_requests "$counters") * 100)) -ge \
		$(($(number kernel_requests "$counters") * $1)) ]
}

cross_uring()
{
	check "$1: host changes an open file" host_changes_open
	check "$1: host changes names" host_changes_names
	run_fstest "$1" --timeout 30 "$mnt"
	check "$1: 256 MiB read" read_whole yes 256
	check "$1: 32 MiB written" write_whole yes 32
	check "$1: guest changes" guest_changes
	check "$1: read-only files" read_only_open
	check "$1: over the rings" rings_used 80
}

cross_uring_never()
{
	most_of_fstest "$1"
	check "$1: 256 MiB read" read_whole no 256
	check "$1: over the rings" rings_used 80
}

# The ways in which a mount ends; the host serves one after the other.
ends()
{
	local by name=${1-ends}
	check "$name: host starts" start_host --cache=none
	for by in "fusermount3 -u $mnt" "umount $mnt" "signal TERM fuse" "signal INT fuse"; do
		check "$name: mount" start_fuse
		check "$name: data" same_data
		# shellcheck disable=SC2086 # words
		check "$name: ${by%% "$mnt"}" end_by $by
	done
	check "$name: killed while the host does nothing" kill_blocked
	check "$name: a signal while the host does nothing" signal_blocked
	check "$name: TERM while in use" term_in_use
	check "$name: daemon in the background" background
	check "$name: read-only mount" read_only_mount
	check "$name: host killed" host_killed
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
	nothing_mapped
}

# Without -f the command returns when the mount works; the child is found by its command line.
background()
{
	local pid
	timeout 20 "$fuse" --vhost-user="$work/fs.sock" "${common[@]}" "$mnt" >"$work/out" 2>&1 </dev/null
	mounted
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	pid=$(pgrep -f -x "$fuse --vhost-user=$work/fs.sock ${common[*]:+${common[*]} }$mnt")
	umount "$mnt"
	until_true 50 test ! -e "/proc/$pid"
	nothing_mapped
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
	twice "io_uring=maybe" 1 'io_uring=maybe' "$sock" -o io_uring=maybe "$mnt"
	twice "too many arguments" 1 'too many' "$sock" tag "$mnt" more
	twice "max_threads=0" 1 'max_threads' "$sock" -o max_threads=0 "$mnt"
	twice "queue_size=100" 1 'queue_size' "$sock" -o queue_size=100 "$mnt"
	twice "two transports" 1 'exclude' "$sock" --pci=0000:00:10.0 "$mnt"
	check "errors: already mounted" busy
	stop host
}

run_configuration()
{
	case $1 in
	none) with_mount none "--cache=none" "-o dax=always" cross_none ;;
	auto) with_mount auto "--cache=auto" "-o dax=always" cross_auto ;;
	always) with_mount always "--cache=always" "-o dax" cross_auto ;;
	never) with_mount never "--cache=none" "-o dax=never" cross_never ;;
	small) with_mount small "--cache=none --window=64M" "-o dax=always" cross_small ;;
	few) with_mount few "--cache=auto --max-mappings=2" "" cross_few ;;
	queues)
		with_mount queues "--cache=auto --num-request-queues=4" "-o dax=always,max_threads=3" \
			cross_auto
		;;
	nowindow) with_mount nowindow "--cache=always --window=0" "" cross_nowindow ;;
	storm) with_mount storm "--cache=auto" "" cross_storm ;;
	memory) with_mount memory "--cache=always --window=4G" "-o dax=always" cross_memory ;;
	inode | refuse | quirks | handles | locks | quota | bad | trees | uring | ends | errors | options | automount | \
		probe | socket | ids | chain | binds | programs)
		"$1"
		;;
	random) random_all ;;
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
host_fidelity=$build/tests/e2e/fidelity
[ "$(id -u)" = 0 ] || { echo "native.sh: needs root" >&2; exit 1; }
# A mount namespace that others begin meanwhile must not keep a copy of our mounts.
[ -n "${VFSDAXFUSE_E2E-}" ] || VFSDAXFUSE_E2E=1 exec unshare --mount "$0" "$build" "$@"
make_work
mnt=$work/mnt
trap finish_all EXIT
trap 'exit 1' INT TERM HUP
[ $# != 0 ] || set -- none auto always never small few queues nowindow inode refuse quirks handles \
	memory storm locks quota bad trees uring ends errors options automount probe socket ids chain binds
for configuration; do
	began=$SECONDS
	run_configuration "$configuration"
	echo "# $configuration: $((SECONDS - began)) s"
done
tally
