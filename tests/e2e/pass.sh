#!/bin/bash
# SPDX-License-Identifier: MIT
# vfsdaxfuse with passthrough, in a virtual machine whose kernel has the window as persistent memory.
# shellcheck disable=SC2016,SC2034 # scripts in single quotes are for the guest; lib.sh uses names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"
# shellcheck source=tests/e2e/cross.sh
. "$here/cross.sh"

usage="usage: pass.sh [--kernel 6.12|backports] [BUILD-DIRECTORY]
The build directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
guest_fstest=$lab_prefix/build/tests/e2e/fstest
guest_fidelity=$lab_prefix/build/tests/e2e/fidelity
mnt=/mnt/host device=0000:00:10.0

# The kernel's namespaces, as a person makes them after each start.
namespaces()
{
	install_links
	guest vfsdax-window setup
}

devices()
{
	script 'ls /sys/block | grep -c ^dm- || true'
}

nothing_composed()
{
	[ "$(devices)" = 0 ]
}

verify_a()
{
	guest "$guest_fstest" --verify "$mnt/a" 64M 1
}

# The kernel reads by itself: the host is not asked.
read_without_requests()
{
	"$host_fstest" --make "$share/a" 64M 1
	verify_a
	[ "$(devices)" = 1 ]
	[ "$(requests_of verify_a)" = 0 ]
}

# Each size has its last page right: nothing, less than one, one exactly, and more.
odd_sizes()
{
	local size
	for size in 4095 4096 4097 8191 8192 8193 65535 65536 65537 1000001 33554433; do
		"$host_fstest" --make "$share/s" "$size" 7
		guest "$guest_fstest" --verify "$mnt/s" "$size" 7
		guest "$guest_fstest" --put "$mnt/s" 0 "$size" 8
		"$host_fstest" --verify "$share/s" "$size" 8
		guest "$guest_fstest" --poke "$mnt/s" 0 "$size" 9
		"$host_fstest" --verify "$share/s" "$size" 9
		rm "$share/s"
		fails guest test -e "$mnt/s"
	done
}

write_a()
{
	guest "$guest_fstest" --put "$mnt/a" 0 64M 2
}

# Writes through the backing file are the host's at once, and its mtime moves at close.
write_without_requests()
{
	local before
	touch -d '2020-01-01' "$share/a"
	before=$(stat -c %Y "$share/a")
	[ "$(requests_of write_a)" = 0 ]
	"$host_fstest" --verify "$share/a" 64M 2
	[ "$(stat -c %Y "$share/a")" -gt "$before" ]
	[ "$(guest stat -c %Y "$mnt/a")" = "$(stat -c %Y "$share/a")" ]
}

host_changes()
{
	# while it is open: the pages are the same
	coproc watcher { guest "$guest_fstest" --watch-mapped "$mnt/a"; }
	input=${watcher[1]} pid=$watcher_PID
	ask 'data 0 67108864 2'
	"$host_fstest" --put "$share/a" 0 32M 3
	ask 'data 0 33554432 3'
	exec {input}>&-
	wait "$pid"
	# and another size, while it is not
	"$host_fstest" --make "$share/a" 10000000 4
	guest "$guest_fstest" --verify "$mnt/a" 10000000 4
}

fixed_size()
{
	"$host_fstest" --make "$share/fixed" 1M 5
	script 'exec 5<>"$0"
		! dd if=/dev/zero of="$0" bs=4096 count=1 seek=256 conv=notrunc 2>/run/dd || exit 1
		grep -q "No space left" /run/dd
		! truncate -s 0 "$0" 2>/run/truncate || exit 1
		grep -q "busy" /run/truncate
		! fallocate -l 4M "$0" 2>/run/fallocate || exit 1
		grep -q "busy" /run/fallocate' "$mnt/fixed"
	guest "$guest_fstest" --verify "$mnt/fixed" 1M 5
	[ "$(stat -c %s "$share/fixed")" = 1048576 ]
	# by name, without an open of the file
	guest python3 -c 'import os, sys; os.truncate(sys.argv[1], 5000)' "$mnt/fixed"
	[ "$(stat -c %s "$share/fixed")" = 5000 ]
}

# What empties a file at its open is served as usual, and gets EBUSY while the file is passed through.
emptied_at_open()
{
	"$host_fstest" --make "$share/emptied" 1M 5
	guest "$guest_fstest" --verify "$mnt/emptied" 1M 5
	script 'exec 5<"$0"; ! echo x 2>/run/echo >"$0" || exit 1; grep -q busy /run/echo' "$mnt/emptied"
	guest "$guest_fstest" --verify "$mnt/emptied" 1M 5
	script 'seq 100000 >"$0"' "$mnt/emptied"
	seq 100000 | cmp - "$share/emptied"
	guest md5sum "$mnt/emptied" | grep -q "$(seq 100000 | md5sum | cut -d " " -f 1)"
}

