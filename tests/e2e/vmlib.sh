# SPDX-License-Identifier: MIT
# Guests with vfsdaxfuse in them, for the end-to-end tests in virtual machines; to be sourced by bash.
# shellcheck shell=bash disable=SC2154,SC2016,SC2119,SC2120 # scripts in single quotes are for the guest
#
# The script defines here (the directory of tests/e2e), kernel, vm_name and mnt (the mount's place).

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

# script TEXT [ARGUMENT...] - a shell script in the guest
script()
{
	guest sh -ec "$@"
}

# The counters; the daemon renames a new file into place.
stats()
{
	script 'rm -f /run/stats; kill -USR1 $(pidof vfsdaxfuse)
		for i in $(seq 50); do [ ! -s /run/stats ] || exec cat /run/stats; sleep 0.05; done
		exit 1'
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

no_warnings()
{
	vm console >"$work/console"
	fails grep -nE 'WARNING|BUG|Oops|Call Trace|DMAR.*fault|blocked for more|segfault' \
		"$work/console"
}

end_all()
{
	vm stop || true
	rm -rf "${lab_run:?}/$vm_name" "$lab_run/$vm_name.lock"
	finish_all
}
