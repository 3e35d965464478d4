#!/bin/sh
# SPDX-License-Identifier: MIT
# All shell scripts pass shellcheck.
# usage: shell.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
command -v shellcheck >/dev/null || {
	echo "shellcheck is not there"
	exit 77
}
set --
for f in $(find demo check .ci tests contrib -type f 2>/dev/null | sort); do
	case $(head -n 1 "$f" | tr -d '\0') in
	'#!'*sh*) set -- "$@" "$f" ;;
	*)
		case $f in
		*.sh) set -- "$@" "$f" ;;
		esac
		;;
	esac
done
[ $# -gt 0 ] || exit 77
echo "$# scripts"
# SC2034: what one file assigns, the one that includes it uses.
shellcheck -x -S warning -e SC2034 "$@"
