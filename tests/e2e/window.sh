#!/bin/bash
# SPDX-License-Identifier: MIT
# vfsdax-window in a virtual machine: set up, used, removed, killed, and refused where it must be.
# shellcheck disable=SC2016,SC2034 # scripts in single quotes are for the guest; lib.sh uses names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"

usage="usage: window.sh [--kernel 6.12|backports] [BUILD-DIRECTORY]
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
guest_fstest=$lab_prefix/build/tests/e2e/fstest
mnt=/mnt/host device=0000:00:10.0

window()
{
	guest timeout 60 vfsdax-window "$@"
}

# refuses "ARGUMENT..." PATTERN - one line says that it is refused
refuses()
{
	local status=0
	# shellcheck disable=SC2086 # words
	window $1 >"$work/out" 2>&1 || status=$?
	cat "$work/out"
	[ "$status" = 1 ]
	[ "$(wc -l <"$work/out")" = 1 ]
	grep -qE "^vfsdax-window: .*($2)" "$work/out"
}

# says_no "ARGUMENT..." PATTERN - it is refused, and no device and no module changes
says_no()
{
	local before
	before=$(state)
	refuses "$@"
	[ "$(state)" = "$before" ]
}

# state - the driver of the device, the modules, and who has the namespaces
state()
{
	script 'readlink "/sys/bus/pci/devices/$0/driver" || echo none
		cut -d " " -f 1 /proc/modules | sort
		cd /sys/bus/nd/devices 2>/dev/null || exit 0
		for i in namespace?.?; do echo "$i $(cat "$i/holder")"; done
		for i in pfn?.*; do echo "$i $(cat "$i/uuid") $(ls "$i/block" 2>/dev/null || true)"; done' "$device"
}

# usable yes|no - what status says, by its exit status, its last line, and as JSON
usable()
{
	local status=0 line='Passthrough cannot be used now.'
	[ "$1" = no ] || line='Passthrough can be used now.'
	window status >"$work/out" 2>&1 || status=$?
	cat "$work/out"
	[ "$(tail -n 1 "$work/out")" = "$line" ]
	[ "$status" = "$([ "$1" = yes ]; echo $?)" ]
	window status --json >"$work/json" || [ "$1" = no ]
	python3 -c 'import json, sys
status = json.load(open(sys.argv[1]))
assert status["usable"] == (sys.argv[2] == "yes"), status
assert status["usable"] == all(c["ok"] for c in status["checks"]), status' "$work/json" "$1"
}

# The parameters that this machine was started with; no_parameters() has a machine without.
config()
{
	local parameters
	parameters=$(guest grep -o 'memmap=[^ ]*' /proc/cmdline | tr '\n' ' ')
	[ "$parameters" ]
	window print-config >"$work/out" 2>"$work/notes"
	cat "$work/out"
	[ "$(cat "$work/out")" = "${parameters}modprobe.blacklist=nd_e820" ]
	fails grep -v '^#' "$work/notes"
	[ "$(window print-config --device="$device" --metadata=32M 2>/dev/null)" = \
		"${parameters%% *} memmap=32M!0x24000000 modprobe.blacklist=nd_e820" ]
}

before_setup()
{
	usable no
	grep -q '^driver  *NO  .* virtio-pci' "$work/out"
	grep -q '^namespaces  *NO' "$work/out"
	grep -q '^window  *ok' "$work/out"
}

# killed_after MILLISECONDS VERB - 0 when it was killed before its end
killed_after()
{
	local status=0
	# else timeout(1) kills itself, too, and ssh does not tell that
	guest timeout --foreground -s KILL "$(printf '%d.%03d' $(($1 / 1000)) $(($1 % 1000)))" \
		vfsdax-window "$2" >"$work/out" 2>&1 || status=$?
	cat "$work/out"
	[ "$status" = 137 ]
}

# The first setup after the boot, which loads the modules, is killed later each time until it is completed.
killed_at_first()
{
	local n=0 i=10
	while killed_after "$i" setup; do
		n=$((n + 1)) i=$((i + i / 4 + 5))
		[ "$i" -lt 20000 ]
		state | sed "s/^/after $i ms: /" | grep -v -e virtio -e net -e crc
	done
	echo "$n were killed while they ran"
	[ "$n" -ge 2 ]
	window setup
	usable yes
}