# A file that is not passed through uses the part of the window that the daemon has mapped.
beside_by_window()
{
	local before
	"$host_fstest" --make "$share/log" 20M 6
	before=$(number dax_read_bytes "$(stats)")
	# O_APPEND
	script 'exec 5<>"$0"; exec 6>>"$0"' "$mnt/log"
	script 'exec 6>>"$0"; "$1" --verify "$0" 20M 6; echo end >&6' "$mnt/log" "$guest_fstest"
	[ $(($(number dax_read_bytes "$(stats)") - before)) -gt $((15 << 20)) ]
	[ "$(tail -c 4 "$share/log")" = end ]
	rm "$share/log"
}

# Inside of the last page a file can become longer, by each way; and appended to when it is not open.
tail_grows()
{
	"$host_fstest" --make "$share/tail" 10000 6
	cp "$share/tail" "$work/want"
	echo appended >>"$work/want"
	script 'echo appended >>"$0"' "$mnt/tail"
	cmp "$work/want" "$share/tail"
	[ "$(guest stat -c %s "$mnt/tail")" = 10009 ]
	echo again >>"$work/want"
	script 'exec 5<>"$0"; echo again >>"$0"' "$mnt/tail"
	cmp "$work/want" "$share/tail"
	guest cmp "$mnt/tail" - <"$work/want"
}

# An ordinary user's write takes set-id bits away.
set_id_goes()
{
	"$host_fstest" --make "$share/suid" 100000 1
	chmod 6777 "$share/suid"
	script 'setpriv --reuid 65534 --regid 65534 --clear-groups dd if=/dev/zero of="$0" bs=10 count=1 \
		conv=notrunc status=none' "$mnt/suid"
	[ "$(stat -c %a "$share/suid")" = 777 ]
	[ "$(guest stat -c %a "$mnt/suid")" = 777 ]
	# and does not get them while the kernel writes by itself
	script 'exec 5<>"$0"; ! chmod u+s "$0" 2>/run/chmod || exit 1; grep -q busy /run/chmod' "$mnt/suid"
	[ "$(stat -c %a "$share/suid")" = 777 ]
}

beside()
{
	guest "$guest_fidelity" --timeout 200 "$mnt" mmap_beside_write >"$work/out" 2>&1 || true
	cat "$work/out"
	grep -qx 'pass mmap mmap_beside_write' "$work/out"
}

# More and larger files than the window has room for: the oldest are evicted.
more_than_the_window()
{
	local i
	for i in 1 2 3 4 5 6; do
		"$host_fstest" --make "$share/big$i" 300M $i
	done
	for i in 1 2 3 4 5 6 1; do
		guest "$guest_fstest" --verify "$mnt/big$i" 300M $i
	done
	[ "$(devices)" -le 4 ]
	rm "$share"/big?
}

# A mapping lives longer than its descriptor: its pages are nobody else's until it ends.
mapped_after_close()
{
	local i
	"$host_fstest" --make "$share/kept" 200M 1
	for i in 1 2 3 4; do
		"$host_fstest" --make "$share/other$i" 250M $((i + 1))
	done
	spawn mapper "$here/../vm/vm" exec --name "$vm_name" -- python3 -c 'import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
first = m[0:4096]
os.close(fd)
print("mapped", flush=True)
while not os.path.exists("/run/go"):
    time.sleep(0.1)
assert m[0:4096] == first
for at in range(0, len(m), 1 << 20):
    m[at] = 77
print("stored", flush=True)' "$mnt/kept"
	until_true 200 grep -q mapped "$work/mapper.log"
	for i in 1 2 3 4 1 2 3 4; do
		guest "$guest_fstest" --verify "$mnt/other$i" 250M $((i + 1))
	done
	guest touch /run/go
	[ "$(status_of mapper)" = 0 ]
	for i in 1 2 3 4; do
		"$host_fstest" --verify "$share/other$i" 250M $((i + 1))
	done
	[ "$(dd if="$share/kept" bs=1 skip=$((5 << 20)) count=1 status=none | od -An -tu1 | tr -d ' ')" = 77 ]
	rm "$share"/other? "$share/kept"
}

