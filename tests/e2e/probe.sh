# SPDX-License-Identifier: MIT
# vfsdaxfuse --probe without a VM; to be sourced by native.sh.
# shellcheck shell=bash disable=SC2154 # work, share, fuse, host, host_fstest come from the script

# probed - --probe ends well, says nothing but lines "name: value", and leaves nothing
probed()
{
	timeout 60 "$fuse" --probe --vhost-user="$work/fs.sock" >"$work/out" 2>"$work/err" </dev/null
	cat "$work/out" "$work/err"
	[ ! -s "$work/err" ]
	fails grep -vE '^[a-z0-9_-]+: .' "$work/out"
	not_mounted
	[ "$(host_stat live_mappings)" = 0 ]
	[ "$(host_stat nodes)" -le 1 ]
	[ "$(host_stat handles)" = 0 ]
}

# value NAME - of a line of the last probed
value()
{
	[ "$(grep -c "^$1: " "$work/out")" = 1 ]
	sed -n "s/^$1: //p" "$work/out"
}

# One of the two can be missing: a host that is woken on our CPU answers before we come to sleep.
round_trips()
{
	value round-trip-polling | grep -qE '^[0-9.]+ us$|^not measured \(always answered later\)$'
	value round-trip-interrupt |
		grep -qE '^[0-9.]+ us$|^not measured \(always answered before an interrupt\)$'
	grep -qE '^round-trip-.* us$' "$work/out"
}

probe_device()
{
	probed
	[ "$(value transport)" = vhost-user ]
	[ "$(value socket)" = "$work/fs.sock" ]
	[ "$(value pci-address)" = none ]
	[ "$(value iommu-group)" = none ]
	[ "$(value tag)" = 'tag of it' ]
	[ "$(value queues)" = 4 ]
	[ "$(value request-queues)" = 3 ]
	[ "$(value window)" = "$((64 * 1048576)) bytes" ]
	value features-used | grep -qw F_VERSION_1
	value host-fuse-flags | grep -qw MAP_ALIGNMENT
	[ "$(value host-max-write)" = '2097152 bytes' ]
	[ "$(value host-map-alignment)" = '4096 bytes' ]
	[ "$(value kernel)" = "$(uname -r) $(uname -m)" ]
	round_trips
}

# There are files, but none is large enough.
probe_small()
{
	mkdir -p "$share/sub/below"
	head -c 65535 /dev/urandom >"$share/small"
	head -c 5M /dev/urandom >"$share/sub/below/too-deep"
	probe_device
	[ "$(value window-memory)" = 'not measured (no file of 64 KiB in the root or one level below)' ]
	fails grep -q '^copy-' "$work/out"
	[ "$(host_stat map_total)" = 0 ]
}

# probe_file BYTES - a directory with many files, and one that is large enough; it stays as it is
probe_file()
{
	local before i
	for i in $(seq 200); do
		: >"$share/sub/$i"
	done
	"$host_fstest" --make "$share/sub/file" 300000 3
	before=$(stat -c '%s %Y %Z' "$share/sub/file")
	probe_device
	[ "$(value window-test-bytes)" = "$1" ]
	value mapping-setup | grep -qE '^[0-9.]+ us$'
	value mapping-remove | grep -qE '^[0-9.]+ us$'
	value copy-from-window-memcpy | grep -qE '^[1-9][0-9]* MiB/s$'
	value copy-from-memory-memcpy | grep -qE '^[1-9][0-9]* MiB/s$'
	[ "$(grep -c '^copy-from-window-' "$work/out")" = "$(grep -c '^copy-from-memory-' "$work/out")" ]
	grep -q "^copy-from-window-$(value copy-routine-read): " "$work/out"
	[ "$(value copy-routine-write)" = 'not measured' ]
	# A page of the page cache, mapped here: memory like any other.
	[ "$(value window-memory)" = 'write-back like' ]
	"$host_fstest" --verify "$share/sub/file" 300000 3
	[ "$(stat -c '%s %Y %Z' "$share/sub/file")" = "$before" ]
}

