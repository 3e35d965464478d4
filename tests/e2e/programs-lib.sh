# SPDX-License-Identifier: MIT
# Real programs on a mount, in a virtual machine or on this one. To be sourced by bash.
# shellcheck shell=bash disable=SC2016,SC2154 # scripts in single quotes are for the guest
#
# Needs guest() and work; and, as the guest knows them: mnt, programs_path with programs/*.sh,
# packages_path with package.deb and source.tar.gz, scratch_path for what is not to lie on the mount.

# program NAME DIRECTORY-OF-THE-MOUNT [ARGUMENT...] - one of programs/*.sh, in a directory of its own
program()
{
	local name=$1 where=$2 began=$SECONDS
	shift 2
	# Debian's own programs, as they are without settings.
	script 'dir=$1/$0 program=$2 packages=$3 scratch=$4
		shift 4
		rm -rf "$dir"
		mkdir "$dir"
		cp "$packages/package.deb" "$packages/source.tar.gz" "$dir"
		exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C.UTF-8 TMPDIR="$scratch" \
			timeout -k 10 1800 "$program" "$dir" "$@"' "$name" "$where" \
		"$programs_path/$name.sh" "$packages_path" "$scratch_path" "$@" </dev/null
	guest rm -r "$where/$name"
	echo "$name on $where: $((SECONDS - began)) s" >>"$work/times"
}

# many_programs PREFIX NAME... - a check for each
many_programs()
{
	local prefix=$1 name
	shift
	for name; do
		check "$prefix$name" program "$name" "$mnt"
	done
}

# git_program PREFIX FILES - or as many as git.sh needs at least
git_program()
{
	local files=$(($2 < 700 ? 700 : $2))
	check "$1git repository" "$here/programs/git_origin.sh" "$share/origin.git" "$files"
	check "$1git, $files files" program git "$mnt" "$files"
}

# None of this would mean much if all of it had gone over the virtqueue.
window_used()
{
	local now
	now=$(stats)
	echo "$now"
	[ "$(number dax_reads "$now")" -gt 1000 ]
	[ "$(number dax_writes "$now")" -gt 1000 ]
	[ "$(number errors "$now")" = 0 ]
}

# A small window, where mappings came and went: more than fit at a time, of 64 KiB at least each.
came_and_went()
{
	local now
	now=$(stats)
	echo "$now"
	[ $(($(number maps "$now") << 16)) -gt "$(number window_bytes "$now")" ]
}

# say_times - what took how long, for the reader of the log
say_times()
{
	sed 's/^/# /' "$work/times" 2>/dev/null || true
}
