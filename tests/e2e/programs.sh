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
# shellcheck source=tests/e2e/programs-lib.sh
. "$here/programs-lib.sh"
# shellcheck source=tests/e2e/storm.sh
. "$here/storm.sh"
# shellcheck source=tests/e2e/stress-ng.sh
. "$here/stress-ng.sh"

usage="usage: programs.sh [--kernel 6.12|backports] [--long] [--only PARTS] [--scale N]
                    [--stressors NAMES] [BUILD-DIRECTORY]
  --long   20,000 files of git, a storm of 200,000, and all of stress-ng's file-system stressors, 5 s
           each
  --scale  one Nth of these files: 20, or 1 with --long
  --only   programs, window, storm, stress_ng or upper; without it, all of them
  --stressors  only these of stress-ng
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
mnt=/mnt/host
programs_path=$lab_prefix-src/tests/e2e/programs packages_path=/tmp scratch_path=/tmp
long="" scale="" stressors="" only="programs window upper storm stress_ng"

programs()
{
	check "mount" mount_it vfsdax
	many_programs "" exec sqlite build python archive overlay
	git_program "" $((20000 / scale))
	check "served from the window" window_used
	check "end" end
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
	many_programs "small window: " sqlite build exec
	check "small window: mappings came and went" came_and_went
	check "small window: end" end
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

read_options "kernel scale only stressors" long "$@"
[ "${#rest[@]}" = 0 ] || wrong_usage
[ -n "$scale" ] || scale=$([ -n "$long" ] && echo 1 || echo 20)
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
say_times
tally
