# SPDX-License-Identifier: MIT
# Stock virtiofsd as the host; what is the same with and without a VM. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # work, share, here come from the script

# virtiofsd 1.13 knows no FUSE_TMPFILE.
no_tmpfile='O_TMPFILE.*Operation not supported'
# Without --xattr it has none.
no_xattr='Operation not supported'
# Without --killpriv-v2 it leaves set-id bits to the kernel, which drops them for the writes of its
# page cache only: not where cache=never or cache=metadata make it write directly.
suid_stays='is (3565|2541), not 0755'
# Without --posix-acl.
no_acl='Operation not supported, not ENODATA'
no_mmap='MAP_FAILED .*No such device'

# start_virtiofsd NAME SHARED-DIR SOCKET OPTION... - it listens when this returns
#
# It comes from the lab's Debian 13, with all other paths those of the machine.
start_virtiofsd()
{
	local name=$1 dir=$2 socket=$3
	shift 3
	rm -f "$socket"
	# shellcheck disable=SC2016 # expanded by the inner shell
	spawn "$name" bash -c '. "$0/../vm/lib.sh"; exec_in_tree "$lab_qemu" "$@"' "$here" \
		/usr/libexec/virtiofsd --shared-dir="$dir" --socket-path="$socket" "$@"
	until_true 100 test -S "$socket"
	rm -f "$socket.pid" # its lock, which looks like one of ours
}

# virtiofsd_ended NAME - it ends with its front end, and had nothing to complain about
virtiofsd_ended()
{
	[ "$(status_of "$1")" = 0 ]
	fails grep -E 'ERROR|panicked' "$work/$1.log"
}

# virtiofsd_process NAME - the process that serves: in a sandbox it is a child
virtiofsd_process()
{
	local pid
	pid=$(cat "$work/$1.pid")
	pgrep -P "$pid" || echo "$pid"
}

# requests COUNTER COMMAND... - print by how much a counter grows while the command runs
requests()
{
	local counter=$1 before
	shift
	before=$(number "$counter" "$(stats)")
	guest "$@" >/dev/null
	echo $(($(number "$counter" "$(stats)") - before))
}

# reads_again SEED yes|no - does a second reading of a file ask the host again?
reads_again()
{
	local size=$((4 * 1048576)) again
	"$host_fstest" --make "$share/again$1" $size "$1"
	guest "$guest_fstest" --verify "$mnt/again$1" $size "$1"
	again=$(requests virtqueue_read_bytes "$guest_fstest" --verify "$mnt/again$1" $size "$1")
	rm "$share/again$1"
	echo "$again bytes were read again"
	case $2 in
	yes) [ "$again" -ge $size ] ;;
	no) [ "$again" = 0 ] ;;
	esac
}

# sees_mode yes|no - does the guest see at once that the host changed a mode?
sees_mode()
{
	local mode
	: >"$share/mode"
	chmod 600 "$share/mode"
	[ "$(guest stat -c %a "$mnt/mode")" = 600 ]
	chmod 640 "$share/mode"
	mode=$(guest stat -c %a "$mnt/mode")
	echo "the guest sees $mode"
	rm "$share/mode"
	case $1 in
	yes) [ "$mode" = 640 ] ;;
	no) [ "$mode" = 600 ] ;;
	esac
}

# small_writes LEAST MOST - that many requests for a thousand writes of one byte, one after the other
#
# With --xattr the kernel asks for security.capability before each, also with its writeback cache.
small_writes()
{
	local n
	n=$(requests kernel_requests dd if=/dev/zero of="$mnt/small" bs=1 count=1000 status=none)
	rm "$share/small"
	echo "$n requests"
	[ "$n" -ge "$1" ] && [ "$n" -le "$2" ]
}

# ACLs are kept by the host and decide in the guest.
acls()
{
	: >"$share/acl"
	chmod 600 "$share/acl"
	mkdir "$share/acls"
	guest setfacl -m u:nobody:r "$mnt/acl"
	getfacl -pc "$share/acl" | grep -q '^user:nobody:r--'
	guest setpriv --reuid nobody --clear-groups cat "$mnt/acl"
	fails guest setpriv --reuid nobody --clear-groups sh -c "echo x >>$mnt/acl"
	guest setfacl -d -m u:nobody:rw "$mnt/acls"
	guest touch "$mnt/acls/heir"
	getfacl -pc "$share/acls/heir" | grep -q '^user:nobody:rw-'
	rm -r "$share/acl" "$share/acls"
}

no_acls()
{
	: >"$share/acl"
	fails guest setfacl -m u:nobody:r "$mnt/acl"
	rm "$share/acl"
}

read_only()
{
	"$host_fstest" --make "$share/there" 300000 1
	guest "$guest_fstest" --verify "$mnt/there" 300000 1
	fails guest touch "$mnt/new" 2>"$work/out"
	grep -q 'Read-only file system' "$work/out"
	fails guest sh -c "echo x >>$mnt/there"
	fails guest rm "$mnt/there"
	"$host_fstest" --verify "$share/there" 300000 1
	rm "$share/there"
}

# known_files LEAST MOST - that many descriptors has virtiofsd when the guest knows 300 files
known_files()
{
	local n
	mkdir "$share/many"
	(cd "$share/many" && touch {1..300})
	guest ls -l "$mnt/many" >/dev/null
	guest sh -c "exec cat $mnt/many/*"
	n=$(find "/proc/$(virtiofsd_process host)/fd" -type l | wc -l)
	echo "$n descriptors"
	rm -r "$share/many"
	[ "$n" -ge "$1" ] && [ "$n" -le "$2" ]
}
