# SPDX-License-Identifier: MIT
# What the daemons keep in memory for a large window and many inodes. To be sourced by native.sh.
# shellcheck shell=bash disable=SC2154 # work, share, mnt come from the script

many=100000
own_limit=$((64 * 1024))

# own_kib NAME - resident memory of a daemon in KiB, without what of the host's files the window shows
#
# Counted: heap, stacks and all other anonymous memory, the arena (memory that the device reaches),
# and program and libraries, although others share those. Not counted: mappings of other files. They
# must lie within the 4 GiB of the window, so nothing else can hide among them.
own_kib()
{
	awk '
		/^[0-9a-f]+-[0-9a-f]+ / {
			own = $6 == "" || $6 ~ /^\[/ || $6 ~ /^\/memfd:vfsdaxfuse-dma/ ||
				$6 ~ /\/(vfsdaxfuse|vfsdaxhost)$/ || $6 ~ /\.so[.0-9]*$/
			if (!own) {
				split($1, at, "-")
				if (first == "" || at[1] < first) first = at[1]
				if (at[2] > last) last = at[2]
			}
		}
		$1 == "Rss:" { if (own) kib += $2; else window += $2 }
		END {
			print kib, window + 0, first == "" ? 0 : first, last == "" ? 0 : last
		}' "/proc/$(cat "$work/$1.pid")/smaps" >"$work/own"
	local kib window first last
	read -r kib window first last <"$work/own"
	[ $((0x$last - 0x$first)) -le $((4 << 30)) ]
	echo "$kib"
}

# status_kib NAME FIELD - such as VmPTE
status_kib()
{
	awk -v field="$2:" '$1 == field { print $2 }' "/proc/$(cat "$work/$1.pid")/status"
}

# say_memory WHEN - for the reader of the log
say_memory()
{
	local kib window line
	line=$(stats)
	own_kib fuse >/dev/null
	read -r kib window _ <"$work/own"
	echo "# $1: own $kib KiB (anonymous $(status_kib fuse RssAnon), arena" \
		"$(($(number arena_bytes "$line") / 1024))), window resident $window KiB, page tables" \
		"$(status_kib fuse VmPTE) KiB, $(number mappings "$line") mappings," \
		"$(number inodes "$line") inodes; host: own $(own_kib host) KiB," \
		"$(host_stat nodes) nodes" | tee -a "$work/memory"
}

# Sparse files: the window takes 128 extents of 32 MiB, and all of it is touched.
window_full()
{
	local line
	mkdir "$share/large"
	for i in $(seq 128); do
		truncate -s 32M "$share/large/$i"
	done
	[ "$(cat "$mnt"/large/* | wc -c)" = $((4 << 30)) ]
	# Open, or their mappings would go a minute after the close.
	spawn holder python3 -c 'import glob, sys, time
files = [open(name) for name in glob.glob(sys.argv[1] + "/*")]
print(len(files), flush=True)
time.sleep(3600)' "$mnt/large"
	until_true 100 grep -qx 128 "$work/holder.log"
	line=$(stats)
	echo "$line"
	[ "$(number window_bytes "$line")" = $((4 << 30)) ]
	[ "$(number window_free_bytes "$line")" = 0 ]
	[ "$(number window_largest_free "$line")" = 0 ]
	[ "$(number mappings "$line")" = 128 ]
	[ "$(number mappings_32m "$line")" = 128 ]
	say_memory "window full"
}

# The kernel knows them all, or under memory pressure still many; the daemon keeps nothing of what nobody opened.
many_listed()
{
	local line
	mkdir "$share/many"
	(cd "$share/many" && seq "$many" | xargs truncate -s 4096)
	[ "$(find "$mnt/many" -type f -size 8 | wc -l)" = "$many" ]
	[ "$(host_stat nodes)" -ge $((many / 10)) ]
	line=$(stats)
	[ "$(number inodes "$line")" -lt 1000 ]
	say_memory "$many listed"
}

# many_read NUMBER - so many of them. Readers hold them, as under memory pressure the kernel forgets what
# nobody holds at any time; each as many as its limit of descriptors allows.
many_read()
{
	local i each readers
	each=$(($(ulimit -Hn) - 100))
	each=$((each < 50000 ? each : 50000))
	readers=$((($1 + each - 1) / each))
	for ((i = 0; i < readers; i++)); do
		# shellcheck disable=SC2016 # for the inner shell
		spawn "reader$i" sh -c 'ulimit -n "$(ulimit -Hn)"; exec python3 -c "$@"' sh 'import os, sys, time
names = sorted(os.listdir(sys.argv[1]))[int(sys.argv[2]):int(sys.argv[3])]
held = []
for name in names:
    path = os.path.join(sys.argv[1], name)
    held.append(os.open(path, os.O_PATH))
    with open(path, "rb") as file:
        assert len(file.read()) == 4096
print("read", len(names), flush=True)
time.sleep(3600)' "$mnt/many" $((i * each)) $((i * each + each < $1 ? i * each + each : $1))
	done
	for ((i = 0; i < readers; i++)); do
		until_true 1200 grep -qs "^read" "$work/reader$i.log"
	done
	[ "$(awk '$1 == "read" { sum += $2 } END { print sum }' "$work"/reader*.log)" = "$1" ]
	[ "$(number inodes "$(stats)")" -ge "$1" ]
	[ "$(host_stat nodes)" -ge "$1" ]
}

few_inodes()
{
	[ "$(number inodes "$(stats)")" -lt 1000 ] && [ "$(host_stat nodes)" -lt 1000 ]
}

# The kernel gives up what nobody uses.
many_forgotten()
{
	local log name
	for log in "$work"/reader*.log; do
		name=$(basename "$log" .log)
		stop "$name"
		rm "$log"
	done
	echo 2 >/proc/sys/vm/drop_caches
	until_true 300 few_inodes
}

memory_is_small()
{
	local own each
	[ "$(number window_free_bytes "$(stats)")" = 0 ]
	say_memory "$many opened"
	own=$(own_kib fuse)
	echo "$own" >"$work/peak"
	each=$(((own - before) * 1024 / many))
	echo "# own with $many inodes of $each bytes: $own of $own_limit KiB; page tables" \
		"$(status_kib fuse VmPTE) KiB" | tee -a "$work/memory"
	[ "$each" -gt 100 ]
	[ "$own" -lt "$own_limit" ]
}

# What was taken for the inodes is given back to the system. The allocator keeps pages on which something is
# left, but less than half.
memory_goes_back()
{
	local after
	stop holder
	many_forgotten
	say_memory "forgotten"
	after=$(own_kib fuse)
	[ $((after - before)) -lt $((($(cat "$work/peak") - before) / 2)) ]
}

# The allocator keeps 1 or 2 MiB after one of equal rounds and not after the next. What grows is more in each
# round, so the least of the last two is compared with the most of the first two.
memory_does_not_grow()
{
	local most=0 least="" now round
	for round in 1 2 3 4 5; do
		many_read $((many / 5))
		many_forgotten
		say_memory "round $round"
		now=$(own_kib fuse)
		if [ "$round" -le 2 ]; then
			most=$((now > most ? now : most))
		elif [ "$round" -ge 4 ]; then
			least=$((least && least < now ? least : now))
		fi
	done
	[ "$least" -lt $((most + 1024)) ]
}

cross_memory()
{
	local before
	: >"$work/memory"
	check "$1: the window is full" window_full
	before=$(own_kib fuse)
	check "$1: $many files listed" many_listed
	check "$1: $many files opened" many_read "$many"
	if sanitized; then
		echo "# the sanitizers have memory of their own: it is not measured"
		stop holder
		check "$1: forgotten" many_forgotten
		return
	fi
	check "$1: less than 64 MiB" memory_is_small
	check "$1: forgotten, it goes back" memory_goes_back
	check "$1: it does not grow" memory_does_not_grow
	cat "$work/memory"
}
