#!/bin/sh
# SPDX-License-Identifier: MIT
# Make a bare git repository of many files.
# On the host, where it takes a second and not minutes: git_origin.sh DIRECTORY FILES
set -eux # what failed is told by its last lines
files=$2
git init -q --bare --initial-branch=main "$1"
# One commit with all files, 100 in a directory, and ten that change some of them.
awk -v files=$files '
	function blob(i, round) {
		text = sprintf("file %d round %d\n%0*d\n", i, round, i % 700, i)
		mode = i % 50 == 0 ? "100755" : "100644"
		printf "M %s inline dir%d/file%d\n", mode, i / 100, i
		printf "data %d\n%s\n", length(text), text
	}
	function commit(round) {
		printf "commit refs/heads/main\n"
		printf "committer T <t@example.org> %d +0000\ndata 2\nc\n", 1700000000 + round
	}
	BEGIN {
		commit(0)
		for (i = 0; i < files; i++)
			blob(i, 0)
		print "M 120000 inline link\ndata 10\ndir1/file1"
		for (round = 1; round <= 10; round++) {
			commit(round)
			for (i = round; i < files; i += 997)
				blob(i, round)
		}
	}' | git -C "$1" fast-import --quiet
