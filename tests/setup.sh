# SPDX-License-Identifier: MIT
# Packages and builds that check and demo need on the machine itself; to be sourced by bash.
# shellcheck shell=bash disable=SC2034 # the names are for those who source this

# shellcheck source=tests/vm/lib.sh
. "$(dirname "${BASH_SOURCE[0]}")/vm/lib.sh"

# What a build needs, and what the tests and linters need besides. QEMU, guests and their build
# tree are the business of tests/vm/prepare.
build_packages=(gcc libc6-dev linux-libc-dev meson ninja-build pkgconf libfuse3-dev libcmocka-dev
	libdevmapper-dev libseccomp-dev liburing-dev scdoc)
check_packages=(acl attr btrfs-progs e2fsprogs fio fuse3 git gnuplot-nox procps python3
	pyflakes3 cppcheck clang-format codespell shellcheck
	busybox-static libcap2-bin make python3-venv rsync sqlite3) # these for tests/e2e/programs/

# Where the builds go, outside of the repository.
native_build=$lab_cache/native
sanitize_build=$lab_cache/native-sanitize
tsan_build=$lab_cache/native-tsan

# ensure_packages PACKAGE... - apt is asked only for what is missing
ensure_packages()
{
	local missing=() package
	for package; do
		dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null |
			grep -qx installed || missing+=("$package")
	done
	[ "${#missing[@]}" != 0 ] || return 0
	echo "installing ${missing[*]}"
	apt-get -qq update
	DEBIAN_FRONTEND=noninteractive apt-get -qq install --no-install-recommends \
		"${missing[@]}" </dev/null >/dev/null
}

# build_in DIR [MESON-OPTION...] - an up-to-date build; a directory of other sources is not reused
build_in()
{
	local dir=$1 origin
	shift
	origin="$lab_source $(gcc -dumpfullversion) $*"
	if [ "$(cat "$dir/.origin" 2>/dev/null)" != "$origin" ]; then
		rm -rf --one-file-system "$dir"
		mkdir -p "$dir"
		meson setup "$@" "$dir" "$lab_source"
		echo "$origin" >"$dir/.origin"
	fi
	ninja -C "$dir"
}
