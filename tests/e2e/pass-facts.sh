#!/bin/bash
# SPDX-License-Identifier: MIT
# What the kernel does with files in the window that a FUSE server passes through, by persistent memory.
# shellcheck disable=SC2016,SC2034 # scripts in single quotes are for the guest; lib.sh uses names
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
# shellcheck source=tests/setup.sh
. "$here/../setup.sh"
# shellcheck source=tests/e2e/lib.sh
. "$here/lib.sh"
# shellcheck source=tests/e2e/guest.sh
. "$here/guest.sh"

usage="usage: pass-facts.sh [--kernel 6.12|backports] [BUILD-DIRECTORY [GROUP...]]
Groups: address chain two_inodes (default: all). doc/passthrough.md tells the facts. The build
directory is the host's; what runs in the guest is what tests/vm/build-guest has made."

kernel=6.12
build=$native_build
guest_fstest=$lab_prefix/build/tests/e2e/fstest
tests=$lab_prefix/build/tests/e2e
mnt=/mnt/pass
device=0000:00:10.0

# What is mapped: the whole pages of a file that has some bytes more. Those cannot be mapped.
file_pages=4096 tail_bytes=1000
file_size=$((file_pages * 4096 + tail_bytes))
window_at=$((64 << 20)) # where it is mapped
meta=64			# blocks in front of the data, see make_image
sectors=8		# of a block

pass_guest()
{
	guest "$lab_prefix-src/tests/e2e/pass-guest.sh" "$@"
}

# make_image FILE BLOCKS SIZE - an ext4 with one file f of that size, in the last BLOCKS blocks
#
# All metadata lies before it, each inode in a block of its own. What is free there goes to another
# file, so that no block is left: else a write behind the end would take one. Only the first $meta
# blocks of the image are kept.
make_image()
{
	local image=$1 blocks=$2 size=$3 free off=has_journal,metadata_csum,resize_inode,64bit
	off+=,huge_file,dir_index,orphan_file
	rm -f "$image"
	truncate -s $(((meta + blocks) * 4096)) "$image"
	mke2fs -q -t ext4 -b 4096 -I 4096 -N 16 -G 16 -m 0 \
		-O "^${off//,/,^},flex_bg,sparse_super2,extent" \
		-E num_backup_sb=0,lazy_itable_init=0,nodiscard,root_owner=0:0 "$image"
	free=$(dumpe2fs -h "$image" 2>/dev/null | sed -n 's/^Free blocks: *//p')
	# bytes that are not zero, or they would be holes
	head -c $(((free - blocks) * 4096)) /dev/zero | tr '\0' x >"$work/filler"
	head -c "$size" /dev/zero | tr '\0' x >"$work/data"
	debugfs -w -f /dev/stdin "$image" <<-END >/dev/null 2>&1
		write $work/filler filler
		write $work/data f
	END
	debugfs -R 'stat f' "$image" 2>/dev/null |
		grep -qF "(0-$((blocks - 1))):$meta-$((meta + blocks - 1))"
	e2fsck -fn "$image" >"$work/e2fsck" 2>&1
	[ "$(dumpe2fs -h "$image" 2>/dev/null | sed -n 's/^Free blocks: *//p')" = 0 ]
	truncate -s $((meta * 4096)) "$image"
	rm "$work/filler" "$work/data"
}

# make_ram_image FILE BLOCKS - an ext4 with an empty file a, and with room
make_ram_image()
{
	rm -f "$1"
	truncate -s $(($2 * 4096)) "$1"
	mke2fs -q -t ext4 -b 4096 -O '^has_journal,^metadata_csum,^resize_inode,^64bit' \
		-E lazy_itable_init=0,nodiscard,root_owner=0:0 "$1"
	debugfs -w -R 'write /dev/null a' "$1" >/dev/null 2>&1
}

# physical ADDRESS LENGTH - of the guest's memory, as text where it is
physical()
{
	vm monitor "xp /$2cb $1" | grep -oE "'.'" | tr -d "'\n"
}

# start_of window|ram - the address of the region
start_of()
{
	local window ram
	read -r window ram <"$lab_run/$vm_name/pmem"
	[ "$1" = window ] || window=$ram
	echo "${window#*@}"
}

