# SPDX-License-Identifier: MIT
# Trees: other file systems below the share, and what the host removes. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # the script that includes it defines the rest

# tree_at DIRECTORY - make some files and directories, with hard links
tree_at()
{
	mkdir "$1/dir"
	echo "needle in $1" >"$1/file"
	ln "$1/file" "$1/dir/link"
	"$host_fstest" --make "$1/dir/data" 200000 1
}

# make_trees - make $share an ext4, with two more ext4 and a btrfs with subvolumes in it, whose roots have the
# same inode numbers
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

# same_here_and_there COMMAND - it has the same output in the share and in the mount, without an error
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

# Each inode has its own number, all its names show it, and numbers of the share's own file system are unchanged.
numbers_differ()
{
	local name
	[ "$(find "$mnt" -printf '%i\n' | sort -u | wc -l)" = \
		"$(find "$share" -printf '%D %i\n' | sort -u | wc -l)" ]
	for name in . a b v v/one v/one/two; do
		[ "$(stat -c %i "$mnt/$name/file")" = "$(stat -c %i "$mnt/$name/dir/link")" ]
		# d_ino of the directory entry; ls -i shows it without stat(2).
		[ "$(ls -iU "$mnt/$name/dir" | sort)" = \
			"$(cd "$mnt/$name/dir" && stat -c '%i %n' -- * | sort)" ]
	done
	[ "$(stat -c %i "$mnt/file" "$mnt/dir")" = "$(stat -c %i "$share/file" "$share/dir")" ]
}

# Walk the other way round: the numbers do not depend on which file system is found first.
numbers_last()
{
	numbers_of "$mnt" >"$work/numbers"
	end_by umount "$mnt"
	start_fuse
	ls "$mnt"/v/one/two "$mnt"/b
	numbers_of "$mnt" | diff "$work/numbers" -
	end_by umount "$mnt"
	stop host
	# Each file system gets another device number.
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

have_btrfs()
{
	command -v mkfs.btrfs >/dev/null && { grep -qw btrfs /proc/filesystems || modprobe -q btrfs; }
}

file_systems_below()
{
	if ! have_btrfs; then
		skipped=$((skipped + 1))
		echo "skip trees: file systems below the share - no btrfs on this machine"
		return
	fi
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

# Give the share a file system of its own, whose free blocks can be counted.
make_room_share()
{
	truncate -s 600M "$work/room.image"
	mkfs.ext4 -q -F "$work/room.image"
	mount -o loop "$work/room.image" "$share"
	rmdir "$share/lost+found"
}

free_kib()
{
	sync -f "$share"
	df --output=avail -k "$share" | tail -n 1
}

room_is_back()
{
	[ "$(free_kib)" -ge $(($1 - 1024)) ]
}

# The guest has read a file and knows it. The host removes it: the blocks are free though nobody looks it up again.
room_after_removal()
{
	local before
	before=$(free_kib)
	"$host_fstest" --make "$share/large" 200M 1
	"$host_fstest" --verify "$mnt/large" 200M 1
	[ "$(free_kib)" -lt $((before - 190000)) ]
	rm "$share/large"
	until_true 150 room_is_back "$before"
	fails cat "$mnt/large" 2>"$work/err"
	grep -q 'No such file' "$work/err"
}

# A file that the guest removes, or has open when the host removes it, can still be used.
removed_and_used()
{
	local name
	for name in guest host open; do
		echo "$name" >"$share/$name"
	done
	exec 5<"$mnt/guest" 6<"$mnt/host"
	stat "$mnt/open"
	rm "$mnt/guest" "$share/host" "$share/open"
	sleep 6
	[ "$(cat <&5)" = guest ]
	[ "$(cat <&6)" = host ]
	[ "$(stat -L -c %h /proc/self/fd/5)" = 0 ]
	exec 5<&- 6<&-
	fails stat "$mnt/open" 2>"$work/err"
	grep -q 'No such file' "$work/err"
	# A new file of the same name is another file.
	echo again >"$share/open"
	until_true 30 grep -qx again "$mnt/open"
}

open_nodes_up_to()
{
	[ "$(host_stat open_nodes)" -le "$1" ]
}

# The guest knows three times as many directories as descriptors are kept; the host removes all.
directories_removed()
{
	local round
	for round in 1 2 3; do
		mkdir "$share/$round"
		(cd "$share/$round" && seq 7000 | xargs mkdir)
		[ "$(find "$mnt/$round" -type d | wc -l)" = 7001 ]
		rm -r "${share:?}/$round"
		host_stats
		open_nodes_up_to $storm_idle
	done
	[ "$(host_stat nodes)" -gt 15000 ]	# else nothing has been tested
	until_true 150 open_nodes_up_to 3
	[ "$(find "$mnt" -type d | wc -l)" = 1 ]
}

removes_with()
{
	check "trees: host starts, $1" start_host "$1" "$2"
	check "trees: mount" start_fuse -o dax=never
	check "trees: room after the host removed it, $1 $2" room_after_removal
	check "trees: removed and used, $1 $2" removed_and_used
	[ "$2" = --inode-file-handles=never ] ||
		check "trees: directories removed by the host, $1" directories_removed
	check "trees: end" end_by umount "$mnt"
	stop fuse
	stop host
}

# A mapping in the window keeps the blocks, too, until it is removed.
mapped_and_removed()
{
	room_after_removal
	[ "$(number dax_read_bytes "$(stats)")" -ge 190000000 ]
	[ "$(number mappings "$(stats)")" = 0 ]
}

# A file keeps its mappings while the guest has it open, and for a minute after the close.
closed_and_kept()
{
	"$host_fstest" --make "$share/kept" 20M 2
	exec 5<"$mnt/kept"
	"$host_fstest" --verify "$mnt/kept" 20M 2
	sleep 6
	[ "$(number mappings "$(stats)")" != 0 ]
	exec 5<&-
	sleep 6
	[ "$(number mappings "$(stats)")" != 0 ]
	until_true 700 nothing_is_mapped
	"$host_fstest" --verify "$mnt/kept" 20M 2
	rm "$share/kept"
}

nothing_is_mapped()
{
	[ "$(number mappings "$(stats)")" = 0 ]
}

removes_mapped()
{
	check "trees: host starts, window" start_host --cache=none
	check "trees: mount" start_fuse -o dax=always
	check "trees: room after the host removed it, mapped" mapped_and_removed
	check "trees: mappings of a closed file" closed_and_kept
	check "trees: end" end_by umount "$mnt"
	stop fuse
	stop host
}

removes()
{
	check "trees: a share of its own" make_room_share
	removes_mapped
	removes_with --cache=none --inode-file-handles=prefer
	removes_with --cache=auto --inode-file-handles=prefer
	removes_with --cache=none --inode-file-handles=never
	umount "$share"
}

trees()
{
	file_systems_below
	removes
}
