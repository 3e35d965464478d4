#!/bin/bash
# SPDX-License-Identifier: MIT
# End-to-end tests without a VM: vfsdaxfuse on stock virtiofsd, which has no DAX window.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/local.sh
. "$here/local.sh"
# shellcheck source=tests/e2e/cross.sh
. "$here/cross.sh"
# shellcheck source=tests/e2e/virtiofsd-lib.sh
. "$here/virtiofsd-lib.sh"

usage="usage: virtiofsd.sh BUILD-DIRECTORY [CONFIGURATION...]
Configurations: auto never always metadata writeback readonly pool handles killpriv mmap plain
submounts refused (default: all)."

# Of fstest, where the full list runs elsewhere: what an option could break.
short=(overwrite append direct_io tell_and_seek rename_flags setuid_dropped mmap_write
	mmap_coherent two_writers locks random_model random_threads)

# with_virtiofsd NAME OPTIONS COMMAND... - the command with a mount, then the end of both
with_virtiofsd()
{
	local name=$1 options
	read -ra options <<<"$2"
	shift 2
	check "$name: virtiofsd starts" start_virtiofsd host "$share" "$work/fs.sock" "${options[@]}"
	check "$name: mount" start_fuse
	if mounted; then
		"$@" "$name"
	fi
	check "$name: end" end_virtiofsd
	stop fuse
	stop host
	rm -rf "${share:?}"/*
	expected=()
}

end_virtiofsd()
{
	umount "$mnt"
	[ "$(status_of fuse)" = 0 ]
	not_mounted
	virtiofsd_ended host
	cat "$work/fuse.log"
	[ "$(cat "$work/fuse.log")" = "$no_window" ]
}

no_window='vfsdaxfuse: the device has no DAX window: all data goes over the virtqueue'

# Without what needs ACLs (here they have a test of their own) and what virtiofsd does not have.
all_of_fstest()
{
	expected[unnamed_file]=$no_tmpfile
	expected[special_acl]=$no_acl
	expected[xattrs_of_special]=$no_acl
	run_fstest "$1" --timeout 60 --except ten_thousand --except acl_checked \
		--except default_acl_and_umask --except acl_drops_setgid --except tmpfile_linked \
		--except birth_time "$mnt"
}

# Where nothing is cached virtiofsd has shared mappings only with --allow-mmap, for the kernel's own
# client as for us.
no_mmap_of()
{
	local test
	for test; do
		expected[$test]=$no_mmap
	done
}

some_of_fstest()
{
	run_fstest "$1" --timeout 60 "$mnt" "${short[@]}"
}

with_auto()
{
	all_of_fstest "$1"
	check "$1: 64 MiB read" read_whole no 64
	check "$1: 32 MiB written" write_whole no 32
	check "$1: guest changes" guest_changes
	check "$1: data is read again after an open" reads_again 1 yes
	check "$1: a request for each write" small_writes 2000 2100
	check "$1: no ACLs" no_acls
	check "$1: descriptors" known_files 300 1000
}

with_never()
{
	expected[setuid_dropped]=$suid_stays
	expected[setuid_two_writers]=$suid_stays
	no_mmap_of mmap_read mmap_write mmap_coherent mmap_truncated mmap_truncate_on_open mmap_hole \
		mmap_emptied_while_written_back mmap_as_buffer two_mappers random_model_mmap
	all_of_fstest "$1"
	check "$1: host changes an open file" host_changes_open
	check "$1: host changes names" host_changes_names
	check "$1: sees a mode" sees_mode yes
}

with_always()
{
	some_of_fstest "$1"
	check "$1: data is kept" reads_again 1 no
	check "$1: attributes are kept" sees_mode no
	check "$1: ACLs" acls
}

with_metadata()
{
	expected[setuid_dropped]=$suid_stays
	no_mmap_of mmap_write mmap_coherent
	some_of_fstest "$1"
	check "$1: data is not kept" reads_again 1 yes
	check "$1: attributes are kept" sees_mode no
}

with_writeback()
{
	all_of_fstest "$1"
	check "$1: few requests for many writes" small_writes 1000 1100
}

with_readonly()
{
	check "$1: no changes" read_only
}

with_pool()
{
	some_of_fstest "$1"
	check "$1: guest changes" guest_changes
	check "$1: threads" pool_threads 4
}

pool_threads()
{
	local n
	n=$(find "/proc/$(virtiofsd_process host)/task" -mindepth 1 -maxdepth 1 | wc -l)
	echo "$n threads"
	[ "$n" -gt "$1" ]
}

with_handles()
{
	some_of_fstest "$1"
	check "$1: few descriptors" known_files 1 100
}

# Without --xattr, too, so that what is absent is refused as the kernel does.
with_plain()
{
	expected[xattrs]=$no_xattr
	expected[capability_dropped]=$no_xattr
	run_fstest "$1" --timeout 60 "$mnt" xattrs capability_dropped "${short[@]}"
}

with_submounts()
{
	check "$1: both file systems" both_file_systems
	umount "$share/sub"
}

# The kernel offers FUSE_SUBMOUNTS to its own virtiofs only, so all is one file system here: files with
# the same inode number on the host must stay two.
both_file_systems()
{
	local file
	[ "$(stat -c %d "$share/sub")" != "$(stat -c %d "$share")" ]
	[ "$(stat -c %d "$mnt/sub")" = "$(stat -c %d "$mnt")" ]
	for file in a sub/a; do
		"$host_fstest" --make "$share/$file" 100000 ${#file}
		"$host_fstest" --verify "$mnt/$file" 100000 ${#file}
		"$host_fstest" --put "$mnt/$file" 0 100000 7${#file}
		"$host_fstest" --verify "$share/$file" 100000 7${#file}
	done
	fails ln "$mnt/a" "$mnt/sub/b" 2>"$work/out"
	grep -q 'cross-device' "$work/out"
}

# Nothing to mount where the window is a must; the other ways work.
dax_options()
{
	check "dax: virtiofsd starts" start_virtiofsd host "$share" "$work/fs.sock"
	check "dax: always" refused 32 'no DAX window' --vhost-user="$work/fs.sock" -o dax=always "$mnt"
	check "dax: virtiofsd ends" virtiofsd_ended host
	check "dax: virtiofsd starts again" start_virtiofsd host "$share" "$work/fs.sock"
	check "dax: never" start_fuse -o dax=never
	check "dax: nothing is said of a window" without_a_word
	stop host
}

without_a_word()
{
	umount "$mnt"
	[ "$(status_of fuse)" = 0 ]
	[ ! -s "$work/fuse.log" ]
	virtiofsd_ended host
}

run_configuration()
{
	case $1 in
	auto) with_virtiofsd auto "--xattr" with_auto ;;
	never) with_virtiofsd never "--cache=never --xattr" with_never ;;
	always) with_virtiofsd always "--cache=always --posix-acl" with_always ;;
	metadata) with_virtiofsd metadata "--cache=metadata" with_metadata ;;
	writeback) with_virtiofsd writeback "--writeback --xattr" with_writeback ;;
	readonly) with_virtiofsd readonly "--readonly" with_readonly ;;
	pool) with_virtiofsd pool "--thread-pool-size=4 --cache=never --allow-mmap --killpriv-v2" with_pool ;;
	handles)
		with_virtiofsd handles \
			"--inode-file-handles=mandatory --modcaps=+dac_read_search" with_handles
		;;
	killpriv)
		with_virtiofsd killpriv "--cache=never --allow-mmap --killpriv-v2 --xattr" some_of_fstest
		;;
	mmap) with_virtiofsd mmap "--cache=metadata --allow-mmap --killpriv-v2" some_of_fstest ;;
	plain) with_virtiofsd plain "--sandbox=chroot --no-readdirplus" with_plain ;;
	submounts)
		mkdir "$share/sub"
		mount -t tmpfs tmpfs "$share/sub"
		with_virtiofsd submounts "--announce-submounts" with_submounts
		;;
	refused) dax_options ;;
	*) echo "$usage" >&2; exit 2 ;;
	esac
}

[ $# != 0 ] || { echo "$usage" >&2; exit 2; }
need_root
need_prepared "$lab_qemu/usr/libexec/virtiofsd"
build=$(realpath "$1")
shift
# shellcheck disable=SC2034 # lib.sh, local.sh and cross.sh use them
fuse=$build/src/daemon/vfsdaxfuse
host_fstest=$build/tests/e2e/fstest guest_fstest=$host_fstest
# A mount namespace that others begin meanwhile must not keep a copy of our mounts.
[ -n "${VFSDAXFUSE_E2E-}" ] || VFSDAXFUSE_E2E=1 exec unshare --mount "$0" "$build" "$@"
make_work
mnt=$work/mnt
trap finish_all EXIT
trap 'exit 1' INT TERM HUP
[ $# != 0 ] || set -- auto never always metadata writeback readonly pool handles killpriv mmap \
	plain submounts refused
for configuration; do
	began=$SECONDS
	run_configuration "$configuration"
	echo "# $configuration: $((SECONDS - began)) s"
done
tally
