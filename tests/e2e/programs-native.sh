# SPDX-License-Identifier: MIT
# The programs of programs/*.sh on native mounts. To be sourced by native.sh.
# shellcheck shell=bash disable=SC2034,SC2154 # the script that includes it has the rest
#
# Needs package.deb and source.tar.gz of "tests/vm/prepare packages".

programs()
{
	programs_path=$here/programs packages_path=$lab_packages scratch_path=$work/scratch
	need_prepared "$packages_path/package.deb" "$packages_path/source.tar.gz"
	mkdir "$scratch_path"
	with_mount programs "" "" programs_all
	with_mount "programs, small window" "--window=2M" "" programs_small
	say_times
}

programs_all()
{
	many_programs "$1: " exec sqlite build python archive
	check "$1: overlay" overlay_works
	git_program "$1: " 2000
	check "$1: served from the window" window_used
}

# With a window of 2 MiB, where mappings come and go all the time.
programs_small()
{
	many_programs "$1: " exec sqlite build
	check "$1: mappings came and went" came_and_went
}

# As lower layer, and as upper one at least in one way.
overlay_works()
{
	program overlay "$mnt" >"$work/overlay"
	cat "$work/overlay"
	grep -q '^lower: works' "$work/overlay"
	grep -q '^upper.*works' "$work/overlay"
}
