# SPDX-License-Identifier: MIT
# A storm of FORGETs: what very many files took in host and daemon is given back. To be sourced by bash.
# shellcheck shell=bash disable=SC2154,SC2034 # the script that includes it defines the rest

# What vfsdaxhost keeps open at most of what nobody uses, and some for all else.
storm_idle=$((8192 + 200))

# memory_of PID - its resident memory in KiB
memory_of()
{
	awk '/^VmRSS:/ { print $2 }' "/proc/$1/status"
}

# storm_now WHEN - the numbers of this moment: host's descriptors and KiB, daemon's descriptors and KiB
storm_now()
{
	local pid
	pid=$(cat "$work/host.pid")
	now_host_fds=$(find "/proc/$pid/fd" -mindepth 1 | wc -l)
	now_host_kib=$(memory_of "$pid")
	read -r now_fds now_kib < <(daemon_size)
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
	[ "$found" = "$storm_files" ]
	storm_now "with $found files known"
	[ "$(host_stat nodes)" -gt $((storm_files * 9 / 10)) ]	# else nothing has been tested
	[ "$now_host_fds" -le $((before_host_fds + storm_idle)) ]
	until_true 100 storm_dropped
	storm_now "after"
	[ "$now_host_fds" -le $((before_host_fds + 100)) ]
	[ "$now_fds" -le $((before_fds + 10)) ]
	sanitized && return	# which keep what is freed
	[ "$now_kib" -le $((before_kib + 8192)) ]
	[ "$now_host_kib" -le $((before_host_kib + 16384)) ]
}

# storm_rounds NAME FILES - with a mount
storm_rounds()
{
	local name=$1 storm_files=$(($2 / 100 * 100))
	[ "$storm_files" -gt $((storm_idle * 2)) ] || storm_files=$((storm_idle * 2 / 100 * 100))
	check "$name: $storm_files files" make_storm
	check "$name: forgotten" storm_round
	check "$name: forgotten again" storm_round
}
