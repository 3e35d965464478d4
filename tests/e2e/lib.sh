# SPDX-License-Identifier: MIT
# Counting of tests and control of daemons, for the end-to-end tests; to be sourced by bash.
# shellcheck shell=bash disable=SC2034,SC2154 # host, guest_fstest and usage come from the script

passed=0 failed=0 skipped=0
host_name=host

# Tests of fstest that must fail, and a pattern of the reason: what a kernel or a host does not have.
declare -A expected=()
# Tests that may fail, but only with exactly this reason.
declare -A tolerated=()

wrong_usage()
{
	echo "$usage" >&2
	exit 2
}

# read_options "NAME..." "NAME..." ARGUMENT... - options with a value and without one, to variables of
# these names; a directory of a build ends them (build), and what follows is in the array rest
read_options()
{
	local with_value=" $1 " without=" $2 " name
	shift 2
	rest=()
	while [ $# != 0 ]; do
		name=${1#--}
		case $1 in
		-h | --help) echo "$usage"; exit ;;
		-*)
			if [[ $without == *" $name "* ]]; then
				printf -v "$name" yes
			elif [[ $with_value == *" $name "* ]] && [ $# -gt 1 ]; then
				printf -v "$name" %s "$2"
				shift
			else
				wrong_usage
			fi
			;;
		*) build=$(realpath "$1"); shift; rest=("$@"); return ;;
		esac
		shift
	done
}

# make_work - a directory for everything, which finish_all removes
make_work()
{
	work=$(mktemp -d "${TMPDIR:-/tmp}/vfsdaxfuse-e2e.XXXXXX")
	share=$work/share
	mkdir "$share" "$work/mnt"
	chmod 755 "$work"
}

# pass NAME [SECONDS] - which are told when they are many
pass()
{
	passed=$((passed + 1))
	echo "ok $1"
	[ "${2:-0}" -lt 5 ] || echo "#   took $2 s"
}

# not_ok NAME REASON [FILE] - and the file's last lines
not_ok()
{
	failed=$((failed + 1))
	echo "not ok $1 - $2"
	[ ! -s "${3-}" ] || tail -n 15 "$3" | sed 's/^/    | /'
}

# check NAME COMMAND... - one test: the command, run with -e in a subshell, must end well
#
# In the background, because -e has no effect in a condition.
check()
{
	local name=$1 status=0 began=$SECONDS
	shift
	(set -e; "$@") >"$work/check.out" 2>&1 &
	wait $! || status=$?
	if [ $status = 0 ]; then
		pass "$name" $((SECONDS - began))
	else
		not_ok "$name" "status $status" "$work/check.out"
	fi
}

# fails COMMAND... - as "!", which -e does not see
fails()
{
	! "$@"
}

# Is it built with a sanitizer, which keeps freed memory and looks at more than a sandbox allows?
sanitized()
{
	# not -q: what nm could no longer write would count as its failure
	nm "$host" 2>/dev/null | grep -E '__(asan|tsan)_init' >/dev/null
}

# tally - the last line, and the exit status
tally()
{
	echo "$passed passed, $failed failed, $skipped skipped"
	[ "$failed" = 0 ]
}

# script TEXT [ARGUMENT...] - a shell script in the guest, wherever that is
script()
{
	guest sh -ec "$@"
}

# run_fstest PREFIX [ARGUMENT...] - each of its tests is one of ours
run_fstest()
{
	local prefix=$1
	shift
	guest timeout 1200 "$guest_fstest" --ops "${VFSDAXFUSE_TEST_OPS:-3000}" "$@" >"$work/fstest.out" 2>&1 </dev/null || true
	read_fstest "$prefix"
}

# read_fstest PREFIX - the same of what is in $work/fstest.out
read_fstest()
{
	local prefix=$1 line name lines=0
	while read -r line; do
		name=${line#not } name=${name#* } name=${name%% - *}
		case $line in
		ok\ *) fstest_ok "$prefix: $name" "${expected[$name]-}" "${line##* }" ;;
		not\ ok\ *)
			fstest_not_ok "$prefix: $name" "${line#* - }" "${expected[$name]-}" \
				"${tolerated[$name]-}"
			;;
		skip\ *)
			skipped=$((skipped + 1))
			echo "skip $prefix: $name - ${line#* - }"
			;;
		*) not_ok "$prefix: fstest" "$line" ;;
		esac
		lines=$((lines + 1))
	done <"$work/fstest.out"
	[ "$lines" != 0 ] || not_ok "$prefix: fstest" "it says nothing"
}