# duration VERB - how long it takes, in milliseconds, at least 20
duration()
{
	script 'read -r from _ </proc/uptime; vfsdax-window "$0"; read -r to _ </proc/uptime
		echo "$from $to" | awk "{ ms = int((\$2 - \$1) * 1000); print ms < 20 ? 20 : ms }"' "$1"
}

# The same with all modules there, and of what removes: at twelve times of a run that is not killed.
killed()
{
	local i hits=0 states setup remove
	window setup
	remove=$(duration remove) setup=$(duration setup)
	echo "setup takes $setup ms, remove $remove ms"
	: >"$work/states"
	for i in $(seq 12); do
		window remove
		[ "$(driver)" = virtio-pci ]
		! killed_after $((setup * i / 10)) setup || hits=$((hits + 1))
		state | sed 's/[0-9a-f-]\{36\}//; s/pfn\([01]\)\.[0-9]*/pfn\1/' | md5sum >>"$work/states"
		window setup
		window status >/dev/null
		! killed_after $((remove * i / 10)) remove || hits=$((hits + 1))
		window setup
		window status >/dev/null
	done
	states=$(sort -u "$work/states" | wc -l)
	echo "$hits of 24 were killed while they ran, $states states were left"
	[ "$hits" -ge 6 ]
	[ "$states" -ge 2 ]
	no_warnings
}

# A setup that was killed between driver_override and the unbinding.
killed_before_unbind()
{
	window remove
	script 'mkdir -p /run/vfsdax-window
		echo virtio-pci >"/run/vfsdax-window/$0"
		echo vfio-pci >"/sys/bus/pci/devices/$0/driver_override"' "$device"
	window remove
	[ "$(driver)" = virtio-pci ]
	[ "$(guest cat "/sys/bus/pci/devices/$device/driver_override")" = "(null)" ]
}

again()
{
	local before
	before=$(state)
	[ "${before#*76667364-6178-8}" != "$before" ]
	window setup
	[ "$(state)" = "$before" ]
}

verify_a()
{
	guest "$guest_fstest" --verify "$mnt/a" 20M "$1"
}

# The kernel reads and writes by itself.
used()
{
	mount_it -o passthrough=all
	"$host_fstest" --make "$share/a" 20M 1
	verify_a 1
	[ "$(requests_of verify_a 1)" = 0 ]
	guest "$guest_fstest" --put "$mnt/a" 0 20M 2
	"$host_fstest" --verify "$share/a" 20M 2
}

refused_while_mounted()
{
	says_no setup 'vfsdaxfuse \(pid [0-9]+\) drives 0000:00:10.0'
	says_no remove 'vfsdaxfuse \(pid [0-9]+\) drives 0000:00:10.0'
	verify_a 2
	usable yes
}

unmounted()
{
	unmount_it
	nothing_mapped
}

# Who else may use a namespace: device mapper, a mount (also one of another mount namespace), a program.
refused_while_in_use()
{
	guest dmsetup create other --noudevsync --verifyudev --table '0 8 linear /dev/pmem1 0'
	says_no remove '/dev/pmem1 is in use: by the device-mapper device "other"'
	guest dmsetup remove --noudevsync --verifyudev other
	script 'mke2fs -q -b 4096 /dev/pmem0; mkdir -p /run/m; mount /dev/pmem0 /run/m'
	says_no remove '/dev/pmem0 is in use: it is mounted on /run/m'
	script 'unshare -m sh -c "umount /run/m; vfsdax-window remove" 2>&1 | grep "another mount namespace"'
	guest umount /run/m
	script 'sleep 1000 </dev/pmem1 >/dev/null 2>&1 & echo $! >/run/sleep'
	says_no remove '/dev/pmem1 is in use: by sleep \(pid [0-9]+\)'
	script 'kill $(cat /run/sleep)'
}

# Everything is as before, but for modules: the kernel's own driver has the window again.
removed()
{
	window remove
	[ "$(driver)" = virtio-pci ]
	fails guest ls /dev/pmem0
	fails guest ls /dev/pmem1
	usable no
	window remove
	guest mount -t virtiofs -o dax vfsdax "$mnt"
	verify_a 2
	says_no setup 'the kernel has .* mounted on /mnt/host'
	guest umount "$mnt"
}