regions()
{
	pass_guest take
	pass_guest modules
	[ "$(guest cat /sys/bus/nd/devices/region0/resource)" = "$(start_of ram)" ]
	[ "$(guest cat /sys/bus/nd/devices/region1/resource)" = "$(start_of window)" ]
}

# Each namespace begins 2 MiB behind the region's begin and is as much smaller.
namespaces()
{
	local i at size pfn
	for i in 0 1; do
		pfn=$(pass_guest fsdax $i)
		at=$(guest cat /sys/bus/nd/devices/region$i/resource)
		size=$(guest cat /sys/bus/nd/devices/region$i/size)
		[ "$(($(guest cat "/sys/bus/nd/devices/$pfn/resource")))" = $((at + (2 << 20))) ]
		[ "$(guest cat "/sys/bus/nd/devices/$pfn/size")" = $((size - (2 << 20))) ]
		[ "$(guest cat /sys/block/pmem$i/size)" = $(((size - (2 << 20)) / 512)) ]
	done
}

# The block that describes the namespace is 4096 bytes behind the region's begin.
info_block()
{
	[ "$(physical $(($(start_of ram) + 4096)) 15)" = NVDIMM_PFN_INFO ]
}

address()
{
	check "address: host starts" start_host
	check "address: another address is refused" wrong_address 1G@0x8000000000 'is not the window'
	check "address: a wrong form is refused" wrong_address 1G 'is not SIZE@ADDRESS'
	stop host
}

# wrong_address ADDRESS PATTERN
wrong_address()
{
	fails boot --socket "$work/fs.sock" --pmem-window "$1" >"$work/boot.out" 2>&1
	cat "$work/boot.out"
	grep -q "$2" "$work/boot.out"
	fails vm status
}

# chain_up - the file of the host as /run/pass/w/f, and an ext4 with room in memory as /run/pass/a/a
chain_up()
{
	check "boot" boot --socket "$work/fs.sock" --pmem-window
	check "regions" regions
	check "namespaces" namespaces
	check "the namespace's description" info_block
	check "VFIO does not get the window" no_vfio_window
	check "the host maps the file" map_file
	check "the file is composed" compose_file
	check "an ext4 in memory" compose_ram
	check "the server" start_server "$mnt"
}

# The pmem driver has the BAR. The daemon does not try to map it, and uses no namespace that is not vfsdax-window's.
no_vfio_window()
{
	fails guest timeout 60 vfsdaxfuse --probe >"$work/out" 2>&1
	cat "$work/out"
	grep -q 'window cannot be mapped' "$work/out"
	[ "$(driver)" = vfio-pci ]
	fails guest timeout 60 vfsdaxfuse -o dax=always /mnt/host >"$work/out" 2>&1
	cat "$work/out"
	grep -q 'the kernel has the window' "$work/out"
	[ "$(driver)" = vfio-pci ]
}

map_file()
{
	"$host_fstest" --make "$share/f" "$file_size" 1
	guest rm -f /run/mapped
	spawn map "$here/../vm/vm" exec --name "$vm_name" -- sh -c \
		"exec $tests/pass_map f:0:$((file_pages * 4096)):$window_at >/run/mapped 2>/run/map.log"
	script 'for i in $(seq 100); do ! grep -q mapped /run/mapped 2>/dev/null || exit 0; sleep 0.1; done
		cat /run/map.log; exit 1'
	[ "$(host_stat live_mappings)" = 1 ]
}

# window_sector - of the mapping in /dev/pmem1
window_sector()
{
	echo $(((window_at - (2 << 20)) / 512))
}

compose_file()
{
	make_image "$work/w.img" $((file_pages + 1)) "$file_size"
	tail -c "$tail_bytes" "$share/f" >"$work/tail"
	truncate -s 4096 "$work/tail"
	cat "$work/tail" >>"$work/w.img" # the last block is a copy in memory, behind the metadata
	vm push "$work/w.img" /run
	script 'dd if=/run/w.img of=/dev/pmem0 bs=4096 oflag=direct 2>/dev/null'
	pass_guest compose w - /run/pass/w \
		"0 $((meta * sectors)) linear /dev/pmem0 0" \
		"$((meta * sectors)) $((file_pages * sectors)) linear /dev/pmem1 $(window_sector)" \
		"$(((meta + file_pages) * sectors)) $sectors linear /dev/pmem0 $((meta * sectors))"
	guest "$guest_fstest" --verify /run/pass/w/f "$file_size" 1
}

