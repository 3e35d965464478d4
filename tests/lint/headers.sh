#!/bin/sh
# SPDX-License-Identifier: MIT
# Each public header compiles alone: it includes what it needs.
# usage: headers.sh SOURCE-ROOT [CC]
set -u
cd "$1" || exit 2
cc=${2:-cc}
bad=0
n=0
for h in $(find include -name '*.h' | sort); do
	n=$((n + 1))
	# Twice, so that a header without a guard shows itself, too.
	if ! printf '#include "%s"\n#include "%s"\n' "${h#include/}" "${h#include/}" |
		"$cc" -std=gnu11 -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -Wall -Wextra -Werror \
			-Wno-unused-parameter -Wno-missing-field-initializers \
			-fsyntax-only -Iinclude -x c -; then
		echo "$h does not compile alone"
		bad=1
	fi
done
echo "$n headers"
exit $bad
