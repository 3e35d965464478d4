# SPDX-License-Identifier: MIT
# Who may connect to vfsdaxhost, and for which users it can act. To be sourced by native.sh.
# shellcheck shell=bash disable=SC2154 # work, share, mnt, host and host_fstest come from the script

stranger=12345		# a user and a group of the tests that the machine need not know
other_group=12346

# user UID GID[,GID...] - print a command prefix that runs a program as this user; the first group is the primary one
user()
{
	echo "setpriv --reuid=$1 --regid=${2%%,*} --groups=$2"
}

# connecting UID GID[,GID...] - try to connect as this user; print an errno's name, "open" if the connection
# stays open for a second, or "closed"
connecting()
{
	$(user "$@") timeout 10 python3 -c '
import errno, socket, sys
s = socket.socket(socket.AF_UNIX)
s.settimeout(1)
try:
    s.connect(sys.argv[1])
    print("closed" if s.recv(1) == b"" else "data")
except socket.timeout:
    print("open")
except OSError as e:
    print(errno.errorcode[e.errno])' "$work/fs.sock"
}

# connects RESULT UID GID[,GID...]
connects()
{
	local want=$1 got
	shift
	got=$(connecting "$@")
	echo "$*: $got"
	[ "$got" = "$want" ]
}

# socket_is MODE GROUP
socket_is()
{
	stat -c '%a %g' "$work/fs.sock"
	[ "$(stat -c '%a %g' "$work/fs.sock")" = "$1 $2" ]
}

# By default only the user of vfsdaxhost can connect, whatever the umask is.
socket_private()
{
	umask 0
	start_host
	socket_is 600 0
	connects EACCES $stranger $stranger
	connects EACCES $stranger 0
	connects open 0 0
	stop host
}

socket_group()
{
	start_host --socket-group=$other_group
	socket_is 660 $other_group
	connects EACCES $stranger $stranger
	connects EACCES $stranger 0
	connects open $stranger $stranger,$other_group
	stop host
	start_host --socket-group=daemon
	socket_is 660 "$(getent group daemon | cut -d : -f 3)"
	stop host
}

socket_mode()
{
	start_host --socket-mode=0666
	socket_is 666 0
	connects open $stranger $stranger
	grep -q 'each user of this machine' "$work/host.log"
	stop host
	start_host --socket-group=$other_group --socket-mode=640
	socket_is 640 $other_group
	connects EACCES $stranger $stranger,$other_group
	fails grep 'each user' "$work/host.log"
	stop host
}

# While the socket is made only its owner can connect, and others only after group and mode are set.
socket_never_open()
{
	local i
	rm -f "$work/fs.sock"
	spawn watcher python3 -c '
import os, sys
seen = set()
while not os.path.exists(sys.argv[2]):
    try:
        st = os.lstat(sys.argv[1])
        seen.add((oct(st.st_mode & 0o7777), st.st_gid))
    except FileNotFoundError:
        pass
for mode, gid in sorted(seen):
    print(mode, gid)' "$work/fs.sock" "$work/over"
	for i in 1 2 3 4 5; do
		start_host --socket-group=$other_group
		until_true 50 socket_is 660 $other_group
		sleep 0.1
		stop host
	done
	: >"$work/over"
	[ "$(status_of watcher)" = 0 ]
	cat "$work/watcher.log"
	grep -qx "0o660 $other_group" "$work/watcher.log"
	fails grep -vxE "0o600 (0|$other_group)|0o660 $other_group" "$work/watcher.log"
}

# wrong_host STATUS PATTERN OPTION... - vfsdaxhost does not start, and one line says why
wrong_host()
{
	local status=0 want=$1 pattern=$2
	shift 2
	timeout 10 "$host" --shared-dir="$share" "$@" >"$work/out" 2>&1 </dev/null || status=$?
	cat "$work/out"
	[ "$status" = "$want" ]
	[ "$(wc -l <"$work/out")" = 1 ]
	grep -qE "^vfsdaxhost: .*$pattern" "$work/out"
}

socket_wrong()
{
	local sock=--socket-path=$work/fs.sock
	rm -f "$work/fs.sock"
	wrong_host 2 '--socket-mode=888: .* octal' "$sock" --socket-mode=888
	wrong_host 2 '--socket-mode=1777: .* 0777' "$sock" --socket-mode=1777
	wrong_host 2 '--socket-group=nonesuch: .* group' "$sock" --socket-group=nonesuch
	wrong_host 2 '--socket-group=-1: .* number' "$sock" --socket-group=-1
	wrong_host 2 'for --socket-path' --fd=3 --socket-mode=600
	wrong_host 2 '--window=3G: .* power of two' "$sock" --window=3G
	[ ! -e "$work/fs.sock" ]
	: >"$work/fs.sock"
	wrong_host 1 'fs.sock: cannot listen: Address already in use' "$sock"
	wrong_host 1 'none/s: cannot listen: No such file' --socket-path="$work/none/s"
	rm "$work/fs.sock"
}

