# SPDX-License-Identifier: MIT
# Locks between processes of the guest and those of the host; to be sourced by native.sh.
# shellcheck shell=bash disable=SC2154 # work, share, mnt, host_fidelity come from the script

workers=3	# fewer than wait at a time

locks()
{
	with_mount locks "--cache=none --posix-lock --flock" "-o max_threads=$workers" cross_locks
	with_mount "locks: cached, 3 queues" \
		"--cache=auto --posix-lock --flock --num-request-queues=3" "-o max_threads=$workers" \
		lock_tests
	with_mount "locks: only fcntl" "--posix-lock" "" cross_only_posix
	with_mount "locks: only flock" "--flock" "" cross_only_flock
	with_mount "locks: off" "--posix-lock --flock --no-posix-lock --no-flock" "" cross_local_locks
	check "locks: host starts" start_host --cache=none --posix-lock --flock
	try "locks: TERM while some wait" term_while_waiting
	try "locks: unmounted by force while some wait" abort_while_waiting
	stop host
}

cross_locks()
{
	local how
	lock_tests "$1"
	for how in lock flock; do
		try "$1: $how of the host" host_has_lock "$how"
		try "$1: $how of the guest" guest_has_lock "$how"
		try "$1: $how waits for the host" waits_for_host "$how"
		try "$1: host waits for $how" host_waits "$how"
		try "$1: $how, more waiters than workers" many_waiters "$how"
		try "$1: $how, killed while waiting" end_waiting "$how" KILL 137
		try "$1: $how, SIGINT while waiting" end_waiting "$how" INT 130
		try "$1: $how, killed while the host does nothing" kill_while_stalled "$how"
	done
}

# try NAME COMMAND... - as check; what it has left behind when it failed does not fail the next
try()
{
	local name
	check "$@"
	for name in host-holder guest-holder waiter waiter1 waiter2 other first; do
		! running "$name" || stop "$name"
	done
}

# What programs see of each other's locks; the host does not find out who waits for whom.
lock_tests()
{
	local names
	names=$("$host_fidelity" --list | grep -e '^lock ' -e ' locks$' | cut -d ' ' -f 2 |
		grep -vx posix_deadlock)
	check "$1: between processes of the guest" lock_tests_pass "$names"
}

lock_tests_pass()
{
	# shellcheck disable=SC2086 # words
	timeout 300 "$host_fidelity" --timeout 60 "$mnt" $1
	nothing_locked
}

# Every lock was given back to the host, and nobody waits.
nothing_locked()
{
	until_true 50 no_locks_left
}

no_locks_left()
{
	local line
	line=$(host_stats)
	echo "$line"
	[ "$(number lock_owners "$line")" = 0 ] && [ "$(number lock_ranges "$line")" = 0 ] &&
		waiting 0
}

# waiting N - so many requests wait for a lock
waiting()
{
	[ "$(number lock_waits "$(stats)")" = "$1" ]
}

# holder NAME HOW FILE - a process that has a lock, or waits for one, until it is ended
holder()
{
	[ -p "$work/never" ] || mkfifo "$work/never"
	# shellcheck disable=SC2016 # expanded by the inner shell
	spawn "$1" sh -c 'exec "$@" <>"$0"' "$work/never" "$host_fidelity" "--$2" "$3"
}

has_lock()
{
	grep -qx locked "$work/$1.log"
}

holds()
{
	holder "$@"
	until_true 50 has_lock "$1"
}

# release NAME - by its end
release()
{
	signal TERM "$1"
	status_of "$1" >/dev/null
}

# taken HOW FILE - another has the lock
taken()
{
	local status=0
	timeout 20 "$host_fidelity" "--$1" "$2" </dev/null || status=$?
	[ "$status" = 1 ]
}

is_free()
{
	timeout 20 "$host_fidelity" "--$1" "$2" </dev/null
}

host_has_lock()
{
	: >"$share/f"
	holds host-holder "$1" "$share/f"
	taken "$1" "$mnt/f"
	release host-holder
	is_free "$1" "$mnt/f"
}

# By the end of a process, also of a killed one.
guest_has_lock()
{
	: >"$share/f"
	holds guest-holder "$1" "$mnt/f"
	taken "$1" "$share/f"
	taken "$1" "$mnt/f"
	release guest-holder
	is_free "$1" "$share/f"
	holds guest-holder "$1" "$mnt/f"
	signal KILL guest-holder
	[ "$(status_of guest-holder)" = 137 ]
	is_free "$1" "$share/f"
	is_free "$1" "$mnt/f"
	nothing_locked
}

