# SPDX-License-Identifier: MIT
# A mount in a virtual machine; for the tests that use one, to be sourced by bash.
# shellcheck shell=bash disable=SC2016,SC2119,SC2120,SC2154 # scripts in single quotes are for the guest

vm()
{
	local command=$1
	shift
	"$here/../vm/vm" "$command" --name "$vm_name" "$@"
}

guest()
{
	vm exec -- "$@"
}

# The counters; the daemon renames a new file into place.
stats()
{
	script 'rm -f /run/stats; kill -USR1 $(pidof vfsdaxfuse)
		for i in $(seq 50); do [ ! -s /run/stats ] || exec cat /run/stats; sleep 0.05; done
		exit 1'
}

# daemon_size - its descriptors and its resident memory in KiB
daemon_size()
{
	script 'pid=$(pidof vfsdaxfuse)
		echo $(ls /proc/$pid/fd | wc -l) $(sed -n "s/^VmRSS:[^0-9]*\([0-9]*\).*/\1/p" /proc/$pid/status)'
}

boot()
{
	vm start --kernel "$kernel" --timeout 120 "$@"
}

# data_requests - READ and WRITE that the host has got; it prints what is not 0
data_requests()
{
	local line
	line=$(host_stats)
	echo $(($(number read "$line" || echo 0) + $(number write "$line" || echo 0)))
}

# requests_of COMMAND... - how many of them the command needs
requests_of()
{
	local before
	before=$(data_requests)
	"$@" >&2
	echo $(($(data_requests) - before))
}

# install_links - the programs under their names
install_links()
{
	script 'for i in vfsdaxfuse vfsdax-window; do ln -sf "$0/sbin/$i" /usr/sbin; done' "$lab_prefix"
}

mount_it()
{
	guest timeout 60 vfsdaxfuse -o stats=/run/stats "$@" "$mnt"
	guest mountpoint -q "$mnt"
}

# unmount_it - and wait for the daemon's end
unmount_it()
{
	guest umount "$mnt"
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
}

driver()
{
	guest readlink "/sys/bus/pci/devices/$device/driver" | sed 's|.*/||'
}

no_warnings()
{
	vm console >"$work/console"
	fails grep -nE 'WARNING|BUG|Oops|Call Trace|DMAR.*fault|blocked for more|segfault' \
		"$work/console"
}

# refused STATUS PATTERN ARGUMENT... - one line on stderr says why, and nothing has changed
refused()
{
	local status=0 want=$1 pattern=$2 before
	shift 2
	before=$(driver)
	guest timeout 30 vfsdaxfuse "$@" >"$work/out" 2>"$work/err" || status=$?
	cat "$work/err"
	[ "$status" = "$want" ]
	[ "$(wc -l <"$work/err")" = 1 ]
	grep -qE "^vfsdaxfuse: .*($pattern)" "$work/err"
	[ "$(driver)" = "$before" ]
}

end_all()
{
	vm stop || true
	rm -rf "${lab_run:?}/$vm_name" "$lab_run/$vm_name.lock"
	finish_all
}
