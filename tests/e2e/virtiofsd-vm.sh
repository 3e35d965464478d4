#!/bin/bash
# SPDX-License-Identifier: MIT
# End-to-end tests in a VM: vfsdaxfuse on QEMU's vhost-user-fs-pci, next to the kernel's virtiofs.
# shellcheck disable=SC2016 # scripts in single quotes are for the guest
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
# shellcheck source=tests/e2e/virtiofsd-lib.sh
. "$here/virtiofsd-lib.sh"

usage="usage: virtiofsd-vm.sh [--kernel 6.1|6.12|backports] [BUILD-DIRECTORY]
The hosts are stock virtiofsd and vfsdaxhost, without a window. What the kernel's own virtiofs passes on
a device, vfsdaxfuse must pass, too; where it fails, vfsdaxfuse may fail in the same way."

kernel=6.12
build=$native_build
mnt=/mnt/host
guest_fstest=$lab_prefix/build/tests/e2e/fstest

# Of fstest, where the full list runs elsewhere: what queues and options of the host could break.
short=(small_files overwrite append large_requests direct_io file_size_limit tell_and_seek rename_flags
	setuid_dropped unnamed_file mmap_write two_writers locks random_model random_threads)

# use NUMBER - from now on all is about this device
use()
{
	tag=fs$1 device=0000:00:1$1.0 share=$work/share$1
}

# with_kernel - what the kernel's virtiofs does here is what is expected
#
# Its failures are allowed, so that a test that only we pass is no defect.
with_kernel()
{
	guest mkdir -p /mnt/kernel
	guest mount -t virtiofs "$tag" /mnt/kernel
	guest timeout 1200 "$guest_fstest" --ops "${VFSDAXFUSE_TEST_OPS:-3000}" --timeout 180 \
		--except ten_thousand /mnt/kernel "$@" >"$work/kernel.out" </dev/null || true
	[ -s "$work/kernel.out" ]
	guest umount /mnt/kernel
}

# compared LABEL [TEST...] - the same tests, first by the kernel, then by us
compared()
{
	local label=$1 line name
	shift
	check "$label: kernel's virtiofs" with_kernel "$@"
	check "$label: mount" mount_it "$tag"
	expected=() tolerated=()
	while read -r line; do
		name=${line#not ok } name=${name%% - *}
		echo "# $label: the kernel's virtiofs: $line"
		tolerated[$name]=${line#* - }
	done < <(grep '^not ok' "$work/kernel.out")
	run_fstest "$label" --timeout 180 --except ten_thousand "$mnt" "$@"
	tolerated=()
}

unmounted()
{
	guest umount "$mnt"
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
	[ "$(driver)" = virtio-pci ]
}

# And the kernel's own driver has the device again.
given_back()
{
	: >"$share/back"
	guest mount -t virtiofs "$tag" /mnt/kernel
	guest test -e /mnt/kernel/back
	guest umount /mnt/kernel
}

auto()
{
	use 0
	check "auto: dax=always" refused 32 'no DAX window' -o dax=always "$tag" "$mnt"
	compared auto
	check "auto: 64 MiB read" read_whole no 64
	check "auto: 32 MiB written" write_whole no 32
	check "auto: guest changes" guest_changes
	check "auto: end" unmounted
	check "auto: given back" given_back
}

never()
{
	use 1
	compared never "${short[@]}"
	check "never: host changes an open file" host_changes_open
	check "never: host changes names" host_changes_names
	check "never: end" unmounted
}

writeback()
{
	use 2
	compared writeback "${short[@]}"
	check "writeback: few requests for many writes" small_writes 1000 1100
	check "writeback: ACLs" acls
	check "writeback: a file system below" submount
	check "writeback: end" unmounted
}

# The kernel offers FUSE_SUBMOUNTS to its own driver only: a difference that we cannot mend.
submount()
{
	guest test "$(guest stat -c %d "$mnt/sub")" = "$(guest stat -c %d "$mnt")"
	"$host_fstest" --make "$share/sub/a" 100000 1
	guest "$guest_fstest" --verify "$mnt/sub/a" 100000 1
	rm "$share/sub/a"
}

queues()
{
	use 3
	compared queues "${short[@]}"
	check "queues: 64 MiB read" read_whole no 64
	check "queues: end" unmounted
	check "queues: given back" given_back
}

# cannot PATTERN OPTION... - QEMU refuses to start with a device of virtiofsd's
cannot()
{
	local pattern=$1
	shift
	fails boot --device vhost-user-fs "$@" --socket "$work/no.sock" >"$work/no.out" 2>&1
	cat "$work/no.out"
	grep -q "$pattern" "$work/no.out"
}

start_hosts()
{
	local i
	for i in 0 1 2 3; do
		mkdir "$work/share$i"
	done
	mkdir "$work/share2/sub"
	mount -t tmpfs tmpfs "$work/share2/sub"
	start_virtiofsd host0 "$work/share0" "$work/0.sock" --xattr
	start_virtiofsd host1 "$work/share1" "$work/1.sock" --cache=never --killpriv-v2 --xattr \
		--thread-pool-size=4
	start_virtiofsd host2 "$work/share2" "$work/2.sock" --writeback --posix-acl \
		--announce-submounts
	spawn host3 "$host" --shared-dir="$work/share3" --socket-path="$work/3.sock" \
		--num-request-queues=4 --cache=none
}

# What is told of both here is a fact about virtiofsd 1.13, and a change of it good news.
refusals()
{
	local option
	for option in "--num-request-queues 4" "--device-options iommu_platform=on,ats=on"; do
		start_virtiofsd no "$work/share0" "$work/no.sock"
		# shellcheck disable=SC2086 # words
		case $option in
		--num*) cannot 'vhost_set_vring_call failed' $option ;;
		*) cannot 'iommu_platform=true is not supported' $option ;;
		esac
		status_of no >/dev/null
	done
}

hosts_ended()
{
	local i
	for i in 0 1 2; do
		virtiofsd_ended "host$i"
	done
}

read_options kernel "" "$@"
[ "${#rest[@]}" = 0 ] || wrong_usage
need_root
vm_name=virtiofsd-$kernel-$$
lab_debian "$(lab_debian_of "$kernel")"
# shellcheck disable=SC2034 # lib.sh and cross.sh use them
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest
need_prepared "$host" "$host_fstest" "$lab_out/build/tests/e2e/fstest" "$lab_qemu/usr/libexec/virtiofsd"
# A mount namespace that others begin meanwhile must not keep a copy of our mounts.
[ -n "${VFSDAXFUSE_E2E-}" ] || VFSDAXFUSE_E2E=1 exec unshare --mount "$0" --kernel "$kernel" "$build"
make_work
trap end_all EXIT
trap 'exit 1' INT TERM HUP
check "hosts start" start_hosts
check "what virtiofsd does not take" refusals
check "boot" boot --device vhost-user-fs --socket "$work/0.sock" --vq-size 128 \
	--socket "$work/1.sock" --vq-size 256 --socket "$work/2.sock" --num-request-queues 4 \
	--socket "$work/3.sock"
for group in auto never writeback queues; do
	began=$SECONDS
	$group
	echo "# $group: $((SECONDS - began)) s"
done
check "no warnings of the kernel" no_warnings
vm stop
check "virtiofsd ends with QEMU" hosts_ended
umount "$work/share2/sub"
tally
