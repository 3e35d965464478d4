# SPDX-License-Identifier: MIT
# Names and helpers that the scripts of the lab share; to be sourced by bash.
# shellcheck shell=bash disable=SC2034 # the names are for those who source this

lab_cache=$(realpath -m "${VFSDAXFUSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfsdaxfuse}")
lab_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Trees and images that prepare makes.
lab_qemu=$lab_cache/qemu/tree		# Debian 13 with QEMU, virtiofsd and what makes images
lab_kernels=$lab_cache/kernels		# for each kernel: vmlinuz, initrd, modules.img, release
lab_packages=$lab_cache/packages	# package.deb and source.tar.gz, for tests/e2e/programs.sh

# The guest sees what build-guest has made, as the compiler did, at lab_prefix, and the sources at
# lab_prefix-src.
lab_prefix=/opt/vfsdaxfuse

# lab_debian trixie|bookworm - set the names of what belongs to the guests of a Debian release
lab_debian()
{
	local suffix=""
	[ "$1" = trixie ] || suffix=-$1
	lab_build=$lab_cache/build$suffix/tree	# with compiler and libraries
	lab_guest=$lab_cache/guest$suffix	# root.img, the root file system; id, the ssh key
	lab_out=$lab_cache/out$suffix		# of build-guest: what it installs, and build/
}

# lab_debian_of KERNEL - print the Debian release whose guest runs a kernel
lab_debian_of()
{
	case $1 in
	6.1) echo bookworm ;;
	*) echo trixie ;;
	esac
}

lab_debian trixie

lab_run=$lab_cache/run			# one directory for each VM

# die MESSAGE... - say what is wrong and leave
die()
{
	echo "${0##*/}: $*" >&2
	exit 1
}

# need_root - the lab mounts and makes device nodes
need_root()
{
	[ "$(id -u)" = 0 ] || die "needs root"
}

# need_prepared FILE... - stop with advice when the preparation is missing
need_prepared()
{
	local file
	for file; do
		[ -e "$file" ] || die "$file is missing: run tests/vm/prepare first"
	done
}

# exec_in_tree TREE COMMAND... - become a command with the /usr and /etc of another Debian tree
#
# All other paths stay those of the host, so sockets and files have one name on both sides. The
# mounts live in a mount namespace of their own and go with the last process in it.
exec_in_tree()
{
	local tree=$1
	shift
	# shellcheck disable=SC2016 # expanded by the inner shell
	exec unshare --mount --propagation slave sh -ec '
		mount --bind "$0/etc" /etc
		mount --bind "$0/usr" /usr
		exec "$@"' "$tree" "$@"
}

# in_tree TREE COMMAND... - run such a command
in_tree()
{
	(exec_in_tree "$@")
}
