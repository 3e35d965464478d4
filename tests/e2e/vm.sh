#!/bin/bash
# SPDX-License-Identifier: MIT
# End-to-end tests in virtual machines: vfsdaxfuse with VFIO, on a device of QEMU and vfsdaxhost.
# shellcheck disable=SC2016,SC2119,SC2120 # scripts in single quotes are for the guest
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
# shellcheck source=tests/e2e/hosts.sh
. "$here/hosts.sh"

usage="usage: vm.sh [--kernel 6.1|6.12|backports] [BUILD-DIRECTORY [GROUP...]]
Groups: main_device io_uring two_devices odd_hosts no_iommu (default: all). The build directory is the
host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
mnt=/mnt/host
guest_fstest=$lab_prefix/build/tests/e2e/fstest
device=0000:00:10.0

# ended - the mount and the daemon are gone, and the device is what it was
ended()
{
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
	fails guest mountpoint -q "$mnt"
	[ "$(driver)" = virtio-pci ]
	nothing_mapped
	[ "$(host_stat nodes)" -le 1 ]
}

kernel_has_it()
{
	guest mkdir -p /mnt/kernel
	guest mount -t virtiofs vfsdax /mnt/kernel
	refused 32 'mounted|in use|busy' "$mnt"
	guest ls /mnt/kernel
	guest umount /mnt/kernel
}

# Taken from its driver, and mounted with nothing but a directory's name.
taken_over()
{
	[ "$(driver)" = virtio-pci ]
	mount_it
	[ "$(driver)" = vfio-pci ]
	guest grep -q "^vfsdax $mnt fuse.vfsdaxfuse " /proc/self/mounts
}

# What follows looks at what goes through the window: then nothing may go the cheaper way.
by_window()
{
	guest timeout 30 umount "$mnt"
	ended
	mount_it -o dax=always
}

busy()
{
	guest mkdir -p /mnt/other
	refused 32 'already mounted' "$mnt"
	refused 32 'busy|in use|mounted' vfsdax /mnt/other
	guest "$guest_fstest" --make "$mnt/still" 10000 1
}

