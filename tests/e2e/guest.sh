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

mount_it()
{
	guest timeout 60 vfsdaxfuse -o stats=/run/stats "$@" "$mnt"
	guest mountpoint -q "$mnt"
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
