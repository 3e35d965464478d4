#!/bin/sh
# SPDX-License-Identifier: MIT
# All Python programs compile and pass pyflakes.
# usage: python.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
command -v pyflakes3 >/dev/null || {
	echo "pyflakes3 is not there"
	exit 77
}
set --
for f in $(find .ci contrib tests -type f ! -path '*/__pycache__/*' 2>/dev/null | sort); do
	case $(head -n 1 "$f" | tr -d '\0') in
	'#!'*python*) set -- "$@" "$f" ;;
	*)
		case $f in
		*.py) set -- "$@" "$f" ;;
		esac
		;;
	esac
done
[ $# -gt 0 ] || exit 1
echo "$# programs"
# Beyond what pyflakes knows: that the compiler warns of nothing. The result goes nowhere.
python3 -W error -c '
import sys
for path in sys.argv[1:]:
    with open(path, encoding="utf-8") as f:
        compile(f.read(), path, "exec")' "$@" || exit 1
exec pyflakes3 "$@"