ram_blocks=8192
compose_ram()
{
	make_ram_image "$work/a.img" $ram_blocks
	vm push "$work/a.img" /run
	pass_guest compose a /run/a.img /run/pass/a \
		"0 $((ram_blocks * sectors)) linear /dev/pmem0 8192"
}

# start_server MOUNTPOINT [OPTION] - both files in a mount of it
start_server()
{
	script 'mkdir -p "$0"
		server=$1
		setsid "$server" $2 "$0" a=/run/pass/a/a w=/run/pass/w/f \
			</dev/null >/run/server.log 2>&1 &
		for i in $(seq 100); do ! mountpoint -q "$0" || exit 0; sleep 0.05; done
		cat /run/server.log
		exit 1' "$1" "$tests/pass_server" "${2-}"
}

# run_cases GROUP [MOUNTPOINT] - each case is one of our tests
run_cases()
{
	guest timeout 600 "$tests/pass_cases" "${2-$mnt}" "$1" >"$work/fstest.out" 2>&1 </dev/null || true
	read_fstest "$1"
}

chain()
{
	check "host starts" start_host
	chain_up
	check "the host's file by passthrough" host_file
	run_cases open
	run_cases data
	# A fault of the kernel, see doc/passthrough.md.
	expected[failed_write_keeps_size]='after - size is'
	run_cases window
	check "written by the guest, seen by the host" guest_writes
	check "written by the host, seen by the guest" host_writes
	check "fio: libaio and io_uring" fio_engines "$mnt/w" 1M
	killpriv
	check "busy as long as the server runs" busy
	run_cases last
	check "the mount of a killed server" unmount_killed
	check "evicted by unmount, composed again" again
	check "file in the window while a namespace is made" info_block_in_file
	check "the end" chain_down
	check "no warnings of the kernel" no_warnings
	vm stop
	check "nothing left in the host" nothing_mapped
	stop host
}

host_file()
{
	guest "$guest_fstest" --verify "$mnt/w" "$file_size" 1
	guest md5sum "$mnt/w" | cut -d ' ' -f 1 >"$work/md5"
	[ "$(md5sum <"$share/f" | cut -d ' ' -f 1)" = "$(cat "$work/md5")" ]
}

guest_writes()
{
	guest "$guest_fstest" --put "$mnt/w" 0 $((file_pages * 4096)) 2
	"$host_fstest" --verify "$share/f" $((file_pages * 4096)) 2 || cmp_head 2
	guest "$guest_fstest" --poke "$mnt/w" 0 $((file_pages * 4096)) 3
	cmp_head 3
}

# cmp_head SEED - the whole pages of the host's file
cmp_head()
{
	"$host_fstest" --make "$work/want" $((file_pages * 4096)) "$1"
	cmp -n $((file_pages * 4096)) "$work/want" "$share/f"
	rm "$work/want"
}

host_writes()
{
	"$host_fstest" --put "$share/f" 0 $((file_pages * 4096)) 4
	script 'head -c "$1" "$0" | md5sum' "$mnt/w" $((file_pages * 4096)) >"$work/md5"
	[ "$(head -c $((file_pages * 4096)) "$share/f" | md5sum)" = "$(cat "$work/md5")" ]
}

# A server that says FUSE_HANDLE_KILLPRIV_V2
killpriv()
{
	check "killpriv: the server" start_server /mnt/killpriv --killpriv
	# A fault of the kernel, see doc/passthrough.md.
	expected[killpriv_drops_set_id]='mode_of'
	run_cases killpriv /mnt/killpriv
	check "killpriv: fio: libaio and io_uring" fio_engines /mnt/killpriv/w 8M
	check "killpriv: unmount" guest umount /mnt/killpriv
}

# fio_engines FILE SIZE
fio_engines()
{
	local engine
	guest sysctl -q kernel.io_uring_disabled=0 || true
	for engine in libaio io_uring; do
		guest timeout 120 fio --name=v --filename="$1" --size="$2" --ioengine=$engine --iodepth=8 \
			--rw=randwrite --bs=4k --verify=crc32c --verify_fatal=1 --output-format=terse --minimal \
			--direct=1 --overwrite=1 --allow_file_create=0
	done
}

busy()
{
	fails guest umount /run/pass/w
	guest mountpoint -q /run/pass/w
}

