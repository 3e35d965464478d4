#!/bin/sh
# SPDX-License-Identifier: MIT
# overlayfs over the mount: as lower layer, and as upper layer as far as the kernel allows it.
# In the guest: overlay.sh DIRECTORY [upper|no-upper]
#
# Prints what the kernel says of the upper layer, so that the caller can compare with virtiofs.
set -eux # what failed is told by its last lines
cd "$1"
grep -qw overlay /proc/filesystems || modprobe overlay
here=$PWD
ram=$(mktemp -d)
trap 'umount merged 2>/dev/null || true; umount "$ram" 2>/dev/null || true; rm -r "$ram"' EXIT
mkdir -p lower/dir upper work merged

echo lower >lower/file
echo other >lower/other
head -c 3000000 /dev/urandom >lower/big
: >lower/dir/a
: >lower/dir/b
ln -s file lower/link
setfattr -n user.note -v value lower/file
chown 12:34 lower/other
chmod 2750 lower/dir
sum=$(md5sum <lower/big)

# use DIRECTORY - what a user does with a merged tree
use()
{
	[ "$(cat "$1/link")" = lower ]
	[ "$(md5sum <"$1/big")" = "$sum" ]
	echo more >>"$1/big"			# copied up
	[ "$(head -c 3000000 "$1/big" | md5sum)" = "$sum" ]
	[ "$(stat -c %s lower/big)" = 3000000 ]
	[ "$(stat -c %u:%g "$1/other")" = 12:34 ]
	chmod 600 "$1/other"			# metadata copied up
	[ "$(stat -c %u:%g:%a "$1/other")" = 12:34:600 ]
	[ "$(getfattr --only-values -n user.note "$1/file")" = value ]
	rm "$1/dir/a"				# a whiteout
	[ "$(ls "$1/dir")" = b ]
	[ -e lower/dir/a ]
	mkdir "$1/new"
	: >"$1/new/x"
	mv "$1/file" "$1/renamed"
	[ "$(cat "$1/renamed")" = lower ]
	[ ! -e "$1/file" ]
	[ -e lower/file ]
	rm -r "$1/dir"
	mkdir "$1/dir"				# opaque
	[ -z "$(ls "$1/dir")" ]
	# A program on the merged tree, and a shared mapping.
	cp /bin/true "$1/true"
	"$1/true"
}

# As lower layer, with the upper one in memory.
mount -t tmpfs tmpfs "$ram"
mkdir "$ram/upper" "$ram/work"
mount -t overlay overlay -o "lowerdir=$here/lower,upperdir=$ram/upper,workdir=$ram/work" merged
use merged
umount merged
# It is still so when it is mounted again.
mount -t overlay overlay -o "lowerdir=$here/lower,upperdir=$ram/upper,workdir=$ram/work" merged
[ "$(cat merged/renamed)" = lower ]
[ ! -e merged/dir/b ]
umount merged
# Several lower layers, no upper one.
mkdir lower2
echo second >lower2/file
mount -t overlay overlay -o "lowerdir=$here/lower2:$here/lower" merged
[ "$(cat merged/file)" = second ]
[ "$(cat merged/other)" = other ]
umount merged
umount "$ram"
echo "lower: works"

# said - what the kernel says of overlayfs since the last mark in its log
said()
{
	dmesg | sed "1,/$mark/d" | sed -n 's/.*overlayfs: //p' | sort -u | tr '\n' ';'
}

# As upper layer; the kernel decides.
for options in '' ,userxattr; do
	rm -rf upper work
	mkdir upper work
	name=upper$options
	mark="overlay.sh $$ $name"
	echo "$mark" >/dev/kmsg
	if mount -t overlay overlay \
		-o "lowerdir=$here/lower,upperdir=$here/upper,workdir=$here/work$options" merged \
		2>/dev/null; then
		# Not in a condition, where -e has no effect.
		set +e
		(set -e; use merged)
		[ $? = 0 ] && result=works || result="fails in use"
		set -e
		umount merged
	else
		result="refused"
	fi
	echo "$name: $result; $(said)"
done
rm -rf upper work
