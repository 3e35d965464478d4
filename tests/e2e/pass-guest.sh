#!/bin/bash
# SPDX-License-Identifier: MIT
# In the guest, for pass-facts.sh: regions, namespaces, devices and mounts for passthrough.
set -euo pipefail
nd=/sys/bus/nd/devices
drivers=/sys/bus/nd/drivers
pci=/sys/bus/pci
device=0000:00:10.0
usage="usage: pass-guest.sh VERB [ARGUMENT...]
  take                  the virtio-fs device goes to vfio-pci
  modules               load what makes regions usable
  fsdax N | devdax N    a namespace in region N; prints its name
  undo N                remove it
  compose NAME IMAGE MOUNTPOINT LINE...
                        a device of these lines of dm's table, the image (or -) written to it, mounted
  uncompose NAME MOUNTPOINT"

# The virtio driver claims the BARs, and so does vfio-pci of newer kernels when it is opened.
take()
{
	local dir=$pci/devices/$device
	echo vfio-pci >"$dir/driver_override"
	[ ! -e "$dir/driver" ] || echo $device >"$dir/driver/unbind"
	echo $device >$pci/drivers_probe
	[ "$(basename "$(readlink "$dir/driver")")" = vfio-pci ]
}

modules()
{
	modprobe --all nd_e820 nd_pmem dax_pmem device_dax dm_mod ext4
	wait_for $nd/namespace0.0
	wait_for $nd/namespace1.0
}

# wait_for FILE - for 5 s
wait_for()
{
	local i
	for ((i = 0; i < 100; i++)); do
		[ ! -e "$1" ] || return 0
		sleep 0.05
	done
	echo "no $1" >&2
	return 1
}

# claim pfn|dax N DRIVER - the region's free one of that kind takes the namespace
claim()
{
	local region=$nd/region$2 name
	[ ! -e "$nd/namespace$2.0/driver" ] ||
		echo "namespace$2.0" >"$nd/namespace$2.0/driver/unbind"
	name=$(cat "$region/$1_seed") # one that was given up is gone for good
	echo ram >"$nd/$name/mode" # where its struct pages are
	echo 2097152 >"$nd/$name/align"
	cat /proc/sys/kernel/random/uuid >"$nd/$name/uuid"
	echo "namespace$2.0" >"$nd/$name/namespace"
	echo "$name" >"$drivers/$3/bind"
	echo "$name"
}

fsdax()
{
	claim pfn "$1" nd_pmem
	wait_for "/dev/pmem$1"
	[ "$(cat "/sys/block/pmem$1/queue/dax")" = 1 ]
}

devdax()
{
	claim dax "$1" dax_pmem
	wait_for "/dev/dax$1.0"
}

undo()
{
	local dir
	for dir in "$nd/pfn$1".* "$nd/dax$1".*; do
		[ "$(cat "$dir/namespace")" = "namespace$1.0" ] || continue
		[ ! -e "$dir/driver" ] || basename "$dir" >"$dir/driver/unbind"
		echo >"$dir/namespace"
	done
}

# There is no udev, so the library makes and removes the nodes.
compose()
{
	local name=$1 image=$2 mountpoint=$3
	shift 3
	printf '%s\n' "$@" | dmsetup create "$name" --noudevsync --verifyudev
	[ "$image" = - ] ||
		dd if="$image" of="/dev/mapper/$name" bs=1M oflag=direct status=none
	mkdir -p "$mountpoint"
	mount -t ext4 -o dax=always,inode_readahead_blks=0 "/dev/mapper/$name" "$mountpoint"
	grep -q " $mountpoint ext4 .*dax=always" /proc/self/mounts
}

uncompose()
{
	umount "$2"
	dmsetup remove --noudevsync --verifyudev "$1"
}

verb=${1-}
case $verb in
take | modules | fsdax | devdax | undo | compose | uncompose)
	shift
	$verb "$@"
	;;
*)
	echo "$usage" >&2
	exit 2
	;;
esac