# Stores to the last page that move no time any more: the page is mapped for writing already.
tail_stores()
{
	"$host_fstest" --make "$share/stores" 10000 3
	guest python3 -c 'import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
m[9999] = 1
os.fstat(fd)
m[9998] = 2
m[9000] = 3
m.close()
os.close(fd)' "$mnt/stores"
	until_true 20 stores_are_there
}

# The same when the file was closed before: the last page comes to the host all the same.
tail_stores_after_close()
{
	"$host_fstest" --make "$share/stores" 10000 3
	guest python3 -c 'import mmap, os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
m = mmap.mmap(fd, 0)
os.close(fd)
time.sleep(2)
m[9999] = 1
m[9998] = 2
m[9000] = 3' "$mnt/stores"
	until_true 40 stores_are_there
}

stores_are_there()
{
	[ "$(tail -c 2 "$share/stores" | od -An -tu1 | tr -d ' ')" = 21 ] &&
		[ "$(dd if="$share/stores" bs=1 skip=9000 count=1 status=none | od -An -tu1 | tr -d ' ')" = 3 ]
}

many_opens()
{
	local i
	for i in $(seq 40); do
		"$host_fstest" --make "$share/m$i" $((i * 3000 + 5000)) "$i"
	done
	for i in $(seq 40) $(seq 40); do
		echo "\"$guest_fstest\" --verify $mnt/m$i $((i * 3000 + 5000)) $i"
	done >"$work/many"
	vm push "$work/many" /run
	guest sh -e /run/many
}

unmounted()
{
	unmount_it
	nothing_composed
	nothing_mapped
}

# The kernel goes on reading for who has the file open. QEMU 11.1 does not survive a new start of the device.
killed()
{
	"$host_fstest" --make "$share/k" 1M 9
	script 'exec 5<"$0"; head -c 100 <&5 >/dev/null
		kill -9 $(pidof vfsdaxfuse); sleep 0.5
		[ "$(dd bs=1M <&5 2>/dev/null | wc -c)" = 1048476 ]' "$mnt/k"
	fails guest cat "$mnt/k"
	guest umount "$mnt"
	[ "$(devices)" != 0 ]
}

read_only()
{
	mount_it -o passthrough=ro
	script 'exec 5<"$0"; ! echo x 2>/run/echo >>"$0" || exit 1; grep -q busy /run/echo' "$mnt/a"
	unmounted
	mount_it -o ro,passthrough=ro
	"$host_fstest" --make "$share/r" 5000001 3
	guest "$guest_fstest" --verify "$mnt/r" 5000001 3
	[ "$(devices)" = 1 ]
	fails guest touch "$mnt/r"
	unmounted
}

# Without namespaces all works as before, and one line says why.
without_namespaces()
{
	guest vfsdax-window remove
	guest timeout 60 vfsdaxfuse -o stats=/run/stats,passthrough=all "$mnt" >"$work/out" 2>&1
	cat "$work/out"
	[ "$(wc -l <"$work/out")" = 1 ]
	grep -q 'passthrough: the kernel has no fsdax namespace over the window (vfsdax-window setup' "$work/out"
	"$host_fstest" --make "$share/w" 20M 4
	guest "$guest_fstest" --verify "$mnt/w" 20M 4
	[ "$(number dax_read_bytes "$(stats)")" -gt 0 ]
	unmounted
	guest vfsdax-window setup
}

read_options kernel "" "$@"
need_root
make_work
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest
vm_name=pass-$kernel-$$
need_prepared "$host" "$lab_out/build/tests/e2e/fstest"
trap end_all EXIT
trap 'exit 1' INT TERM HUP

check "host starts" start_host --cache=none --window=1G
check "boot" boot --socket "$work/fs.sock" --pmem-window
check "namespaces" namespaces
check "mount" mount_it -o passthrough=all
check "read without requests" read_without_requests
check "sizes" odd_sizes
check "write without requests" write_without_requests
check "the host changes" host_changes
check "the size is fixed while it is open" fixed_size
check "emptied at open" emptied_at_open
check "beside others, by the window" beside_by_window
check "the last page grows" tail_grows
check "set-id bits go" set_id_goes
check "write beside stores" beside
check "many files, twice" many_opens
check "more than the window" more_than_the_window
check "mapped after close" mapped_after_close
check "stores to the last page" tail_stores
check "stores to the last page after the close" tail_stores_after_close
check "unmounted" unmounted
check "read-only" read_only
check "without namespaces" without_namespaces
check "mount again" mount_it -o passthrough=all
check "killed with a file open" killed
check "no warnings of the kernel" no_warnings
vm stop
check "the host ends" test "$(stop host; cat "$work/host.status")" = 0
tally