# In the middle of it, while the host does nothing: it ends, and soon.
probe_interrupted()
{
	local begin i
	# Thousands of small files, so that it does not end before it is told to.
	for i in $(seq 16); do
		mkdir -p "$work/many/$i"
		(cd "$work/many/$i" && seq 1000 | xargs touch)
	done
	spawn host2 "$host" --shared-dir="$work/many" --socket-path="$work/fs2.sock" --window=64M
	until_true 50 test -S "$work/fs2.sock"
	spawn probe "$fuse" --probe --vhost-user="$work/fs2.sock"
	until grep -q '^round-trip-polling' "$work/probe.log"; do
		running probe
	done
	signal STOP host2
	signal "$1" probe
	begin=$SECONDS
	[ "$(status_of probe)" = 32 ]
	[ $((SECONDS - begin)) -le 15 ]
	cat "$work/probe.log"
	grep -q '^vfsdaxfuse: interrupted$' "$work/probe.log"
	signal CONT host2
	stop host2
	rm -f "$work/fs2.sock"
}

probe_no_window()
{
	probed
	[ "$(value window)" = none ]
	fails grep -qE '^(window-|copy-|mapping-)' "$work/out"
	round_trips
}

# probe_wrong STATUS PATTERN ARGUMENT... - as refused, with --probe
probe_wrong()
{
	local status=$1 pattern=$2
	shift 2
	refused "$status" "$pattern" --probe "$@"
}

# The socket tells; what was asked for fails.
probe_host_killed()
{
	spawn host2 "$host" --shared-dir="$share" --socket-path="$work/fs2.sock" --window=64M
	until_true 50 test -S "$work/fs2.sock"
	signal STOP host2
	spawn probe "$fuse" --probe --vhost-user="$work/fs2.sock"
	sleep 0.3
	signal KILL host2
	[ "$(status_of probe)" = 32 ]
	cat "$work/probe.log"
	[ "$(grep -c '^vfsdaxfuse: ' "$work/probe.log")" = 1 ]
}

probe()
{
	local sock=--vhost-user=$work/fs.sock
	: >"$work/file"
	# What tests before this one have left is large enough to measure with.
	rm -rf "${share:?}"/*
	check "probe: host starts" start_host --window=64M --num-request-queues=3 --tag='tag of it'
	check "probe: host without files" probe_device
	check "probe: small files" probe_small
	check "probe: a file" probe_file $((300000 / 4096 * 4096))
	check "probe: mount afterwards" start_fuse
	check "probe: data" same_data
	check "probe: end" end_by umount "$mnt"
	check "probe: SIGINT while the host does nothing" probe_interrupted INT
	check "probe: SIGTERM while the host does nothing" probe_interrupted TERM
	check "probe: a host that is gone" probe_host_killed
	stop host
	# With cache=none it has no READDIRPLUS.
	rm -rf "${share:?}"/*
	check "probe, cache=none: host starts" start_host --cache=none --window=64M \
		--num-request-queues=3 --tag='tag of it'
	check "probe, cache=none: small files" probe_small
	check "probe, cache=none: a file" probe_file $((300000 / 4096 * 4096))
	stop host
	check "probe: host without a window" start_host --window=0
	check "probe: no window" probe_no_window
	check "probe: no socket" probe_wrong 32 'No such file' --vhost-user="$work/none"
	check "probe: not a socket" probe_wrong 32 'refused' --vhost-user="$work/file"
	check "probe: no such device" probe_wrong 32 'ffff:1f:1f.7' --pci=ffff:1f:1f.7
	check "probe: no device" probe_wrong 32 'virtio-fs|PCI' nonesuch
	check "probe: too many arguments" probe_wrong 1 'too many' "$sock" tag "$mnt"
	check "probe: a mount option" probe_wrong 1 'no mount options' "$sock" -o ro
	check "probe: dax=never" probe_wrong 1 'no mount options' "$sock" -o dax=never
	stop host
}
