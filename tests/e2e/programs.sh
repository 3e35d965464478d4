#!/bin/bash
# SPDX-License-Identifier: MIT
# Real programs on the mount in a virtual machine, each with its result checked; a storm of FORGETs;
# stress-ng.
# shellcheck disable=SC2016 # scripts in single quotes are for the guest
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"
# shellcheck source=tests/e2e/storm.sh
. "$here/storm.sh"
# shellcheck source=tests/e2e/stress-ng.sh
. "$here/stress-ng.sh"

usage="usage: programs.sh [--kernel 6.12|backports] [--long] [--only PARTS] [--scale N]
                    [BUILD-DIRECTORY]
  --long   all of stress-ng's file-system stressors, 5 s each
  --scale  one Nth of the files, for a quick look
  --only   programs, window, storm, stress_ng or upper; without it, all of them
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
mnt=/mnt/host
long="" scale=1 only="programs window upper storm stress_ng"

# program NAME DIRECTORY-OF-THE-MOUNT [ARGUMENT...] - one of programs/*.sh, in a directory of its own
program()
{
	local name=$1 where=$2 began=$SECONDS
	shift 2
	script 'dir=$1/$0
		mkdir "$dir"
		cp /tmp/package.deb /tmp/source.tar.gz "$dir"
		program=$2
		shift 2
		exec timeout -k 10 1800 "$program" "$dir" "$@"' "$name" "$where" \
		"$lab_prefix-src/tests/e2e/programs/$name.sh" "$@" </dev/null
	guest rm -r "$where/$name"
	echo "$name on $where: $((SECONDS - began)) s" >>"$work/times"
}

programs()
{
	local name files=$((20000 / scale))
	check "mount" mount_it vfsdax
	check "git repository" "$here/programs/git_origin.sh" "$share/origin.git" "$files"
	for name in exec sqlite build python archive overlay; do
		check "$name" program "$name" "$mnt"
	done
	check "git" program git "$mnt" "$files"
	check "served from the window" window_used
	check "end" end
}

# None of this would mean much if all of it had gone over the virtqueue.
window_used()
{
	local now
	now=$(stats)
	echo "$now"
	[ "$(number dax_reads "$now")" -gt 1000 ]
	[ "$(number dax_writes "$now")" -gt 1000 ]
	[ "$(number errors "$now")" = 0 ]
}

end()
{
	guest timeout 60 umount "$mnt"
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
}

# The same with a window of 2 MiB, where mappings come and go all the time.
window()
{
	check "small window: mount" mount_it small
	check "small window: sqlite" program sqlite "$mnt"
	check "small window: build" program build "$mnt"
	check "small window: exec" program exec "$mnt"
	check "small window: mappings made room" made_room
	check "small window: end" end
}

made_room()
{
	local now
	now=$(stats)
	echo "$now"
	[ "$(number evictions "$now")" -gt 0 ]
}

# overlay_answers DIRECTORY FILE - what the kernel says of it as upper layer
overlay_answers()
{
	program overlay "$1" >"$work/overlay"
	cat "$work/overlay"
	grep '^upper' "$work/overlay" >"$work/$2"
}

storm()
{
	check "storm: mount" mount_it vfsdax
	storm_rounds storm $((200000 / scale))
	check "storm: end" end
	rm -rf "$share/storm"
}

# What works as overlayfs' upper layer on the kernel's virtiofs works here, and what does not fails alike.
upper()
{
	check "upper: mount" mount_it vfsdax
	check "upper: the same as with virtiofs" upper_same
	check "upper: end" end
}

upper_same()
{
	kernel_mount
	overlay_answers /mnt/kernel theirs
	guest umount /mnt/kernel
	overlay_answers "$mnt" ours
	diff "$work/theirs" "$work/ours"
	grep -q 'upper.*works' "$work/ours"
}

# The kernel's own virtiofs, on the other device.
kernel_mount()
{
	guest mkdir -p /mnt/kernel
	guest mount -t virtiofs small /mnt/kernel
}

start_hosts()
{
	mkdir "$work/share2"
	spawn host2 "$host" --shared-dir="$work/share2" --socket-path="$work/fs2.sock" \
		--tag=small --window=2M
	start_host
}

boot_for_programs()
{
	boot --socket "$work/fs.sock" --socket "$work/fs2.sock"
	vm push "$lab_packages/package.deb" "$lab_packages/source.tar.gz" /tmp
}

while [ $# != 0 ]; do
	case $1 in
	--kernel) kernel=$2; shift 2 ;;
	--long) long=yes; shift ;;
	--scale) scale=$2; shift 2 ;;
	--only) only=$2; shift 2 ;;
	-h | --help) echo "$usage"; exit ;;
	-*) echo "$usage" >&2; exit 2 ;;
	*) build=$(realpath "$1"); shift ;;
	esac
done
need_root
vm_name=programs-$kernel-$$	# others may run the same
# shellcheck disable=SC2034 # lib.sh uses it
host=$build/src/host/vfsdaxhost
need_prepared "$host" "$lab_out/sbin/vfsdaxfuse" "$lab_packages/package.deb"
make_work
trap end_all EXIT
trap 'exit 1' INT TERM HUP
check "hosts start" start_hosts
check "boot" boot_for_programs
[ "$failed" = 0 ] || only=""
for group in $only; do
	began=$SECONDS
	$group
	echo "# $group: $((SECONDS - began)) s"
done
check "no warnings of the kernel" no_warnings
sed 's/^/# /' "$work/times" 2>/dev/null || true
tally
