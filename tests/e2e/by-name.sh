#!/bin/bash
# SPDX-License-Identifier: MIT
# For meson test: run a test script, or say why not. The programs in the guest are built first.
# usage: by-name.sh SCRIPT ARGUMENT...
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/vm/lib.sh
. "$here/../vm/lib.sh"

skip()
{
	echo "skipped: $1"
	exit 77
}

[ "$(id -u)" = 0 ] || skip "it needs root"
[ -e /dev/fuse ] || skip "there is no /dev/fuse"
case $(basename "$1") in
native.sh) ;;
*)
	[ "${2-}" != --kernel ] || [ -d "$lab_cache/kernels/$3" ] ||
		skip "no virtual machines: tests/vm/prepare makes them (for 6.1: build-bookworm guest-bookworm 6.1)"
	if [ "${3-}" = 6.1 ]; then
		"$here/../vm/build-guest" --debian bookworm >/dev/null
	else
		"$here/../vm/build-guest" >/dev/null
	fi
	;;
esac
exec "$@"