unmount_killed()
{
	guest umount "$mnt"
	fails guest mountpoint -q "$mnt"
	pass_guest uncompose a /run/pass/a
	pass_guest uncompose w /run/pass/w
}

# Another inode over the same pages of the window, after the first is gone: mapped and touched.
again()
{
	local i
	for i in 1 2 3; do
		pass_guest compose "w$i" - /run/pass/w \
			"0 $((meta * sectors)) linear /dev/pmem0 0" \
			"$((meta * sectors)) $((file_pages * sectors)) linear /dev/pmem1 $(window_sector)" \
			"$(((meta + file_pages) * sectors)) $sectors linear /dev/pmem0 $((meta * sectors))"
		guest "$guest_fstest" --poke /run/pass/w/f 0 $((file_pages * 4096)) $((10 + i))
		pass_guest uncompose "w$i" /run/pass/w
		cmp_head $((10 + i))
	done
}

end_map()
{
	guest killall pass_map
	[ "$(status_of map)" = 0 ]
	[ "$(host_stat live_mappings)" = 0 ]
}

# The description is written through what is mapped at the beginning of the window: into the file.
info_block_in_file()
{
	end_map
	"$host_fstest" --make "$share/f" "$file_size" 5
	# In this order: vfio-pci of newer kernels claims a BAR that is free when it opens the device.
	window_at=0 file_pages=4 map_file
	pass_guest undo 1
	pass_guest fsdax 1
	[ "$(dd if="$share/f" bs=1 skip=4096 count=15 2>/dev/null)" = NVDIMM_PFN_INFO ]
}

chain_down()
{
	end_map
	pass_guest undo 1
	pass_guest undo 0
	[ "$(guest dmsetup ls)" = 'No devices found' ]
}

# Two inodes over the same pages of memory: in a machine of its own, as the kernel warns once only.
two_inodes()
{
	check "two: host starts" start_host
	check "two: boot" boot --socket "$work/fs.sock" --pmem-window
	check "two: regions" regions
	check "two: namespaces" namespaces
	check "two: inodes" two_composed
	check "two: read and write" two_read_write
	check "two: no warnings of the kernel" no_warnings
	check "two: faulted in by both" two_fault
	sed 's/^/# /' "$work/said"
	vm stop
	stop host
}

two_composed()
{
	local i
	make_image "$work/w.img" 1024 $((1024 * 4096))
	vm push "$work/w.img" /run
	for i in 0 1; do
		# metadata of its own, the same data
		script 'dd if=/run/w.img of=/dev/pmem0 bs=4096 oflag=direct seek="$0" 2>/dev/null' $((i * meta))
		pass_guest compose "t$i" - "/run/pass/t$i" \
			"0 $((meta * sectors)) linear /dev/pmem0 $((i * meta * sectors))" \
			"$((meta * sectors)) 8192 linear /dev/pmem0 65536"
	done
}

two_read_write()
{
	guest "$guest_fstest" --put /run/pass/t0/f 0 4M 1
	guest "$guest_fstest" --verify /run/pass/t1/f 4M 1
	guest "$guest_fstest" --put /run/pass/t1/f 0 4M 2
	guest "$guest_fstest" --verify /run/pass/t0/f 4M 2
}

two_fault()
{
	local status=0
	guest "$guest_fstest" --poke /run/pass/t0/f 0 4M 3
	no_warnings
	guest timeout 30 "$guest_fstest" --poke /run/pass/t1/f 0 4M 4 || status=$?
	echo "the second to touch the pages ends with status $status" >"$work/said"
	vm console >"$work/console"
	cat "$work/console"
	grep -m 1 "$dax_warning" "$work/console" >>"$work/said"
}

# Where fs/dax.c warns.
dax_warning='WARNING.*dax'

read_options kernel "" "$@"
need_root
vm_name=pass-$kernel-$$
lab_debian "$(lab_debian_of "$kernel")"
host=$build/src/host/vfsdaxhost host_fstest=$build/tests/e2e/fstest
need_prepared "$host" "$host_fstest" "$lab_out/build/tests/e2e/pass_map"
make_work
trap end_all EXIT
trap 'exit 1' INT TERM HUP
[ "${#rest[@]}" != 0 ] || rest=(address chain two_inodes)
for group in "${rest[@]}"; do
	began=$SECONDS
	$group
	echo "# $group: $((SECONDS - began)) s"
	rm -rf "${share:?}"/*
done
tally
