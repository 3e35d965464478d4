#!/bin/bash
# SPDX-License-Identifier: MIT
# What is hard for passthrough: every size, growth, descriptors that wander, random work of many, and the ends of all who
# take part.
# shellcheck disable=SC2016,SC2034 # scripts in single quotes are for the guest; lib.sh uses names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"
# shellcheck source=tests/e2e/cross.sh
. "$here/cross.sh"
# shellcheck source=tests/e2e/pass-lib.sh
. "$here/pass-lib.sh"

usage="usage: pass-hard.sh [--kernel 6.12|backports] [--long] [BUILD-DIRECTORY [GROUP...]]
Groups: places users cases programs sizes window random killed hosts (default: all).
  --long    every size, and more of what is random or repeated
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12 long=""
build=$native_build
guest_fstest=$lab_prefix/build/tests/e2e/fstest
guest_fidelity=$lab_prefix/build/tests/e2e/fidelity
guest_fsrandom=$lab_prefix/build/tests/e2e/fsrandom
guest_cases=$lab_prefix/build/tests/e2e/pass_cases
mnt=/mnt/host device=0000:00:10.0

# mount_passed [OPTION]
mount_passed()
{
	mount_it -o "passthrough=all${1:+,$1}" vfsdax
}

group_sizes()
{
	check "every size" every_size
}

# Reading and changing the last byte of files of all sizes: the host has made them and looks at each.
every_size()
{
	local step=37
	[ -z "$long" ] || step=1
	mkdir "$share/sizes"
	"$host_cases" --sizes make "$share/sizes" $step
	guest "$guest_cases" --sizes write "$mnt/sizes" $step
	"$host_cases" --sizes check-written "$share/sizes" $step
	guest "$guest_cases" --sizes store "$mnt/sizes" $step
	"$host_cases" --sizes check-stored "$share/sizes" $step
	rm -r "$share/sizes"
}

# The tests of pass_mount.c, each in a directory of its own.
cases()
{
	guest timeout 600 "$guest_cases" "$mnt" mount "$@" >"$work/fstest.out" 2>&1 </dev/null || true
	read_fstest "pass"
}

# Faults of the kernel (doc/passthrough.md), as vfsdaxfuse does not hear of the write
expected[end_after_failed_write]='is 4096, not 0'
expected[append_cleared]='size_of\(fd\) is 1049577, not'

group_cases()
{
	local names
	names=$("$host_cases" --list mount)
	# shellcheck disable=SC2086 # words
	cases $names
}

# Tests of tests/e2e/fidelity that concern open files, with files that are passed through.
fidelity_tests=(duplicates inherited splice_both_ways bad_addresses aio_buffered aio_direct uring_buffered uring_direct
	mmap_coherent mmap_private mmap_as_buffer mmap_modes mmap_outlives mmap_advice mmap_mutex
	two_writers two_mappers writer_and_reader flock_excludes flock_waits flock_of_open_file
	posix_ranges posix_waits lock_killed posix_deadlock ofd_locks lease handle_of_open_file inotify fanotify)

group_programs()
{
	check "fidelity: open files" open_files
	check "fio: engines" engines
}

open_files()
{
	guest timeout 500 "$guest_fidelity" --reopen "$mnt" "${fidelity_tests[@]}" >"$work/out" 2>&1 || true
	grep -v '^pass' "$work/out" || true
	[ "$(grep -c '^pass' "$work/out")" = "${#fidelity_tests[@]}" ]
}

# run_fio COMMAND ENGINE [OPTION...] - fio's own checksums, in blocks of 4 KiB; the file is there already
run_fio()
{
	local command=$1 engine=$2 file=$3
	shift 3
	$command fio --name=job --filename="$file" --size=8M --bs=4k --ioengine="$engine" --iodepth=8 --thread \
		--allow_file_create=0 --overwrite=1 --fallocate=none --verify=crc32c --verify_fatal=1 "$@" \
		>"$work/fio" 2>&1 || {
		tail -n 20 "$work/fio"
		return 1
	}
}

