#!/bin/sh
# SPDX-License-Identifier: MIT
# All C files have the form of .clang-format, as version 14 understands it: others differ in details.
# usage: format.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
case $(clang-format --version 2>/dev/null) in
*"version 14."*) ;;
*)
	echo "clang-format 14 is not there"
	exit 77
	;;
esac
find src include tests -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