# A namespace of somebody else is neither used nor given back.
others_stay()
{
	window setup
	script 'cd /sys/bus/nd/devices
		pfn=$(cat namespace1.0/holder)
		echo "$pfn" >"$pfn/driver/unbind"
		cat /proc/sys/kernel/random/uuid >"$pfn/uuid"
		echo "$pfn" >/sys/bus/nd/drivers/nd_pmem/bind'
	says_no setup 'pfn1.[0-9]+ in region1 was not made by vfsdax-window'
	says_no remove 'pfn1.[0-9]+ over the window was not made by vfsdax-window'
	usable no
	script 'cd /sys/bus/nd/devices; [ -e /dev/pmem1 ]; [ -e /dev/pmem0 ]
		pfn=$(cat namespace1.0/holder)
		echo "$pfn" >"$pfn/driver/unbind"
		echo >"$pfn/namespace"'
	window remove
	[ "$(driver)" = virtio-pci ]
}

# raw_metadata - the memory for metadata as a raw block device, as nd_e820 makes it at first
raw_metadata()
{
	script 'cd /sys/bus/nd/devices; echo 1 >namespace0.0/force_raw
		echo namespace0.0 >/sys/bus/nd/drivers/nd_pmem/bind'
}

# Memory that holds something is not taken, until it is erased as the message says.
metadata_of_others()
{
	local sum erase
	raw_metadata
	guest mke2fs -q -b 4096 /dev/pmem0
	sum=$(guest sha256sum /dev/pmem0)
	[ "$(window print-config 2>/dev/null)" = "memmap=$right memmap=64M!0x24000000 modprobe.blacklist=nd_e820" ]
	refuses setup 'memory for metadata at 0x20000000-0x23ffffff \(region0\) holds something'
	says_no setup 'memory for metadata at 0x20000000-0x23ffffff \(region0\) holds something'
	erase=$(grep -o 'dd if=.*' "$work/out")
	[ "$(guest sha256sum /dev/pmem0)" = "$sum" ]
	usable no
	script "$erase"
	window setup
	usable yes
	window remove
}

# hold SECONDS NODE COMMAND... - while a program has it open, as udev has
hold()
{
	script '(exec sleep "$0" <"$1" >/dev/null 2>&1) & echo $! >/run/sleep' "$1" "$2"
	shift 2
	"$@"
	script 'kill "$(cat /run/sleep)" 2>/dev/null || true'
}

held_for_a_moment()
{
	raw_metadata
	hold 1000 /dev/pmem0 says_no setup '/dev/pmem0 is in use: by sleep \(pid [0-9]+\)'
	hold 1 /dev/pmem0 window setup
	usable yes
	hold 1 /dev/pmem1 window remove
	[ "$(driver)" = virtio-pci ]
}

# A devdax namespace, as daxctl makes one.
devdax_is_refused()
{
	window setup
	script 'modprobe -a dax_pmem device_dax; cd /sys/bus/nd/devices
		pfn=$(cat namespace1.0/holder) dax=$(cat region1/dax_seed)
		echo "$pfn" >"$pfn/driver/unbind"; echo >"$pfn/namespace"
		echo ram >"$dax/mode"; echo 2097152 >"$dax/align"
		cat /proc/sys/kernel/random/uuid >"$dax/uuid"; echo namespace1.0 >"$dax/namespace"
		echo "$dax" >/sys/bus/nd/drivers/dax_pmem/bind; echo "$dax" >/run/dax'
	says_no setup 'region1 has a devdax namespace \(dax1.0, driver device_dax\)'
	usable no
	script 'cd /sys/bus/nd/devices; dax=$(cat /run/dax); echo "$dax" >"$dax/driver/unbind"; echo >"$dax/namespace"'
	window setup
	usable yes
}

wrong_words()
{
	local status
	for words in "" "both verbs" fly "status --metadata=1" "print-config --metadata=15M"; do
		status=0
		# shellcheck disable=SC2086 # words
		window $words >/dev/null 2>"$work/err" || status=$?
		[ "$status" = 2 ]
		[ -s "$work/err" ]
	done
	for words in "setup --metadata=64M" "setup --json" "status --metadata=32M" "remove --json" "print-config --json"; do
		status=0
		# shellcheck disable=SC2086 # words
		window $words >/dev/null 2>"$work/err" || status=$?
		[ "$status" = 2 ]
		words=${words%=*}
		grep -q "^vfsdax-window: ${words% *} does not take ${words#* } " "$work/err"
	done
	says_no "setup --device=0000:00:12.0" 'no virtio-fs device at 0000:00:12.0'
}

