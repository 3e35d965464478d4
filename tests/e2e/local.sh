# SPDX-License-Identifier: MIT
# A mount on this machine, over a vhost-user socket; for the tests without a VM, to be sourced by bash.
# shellcheck shell=bash disable=SC2154 # work, mnt and fuse come from the script

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

# daemon_size - its descriptors and its resident memory in KiB
daemon_size()
{
	local pid
	pid=$(cat "$work/fuse.pid")
	echo "$(find "/proc/$pid/fd" -mindepth 1 | wc -l) $(memory_of "$pid")"
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
common=()	# options for all of them
start_fuse()
{
	spawn fuse "$fuse" -f -o "stats=$work/stats" --vhost-user="$work/fs.sock" "${common[@]}" \
		"$@" "$mnt"
	until_true 50 mounted_and_answering
}

mounted_and_answering()
{
	mounted && timeout 5 ls "$mnt" >/dev/null
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