# What one engine writes the next reads, and so does the host. The kernel asks nobody.
engines()
{
	local engine before
	"$host_fstest" --make "$share/fio" 8M 1
	for engine in psync libaio io_uring mmap; do
		before=$(data_requests)
		run_fio guest $engine "$mnt/fio" --rw=randwrite --randseed=1
		run_fio guest $engine "$mnt/fio" --rw=randwrite --randseed=1 --direct=1
		run_fio "" psync "$share/fio" --rw=read --verify_only
		[ "$(data_requests)" = "$before" ]
	done
	rm "$share/fio"
}

group_places()
{
	check "unmounted" unmounted
	check "mounted with ro" mounted_ro
	check "mounted with noexec" mounted_noexec
	check "mount again" mount_passed
}

mounted_ro()
{
	"$host_fstest" --make "$share/ro" 1000001 1
	mount_passed ro
	guest "$guest_fstest" --verify "$mnt/ro" 1000001 1
	script '! echo x 2>/run/err >>"$0" || exit 1; grep -q "Read-only" /run/err' "$mnt/ro"
	# and remounted, with the file open
	script 'exec 5<"$0/ro"; mount -o remount,rw "$0"; ! mount -o remount,ro "$0" || exit 0; exit 1' "$mnt"
	guest "$guest_fstest" --verify "$mnt/ro" 1000001 1
	"$host_fstest" --verify "$share/ro" 1000001 1
	unmounted
}

mounted_noexec()
{
	script 'cp /usr/bin/true "$0/../../run/true"' "$mnt"
	vm pull /run/true "$share"
	chmod 755 "$share/true"
	mount_passed noexec
	script '! "$0" 2>/run/err || exit 1; grep -q "Permission denied" /run/err' "$mnt/true"
	guest python3 -c 'import mmap, sys
f = open(sys.argv[1], "rb")
assert mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ)[1:4] == b"ELF"
try:
    mmap.mmap(f.fileno(), 0, prot=mmap.PROT_READ | mmap.PROT_EXEC)
except PermissionError:
    sys.exit(0)
sys.exit(1)' "$mnt/true"
	unmounted
	mount_passed
	guest "$mnt/true"
	unmounted
}

group_window()
{
	check "window: opened in turn" opened_in_turn
	check "window: open at a time" open_at_a_time
	check "window: more files than mappings" more_than_mappings
}

