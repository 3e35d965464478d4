# SPDX-License-Identifier: MIT
# The parts of tests/e2e/fidelity: what is prepared, the tests, the table. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # variables come from the script
#
# A result is a line 'STATUS GROUP TEST[ - REASON]' in $work/COLUMN, STATUS pass, fail, unsupported or skipped.

unsupported=77	# the exit status of a test that says so

# prepare_share - the directory that all columns use: a fresh ext4 file system, and in it
#
# many: 100,000 entries; small: a tmpfs without much room; quota: a btrfs of which little may be used; bad: files that
# have a bad block; sysctl and symbols: files of /proc, whose size is 0; other: an ext4, and other/below one more;
# place: what fid_place.c wants; ro: the same, read-only for the host; cross: for the tests with both ends.
prepare_share()
{
	[ -e /dev/loop-control ] || modprobe loop
	truncate -s 4G "$work/image"
	# ea_inode: attributes of 64 KiB
	mkfs.ext4 -q -F -O ea_inode -N 200000 "$work/image"
	mount -o loop "$work/image" "$share"
	rmdir "$share/lost+found"
	mkdir "$share/many" "$share/small" "$share/place" "$share/ro" "$share/cross"
	(cd "$share/many" && seq 0 99999 | xargs touch)
	mount -t tmpfs -o size=8m tmpfs "$share/small"
	prepare_quota "$share/quota"
	prepare_bad "$share/bad"
	prepare_others
	"$host_fstest" --make "$share/place/file" 10000 1
	mknod "$share/place/null" c 1 3
	chmod 666 "$share/place/null"
	cp "$host_fidelity" "$share/place/id"
	chmod 4755 "$share/place/id"
	mount --bind "$share/place" "$share/ro"
	mount -o remount,bind,ro "$share/ro"
}

# prepare_quota DIRECTORY - no such directory where mkfs.btrfs or the kernel's quota is missing
#
# Of file systems with quotas this is the one that all kernels of ours have.
prepare_quota()
{
	mkdir "$1"
	truncate -s 256M "$work/quota-image"
	if mkfs.btrfs -q "$work/quota-image" && mount -o loop,commit=1 "$work/quota-image" "$1" &&
		btrfs quota enable "$1" && btrfs qgroup limit 8M "$1"; then
		chmod 777 "$1"
		return
	fi >/dev/null
	! mountpoint -q "$1" || umount "$1"
	rmdir "$1"
}

# bad_file FILE - 16384 lines of 16 bytes
bad_file()
{
	seq -f 'line %010.0f' 0 16383 >"$1"
}

# prepare_bad DIRECTORY - make a btrfs with files that have a bad block. Without mkfs.btrfs there is no directory.
#
# In each file the checksum of the page at 80 KiB is wrong: the page is found in the image and overwritten.
prepare_bad()
{
	local file at
	mkdir "$1"
	truncate -s 256M "$work/bad-image"
	if ! mkfs.btrfs -q -d single -m single "$work/bad-image" 2>/dev/null ||
		! mount -o loop "$work/bad-image" "$1"; then
		rmdir "$1"
		return
	fi >/dev/null
	for file in small page large whole beside mapped cat cp cp-here dd; do
		bad_file "$1/$file"
	done
	umount "$1"
	for at in $(grep -abo 'line 0000005120' "$work/bad-image" | cut -d : -f 1); do
		printf LINE | dd of="$work/bad-image" bs=1 seek="$at" conv=notrunc status=none
	done
	mount -o loop "$work/bad-image" "$1"
}

# prepare_others - mount other file systems below the share
#
# The root of each ext4 is inode 2, and so is the share's own.
prepare_others()
{
	local dir
	mkdir "$share/sysctl" "$share/other"
	: >"$share/symbols"
	mount --bind /proc/sys/kernel "$share/sysctl"
	mount --bind /proc/kallsyms "$share/symbols"
	for dir in other other/below; do
		mkdir -p "$share/$dir"
		truncate -s 128M "$work/image-${dir##*/}"
		mkfs.ext4 -q -F "$work/image-${dir##*/}"
		mount -o loop "$work/image-${dir##*/}" "$share/$dir"
		rmdir "$share/$dir/lost+found"
		echo "text in $dir" >"$share/$dir/file"
	done
}

