#!/bin/bash
# SPDX-License-Identifier: MIT
# What INIT negotiates, in a virtual machine: the kernel's virtiofs and vfsdaxfuse on the same host.
# shellcheck disable=SC2016 # scripts in single quotes are for the guest
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"

usage="usage: proto.sh [--kernel 6.12|backports] [BUILD-DIRECTORY]
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=backports
build=$native_build
mnt=/mnt/host
guest_fstest=$lab_prefix/build/tests/e2e/fstest
proto_tests=(acl_checked default_acl_and_umask acl_drops_setgid supplementary_group tmpfile_linked
	birth_time sync_fs symlink_replaced xattrs_of_special setuid_two_writers idmapped_mount)

mount_kernel()
{
	script 'mkdir -p "$0"; mount -t virtiofs vfsdax "$0"' "$mnt"
}

mount_ours()
{
	guest timeout 60 vfsdaxfuse "$mnt"
}

unmount()
{
	guest umount -R "$mnt"
	script 'for i in $(seq 200); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
}

# granted FLAG - in the last INIT
granted()
{
	grep 'granted: ' "$work/host.log" | tail -n 1 | grep -qE " $1( |$)"
}

device()
{
	guest stat -c %d "$mnt/$1"
}

# Only the kernel's virtiofs offers SUBMOUNTS: a mounted file system has a device number of its own.
submounts_shown()
{
	granted SUBMOUNTS
	guest ls -l "$mnt/sub" # mounts it
	[ "$(device sub/dir)" != "$(device .)" ]
	[ "$(device dir)" = "$(device .)" ]
	[ "$(guest cat "$mnt/sub/dir/file")" = inside ]
}

submounts_hidden()
{
	fails granted SUBMOUNTS
	[ "$(device sub/dir)" = "$(device .)" ]
	[ "$(guest cat "$mnt/sub/dir/file")" = inside ]
}

# Each way to make something; the host must have the label of the guest's security module.
labels()
{
	local name
	granted SECURITY_CTX
	script 'cd "$0"; mkdir made; cd made; : >f; mkdir d; ln -s f s; mkfifo p' "$mnt"
	for name in f d s p; do
		getfattr -h -n security.selinux --only-values "$share/made/$name"
		echo
	done
	rm -r "$share/made"
}

flags_alike()
{
	local flag
	for flag in POSIX_ACL DONT_MASK HANDLE_KILLPRIV_V2 SETXATTR_EXT CREATE_SUPP_GROUP \
		PARALLEL_DIROPS ASYNC_DIO DO_READDIRPLUS READDIRPLUS_AUTO AUTO_INVAL_DATA; do
		granted "$flag" || {
			echo "$flag is not granted"
			return 1
		}
	done
}

# with_client NAME MOUNT SUBMOUNTS
with_client()
{
	check "$1: mount" "$2"
	check "$1: flags" flags_alike
	check "$1: submounts" "$3"
	check "$1: security labels" labels
	run_fstest "$1" --timeout 90 "$mnt" "${proto_tests[@]}"
	check "$1: unmount" unmount
}

end_all()
{
	vm stop || true
	rm -rf "${lab_run:?}/$vm_name" "$lab_run/$vm_name.lock"
	umount "$share/sub" || true
	finish_all
}

read_options kernel "" "$@"
[ "${#rest[@]}" = 0 ] || wrong_usage
[ "$(id -u)" = 0 ] || { echo "proto.sh: needs root" >&2; exit 1; }
# The file system mounted inside of the share is ours alone; unmounts of others come in.
[ -n "${VFSDAXFUSE_PROTO-}" ] ||
	VFSDAXFUSE_PROTO=1 exec unshare --mount --propagation slave "$0" --kernel "$kernel" "$build"
vm_name=proto-$kernel-$$
# shellcheck disable=SC2034 # lib.sh uses it
host=$build/src/host/vfsdaxhost
make_work
trap end_all EXIT
trap 'exit 1' INT TERM HUP
mkdir "$share/dir" "$share/sub"
mount -t tmpfs -o mode=755 proto "$share/sub"
mkdir "$share/sub/dir"
echo inside >"$share/sub/dir/file"
check "host starts" start_host --announce-submounts --security-label --log-level=debug
# Without a policy SELinux labels everything "unlabeled", which is a label.
check "boot" vm start --kernel "$kernel" --timeout 240 --socket "$work/fs.sock" \
	--append 'security=selinux enforcing=0'
with_client "kernel virtiofs" mount_kernel submounts_shown
with_client vfsdaxfuse mount_ours submounts_hidden
tally