waits_for_host()
{
	: >"$share/f"
	holds host-holder "$1" "$share/f"
	holder waiter "$1-wait" "$mnt/f"
	until_true 50 waiting 1
	sleep 0.5
	fails has_lock waiter
	release host-holder
	until_true 50 has_lock waiter
	waiting 0
	taken "$1" "$share/f"
	release waiter
	nothing_locked
}

host_waits()
{
	: >"$share/f"
	holds guest-holder "$1" "$mnt/f"
	holder waiter "$1-wait" "$share/f"
	sleep 0.5
	fails has_lock waiter
	release guest-holder
	until_true 50 has_lock waiter
	taken "$1" "$mnt/f"
	release waiter
	is_free "$1" "$mnt/f"
}

# Other work goes on, and who has the lock can give it up. They get it one after the other.
many_waiters()
{
	local i n=$((3 * workers))
	: >"$share/f"
	holds first "$1" "$mnt/f"
	for i in $(seq "$n"); do
		holder "one$i" "$1-wait" "$mnt/f"
	done
	until_true 50 waiting "$n"
	"$host_fstest" --make "$share/data" 5M 7
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	timeout 20 "$host_fstest" --make "$mnt/new" 5M 8
	"$host_fstest" --verify "$share/new" 5M 8
	release first
	for i in $(seq "$n"); do
		until_true 100 one_has_lock
		release "$got"
		rm "$work/$got.log"
	done
	waiting 0
	nothing_locked
	is_free "$1" "$share/f"
}

# one_has_lock - exactly one of the waiters, whose name is in $got
one_has_lock()
{
	local have
	have=$(cd "$work" && grep -lx locked one*.log) || return 1
	got=${have%.log}
	[ "$(wc -w <<<"$have")" = 1 ] && running "$got"
}

# end_waiting HOW SIGNAL STATUS - it ends at once, and nothing of it is left: also not the lock, later
end_waiting()
{
	: >"$share/f"
	holds host-holder "$1" "$share/f"
	holder waiter "$1-wait" "$mnt/f"
	until_true 50 waiting 1
	signal "$2" waiter
	[ "$(status_of waiter)" = "$3" ]
	waiting 0
	release host-holder
	sleep 0.3
	is_free "$1" "$share/f"
	nothing_locked
}

# The host does not answer; and what it answers later nobody keeps.
kill_while_stalled()
{
	: >"$share/f"
	holds host-holder "$1" "$share/f"
	holder waiter "$1-wait" "$mnt/f"
	holder other "$1-wait" "$mnt/f"
	until_true 50 waiting 2
	signal STOP host
	release host-holder
	sleep 0.5
	signal KILL waiter
	signal KILL other
	[ "$(status_of waiter)" = 137 ]
	[ "$(status_of other)" = 137 ]
	signal CONT host
	nothing_locked
	is_free "$1" "$share/f"
	is_free "$1" "$mnt/f"
}

cross_only_posix()
{
	try "$1: lock" host_has_lock lock
	try "$1: flock is local" local_lock flock
}

cross_only_flock()
{
	try "$1: flock" host_has_lock flock
	try "$1: lock is local" local_lock lock
}

cross_local_locks()
{
	try "$1: lock is local" local_lock lock
	try "$1: flock is local" local_lock flock
}

# local_lock HOW - the guest keeps it, and the host does not know
local_lock()
{
	: >"$share/f"
	holds host-holder "$1" "$share/f"
	holds guest-holder "$1" "$mnt/f"
	taken "$1" "$mnt/f"
	release guest-holder
	release host-holder
}

wait_two()
{
	: >"$share/f"
	start_fuse -o max_threads="$workers"
	holds host-holder lock "$share/f"
	holder waiter1 lock-wait "$mnt/f"
	holder waiter2 lock-wait "$mnt/f"
	until_true 50 waiting 2
}

both_failed()
{
	[ "$(status_of waiter1)" = 2 ]
	[ "$(status_of waiter2)" = 2 ]
	cat "$work"/waiter?.log
	fails has_lock waiter1
	fails has_lock waiter2
}

# They have an error at once, and do not hold the mount up.
term_while_waiting()
{
	wait_two
	end_by signal TERM fuse
	both_failed
	release host-holder
	is_free lock "$share/f"
}

abort_while_waiting()
{
	wait_two
	umount -f "$mnt" 2>/dev/null || umount -l "$mnt"
	both_failed
	[ "$(status_of fuse)" = 0 ]
	not_mounted
	release host-holder
	is_free lock "$share/f"
}
