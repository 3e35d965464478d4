#!/bin/sh
# SPDX-License-Identifier: MIT
# git: a repository of many files is cloned, changed, packed and checked.
# In the guest: git.sh DIRECTORY FILES; beside it lies origin.git, made by git_origin.sh
set -eux # what failed is told by its last lines
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
export GIT_CONFIG_NOSYSTEM=1 HOME="$tmp"
files=$2
git config --global user.name tester
git config --global user.email tester@example.org
git config --global init.defaultBranch main
git config --global advice.detachedHead false
git config --global gc.auto 0
cd "$1"
git clone -q --no-local "$1/../origin.git" work
cd work
[ "$(find . -path ./.git -prune -o -type f -print | wc -l)" = "$files" ]
[ "$(readlink link)" = dir1/file1 ]
[ -x dir1/file100 ]
[ ! -x dir1/file101 ]
echo 2 >/proc/sys/vm/drop_caches
[ -z "$(git status --porcelain)" ]

git checkout -q -b change
i=0
while [ $i -lt 6 ]; do
	echo changed >>dir$i/file$((i * 100))
	git mv dir$i/file$((i * 100 + 1)) dir$i/moved
	git rm -q dir$i/file$((i * 100 + 2))
	i=$((i + 1))
done
git commit -q -a -m change
git checkout -q main
git merge -q --no-edit --no-ff change
git repack -q # one more pack for gc to melt down
git gc -q --prune=now
git fsck --full --strict --no-dangling
[ -z "$(find .git/objects/?? -type f 2>/dev/null)" ]
[ "$(find .git/objects/pack -name '*.pack' | wc -l)" = 1 ]
git push -q origin main
[ "$(git -C "$1/../origin.git" rev-parse main)" = "$(git rev-parse HEAD)" ]
[ -z "$(git status --porcelain)" ]
# What is in the working tree is what the commit says: not by stat but by content.
git ls-files -s | awk '$1 != 120000 { print $2 "  " $4 }' | sort >"$tmp/want"
git ls-files | grep -vx link >"$tmp/names"
git hash-object --stdin-paths <"$tmp/names" | paste -d ' ' - "$tmp/names" |
	sed 's/ /  /' | sort >"$tmp/have"
cmp "$tmp/want" "$tmp/have"
echo "$(wc -l <"$tmp/have") files have their content"