fstest_ok()
{
	if [ -z "$2" ]; then
		pass "$1" "$3"
	else
		not_ok "$1" "it passes, which was not expected: $2"
	fi
}

fstest_not_ok()
{
	if [ -n "$3" ] && grep -qE "$3" <<<"$2"; then
		pass "$1 (must fail: $2)"
	elif [ "$2" = "$4" ]; then
		pass "$1 (may fail: $2)"
	else
		not_ok "$1" "$2"
	fi
}

# spawn NAME COMMAND... - in the background; NAME.pid, NAME.log and, at the end, NAME.status
spawn()
{
	local name=$1
	shift
	rm -f "$work/$name.pid" "$work/$name.status"
	(
		trap - EXIT
		status=0
		# shellcheck disable=SC2016 # expanded by the inner shell
		sh -c 'echo $$ >"$0"; exec env --default-signal "$@"' "$work/$name.pid" "$@" ||
			status=$?
		echo $status >"$work/$name.status"
	) >"$work/$name.log" 2>&1 </dev/null &
	until_true 20 test -s "$work/$name.pid"
}

running()
{
	[ -s "$work/$1.pid" ] && [ ! -e "$work/$1.status" ]
}

# signal SIGNAL NAME - only to what was spawned and runs; it may end meanwhile
signal()
{
	! running "$2" || kill -s "$1" "$(cat "$work/$2.pid")" 2>/dev/null || true
}

# status_of NAME - its exit status, when it ends within 20 s
status_of()
{
	until_true 200 test -s "$work/$1.status" || {
		echo "$1 does not end" >&2
		return 1
	}
	cat "$work/$1.status"
}

# stop NAME - end it by SIGTERM, or by force
stop()
{
	signal TERM "$1"
	status_of "$1" >/dev/null 2>&1 || signal KILL "$1"
}

# until_true TENTHS COMMAND... - try until it succeeds
until_true()
{
	local n=$1
	shift
	until "$@"; do
		[ "$n" -gt 0 ] || return 1
		n=$((n - 1))
		sleep 0.1
	done
}

# start_host OPTION... - vfsdaxhost with $share; it listens when this returns
start_host()
{
	rm -f "$work/fs.sock"
	# shellcheck disable=SC2086 # words
	spawn host "$host" --shared-dir="$share" --socket-path="$work/fs.sock" \
		${VFSDAXFUSE_HOST_OPTIONS-} "$@"
	until_true 50 test -S "$work/fs.sock"
}

# host_stats - the line of counters of vfsdaxhost, or of the one in host_name
host_stats()
{
	local lines
	lines=$(grep -c 'stats:' "$work/$host_name.log") || true
	signal USR1 "$host_name"
	until_true 20 host_stats_after "$lines"
	grep 'stats:' "$work/$host_name.log" | tail -n 1
}

# host_stat NAME - a number of it
host_stat()
{
	number "$1" "$(host_stats)"
}

# nothing_mapped - the host holds no mapping, and never has one been left to the end of its connection
nothing_mapped()
{
	local line
	line=$(host_stats)
	echo "$line"
	[ "$(number live_mappings "$line")" = 0 ]
	[ "$(number map_left "$line")" = 0 ]
	[ "$(number map_total "$line")" = "$(number unmap_total "$line")" ]
}

host_stats_after()
{
	[ "$(grep -c 'stats:' "$work/$host_name.log")" -gt "$1" ]
}

# number NAME LINE - the value of NAME=value in a line of counters
number()
{
	grep -oE "(^| )$1=[0-9]+" <<<"$2" | cut -d = -f 2
}

# finish_all - end what was spawned, unmount, remove; for the trap
finish_all()
{
	local file name dir
	for file in "$work"/*.pid; do
		name=$(basename "$file" .pid)
		[ ! -e "$file" ] || ! running "$name" || signal TERM "$name"
	done
	for dir in "$work"/mnt-*/near "$work"/mnt*; do
		! mountpoint -q "$dir" || umount -l "$dir"
	done
	for file in "$work"/*.pid; do
		[ ! -e "$file" ] || stop "$(basename "$file" .pid)"
	done
	rm -rf --one-file-system "$work"
}