# turned_away_lines - count the log lines about clients that were turned away
turned_away_lines()
{
	grep -c 'another client (uid [0-9]*, pid [0-9]*) was turned away: serving uid 0, pid [0-9]*$' \
		"$work/host.log" || true
}

# A client that connects while a mount is served is told so at once, and the mount works on.
second_client()
{
	local pid i
	"$host_fstest" --make "$share/data" 5M 7
	start_host --socket-mode=666
	start_fuse
	pid=$(cat "$work/fuse.pid")
	grep -qE "connected: uid 0, pid $pid$" "$work/host.log"
	connects closed $stranger $stranger
	[ "$(turned_away_lines)" = 1 ]
	grep "another client (uid $stranger, pid [0-9]*) was turned away: serving uid 0, pid $pid$" \
		"$work/host.log"
	# Many such clients fill neither the queue nor the log.
	for i in $(seq 20); do
		connects closed 0 0
	done
	[ "$(turned_away_lines)" -lt 15 ]
	timeout 20 "$host_fstest" --verify "$mnt/data" 5M 7
	end_by umount "$mnt"
	connects open 0 0
	stop host
}

# The same while the served client stops in the middle of a message.
second_client_of_a_slow_one()
{
	local began
	start_host
	spawn slow python3 -c '
import socket, sys, time
s = socket.socket(socket.AF_UNIX)
s.connect(sys.argv[1])
s.send(b"\1\0\0\0")
time.sleep(60)' "$work/fs.sock"
	until_true 50 grep -q connected "$work/host.log"
	sleep 0.3
	began=$SECONDS
	connects closed 0 0
	[ $((SECONDS - began)) -le 4 ]
	stop slow
	stop host
}

# A client that connects after the end of another is served, however soon it comes.
next_client()
{
	local i
	start_host
	for i in $(seq 20); do
		start_fuse
		umount "$mnt"
		[ "$(status_of fuse)" = 0 ]
	done
	python3 -c '
import socket, sys
for i in range(500):
    s = socket.socket(socket.AF_UNIX)
    s.connect(sys.argv[1])
    s.close()' "$work/fs.sock"
	[ "$(turned_away_lines)" = 0 ]
	stop host
}

# alone NAME COMMAND... - as check, and clean up after it, so that its failure does not fail the next one
alone()
{
	local name
	check "$@"
	! mounted || umount -l "$mnt"
	for name in fuse host slow watcher; do
		! running "$name" || stop "$name"
	done
}

socket()
{
	alone "socket: for its owner" socket_private
	alone "socket: --socket-group" socket_group
	alone "socket: --socket-mode" socket_mode
	alone "socket: at no moment open" socket_never_open
	alone "socket: wrong values" socket_wrong
	alone "socket: a second client" second_client
	alone "socket: a second client of a slow one" second_client_of_a_slow_one
	alone "socket: the next client" next_client
	rm -rf "${share:?}"/*
}

# An ordinary user runs vfsdaxhost as root of a user namespace that has no other ids.
one_id()
{
	local dir=$work/one-id
	mkdir "$dir" "$dir/share"
	cp "$host" "$dir/vfsdaxhost"
	chown -R $stranger:$stranger "$dir"
	rm -f "$work/fs.sock"
	# shellcheck disable=SC2046,SC2086 # words
	spawn host $(user $stranger $stranger) unshare --user --map-root-user "$dir/vfsdaxhost" \
		--shared-dir="$dir/share" --socket-path="$dir/fs.sock" ${VFSDAXFUSE_HOST_OPTIONS-}
	until_true 50 test -S "$dir/fs.sock"
	ln -s "$dir/fs.sock" "$work/fs.sock"
	grep -qE ' 1 of the user ids .* EINVAL$' "$work/host.log"
	grep -qE ' 1 of the group ids .* EINVAL$' "$work/host.log"
	start_fuse
	: >"$mnt/of-root"
	chmod 777 "$mnt"
	[ "$(stat -c %u "$dir/share/of-root")" = $stranger ]
	# shellcheck disable=SC2046 # words
	fails $(user 54321 54321) touch "$mnt/of-another" 2>"$work/out"
	grep 'Invalid argument' "$work/out"
	grep 'cannot act for uid 54321, gid 54321: Invalid argument .*uid_map' "$work/host.log"
	fails chown 54321:54322 "$mnt/of-root" 2>"$work/out"
	grep 'Invalid argument' "$work/out"
	grep 'cannot give a file to uid 54321, gid 54322: Invalid argument .*uid_map' "$work/host.log"
	end_by umount "$mnt"
	stop host
	rm "$work/fs.sock"
	rm -r "$dir"
}

# For root of the machine no id is missing, and the log says nothing about ids.
all_ids()
{
	start_host
	fails grep 'ids' "$work/host.log"
	stop host
}

ids()
{
	alone "ids: all" all_ids
	if $(user $stranger $stranger) unshare --user --map-root-user true 2>/dev/null; then
		alone "ids: one" one_id
	else
		skipped=$((skipped + 1))
		echo "skip ids: one - ordinary users may not make user namespaces here"
	fi
}
