# SPDX-License-Identifier: MIT
# A storm of FORGETs: what very many files took in host and daemon is given back. To be sourced by bash.
# shellcheck shell=bash disable=SC2154,SC2016,SC2034 # the script that includes it defines the rest

# memory_of PID - its resident memory in KiB
memory_of()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

# storm_now - the numbers of this moment: host's descriptors and KiB, daemon's descriptors and KiB
storm_now()
{
	local pid
	pid=$(cat "$work/host.pid")
	now_host_fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
	now_host_kib=$(memory_of "$pid")
	read -r now_fds now_kib < <(script 'pid=$(pidof vfsdaxfuse)
		echo $(ls /proc/$pid/fd | wc -l) $(sed -n "s/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p" /proc/$pid/status)')
	echo "$1: host $now_host_fds descriptors and $now_host_kib KiB, daemon $now_fds and $now_kib KiB" |
		tee -a "$work/times"
}

# The kernel drops an inode only when nothing of it is in use, which takes it more than one turn.
storm_dropped()
{
	guest sh -c 'echo 3 >/proc/sys/vm/drop_caches'
	[ "$(host_stat nodes)" -le 10 ]
}

make_storm()
{
	local dir
	mkdir "$share/storm"
	for ((dir = 0; dir < storm_files / 100; dir++)); do
		mkdir "$share/storm/$dir"
		(cd "$share/storm/$dir" && seq 100 | xargs touch)
	done
}

# A round makes host and daemon use memory that they keep for the next one, and is bounded as well; what
# is left behind by each would show in the second.
storm_round()
{
	local found before_host_fds before_host_kib before_fds before_kib
	storm_now "before"
	before_host_fds=$now_host_fds before_host_kib=$now_host_kib
	before_fds=$now_fds before_kib=$now_kib
	found=$(guest timeout 1800 find "$mnt/storm" -type f -size -1 -print0 | tr -dc '\0' | wc -c)
	[ "$found" = $storm_files ]
	storm_now "with $found files known"
	[ "$now_host_fds" -gt $((storm_files * 9 / 10)) ]	# else nothing has been tested
	until_true 100 storm_dropped
	storm_now "after"
	[ "$now_host_fds" -le $((before_host_fds + 100)) ]
	[ "$now_fds" -le $((before_fds + 10)) ]
	[ "$now_kib" -le $((before_kib + 8192)) ]
	[ "$now_host_kib" -le $((before_host_kib + 16384)) ]
}

storm()
{
	local storm_files
	storm_files=$(($(how_many 200000) / 100 * 100))
	check "storm: files" make_storm
	check "storm: mount" mount_it vfsdax
	check "storm: forgotten" storm_round
	check "storm: forgotten again" storm_round
	check "storm: end" end
	rm -rf "$share/storm"
}