# fio_verify ENGINE [OPTION...] - writes and reads back through the window
fio_verify()
{
	local engine=$1 before after io=$((16 * 1048576))
	shift
	guest sh -c "head -c $io /dev/zero >$mnt/fio.$engine.0.0"
	before=$(stats)
	guest timeout 120 fio --name="fio.$engine" --directory="$mnt" --ioengine="$engine" \
		--filename_format='$jobname.$jobnum.$filenum' --size=$io --rw=randwrite \
		--bsrange=4k-128k --bs_unaligned=0 --verify=crc32c --verify_fatal=1 --end_fsync=1 \
		--overwrite=1 --output-format=terse --minimal "$@"
	after=$(stats)
	before="$(number dax_write_bytes "$before") $(number dax_read_bytes "$before")"
	after="$(number dax_write_bytes "$after") $(number dax_read_bytes "$after")"
	echo "window bytes written and read: from $before to $after of $io"
	[ $((${after% *} - ${before% *})) -ge $((io * 9 / 10)) ]
	[ $((${after#* } - ${before#* })) -ge $((io * 9 / 10)) ]
	rm "$share/fio.$engine.0.0"
}

# end_by COMMAND... - of the mount that there is
end_by()
{
	guest timeout 30 "$@"
	ended
}

# by_end COMMAND... - a mount that works and ends in this way
by_end()
{
	mount_it
	guest "$guest_fstest" --put "$mnt/still" 0 10000 1
	end_by "$@"
	"$host_fstest" --verify "$share/still" 10000 1
}

mount_command()
{
	# mount(8) looks where a package would install it.
	guest ln -sf "$lab_prefix/sbin/vfsdaxfuse" /usr/sbin/vfsdaxfuse
	guest timeout 60 mount -t fuse.vfsdaxfuse -o ro,stats=/run/stats vfsdax "$mnt"
	guest "$guest_fstest" --verify "$mnt/still" 10000 1
	fails guest touch "$mnt/new"
	guest umount "$mnt"
	ended
}

# FUSE over io_uring: where the kernel has it, all goes well and comes that way; elsewhere a sentence
# says that it does not have it.
io_uring()
{
	check "io_uring: host starts" start_host --cache=none
	check "io_uring: boot" boot --socket "$work/fs.sock"
	io_uring_checks
	check "io_uring: no warnings of the kernel" no_warnings
	vm stop
	stop host
}

io_uring_checks()
{
	local switch=/sys/module/fuse/parameters/enable_uring
	local refusal=(refused 32 'kernel does not offer' -o io_uring=on "$mnt")
	if ! guest test -e $switch; then
		check "io_uring: not in this kernel" "${refusal[@]}"
		check "io_uring: auto without it" uring_auto
		return
	fi
	check "io_uring: switched off" "${refusal[@]}"
	script "echo Y >$switch"
	check "io_uring: auto" uring_auto
	check "io_uring: mount" mount_it -o io_uring=on,dax=always
	check "io_uring: 256 MiB read" read_whole yes 256
	check "io_uring: 32 MiB written" write_whole yes 32
	check "io_uring: guest changes" guest_changes
	run_fstest "io_uring" --timeout 60 --except ten_thousand "$mnt"
	check "io_uring: over the rings" rings_used
	check "io_uring: end by umount" end_by umount "$mnt"
	check "io_uring: end by SIGTERM" uring_end_by_term
	script "echo N >$switch"
}

uring_auto()
{
	mount_it -o io_uring=auto
	guest "$guest_fstest" --make "$mnt/still" 10000 1
	end_by umount "$mnt"
}

uring_end_by_term()
{
	mount_it -o io_uring=on
	guest "$guest_fstest" --verify "$mnt/still" 10000 1
	end_by killall vfsdaxfuse
}

rings_used()
{
	local counters
	counters=$(stats)
	echo "$counters"
	[ $(($(number uring_requests "$counters") * 100)) -ge \
		$(($(number kernel_requests "$counters") * 80)) ]
}

# The kernel's own virtio-fs works with the device again.
given_back()
{
	guest mount -t virtiofs vfsdax /mnt/kernel
	guest "$guest_fstest" --verify /mnt/kernel/still 10000 1
	guest umount /mnt/kernel
}

# probe_value NAME - of a line of $work/probe
probe_value()
{
	[ "$(grep -c "^$1: " "$work/probe")" = 1 ]
	sed -n "s/^$1: //p" "$work/probe"
}

# The device, its window and its speed, without a mount; then its driver has it again.
probed()
{
	"$host_fstest" --make "$share/probed" 2M 9
	guest timeout 120 vfsdaxfuse --probe "$@" >"$work/probe" 2>"$work/err"
	cat "$work/probe" "$work/err"
	[ ! -s "$work/err" ]
	fails grep -vE '^[a-z0-9_-]+: .' "$work/probe"
	[ "$(probe_value transport)" = vfio-pci ]
	[ "$(probe_value pci-address)" = "$device" ]
	probe_value iommu-group | grep -qE '^[0-9]+$'
	[ "$(probe_value tag)" = vfsdax ]
	probe_value window | grep -qE '^[1-9][0-9]* bytes$'
	[ "$(probe_value window-shmid)" = 0 ]
	probe_value window-bar | grep -qE '^4 at [0-9]+$'
	[ "$(probe_value kernel)" = "$(guest uname -r) x86_64" ]
	[ "$(probe_value window-test-bytes)" = 1048576 ]
	probe_value round-trip-polling | grep -qE '^[0-9.]+ us$|^not measured'
	probe_value round-trip-interrupt | grep -qE '^[0-9.]+ us$'
	probe_value copy-from-window-memcpy | grep -qE '^[1-9][0-9]* MiB/s$'
	grep -q "^copy-from-window-$(probe_value copy-routine-read): " "$work/probe"
	# QEMU lets the guest see its memory through the caches, whatever VFIO asks for.
	[ "$(probe_value window-memory)" = 'write-back like' ]
	probe_left_nothing
	rm "$share/probed"
}

probe_left_nothing()
{
	[ "$(driver)" = virtio-pci ]
	[ "$(host_stat live_mappings)" = 0 ]
	[ "$(host_stat nodes)" -le 1 ]
	[ "$(host_stat handles)" = 0 ]
	guest mkdir -p /mnt/kernel
	guest mount -t virtiofs vfsdax /mnt/kernel
	guest ls /mnt/kernel
	guest umount /mnt/kernel
}

# Whenever a signal comes, the device is given back. (How far it got is printed, and differs.)
probe_interrupted()
{
	"$host_fstest" --make "$share/probed" 2M 9
	script 'for wait in 0.2 0.5 0.8; do
			vfsdaxfuse --probe >/run/probe 2>/run/probe.err & pid=$!
			for i in $(seq 400); do
				grep -q ^host-fuse-version /run/probe && break
				kill -0 $pid 2>/dev/null || break
				sleep 0.01
			done
			sleep "$wait"
			kill -TERM $pid || echo "ended before"
			status=0
			wait $pid || status=$?
			tail -n 1 /run/probe; cat /run/probe.err; echo "status $status"
			[ $status = 32 ] || [ $status = 0 ]
		done'
	probe_left_nothing
	rm "$share/probed"
}

# No request waits for ever on a dead host, and the daemon can be ended. (QEMU does not tell the guest
# that the host's daemon is gone; the daemon finds out by itself.)
host_killed()
{
	mount_it
	guest "$guest_fstest" --make "$mnt/still" 10000 1
	signal KILL host
	script 'timeout 60 stat "$0/none" >/run/stat.out 2>&1 || true
		kill $(pidof vfsdaxfuse)
		for i in $(seq 200); do pidof vfsdaxfuse stat >/dev/null || break; sleep 0.1; done
		cat /run/stat.out
		! pidof vfsdaxfuse stat
		! mountpoint -q "$0"
		grep -qE "not connected|Input/output|aborted" /run/stat.out' "$mnt"
}

main_device()
{
	check "host starts" start_host --cache=none
	check "boot" boot --socket "$work/fs.sock"
	check "refused while the kernel has it mounted" kernel_has_it
	check "no such tag" refused 32 'nonesuch' nonesuch "$mnt"
	check "no such device" refused 32 '0000:00:1e.7' --pci=0000:00:1e.7 "$mnt"
	check "not a virtio-fs device" refused 32 '0000:00:00.0' --pci=0000:00:00.0 "$mnt"
	check "probe" probed
	check "probe by tag" probed vfsdax
	check "probe by address" probed --pci="$device"
	check "probe interrupted" probe_interrupted
	check "taken over and mounted" taken_over
	check "second mount" busy
	check "mounted with dax=always" by_window
	check "256 MiB read" read_whole yes 256
	check "32 MiB written" write_whole yes 32
	check "host changes an open file" host_changes_open
	check "host changes names" host_changes_names
	check "guest changes" guest_changes
	check "close asks nothing" close_asks_nothing
	check "fio psync" fio_verify psync
	check "fio libaio" fio_verify libaio --iodepth=8 --direct=1
	if [ "$kernel" = 6.1 ]; then
		# FUSE_CREATE_SUPP_GROUP is from 6.3: the host takes setgid from who is not in the group.
		expected[supplementary_group]='st_mode & 07777 is 493, not 02755'
		# STATX, which tells the time of birth, is from 6.6.
		run_fstest "fstest" --timeout 180 --except ten_thousand --except birth_time "$mnt"
		expected=()
	else
		run_fstest "fstest" --timeout 180 --except ten_thousand "$mnt"
	fi
	check "end by umount" end_by umount "$mnt"
	check "end by fusermount3" by_end fusermount3 -u "$mnt"
	check "end by SIGTERM" by_end killall vfsdaxfuse
	check "mount -t fuse.vfsdaxfuse" mount_command
	check "given back to the kernel" given_back
	check "host killed" host_killed
	check "no warnings of the kernel" no_warnings
	vm stop
	stop host
}

# Two devices, one with a small window; the guest is shut down with both mounted.
two_devices()
{
	check "small: host starts" start_host --cache=none --window=64M --tag=small \
		--num-request-queues=2
	mkdir "$work/share2"
	spawn host2 "$host" --shared-dir="$work/share2" --socket-path="$work/fs2.sock" \
		--cache=auto --tag=second --num-request-queues=2
	check "small: boot" boot --num-request-queues 2 --socket "$work/fs.sock" \
		--socket "$work/fs2.sock"
	check "small: which of two devices" refused 32 'small|second|more than one' "$mnt"
	check "small: mount by tag" mount_it small
	# Before 6.6 it is the guest's page cache that reads (doc/kernels.md).
	if [ "$kernel" = 6.1 ]; then
		check "small: files larger than the window" larger_set 24 some
	else
		check "small: files larger than the window" larger_set 24
	fi
	run_fstest "small" --timeout 180 "$mnt" random_model random_model_mmap random_threads \
		two_writers appenders large_requests
	check "small: another mount" other_mount
	# Here, because with cache=none it takes 140,000 requests.
	run_fstest "second" --timeout 240 /mnt/other ten_thousand
	check "small: no warnings of the kernel" no_warnings
	vm stop
	check "small: shut down while mounted" shut_down
	stop host
	stop host2
}

other_mount()
{
	guest mkdir -p /mnt/other
	guest vfsdaxfuse second /mnt/other
	"$host_fstest" --make "$work/share2/a" 20M 5
	guest cp /mnt/other/a "$mnt/a"
	"$host_fstest" --verify "$share/a" 20M 5
	guest "$guest_fstest" --verify /mnt/other/a 20M 5
}

shut_down()
{
	nothing_mapped
	running host
	running host2
}

# odd_host TAG OPTION... - one more host, with a directory of its own
odd_host()
{
	local tag=$1
	shift
	mkdir "$work/share-$tag"
	spawn "$tag" "$host" --shared-dir="$work/share-$tag" --socket-path="$work/$tag.sock" \
		--tag="$tag" "$@"
	until_true 50 test -S "$work/$tag.sock"
}

# with_odd_host TAG FUSE-OPTIONS COMMAND... - with a mount of it
with_odd_host()
{
	local tag=$1 options share_before=$share
	read -ra options <<<"$2"
	shift 2
	share=$work/share-$tag host_name=$tag
	check "$tag: mount" mount_it "${options[@]}" "$tag"
	"$@"
	check "$tag: end" odd_end
	share=$share_before host_name=host
}

odd_end()
{
	guest timeout 30 umount "$mnt"
	script 'for i in $(seq 100); do pidof vfsdaxfuse >/dev/null || exit 0; sleep 0.1; done; exit 1'
	[ "$(host_stat live_mappings)" = 0 ]
	[ "$(host_stat handles)" = 0 ]
}

# Hosts that choose files, refuse mappings or offer less, each a device of one machine.
odd_hosts()
{
	local tag
	odd_host size --inode-dax=size:1M --cache=none --window=64M
	odd_host xattr --inode-dax=xattr --cache=none --window=64M
	odd_host full --quirk=map-error=ENOSPC:5:2 --window=64M
	odd_host odd-errors --quirk=map-error=EINVAL:0:2,unmap-error=EIO:1:2 --window=64M
	odd_host old-ring --quirk=no-indirect-desc,no-event-idx,no-map-alignment,need-read \
		--num-request-queues=3
	odd_host aligned --quirk=map-alignment=2097152
	check "odd: boot" boot --socket "$work/size.sock" --socket "$work/xattr.sock" \
		--socket "$work/full.sock" --socket "$work/odd-errors.sock" \
		--vq-size 256 --socket "$work/aligned.sock" \
		--vq-size 64 --num-request-queues 3 --socket "$work/old-ring.sock"
	with_odd_host size "-o dax=inode" check "size" inode_dax_by_size
	with_odd_host xattr "-o dax=inode" check "xattr" inode_dax_by_xattr
	with_odd_host full "" with_refusals full map
	with_odd_host odd-errors "" with_refusals odd-errors map
	with_odd_host old-ring "-o dax=always" with_quirk old-ring
	with_odd_host aligned "-o dax=always" with_quirk aligned
	check "odd: no warnings of the kernel" no_warnings
	vm stop
	for tag in size xattr full odd-errors old-ring aligned; do
		stop "$tag"
	done
}

# Without an IOMMU there is no VFIO group to open.
no_iommu()
{
	check "no IOMMU: host starts" start_host
	check "no IOMMU: boot" boot --iommu none --socket "$work/fs.sock"
	check "no IOMMU: probe" refused 32 'IOMMU' --probe
	check "no IOMMU: message" refused 32 'IOMMU' "$mnt"
	check "no IOMMU: the kernel still has it" given_back_anew
	vm stop
	stop host
}

given_back_anew()
{
	guest mkdir -p /mnt/kernel
	guest mount -t virtiofs vfsdax /mnt/kernel
	guest umount /mnt/kernel
}

read_options kernel "" "$@"
need_root
vm_name=e2e-$kernel-$$	# others may run the same
lab_debian "$(lab_debian_of "$kernel")"
# shellcheck disable=SC2034 # lib.sh and cross.sh use them
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest
need_prepared "$host" "$host_fstest" "$lab_out/build/tests/e2e/fstest"
make_work
trap end_all EXIT
trap 'exit 1' INT TERM HUP
[ "${#rest[@]}" != 0 ] || rest=(main_device io_uring two_devices odd_hosts no_iommu)
for group in "${rest[@]}"; do
	began=$SECONDS
	$group
	echo "# $group: $((SECONDS - began)) s"
	rm -rf "${share:?}"/*
done
tally
