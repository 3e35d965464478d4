# SPDX-License-Identifier: MIT
# Checks with hosts that mark files for DAX, refuse mappings or offer less. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # work, share, host_fstest, mnt come from the script
#
# Needs what cross.sh needs.

# window_bytes COMMAND... - how many bytes the guest's reads got from the window meanwhile
window_bytes()
{
	local before after
	before=$(number dax_read_bytes "$(stats)")
	"$@" >&2
	after=$(number dax_read_bytes "$(stats)")
	echo $((after - before))
}

# marked FILE SIZE SEED - the file is right, and comes through the window
marked()
{
	local bytes
	bytes=$(window_bytes guest "$guest_fstest" --verify "$mnt/$1" "$2" "$3")
	echo "$1: $bytes bytes through the window"
	[ "$bytes" -gt 0 ] || { stats; host_stats; false; }
}

# unmarked FILE SIZE SEED - the file is right, and nothing of it comes through the window
unmarked()
{
	local bytes
	bytes=$(window_bytes guest "$guest_fstest" --verify "$mnt/$1" "$2" "$3")
	echo "$1: $bytes bytes through the window"
	[ "$bytes" = 0 ]
}

# set_mark FILE VALUE - on the host
set_mark()
{
	python3 -c 'import os, sys; os.setxattr(sys.argv[1], "user.virtiofs.dax", sys.argv[2].encode())' \
		"$share/$1" "$2"
}

# --inode-dax=size:1M, and the mount has dax=inode
inode_dax_by_size()
{
	"$host_fstest" --make "$share/big" 4M 1
	"$host_fstest" --make "$share/small" 512K 2
	marked big 4M 1
	unmarked small 512K 2
	# Another size, another rule, from the next opening on.
	truncate -s 500K "$share/big"
	"$host_fstest" --make "$share/small" 3M 3
	unmarked big 500K 1
	marked small 3M 3
	# Written by the guest: what it makes is empty at first, and so over the virtqueue.
	guest "$guest_fstest" --make "$mnt/new" 2M 4
	"$host_fstest" --verify "$share/new" 2M 4
	marked new 2M 4
	guest "$guest_fstest" --put "$mnt/new" 0 2M 5
	"$host_fstest" --verify "$share/new" 2M 5
	guest "$guest_fstest" --put "$mnt/big" 0 500K 6
	"$host_fstest" --verify "$share/big" 500K 6
	rm "$share/big" "$share/small" "$share/new"
}

# The same rule with --cache=auto: what is not marked is in the guest's cache, at most as stale as there.
inode_dax_cached()
{
	"$host_fstest" --make "$share/big" 4M 1
	"$host_fstest" --make "$share/small" 512K 2
	marked big 4M 1
	unmarked small 512K 2
	unmarked small 512K 2
	guest "$guest_fstest" --put "$mnt/small" 0 512K 3
	guest "$guest_fstest" --make "$mnt/small" 2M 4
	"$host_fstest" --verify "$share/small" 2M 4
	marked small 2M 4
	rm "$share/big" "$share/small"
}

# --inode-dax=xattr, and the mount has dax=inode. An open file keeps what it was opened with.
inode_dax_by_xattr()
{
	local input pid
	"$host_fstest" --make "$share/x" 2M 1
	"$host_fstest" --make "$share/y" 2M 2
	set_mark y 1
	unmarked x 2M 1
	marked y 2M 2
	coproc watcher { guest "$guest_fstest" --watch "$mnt/y"; }
	input=${watcher[1]} pid=$watcher_PID
	ask 'data 0 2097152 2'
	set_mark x 1
	set_mark y 0
	marked x 2M 1
	unmarked y 2M 2
	"$host_fstest" --put "$share/y" 0 2M 3
	ask 'data 0 2097152 3'
	exec {input}>&-
	wait "$pid"
	marked x 2M 1
	rm "$share/x" "$share/y"
}

# The daemon asks for what can be mapped; the host's faults hit what they are made for.
refusals_happened()
{
	local faults refused
	refused=$(number map_refusals "$(stats)")
	faults=$(host_stat faults)
	echo "$refused refusals seen, $faults made"
	[ "$faults" -gt 0 ]
	[ "$1" = unmap ] || [ "$refused" -gt 0 ]
}

# requests_of OPCODE - how many the host has had
requests_of()
{
	host_stat "$1" || echo 0
}

# Closing a file that was only read is no business of the host's; one that was written is.
close_asks_nothing()
{
	local flush open
	"$host_fstest" --make "$share/r" 100000 1
	flush=$(requests_of flush) open=$(requests_of open)
	guest "$guest_fstest" --verify "$mnt/r" 100000 1
	guest md5sum "$mnt/r"
	[ "$(requests_of open)" -gt "$open" ]
	[ "$(requests_of flush)" = "$flush" ]
	guest "$guest_fstest" --put "$mnt/r" 0 100000 2
	[ "$(requests_of flush)" -gt "$flush" ]
	rm "$share/r"
}

# many_files COUNT - files of 1 MiB, read by two at a time and written, all is right
many_files()
{
	local i half pids=()
	for i in $(seq "$1"); do
		"$host_fstest" --make "$share/m$i" 1M "$i"
	done
	for half in 0 1; do
		verify_half "$1" "$half" &
		pids+=($!)
	done
	for i in "${pids[@]}"; do
		wait "$i"
	done
	for i in $(seq "$1"); do
		guest "$guest_fstest" --put "$mnt/m$i" 0 1M $((i + 100))
		"$host_fstest" --verify "$share/m$i" 1M $((i + 100))
	done
	rm "$share"/m*
}

# verify_half COUNT 0|1 - the even or the odd ones, twice
verify_half()
{
	local i
	for i in $(seq $((2 - $2)) 2 "$1") $(seq $((2 - $2)) 2 "$1"); do
		guest "$guest_fstest" --verify "$mnt/m$i" 1M "$i"
	done
}

# with_refusals NAME map|unmap - whatever the host refuses, the application notices nothing
with_refusals()
{
	check "$1: 64 MiB read" read_whole any 64
	check "$1: 16 MiB written" write_any 16
	check "$1: many files" many_files 20
	run_fstest "$1" --timeout 180 "$mnt" random_model random_model_mmap random_threads two_writers \
		appenders large_requests
	check "$1: guest changes" guest_changes
	check "$1: the host has refused" refusals_happened "$2"
}

write_any()
{
	guest "$guest_fstest" --make "$mnt/any" "$1M" 5
	guest "$guest_fstest" --put "$mnt/any" 0 "$1M" 6
	"$host_fstest" --verify "$share/any" "$1M" 6
	rm "$share/any"
}

# with_quirk NAME - everything works, and through the window
with_quirk()
{
	check "$1: 64 MiB read" read_whole yes 64
	check "$1: 16 MiB written" write_whole yes 16
	check "$1: many files" many_files 20
	run_fstest "$1" --timeout 180 "$mnt" random_model random_model_mmap random_threads two_writers \
		appenders large_requests
	check "$1: guest changes" guest_changes
}
