# SPDX-License-Identifier: MIT
# stress-ng's file-system stressors: no hang, and nothing fails that does not with the kernel's virtiofs.
# To be sourced by bash.
# shellcheck shell=bash disable=SC2154,SC2016 # the script that includes it defines the rest

# The ones of class filesystem that work on files of the directory they are given, in ./check.
stress_ng_short="access chmod chown copy-file dentry dir dirdeep fallocate fcntl filename filerace flock
	fpunch fsize getdent hdd io iomix lease link lockmix metamix open rename sync-file symlink touch
	unlink utime xattr"

stress_ng_all()
{
	guest sh -c 'stress-ng --class filesystem? 2>&1' | sed 's/.*stressors: //'
}

# stress_ng_at DIRECTORY STRESSOR - two of it; prints "passed", "skipped", "hangs" or "fails"
#
# Status 3 and 4 say that something that it needs is not there.
stress_ng_at()
{
	local dir=$1/stress status=0
	guest mkdir -p "$dir"
	guest timeout -k 20 180 stress-ng "--$2" 2 --timeout "$seconds" --verify --temp-path "$dir" \
		>"$work/stress-ng.out" 2>&1 </dev/null || status=$?
	guest timeout 120 rm -rf "$dir" || status=124
	case $status in
	0) if grep -q 'skipped: 0' "$work/stress-ng.out"; then echo passed; else echo skipped; fi ;;
	3 | 4) echo skipped ;;
	124 | 137) echo hangs ;;
	*) echo "fails" ;;
	esac
}

# stressor NAME - passes when it ends well, or with kernel's virtiofs does no better
stressor()
{
	local ours theirs
	ours=$(stress_ng_at "$mnt" "$1")
	cat "$work/stress-ng.out"
	echo "$1 $ours" >>"$work/stress-ng"
	[ "$ours" != passed ] || return 0
	theirs=$(stress_ng_at /mnt/kernel "$1")
	echo "the same with the kernel's virtiofs: $theirs"
	cat "$work/stress-ng.out"
	echo "stress-ng $1: $ours, with the kernel's virtiofs: $theirs" >>"$work/times"
	[ "$ours" != hangs ] && [ "$ours" = "$theirs" ]
}

stress_ng()
{
	local list=$stressors seconds=2 name
	[ -z "$long" ] || seconds=5
	if [ -z "$list" ]; then
		list=$stress_ng_short
		[ -z "$long" ] || list=$(stress_ng_all)
	fi
	check "stress-ng: mount" mount_it vfsdax
	check "stress-ng: the kernel's virtiofs" kernel_mount
	check "stress-ng: its list" test -n "$list"
	for name in $list; do
		check "stress-ng: $name" stressor "$name"
	done
	check "stress-ng: the mount works" program exec "$mnt"
	check "stress-ng: end" end
	guest umount /mnt/kernel
}
