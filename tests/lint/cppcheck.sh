#!/bin/sh
# SPDX-License-Identifier: MIT
# cppcheck over the sources.
# usage: cppcheck.sh SOURCE-ROOT CACHE-DIRECTORY
set -u
cd "$1" || exit 2
command -v cppcheck >/dev/null || {
	echo "cppcheck is not there"
	exit 77
}
mkdir -p "$2" || exit 2
# memleak takes "r = p ? 0 : -ENOMEM; if (r < 0) return r;" for a leak (the leak sanitizer runs in the
# tests); internalAstError is a fault of cppcheck 2.10 in macros with statement expressions.
exec cppcheck --std=c11 --enable=warning,performance,portability --error-exitcode=1 --quiet \
	--inline-suppr --cppcheck-build-dir="$2" -j 2 -Iinclude -D_GNU_SOURCE -D__x86_64__ \
	--suppress=missingInclude --suppress=missingIncludeSystem --suppress=normalCheckLevelMaxBranches \
	--suppress=toomanyconfigs --suppress=memleak --suppress=internalAstError \
	src
