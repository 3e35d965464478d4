# SPDX-License-Identifier: MIT
# Checks that look at a mount from both ends; the same natively and in a VM. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # work, share, host_fstest come from the script
#
# The script defines: guest COMMAND... (runs it where the mount is), stats (prints the counters),
# mnt (the mount as the guest sees it), guest_fstest and host_fstest.

same_checksum()
{
	local ours theirs
	ours=$(md5sum <"$share/$1")
	theirs=$(guest timeout 120 md5sum "$mnt/$1")
	[ "${ours%% *}" = "${theirs%% *}" ]
}

# read_whole yes|some|no|any MIB - a file of the host's is read in sequence, through the window or not at all
read_whole()
{
	local size=$(($2 * 1048576)) before after bytes
	"$host_fstest" --make "$share/whole" "$size" 42
	before=$(number dax_read_bytes "$(stats)")
	same_checksum whole
	after=$(number dax_read_bytes "$(stats)")
	bytes=$((after - before))
	echo "$bytes of $size bytes came through the window"
	case $1 in
	yes) [ $((bytes * 100)) -ge $((size * 99)) ] ;;
	some) [ "$bytes" -gt 0 ] ;;
	no) [ "$bytes" = 0 ] ;;
	any) ;;
	esac
}

# write_whole yes|some|no MIB - the guest makes a file, then overwrites it through the window
write_whole()
{
	local before after
	guest "$guest_fstest" --make "$mnt/written" "$2M" 43
	"$host_fstest" --verify "$share/written" "$2M" 43
	before=$(number dax_write_bytes "$(stats)")
	guest "$guest_fstest" --put "$mnt/written" 0 "$2M" 44
	"$host_fstest" --verify "$share/written" "$2M" 44
	after=$(number dax_write_bytes "$(stats)")
	echo "$((after - before)) of $2 MiB were written through the window"
	case $1 in
	yes) [ $((after - before)) -ge $(($2 * 1048576 * 9 / 10)) ] ;;
	some) [ $((after - before)) -gt 0 ] ;;
	no) [ "$after" = "$before" ] ;;
	esac
	rm "$share/written"
}

# larger_set MIB [some] - six files, together larger than the window, in turn read and written
#
# Room is made for who reads in sequence. A guest's page cache has its reading ahead done by several
# threads at a time, out of order: then the window serves some of it, and the virtqueue the rest.
larger_set()
{
	local i round before after served
	for i in 1 2 3 4 5 6; do
		"$host_fstest" --make "$share/set$i" "$1M" "$i"
	done
	before=$(number evictions "$(stats)")
	served=$(number dax_read_bytes "$(stats)")
	for round in 1 2; do
		for i in 1 4 2 5 3 6; do
			guest "$guest_fstest" --verify "$mnt/set$i" "$1M" $((round * 10 - 10 + i))
			guest "$guest_fstest" --put "$mnt/set$i" 0 "$1M" $((round * 10 + i))
		done
	done
	for i in 1 2 3 4 5 6; do
		"$host_fstest" --verify "$share/set$i" "$1M" $((20 + i))
	done
	after=$(number evictions "$(stats)")
	served=$(($(number dax_read_bytes "$(stats)") - served))
	echo "$((after - before)) mappings made room, $served bytes came through the window"
	[ "$served" -gt 0 ]
	[ "${2-}" = some ] || [ "$after" -gt "$before" ]
	rm "$share"/set?
}

# ask LINE - the watcher of the guest must find it right
ask()
{
	local answer
	echo "$1" >&"$input"
	read -r -t 60 answer <&"${watcher[0]}"
	[ "$answer" = "right $1" ] || {
		echo "$answer"
		return 1
	}
}

# What the host does to an open file the guest sees at once (cache=none).
host_changes_open()
{
	local input pid
	"$host_fstest" --make "$share/f" 1M 1
	coproc watcher { guest "$guest_fstest" --watch "$mnt/f"; }
	input=${watcher[1]} pid=$watcher_PID
	ask 'data 0 1048576 1'
	"$host_fstest" --put "$share/f" 5000 100000 2
	ask 'data 5000 100000 2'
	ask 'data 0 5000 1'
	"$host_fstest" --put "$share/f" 1048576 500000 3	# longer
	ask 'data 1048576 500000 3'
	ask 'size 1548576'
	truncate -s 300000 "$share/f"				# shorter
	ask 'size 300000'
	ask 'end 300000'
	ask 'data 105000 195000 1'
	truncate -s 1M "$share/f"				# longer again
	ask 'data 105000 195000 1'
	ask 'size 1048576'
	"$host_fstest" --put "$share/f" 300000 748576 4
	ask 'data 300000 748576 4'
	exec {input}>&- # the end of its input is its end
	wait "$pid"
	rm "$share/f"
}

# And what it does to names.
host_changes_names()
{
	"$host_fstest" --make "$share/g" 10000 1
	guest "$guest_fstest" --verify "$mnt/g" 10000 1
	"$host_fstest" --make "$share/new" 20000 2
	mv "$share/new" "$share/g"
	guest "$guest_fstest" --verify "$mnt/g" 20000 2
	chmod 640 "$share/g"
	[ "$(guest stat -c %a "$mnt/g")" = 640 ]
	rm "$share/g"
	fails guest test -e "$mnt/g"
	mkdir "$share/d"
	: >"$share/d/entry"
	[ "$(guest ls "$mnt/d")" = entry ]
	rm -r "$share/d"
	fails guest test -e "$mnt/d"
}

# What the guest does the host sees at once.
guest_changes()
{
	guest "$guest_fstest" --make "$mnt/f" 300000 1
	"$host_fstest" --verify "$share/f" 300000 1
	guest "$guest_fstest" --poke "$mnt/f" 5000 250000 2	# mmap and msync
	guest "$guest_fstest" --poke "$mnt/f" 0 5000 2
	guest "$guest_fstest" --put "$mnt/f" 255000 45000 2
	"$host_fstest" --verify "$share/f" 300000 2
	guest truncate -s 1000 "$mnt/f"
	[ "$(stat -c %s "$share/f")" = 1000 ]
	guest mv "$mnt/f" "$mnt/g"
	[ -e "$share/g" ] && [ ! -e "$share/f" ]
	guest rm "$mnt/g"
	[ ! -e "$share/g" ]
}