# shift_window BYTES - a range that begins so much behind the window's begin, as memmap= takes it
shift_window()
{
	local window
	read -r window _ <"$lab_run/$vm_name/pmem"
	printf '%s!%#x\n' "${window%@*}" $((${window#*@} + $1))
}

# Parameters of a machine that was changed: nothing is loaded, and the right ones are printed.
wrong_region()
{
	install_links
	says_no setup 'is not the window 0x[0-9a-f]+-0x[0-9a-f]+: nothing may be loaded over it'
	fails guest grep nd_e820 /proc/modules
	usable no
	grep -q '^window  *NO' "$work/out"
	window print-config 2>/dev/null | grep -qxF "memmap=$right memmap=64M!0x20000000 modprobe.blacklist=nd_e820"
	window remove
	[ "$(driver)" = virtio-pci ]
}

no_parameters()
{
	install_links
	says_no setup 'the kernel was started without memmap=SIZE!ADDRESS'
	[ "$(window print-config 2>/dev/null)" = \
		"memmap=$right memmap=64M!0x20000000 modprobe.blacklist=nd_e820" ]
}

# Secure Boot locks the kernel down; by parameter it is the same.
locked_down()
{
	install_links
	script 'mountpoint -q /sys/kernel/security || mount -t securityfs none /sys/kernel/security
		grep -F "[integrity]" /sys/kernel/security/lockdown'
	window setup
	usable yes
	grep -q 'locked down (integrity)' "$work/out"
	used
	unmounted
	window remove
}

# kill_it - the daemon, without a chance to remove its mappings
kill_it()
{
	script 'pid=$(pidof vfsdaxfuse); kill -KILL "$pid"; umount -l "$0"
		for i in $(seq 100); do [ -e "/proc/$pid" ] || exit 0; sleep 0.1; done; exit 1' "$mnt"
}

# The mappings of a killed mount without passthrough: a namespace would be written into the host's file.
window_is_not_empty()
{
	local sum
	head -c 4M /dev/urandom >"$share/b"
	sum=$(sha256sum <"$share/b")
	mount_it
	[ "$(script 'sha256sum <"$0/b"' "$mnt")" = "$sum" ]
	kill_it
	[ "$(host_stat live_mappings)" -gt 0 ]
	says_no setup 'the window is not empty: .* restart the virtual machine'
	says_no setup 'the window is not empty: .* restart the virtual machine'
	[ "$(sha256sum <"$share/b")" = "$sum" ]
}

# The device mapper still has the namespaces of a mount that was killed.
refused_after_kill()
{
	install_links
	window setup
	mount_it -o passthrough=all
	verify_a 2
	kill_it
	says_no remove 'is in use: by the device-mapper device'
}

# machine ARGUMENT... - another one at the same host
machine()
{
	vm stop
	boot --socket "$work/fs.sock" "$@"
}

read_options kernel "" "$@"
need_root
make_work
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest
vm_name=window-$kernel-$$
need_prepared "$host" "$lab_out/build/tests/e2e/fstest"
trap end_all EXIT
trap 'exit 1' INT TERM HUP

check "host starts" start_host --cache=none --window=1G --tag=vfsdax
check "boot" boot --socket "$work/fs.sock" --pmem-window
check "programs" install_links
right=$(shift_window 0) wrong=$(shift_window $((1 << 30)))
check "parameters" config
check "wrong usage" wrong_words
check "before setup" before_setup
check "killed at first, then set up" killed_at_first
check "set up again" again
check "used" used
check "refused while mounted" refused_while_mounted
check "unmounted" unmounted
check "refused while in use" refused_while_in_use
check "removed" removed
check "others' namespaces stay" others_stay
check "memory that holds something is refused" metadata_of_others
check "a namespace that is open for a moment" held_for_a_moment
check "a devdax namespace is refused" devdax_is_refused
check "killed" killed
check "killed before the unbinding" killed_before_unbind
check "set up after that" window setup
check "used again" used
check "unmounted again" unmounted
check "removed again" removed
check "no warnings of the kernel" no_warnings
check "boot with another region" machine --append "memmap=$wrong memmap=64M!0x20000000"
check "another region is refused" wrong_region
check "no warnings with another region" no_warnings
check "boot without parameters" machine
check "no parameters" no_parameters
check "boot locked down" machine --pmem-window --append 'lockdown=integrity lsm=lockdown'
check "locked down" locked_down
check "no warnings when locked down" no_warnings
check "a window that is not empty is refused" window_is_not_empty
check "no warnings of a window that is not empty" no_warnings
check "boot once more" machine --pmem-window
check "remove is refused after a kill" refused_after_kill
vm stop
check "the host ends" test "$(stop host; cat "$work/host.status")" = 0
tally
