#!/bin/sh
# SPDX-License-Identifier: MIT
# All C files have the form of .clang-format.
# usage: format.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
command -v clang-format >/dev/null || {
	echo "clang-format is not there"
	exit 77
}
find src include tests -name '*.[ch]' -exec clang-format --dry-run -Werror {} +
