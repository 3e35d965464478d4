# SPDX-License-Identifier: MIT
# Names and helpers that the scripts of the lab share; to be sourced by bash.
# shellcheck shell=bash disable=SC2034 # the names are for those who source this

lab_cache=$(realpath -m "${VFSDAXFUSE_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/vfsdaxfuse}")
lab_source=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)

# Trees and images that prepare makes.
lab_qemu=$lab_cache/qemu/tree		# Debian 13 with QEMU and the tools that make images
lab_build=$lab_cache/build/tree		# Debian 13 with compiler and libraries
lab_guest=$lab_cache/guest		# root.img, the guests' root file system; id, the ssh key
lab_kernels=$lab_cache/kernels		# 6.12 and backports: vmlinuz, initrd, modules.img, release
lab_packages=$lab_cache/packages	# package.deb and source.tar.gz, for tests/e2e/programs.sh

# What build-guest makes: installed files, and the meson build directory in build/.
# The guest sees it, as the compiler did, at lab_prefix, and the sources at lab_prefix-src.
lab_out=$lab_cache/out
lab_prefix=/opt/vfsdaxfuse

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
