# SPDX-License-Identifier: MIT
# A mount with passthrough in a virtual machine; to be sourced by bash behind lib.sh and guest.sh.
# shellcheck shell=bash disable=SC2016,SC2154 # scripts in single quotes are for the guest

# The kernel's namespaces, as a person makes them after each start.
namespaces()
{
	install_links
	guest vfsdax-window setup
}

# Devices of the device mapper: one as long as vfsdaxfuse is mounted.
devices()
{
	script 'ls /sys/block | grep -c ^dm- || true'
}

nothing_composed()
{
	[ "$(devices)" = 0 ]
}

unmounted()
{
	unmount_it
	nothing_composed
	nothing_mapped
}