# unmount_prepared - the last mounted first
unmount_prepared()
{
	local dir
	for dir in small quota bad sysctl symbols other/below other ro .; do
		while mountpoint -q "$share/$dir"; do umount -l "$share/$dir"; done
	done
}

# tell LINE... - results of this column
tell()
{
	tee -a "$work/$column" | grep -v '^pass' | sed 's/^/   /' >&2 || true
}

# lines STATUS - what the guest's program says; its end before the last test is a result, too
program()
{
	local reopen=""
	[ "$column" != passthrough ] || reopen=--reopen
	guest timeout 3000 "$guest_fidelity" --timeout 300 $reopen "$@" </dev/null 2>>"$work/program.err" || true
}

wanted()
{
	grep -F -- "$only" || true
}

# These take minutes, and their files are too small to be passed through.
slow_with_passthrough=$(printf '%s\n' "perm setid_table" "perm setid_by_unknown_group")

without_slow()
{
	if [ "$column" = passthrough ]; then
		grep -vxF "$slow_with_passthrough"
	else
		cat
	fi
}

# own_tests - those of the program that need nothing but a directory
own_tests()
{
	local names
	names=$("$host_fidelity" --list | grep -v -e '^place ' -e ' ten_thousand$' | without_errors | without_slow | wanted |
		cut -d ' ' -f 2)
	[ "$column" != passthrough ] || wanted <<<"$slow_with_passthrough" |
		sed 's/.*/skipped & - its files are too small to be passed through, and it takes minutes/' | tell
	# shellcheck disable=SC2086 # words
	[ -z "$names" ] || program "$mnt" $names | tell
}