# More files than the window has room for, opened, read and closed: what the daemon has does not grow.
opened_in_turn()
{
	local i cycles=150 before after
	[ -z "$long" ] || cycles=1000
	for i in 0 1 2 3 4 5 6; do
		"$host_fstest" --make "$share/turn$i" 50M $i
	done
	in_turn 30
	before=$(daemon_size)
	in_turn $cycles
	after=$(daemon_size)
	echo "descriptors and memory before $before, after $after"
	[ "${after% *}" -le $((${before% *} + 2)) ]
	[ "${after#* }" -le $((${before#* } + 2048)) ]
	rm "$share"/turn?
}

# in_turn N - that many cycles; each reads a page in another place, against what the host has
in_turn()
{
	local i at
	for ((i = 0; i < $1; i++)); do
		at=$((i * 7919 % 12800))
		echo "$((i % 7)) $at $(dd if="$share/turn$((i % 7))" bs=4096 skip=$at count=1 status=none | md5sum | cut -d ' ' -f 1)"
	done >"$work/turns"
	vm push "$work/turns" /run
	guest python3 -c 'import hashlib, os, sys
for line in open("/run/turns"):
    i, at, want = line.split()
    fd = os.open(sys.argv[1] + "/turn" + i, os.O_RDONLY)
    got = hashlib.md5(os.pread(fd, 4096, int(at) * 4096)).hexdigest()
    assert got == want, line
    os.close(fd)' "$mnt"
}

# Those that find no room are served without, and all are right.
open_at_a_time()
{
	local i
	for i in 1 2 3 4 5 6; do
		"$host_fstest" --make "$share/wide$i" 75M $i
	done
	script 'exec 3<>"$1/wide1" 4<>"$1/wide2" 5<>"$1/wide3" 6<>"$1/wide4" 7<>"$1/wide5" 8<>"$1/wide6"
		for i in 6 5 4 3 2 1; do "$0" --verify "$1/wide$i" 75M $i; done
		for i in 1 2 3 4 5 6; do "$0" --put "$1/wide$i" 25M 2M 9$i; done
		for i in 1 2 3 4 5 6; do "$0" --verify "$1/wide$i" 75M $i 2>/dev/null && exit 1; done
		exit 0' "$guest_fstest" "$mnt"
	for i in 1 2 3 4 5 6; do
		"$host_fstest" --make "$work/want" 75M $i
		"$host_fstest" --put "$work/want" 25M 2M 9$i
		cmp "$work/want" "$share/wide$i"
	done
	rm "$share"/wide? "$work/want"
}

# QEMU lets some 500 mappings be: the rest is served without. More files than descriptors of a shell.
more_than_mappings()
{
	budget make "$share/budget"
	vm push "$work/budget.py" /run
	guest python3 /run/budget.py change "$mnt/budget"
	budget check "$share/budget"
	rm -r "$share/budget"
}

budget()
{
	cat >"$work/budget.py" <<-'END'
		import os, sys
		N = 600

		def data(i):
		    return bytes((i * 7 + k * k) % 251 for k in range(100)) * 81 + bytes(i)

		def changed(i):
		    return b"%8d" % i + data(i)[8:-8] + b"%8d" % i

		what, where = sys.argv[1:]
		if what == "make":
		    os.mkdir(where)
		    for i in range(N):
		        with open(f"{where}/{i}", "wb") as f:
		            f.write(data(i))
		elif what == "change":
		    fds = [os.open(f"{where}/{i}", os.O_RDWR) for i in range(N)]
		    for i, fd in enumerate(fds):
		        assert os.pread(fd, 65536, 0) == data(i), i
		        os.pwrite(fd, b"%8d" % i, 0)
		        os.pwrite(fd, b"%8d" % i, len(data(i)) - 8)
		    for i, fd in enumerate(fds):
		        assert os.pread(fd, 65536, 0) == changed(i), i
		        os.close(fd)
		else:
		    for i in range(N):
		        with open(f"{where}/{i}", "rb") as f:
		            assert f.read() == changed(i), i
	END
	python3 "$work/budget.py" "$@"
}

group_random()
{
	local seconds=30
	[ -z "$long" ] || seconds=600
	check "random: several processes" random_operations $seconds
}

# random_operations SECONDS - of several processes on files of fixed size. Some work on the host's side, by the driver of
# the kernel for the other device. In the end the host compares all.
random_operations()
{
	local i
	mkdir "$share/random"
	script 'mkdir -p "$0"; mount -t virtiofs fs1 "$0"' /mnt/side
	guest timeout $(($1 + 200)) "$guest_fsrandom" --seconds "$1" --fixed-size --host /mnt/side/random --host-changes \
		${VFSDAXFUSE_RANDOM_SEED:+--seed "$VFSDAXFUSE_RANDOM_SEED"} "$mnt/random" >"$work/out" 2>&1 || {
		tail -n 60 "$work/out"
		return 1
	}
	cat "$work/out"
	grep -qE ' [1-9][0-9]* of [0-9]+ opens passed through$' "$work/out"
	for i in 0 1 2 3 4 5 6 7 8 9 10 11; do
		same_checksum "random/f$i"
	done
	guest umount /mnt/side
	rm -r "$share/random"
}

group_users()
{
	check "unmount: with users" unmounted_with_users
	check "mount again" mount_passed
}

# Busy; detached, the file is read and written to its last close, and then everything is gone.
unmounted_with_users()
{
	"$host_fstest" --make "$share/used" 5000001 1
	script 'exec 5<>"$0/used"
		! umount "$0" 2>/run/err || exit 1
		grep -q busy /run/err
		umount -l "$0"
		dd if=/dev/zero bs=1000 count=1 status=none >&5
		[ "$(wc -c <&5)" = 4999001 ]
		pidof vfsdaxfuse >/dev/null' "$mnt"
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
	nothing_composed
	nothing_mapped
	head -c 1000 /dev/zero | cmp - <(head -c 1000 "$share/used")
	"$host_fstest" --make "$work/want" 5000001 1
	cmp <(tail -c +1001 "$work/want") <(tail -c +1001 "$share/used")
	rm "$share/used" "$work/want"
}
# begin_guest - each has a host of its own, and by another device the same directory as the host sees it
begin_guest()
{
	check "host starts" start_host --cache=none --window=256M
	spawn side "$host" --shared-dir="$share" --socket-path="$work/side.sock" --cache=none
	until_true 50 test -S "$work/side.sock"
	check "boot" boot --socket "$work/fs.sock" --device vhost-user-fs --socket "$work/side.sock" --pmem-window
	check "namespaces" namespaces
	check "mount" mount_passed
}

end_guest()
{
	check "no warnings of the kernel" no_warnings
	vm stop
	check "the host ends" test "$(stop host; cat "$work/host.status")" = "${1:-0}"
	stop side
	rm "$work/side.sock"
}

group_killed()
{
	check "kill -9 of the daemon" daemon_killed
}

# A Python program of the guest that has the file open and mapped. It answers each word with a word; its end tells how the
# mapping ended it: 128 and the signal.
#
# r: all is what it was in the beginning, by read and by the mapping; e: they are equal; w: write a page, store another;
# s: the size is the same; o: open anew; l: read until it fails, for 60 s at most; what is read is the file or,
# as the window is taken away, pages of it and of zeros, also fewer; p: write; m: load from the mapping
user_program='import mmap, os, sys, time
name = sys.argv[1]
worker = os.fork()
if worker:
    status = os.waitpid(worker, 0)[1]
    sys.exit(128 + os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status))
fd = os.open(name, os.O_RDWR)
m = mmap.mmap(fd, 0)
want = bytearray(os.pread(fd, 1 << 30, 0))

# QEMU can take the pages away in the middle of a copy: from some byte on there are zeros.
def taken_away(got):
    pages = [(got[i:i + 4096], want[i:min(i + 4096, len(got))]) for i in range(0, len(got), 4096)]
    return all(page == right or all(g in (0, r) for g, r in zip(page, right)) for page, right in pages)

def read_until_error():
    begin, last, seen = time.monotonic(), "", []
    while time.monotonic() - begin < 60:
        try:
            got = os.pread(fd, 1 << 30, 0)
            now = "right" if got == want else "taken away" if taken_away(got) else "wrong"
        except OSError as e:
            now = os.strerror(e.errno)
        if now != last:
            seen.append(f"{time.monotonic() - begin:.1f} s: {now}")
        last = now
        if now not in ("right", "taken away"):
            if now == "wrong":
                bad = [i for i in range(min(len(got), len(want))) if got[i] not in (0, want[i])]
                print(f"{len(got)} bytes, {len(bad)} of them wrong, from {bad[:3]}", file=sys.stderr)
            break
        time.sleep(0.02)
    print(*seen, sep=", ", file=sys.stderr, flush=True)
    return last

for line in sys.stdin:
    word = line.strip()
    try:
        if word == "r":
            got = os.pread(fd, 1 << 30, 0)
            ok = got == want and m[:] == want
            if not ok:
                print(f"read {got.count(0)} zeros of {len(got)}, mapping {m[:].count(0)}", file=sys.stderr)
        elif word == "w":
            os.pwrite(fd, b"W" * 4096, 8192)
            m[16384:20480] = b"S" * 4096
            want[8192:12288] = b"W" * 4096
            want[16384:20480] = b"S" * 4096
            ok = True
        elif word == "s":
            ok = os.fstat(fd).st_size == len(m)
        elif word == "e":
            ok = os.pread(fd, 1 << 30, 0) == m[:]
        elif word == "o":
            os.close(os.open(name, os.O_RDONLY))
            ok = True
        elif word == "l":
            print(read_until_error(), flush=True)
            continue
        elif word == "p":
            ok = os.pwrite(fd, b"W" * 4096, 8192) == 4096
        elif word == "m":
            ok = m[4096:8192] == want[4096:8192]
        print("right" if ok else "wrong", flush=True)
    except OSError as e:
        print(os.strerror(e.errno), flush=True)
'

start_user()
{
	coproc user { guest python3 -c "$user_program" "$1" 2>"$work/user.err"; }
	# shellcheck disable=SC2154 # bash sets it
	user_in=${user[1]} user_out=${user[0]} user_pid=$user_PID
	asks r right
}

# asks WORD ANSWER - a pattern
asks()
{
	local answer=nothing
	echo "$1" >&"$user_in"
	read -r -t 90 answer <&"$user_out" || true
	# shellcheck disable=SC2053 # a pattern
	[[ $answer = $2 ]] || {
		echo "$1: $answer, not $2"
		cat "$work/user.err"
		return 1
	}
}

# end_user [STATUS]
end_user()
{
	local status=0
	exec {user_in}>&-
	wait "$user_pid" || status=$?
	[ "$status" = "${1:-0}" ]
}

# What the user has written is the host's.
written_by_user()
{
	[ "$(dd if="$1" bs=4096 skip=2 count=1 status=none | tr -d W | wc -c)" = 0 ]
	[ "$(dd if="$1" bs=4096 skip=4 count=1 status=none | tr -d S | wc -c)" = 0 ]
}

# Who has a file open goes on, and what is written arrives; all else fails, and the mount can be taken away.
#
# The device is not started again: QEMU 11.1 would not survive it.
daemon_killed()
{
	"$host_fstest" --make "$share/k" 1000001 9
	start_user "$mnt/k"
	script 'kill -9 $(pidof vfsdaxfuse); sleep 0.5'
	asks r right
	asks o "*not connected"
	asks w right
	asks r right
	written_by_user "$share/k"
	fails guest umount "$mnt"
	end_user
	guest umount "$mnt"
	fails guest mountpoint -q "$mnt"
}

group_hosts()
{
	begin_guest
	check "the host truncates" host_truncates
	check "kill -9 of the host" host_killed
	end_guest 137
}

# Loads behind the new end are QEMU's SIGBUS; in front of it all is well, and a read gives what the host has.
host_truncates()
{
	"$host_fstest" --make "$share/t" 64K 9
	"$host_fstest" --make "$share/want" 64K 9
	start_user "$mnt/t"
	truncate -s 32K "$share/t"
	guest head -c 32768 "$mnt/t" | cmp - <(head -c 32768 "$share/want")
	truncate -s 64K "$share/t"
	asks e right
	guest cmp "$mnt/t" - <"$share/t"
	end_user
	guest cmp "$mnt/t" - <"$share/t"
}

# What the files have is there until vfsdaxfuse or a program asks the host; then QEMU takes the window away, and it reads as
# zeros until vfsdaxfuse gives the host up (vfsdaxfuse(8), PASSTHROUGH). From then on all accesses fail.
host_killed()
{
	"$host_fstest" --make "$share/h" 1000001 9
	start_user "$mnt/h"
	signal KILL host
	asks l "Input/output error"
	cat "$work/user.err"
	asks p "Input/output error"
	asks s "[!r]*"
	asks o "[!r]*"
	echo m >&"$user_in"
	end_user 135 # SIGBUS
	guest umount "$mnt"
	script 'for i in $(seq 300); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
	nothing_composed
}

read_options kernel long "$@"
need_root
make_work
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest host_cases=$build/tests/e2e/pass_cases
vm_name=pass-hard-$kernel-$$
need_prepared "$host" "$host_cases" "$lab_out/build/tests/e2e/pass_cases"
trap end_all EXIT
trap 'exit 1' INT TERM HUP
[ "${#rest[@]}" != 0 ] || rest=(places users cases programs sizes window random killed hosts)

began="" killed=""
for group in "${rest[@]}"; do
	[ "$group" = hosts ] || [ -n "$began" ] || begin_guest
	[ "$group" = hosts ] || began=yes
	[ "$group" != killed ] || killed=yes
	[ "$group" = hosts ] || "group_$group"
done
if [ -n "$began" ]; then
	[ -n "$killed" ] || check "unmounted" unmounted
	end_guest
fi
[[ " ${rest[*]} " != *" hosts "* ]] || group_hosts
tally
