# SPDX-License-Identifier: MIT
# Trees: other file systems below the share, and what the host removes. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # the script that includes it defines the rest

# tree_at DIRECTORY - some content, with hard links
tree_at()
{
	mkdir "$1/dir"
	echo "needle in $1" >"$1/file"
	ln "$1/file" "$1/dir/link"
	"$host_fstest" --make "$1/dir/data" 200000 1
}

# make_trees - $share is an ext4; in it two more and a btrfs with subvolumes, so that their roots have
# the same inode numbers
make_trees()
{
	local name
	[ -e /dev/loop-control ] || modprobe loop
	for name in share a b; do
		truncate -s 64M "$work/$name.image"
		mkfs.ext4 -q -F "$work/$name.image"
	done
	mount -o loop "$work/share.image" "$share"
	mkdir "$share/a" "$share/b" "$share/v"
	for name in a b; do
		mount -o loop "$work/$name.image" "$share/$name"
		rmdir "$share/$name/lost+found"
	done
	rmdir "$share/lost+found"
	truncate -s 128M "$work/v.image"
	mkfs.btrfs -q "$work/v.image"
	mount -o loop "$work/v.image" "$share/v"
	btrfs subvolume create "$share/v/one" >/dev/null
	btrfs subvolume create "$share/v/one/two" >/dev/null
	for name in . a b v v/one v/one/two; do
		tree_at "$share/$name"
	done
	[ "$(stat -c %i "$share" "$share/a" "$share/b" | sort -u)" = 2 ]
	[ "$(stat -c %i "$share/v" "$share/v/one" "$share/v/one/two" | sort -u)" = 256 ]
}

unmount_trees()
{
	umount "$share/v" "$share/b" "$share/a"
	umount "$share"
}

# same_here_and_there COMMAND - it says the same in the share and in the mount, and complains in neither
same_here_and_there()
{
	(cd "$share" && sh -c "$1") >"$work/here" 2>&1
	(cd "$mnt" && sh -c "$1") >"$work/there" 2>&1
	diff "$work/here" "$work/there"
}

trees_walked()
{
	same_here_and_there 'find . | sort'
	[ "$(wc -l <"$work/there")" = 30 ]
	same_here_and_there 'du -ab . | sort'
	same_here_and_there 'grep -r needle | sort'
	[ "$(wc -l <"$work/there")" = 12 ]
	chmod -R o-rwx "$mnt"
	[ -z "$(find "$share" -perm /007)" ]
	chmod -R o+rX "$mnt"
}

trees_copied()
{
	rm -rf "$work/copy"
	cp -a "$mnt" "$work/copy" 2>"$work/err"
	cat "$work/err"
	[ ! -s "$work/err" ]
	diff -r "$share" "$work/copy"
	[ "$(find "$work/copy" -links 2 -type f | wc -l)" = 12 ]
	rm -rf "$work/copy"
}

numbers_of()
{
	find "$1" -printf '%i %P\n' | sort -k 2
}

# As many numbers as there are inodes, for names of the same inode the same, those of the share as they are.
numbers_differ()
{
	local name
	[ "$(find "$mnt" -printf '%i\n' | sort -u | wc -l)" = \
		"$(find "$share" -printf '%D %i\n' | sort -u | wc -l)" ]
	for name in . a b v v/one v/one/two; do
		[ "$(stat -c %i "$mnt/$name/file")" = "$(stat -c %i "$mnt/$name/dir/link")" ]
		# What stands in the directory; ls asks for files by no other way.
		[ "$(ls -iU "$mnt/$name/dir" | sort)" = \
			"$(cd "$mnt/$name/dir" && stat -c '%i %n' -- * | sort)" ]
	done
	[ "$(stat -c %i "$mnt/file" "$mnt/dir")" = "$(stat -c %i "$share/file" "$share/dir")" ]
}

# Walked the other way round: which file system is met first plays no part.
numbers_last()
{
	numbers_of "$mnt" >"$work/numbers"
	end_by umount "$mnt"
	start_fuse
	ls "$mnt"/v/one/two "$mnt"/b
	numbers_of "$mnt" | diff "$work/numbers" -
	end_by umount "$mnt"
	stop host
	# Another device number for each of them.
	umount "$share/a" "$share/b"
	mount -o loop "$work/b.image" "$share/b"
	mount -o loop "$work/a.image" "$share/a"
	start_host --cache=none
	start_fuse
	ls "$mnt"/b "$mnt"/a
	numbers_of "$mnt" | diff "$work/numbers" -
}

trees_with()
{
	check "trees: host starts, $1" start_host "$1"
	check "trees: mount" start_fuse
	check "trees: find, du, grep, chmod, $1" trees_walked
	check "trees: cp, $1" trees_copied
	check "trees: inode numbers, $1" numbers_differ
}

trees()
{
	check "trees: file systems" make_trees
	trees_with --cache=auto
	check "trees: end" end_by umount "$mnt"
	stop fuse
	stop host
	trees_with --cache=none
	check "trees: inode numbers stay" numbers_last
	check "trees: end" end_by umount "$mnt"
	stop fuse
	stop host
	check "trees: file systems unmounted" unmount_trees
}
