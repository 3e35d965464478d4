# SPDX-License-Identifier: MIT
# fsrandom on native mounts with small windows. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # build, work, share, mnt come from the script
#
# VFSDAXFUSE_RANDOM_SECONDS is for all configurations together (60), VFSDAXFUSE_RANDOM_SEED repeats.

random_configurations=10

# random_mount NAME HOST-OPTIONS FUSE-OPTIONS [FSRANDOM-OPTION...] - one configuration
random_mount()
{
	local name="random $1" host_options=$2 fuse_options=$3
	shift 3
	with_mount "$name" "$host_options" "$fuse_options" random_run "$@"
}

# random_run [FSRANDOM-OPTION...] NAME - by with_mount
random_run()
{
	local name=${*: -1} options=("${@:1:$#-1}")
	check "$name" random_operations "${options[@]}"
	case $name in
	*never*) ;;
	*) check "$name: window" random_window_used "$name" ;;
	esac
}

random_operations()
{
	local seconds=$((${VFSDAXFUSE_RANDOM_SECONDS:-60} / random_configurations))
	spawn fsrandom "$build/tests/e2e/fsrandom" --seconds $((seconds > 1 ? seconds : 1)) \
		${VFSDAXFUSE_RANDOM_SEED:+--seed "$VFSDAXFUSE_RANDOM_SEED"} \
		--host "$share" "$@" "$mnt"
	until_true $((seconds * 10 + 3000)) test -s "$work/fsrandom.status" ||
		echo "fsrandom does not end"
	cat "$work/fsrandom.log"
	grep '^fsrandom: file' "$work/fsrandom.log" || true # what is wrong, behind the long list
	[ "$(cat "$work/fsrandom.status")" = 0 ]
}

# random_window_used NAME - data was copied from the window, and no copy met a page that is gone (dax_faults)
random_window_used()
{
	local counters
	counters=$(stats)
	echo "$counters"
	number evictions "$counters" >>"$work/evictions"
	[ "$(number dax_read_bytes "$counters")" -gt 0 ]
	[[ $1 == *errors* ]] || [ "$(number dax_faults "$counters")" = 0 ]
}

# random_errors NAME HOST-OPTIONS FUSE-OPTIONS - share a file system whose device has read errors now and then
#
# data=journal keeps ext4 from using large folios: an error in one page would be an error of the whole folio.
random_errors()
{
	local errors=$work/errors
	mkdir -p "$errors"
	rm -f "$errors"/*
	mkdir -p "$work/mnt-errors"
	truncate -s 256M "$errors/image"
	mkfs.ext4 -q -F -b 4096 "$errors/image"
	spawn errfs "$build/tests/e2e/errfs" "$errors/image" "$errors/table" "$work/mnt-errors"
	until_true 50 test -e "$work/mnt-errors/image"
	mount -o loop,data=journal "$work/mnt-errors/image" "$share"
	random_mount "$@" --errors "$errors/table"
	check "random $1: errors" errors_met
	until_true 50 umount "$share"
	until_true 50 umount "$work/mnt-errors"
	stop errfs
}

errors_met()
{
	cat "$work/fsrandom.log"
	grep -qE '^fsrandom: [1-9][0-9]* reads have failed' "$work/fsrandom.log"
}

# Some mappings made room for others, when there was time for it.
random_window_small()
{
	paste -s -d ' ' "$work/evictions"
	[ "${VFSDAXFUSE_RANDOM_SECONDS:-60}" -lt 20 ] || grep -qv '^0$' "$work/evictions"
}

random_all()
{
	random_mount none "--cache=none --window=1M" "-o dax=always" --host-changes
	random_mount few "--cache=none --window=4M --max-mappings=6" "" --host-changes
	random_mount auto "--cache=auto --window=2M" "-o dax=always"
	random_mount always "--cache=always --window=4M --num-request-queues=2" "" --processes 8
	random_mount never "--cache=none" "-o dax=never" --host-changes
	# The kernel's own cache: not with cache=auto, nor with pages that a mapping has changed (doc/lab.md).
	random_mount cached-never "--cache=always" "-o dax=never" --read-maps
	random_mount cold "--cache=none --window=4M --num-request-queues=3 --quirk=idle-nodes=1" \
		"-o dax=always" --host-changes --processes 6
	random_errors errors "--cache=none --window=2M" "-o dax=always"
	random_errors errors-auto "--cache=auto --window=2M" ""
	random_errors errors-never "--cache=none" "-o dax=never"
	check "random: mappings made room" random_window_small
}
