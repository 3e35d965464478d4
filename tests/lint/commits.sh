#!/bin/sh
# SPDX-License-Identifier: MIT
# The subjects of the last commits: "module: what it does", at most 76 characters.
# usage: commits.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
git rev-parse --git-dir >/dev/null 2>&1 || {
	echo "not a clone of the repository"
	exit 77
}
git log --no-merges -n 20 --format=%s | awk '
	length > 76 { print "more than 76 characters: " $0; bad = 1 }
	!/^[A-Za-z][^:]*(: | )[^ ]/ { print "no subject: " $0; bad = 1 }
	END { exit bad }'