# cross TEST COMMAND... - a test with both ends: the host's is $share/cross, the other $mnt/cross
cross()
{
	local name=$1 status=0 why
	shift
	[ -n "$(wanted <<<"both $name")" ] || return 0
	(
		set -e
		# A new name each time: what the guest may still believe of old ones plays no part.
		mkdir "$share/cross/$name"
		share=$share/cross/$name mnt=$mnt/cross/$name
		"$@"
	) >"$work/cross.out" 2>&1 </dev/null &
	wait $! || status=$?
	why=$(tail -n 1 "$work/cross.out" | sed "s|$work|...|g; s|$mnt|...|g")
	case $status in
	0) echo "pass both $name" ;;
	"$unsupported") echo "unsupported both $name - $why" ;;
	*) echo "fail both $name - $why" ;;
	esac | tell
	rm -rf "${share:?}/cross"/*
}

# The host's change shows in a mapping that the guest has already looked at.
host_changes_mapped()
{
	local input pid
	"$host_fstest" --make "$share/f" 1M 1
	coproc watcher { guest "$guest_fstest" --watch-mapped "$mnt/f" 2>/dev/null; } # its words could come last
	input=${watcher[1]} pid=$watcher_PID
	ask 'data 0 1048576 1'
	"$host_fstest" --put "$share/f" 0 500000 2
	ask 'data 0 500000 2'
	ask 'data 500000 548576 1'
	exec {input}>&-
	wait "$pid"
}

# A mapping of the host's shows what the guest writes.
guest_changes_mapped()
{
	local input pid
	"$host_fstest" --make "$share/f" 1M 1
	coproc watcher { "$host_fstest" --watch-mapped "$share/f"; }
	input=${watcher[1]} pid=$watcher_PID
	ask 'data 0 1048576 1'
	guest "$guest_fstest" --put "$mnt/f" 0 500000 2
	ask 'data 0 500000 2'
	guest "$guest_fstest" --poke "$mnt/f" 500000 300000 3
	ask 'data 500000 300000 3'
	exec {input}>&-
	wait "$pid"
}

# lock_of_host COMMAND... - the host holds a lock: the guest's command must fail for that
lock_of_host()
{
	local line status=0
	: >"$share/f"
	coproc holder { "${holds[@]}" "$share/f"; }
	read -r -t 20 line <&"${holder[0]}"
	[ "$line" = locked ]
	guest "$@" "$mnt/f" </dev/null || status=$?
	if [ "$status" = 0 ]; then
		echo "the host's lock is not seen: locks are local to the guest"
		exit $unsupported
	fi
	[ "$status" = 1 ]
}

flock_of_host()
{
	local holds=(sh -c 'exec flock "$0" sh -c "echo locked; cat"')
	lock_of_host sh -c 'flock -n "$0" true'
}

posix_lock_of_host()
{
	local holds=("$host_fidelity" --lock)
	lock_of_host "$guest_fidelity" --lock
}

# The name, the group and the mode that the guest gave are the host's.
owner_seen_by_host()
{
	guest sh -ec 'umask 027; : >"$0/f"; chown 12:34 "$0/f"; mkdir "$0/d"; ln -s f "$0/l"' "$mnt"
	[ "$(stat -c %u:%g:%a "$share/f")" = 12:34:640 ]
	[ "$(stat -c %a "$share/d")" = 750 ]
	[ "$(readlink "$share/l")" = f ]
}

# What was fsynced and what was merely written and closed are the same on the host.
full_seen_by_host()
{
	local size
	guest sh -c 'cat /dev/zero >"$0/../../small/z"' "$mnt" && return 1
	size=$(stat -c %s "$share/../../small/z")
	[ "$size" = "$(guest stat -c %s "$mnt/../../small/z")" ]
	[ "$size" -ge 1048576 ]
	rm "$share/../../small/z"
}

# Files of size 0 in /proc can be read to their end.
short_by_nature()
{
	local file
	cd "$share/../../sysctl"
	for file in ostype version cap_last_cap keys/maxkeys; do
		[ "$(cat "$file")" = "$(guest cat "$mnt/../../sysctl/$file")" ]
	done
	# A long file, without its addresses: who may not see these reads zeros.
	head -n 5000 "../symbols" | cut -d ' ' -f 3 >"$work/ours"
	guest cat "$mnt/../../symbols" >"$work/symbols"
	head -n 5000 "$work/symbols" | cut -d ' ' -f 3 | cmp - "$work/ours"
	[ "$(wc -l <"$work/symbols")" -ge "$(($(wc -l <../symbols) * 9 / 10))" ]
}

# mtime_moves FILE - the guest writes three times; a second later the host's mtime must have changed
mtime_moves()
{
	local before
	before=$(stat -c %.9Y "$1")
	for _ in 1 2 3; do
		writes=$((writes + 1))
		ask "write 2097152 102400 $writes"
		sleep 1.1
	done
	[ "$(stat -c %.9Y "$1")" != "$before" ]
}

# A backup that compares times and sizes must not miss a file that a guest keeps open and writes to.
#
# Use a tmpfs: on a disk file system the kernel may update mtime by itself, at the first store after a
# write-back. Write several times: some writes go over the virtqueue, to compare its cost.
mtime_moves_while_open()
{
	local input pid writes=0 file=$share/../../small/f
	until_true 100 "$host_fstest" --make "$file" 6M 1 # removed files give room back later
	coproc watcher { guest "$guest_fstest" --watch-writing "$mnt/../../small/f"; }
	input=${watcher[1]} pid=$watcher_PID
	ask "data 0 6291456 1"
	for _ in 1 2 3 4; do
		mtime_moves "$file" || {
			echo "the guest has written for 3 s, and mtime is the same on the host"
			rm "$file"
			return 1
		}
	done
	exec {input}>&-
	wait "$pid"
	rm "$file"
}

# Programs that walk a tree enter other file systems, even if the root of one has the inode number of a
# directory above it.
other_filesystems()
{
	local other=$mnt/../../other
	guest find "$mnt/../.." -path '*/many' -prune -o -path '*/cross' -prune -o \
		-path '*/sysctl' -prune -o -path '*/other/*' -print >"$work/found"
	[ "$(grep -c '/file$' "$work/found")" = 2 ]
	guest grep -r text "$other" >"$work/found"
	[ "$(wc -l <"$work/found")" = 2 ]
	guest cp -a "$other" "$mnt/copy"
	[ "$(cat "$share/copy/file" "$share/copy/below/file")" = "$(cat \
		"$share/../../other/file" "$share/../../other/below/file")" ]
	[ "$(guest du -a "$other" | grep -c '/file$')" = 2 ]
	guest chmod -R g+w "$other"
	[ "$(stat -c %A "$share/../../other/below/file" | cut -c 6)" = w ]
}

free_blocks()
{
	stat -f -c %f "$1"
}

gives_room_back()
{
	[ "$(free_blocks "$1")" -ge "$2" ]
}

# The blocks of a file that the guest has read and the host removes are free, even if nobody looks it up again.
removed_by_host()
{
	local other=$share/../../other before
	before=$(free_blocks "$other")
	"$host_fstest" --make "$other/large" 64M 1
	guest "$guest_fstest" --verify "$mnt/../../other/large" 64M 1
	rm "$other/large"
	until_true 100 gives_room_back "$other" "$before" || {
		echo "the room of a removed file does not come back"
		return 1
	}
}

cross_tests()
{
	cross host_changes_open host_changes_open
	cross host_changes_names host_changes_names
	cross host_changes_mapped host_changes_mapped
	cross guest_changes guest_changes
	cross guest_changes_mapped guest_changes_mapped
	cross owner_seen_by_host owner_seen_by_host
	cross mtime_moves_while_open mtime_moves_while_open
	cross full_seen_by_host full_seen_by_host
	cross short_by_nature short_by_nature
	cross other_filesystems other_filesystems
	cross removed_by_host removed_by_host
	cross flock_of_host flock_of_host
	cross posix_lock_of_host posix_lock_of_host
}

# A bad block that is touched through the window ends QEMU, so there these have a mount without it.
errors_apart()
{
	[ -z "$native" ] && [[ $column = vfsdaxfuse || $column = passthrough ]]
}

without_errors()
{
	if errors_apart; then
		grep -v '^error '
	else
		cat
	fi
}

error_tests()
{
	local names
	names=$("$host_fidelity" --list | grep '^error ' | wanted | cut -d ' ' -f 2)
	errors_apart && [ -n "$names" ] || return 0
	mount_vfsdaxfuse dax=never
	# shellcheck disable=SC2086 # words
	program "$mnt" $names | tell
	unmount
}

# place TEST DIRECTORY [MOUNT-OPTION]
place()
{
	[ -n "$(wanted <<<"place $1")" ] || return 0
	if "mount_$column" "${3-}" 2>"$work/mount.err"; then
		program --in-place "$mnt/$2" "$1" | tell
		unmount || echo "$column cannot be unmounted" >&2
	else
		echo "fail place $1 - mount: $(tail -n 1 "$work/mount.err")" | tell
	fi
}

# place_remounted TEST DIRECTORY OPTION... - mount for writing, then remount with each OPTION in turn
place_remounted()
{
	local name=$1 dir=$2 option
	shift 2
	[ -n "$(wanted <<<"place $name")" ] || return 0
	if ! "mount_$column" 2>"$work/mount.err"; then
		echo "fail place $name - mount: $(tail -n 1 "$work/mount.err")" | tell
		return
	fi
	if remount_each "$@" 2>"$work/mount.err"; then
		program --in-place "$mnt/$dir" "$name" | tell
	else
		echo "fail place $name - $(tail -n 1 "$work/mount.err" | sed "s|$mnt|...|g")" | tell
	fi
	unmount || echo "$column cannot be unmounted" >&2
}

# remount_each OPTION... - remount with each in turn, as an administrator would
remount_each()
{
	local option have
	for option; do
		if [ "$column" = local ]; then
			mount -o "remount,bind,$option" "$mnt"
		elif [ -n "$native" ]; then
			# The command that mount(8) would call if the program was installed.
			have=$(findmnt -nro FS-OPTIONS "$mnt" | sed 's/^r[ow],//')
			timeout 60 "$fuse" vfsdax "$mnt" -o "$option,remount,$have"
		else
			guest timeout 60 mount -o "remount,$option" "$mnt"
		fi || return 1
	done
}

place_tests()
{
	place mounted_plain place
	place mounted_ro place ro
	place mounted_noexec place noexec
	place mounted_nodev place nodev
	place mounted_nosuid place nosuid
	place mounted_noatime place noatime
	place mounted_relatime place relatime
	place mounted_strictatime place strictatime
	place mounted_nodiratime place nodiratime
	place mounted_by_fstab place defaults,nofail,_netdev,x-test=1
	place_remounted remounted_ro place ro
	place_remounted remounted_rw place ro rw
	place host_read_only ro
}

# print_table - markdown; the rows stand in the order of the local column
print_table()
{
	local column n=0 files=()
	for column in "${columns[@]}"; do
		n=$((n + 1))
		files+=("c=$n" "$work/$column")
	done
	cat <<-END
		# Fidelity: what a program sees on a mount

		Printed by \`tests/e2e/fidelity ${passthrough:+--passthrough }--output doc/fidelity.md\`, and printed again and compared by \`./check\`. Each test
		looks at one behaviour; its name is that of a function in tests/e2e/ (fid_*.c and test_*.c; those of *both*, which
		need both ends of the mount, in fidelity.sh and cross.sh). A failure of vfsdaxfuse where virtiofs passes fails \`./check\`.

		- **local**: ext4 with ea_inode on the host itself, tmpfs for the tests of *full*;
	END
	[ -n "$native" ] ||
		echo "- **virtiofs**: the same directory by the driver of the guest's kernel ($kernel), without DAX, from vfsdaxhost with --cache=$cache;"
	if [ -n "$native" ]; then
		echo "- **vfsdaxfuse**: the same directory by vhost-user on the same machine, from vfsdaxhost with --cache=$cache."
	else
		echo "- **vfsdaxfuse**: the same in the same guest, from the same vfsdaxhost; the tests of *error* with dax=never, because a bad block under a mapping ends QEMU."
	fi
	if [ -n "$passthrough" ]; then
		cat <<-END
			- **passthrough**: vfsdaxfuse with passthrough=all, in a guest whose kernel has the window as persistent memory. The
			  files that tests make are closed and opened again, so that the kernel serves them. Below the table stands why a test
			  fails only for that. \`skipped\`: not run in this column.
		END
	fi
	echo
	echo "\`unsupported\`: the file system says that it does not offer this. Reasons stand below the table."
	echo
	awk -v names="${columns[*]}" '
	BEGIN { n = split(names, title, " ") }
	{
		key = $2 " " $3
		if (!(key in seen)) { seen[key] = 1; order[++rows] = key }
		cell[key, c] = $1
		at = index($0, " - ")
		if (at) why[key, c] = substr($0, at + 3)
	}
	END {
		head = "| test |"; line = "|---|"
		for (i = 1; i <= n; i++) { head = head " " title[i] " |"; line = line "---|" }
		print head; print line
		for (r = 1; r <= rows; r++) {
			split(order[r], w, " ")
			text = "| " w[1] ": " w[2] " |"
			for (i = 1; i <= n; i++) {
				s = cell[order[r], i]
				text = text " " (s == "" ? "missing" : s) " |"
			}
			print text
		}
		print "\n## Reasons\n"
		for (r = 1; r <= rows; r++) {
			split(order[r], w, " ")
			for (i = 1; i <= n; i++) {
				if (why[order[r], i] == "")
					continue
				who = title[i]
				for (j = i + 1; j <= n; j++)
					if (why[order[r], j] == why[order[r], i]) {
						who = who ", " title[j]
						why[order[r], j] = ""
					}
				print "- " w[2] " (" who "): `" why[order[r], i] "`"
			}
		}
	}' "${files[@]}"
	[ -z "$passthrough" ] || print_reasons
}

# reasons - why files that are passed through do not pass: a sentence, and the tests
reasons()
{
	cat <<-END
		The size of a file is fixed while it is passed through: what would change size or blocks gets EBUSY.|by_handle_after_unlink truncate_down_up \
truncate_by_name open_truncating punch_hole zero_range fallocate_keep_size fallocate_posix fallocate_zero_keep fallocate_refused \
mmap_truncated mmap_truncate_on_open mmap_past_end times_of_truncate full_then_room guest_changes
		A write or a copy behind the last page gets ENOSPC.|copy_range set_flags_later unlink_open mtime_moves
		What the host adds to a file while it is passed through is seen at the next open after its last close.|host_changes_open
		Set-id bits and capabilities get EBUSY while the file is passed through.|setuid_dropped capability_dropped
		The host does not hear of reads, so atime does not move.|atime_of_read atime_after_write
		QEMU without KVM keeps code that it has translated from a place of the window, also when another file is mapped there: the data is right.|replaced_while_run
	END
}

# differences - tests that vfsdaxfuse passes without passthrough, and not with it
differences()
{
	awk '
	FILENAME ~ /vfsdaxfuse$/ { plain[$2 " " $3] = $1; next }
	plain[$2 " " $3] == "pass" && $1 != "pass" && $1 != "skipped" { print $3 }' "$work/vfsdaxfuse" "$work/passthrough"
}

# print_reasons - each with its tests that did not pass
print_reasons()
{
	local why tests now
	printf '\n## Differences of passthrough\n\n'
	while IFS='|' read -r why tests; do
		now=$(differences | { grep -xF "$(tr ' ' '\n' <<<"$tests")" || true; } | paste -s -d ' ' | sed 's/ /, /g')
		[ -z "$now" ] || echo "- $why ($now)"
	done < <(reasons)
}

have_reasons()
{
	local without
	without=$(differences | grep -vxF "$(reasons | cut -d '|' -f 2 | tr ' ' '\n')" || true)
	[ -z "$without" ] || {
		echo "no reason is known:" $without
		return 1
	}
}

# verdicts EXPECTED - one line a test: what passes there, and no longer here, is a failure
verdicts()
{
	awk -v expected="$1" '
	FILENAME == expected { want[$2 " " $3] = $1; next }
	{ got[$2 " " $3] = $0 }
	END {
		for (key in want) {
			split(got[key], w, " ")
			if (want[key] != "pass" || w[1] == "pass")
				print "ok " key
			else
				print "not ok " (w[1] == "" ? key " - no result" : key substr(got[key], length(w[1] w[2] w[3]) + 3))
		}
	}' "$1" "$work/vfsdaxfuse" | sort
}

# table_rows FILE - what its vfsdaxfuse column has, as results
table_rows()
{
	awk -F ' *[|] *' 'NF > 4 && $2 ~ /: / { sub(":", "", $2); print $5, $2 }' "$1"
}

# host_ends_well - a sanitizer's complaint would show in the status
host_ends_well()
{
	stop host
	tail -n 40 "$work/host.log"
	[ "$(cat "$work/host.status")" = 0 ]
}

# same_table FILE - but for a race that virtiofs does not lose each time, and code that QEMU does not keep each time
same_table()
{
	grep -v -e mmap_beside_write -e replaced_while_run "$1" >"$work/table.then"
	grep -v -e mmap_beside_write -e replaced_while_run "$work/table" >"$work/table.now"
	diff -u "$work/table.then" "$work/table.now"
}

judge()
{
	[ -z "$native" ] || check "vfsdaxhost ends well" host_ends_well >&2
	for c in "${columns[@]}"; do
		touch "$work/$c"
	done
	if [ -z "$native" ]; then
		cp "$work/virtiofs" "$work/expected"
	elif [ -n "$check" ]; then
		table_rows "$check" | wanted >"$work/expected"
	else
		cp "$work/local" "$work/expected"
	fi
	verdicts "$work/expected" >"$work/verdicts"
	passed=$((passed + $(grep -c '^ok ' "$work/verdicts" || true)))
	failed=$((failed + $(grep -c '^not ok ' "$work/verdicts" || true)))
	grep '^not ok ' "$work/verdicts" >&2 || true
	[ -z "$passthrough" ] || check "what passthrough does not pass has a reason" have_reasons >&2
	if [ -z "$only" ]; then
		print_table >"$work/table"
		if [ -n "$output" ]; then
			cp "$work/table" "$output"
		elif [ -z "$check" ]; then
			cat "$work/table"
		elif [ -z "$native" ]; then
			check "$(basename "$check") is what was printed" same_table "$check" >&2
		fi
	fi
	tally
}
