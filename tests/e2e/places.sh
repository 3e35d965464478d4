# SPDX-License-Identifier: MIT
# Other file systems in the shared directory. To be sourced by native.sh.
# shellcheck shell=bash disable=SC2154,SC2030,SC2031 # work, mnt and host_fstest come from the script
#
# chain: a second vfsdaxhost (far) shares a mount of vfsdaxfuse (near). Writes to the base directory are then
# changes by others that the page cache of the far host does not see.

top=""

# start_chain HOST-OPTION... - base -> near host -> near mount, in the directory of the far host -> $mnt
start_chain()
{
	top=$work/mnt-top
	mkdir -p "$top/near"
	spawn near-host "$host" --shared-dir="$share" --socket-path="$work/near.sock" --cache=none \
		${VFSDAXFUSE_HOST_OPTIONS-}
	until_true 50 test -S "$work/near.sock"
	spawn near-fuse "$fuse" -f --vhost-user="$work/near.sock" -o dax=never "$top/near"
	until_true 50 mountpoint -q "$top/near"
	start_far "$@"
}

start_far()
{
	(
		share=$top
		start_host --cache=none --window=64M "$@"
	)
	start_fuse -o dax=always
}

stop_far()
{
	umount "$mnt"
	[ "$(status_of fuse)" = 0 ]
	stop host
}

stop_chain()
{
	umount "$top/near"
	[ "$(status_of near-fuse)" = 0 ]
	stop near-host
	rm -r "$top"
	rm -rf "${share:?}"/*
}

# The guest reads at once what others write, nothing is mapped, and the log says why, once.
chain_reads()
{
	local i
	for i in 1 2 3 4 5; do
		"$host_fstest" --make "$share/data" 4M "$i"
		unmarked near/data 4M "$i"
		"$host_fstest" --put "$share/data" 0 4M $((i + 100))
		unmarked near/data 4M $((i + 100))
	done
	[ "$(grep -c 'files on FUSE or virtiofs go over the virtqueue' "$work/host.log")" = 1 ]
	# The daemon asks for a mapping once for each file; --make may have made a second one.
	[ "$(requests_of setupmapping)" -le 5 ]
}

# In an open file the guest sees at once what others write. A byte that the guest writes changes only that
# byte.
chain_writes()
{
	rm "$share/data"
	python3 - "$share/data" "$mnt/near/data" <<'END' >"$work/read"
import os, sys, time

base, far = (os.open(path, os.O_RDWR | os.O_CREAT) for path in sys.argv[1:])
size = 1 << 20
os.pwrite(base, b"a" * size, 0)
# The first write after an open is always a request, and the first read may come before there is a mapping.
os.pwrite(far, b"a", 0)
for i in range(5):
    assert os.pread(far, size, 0) == b"a" * size
    time.sleep(0.1)
os.pwrite(base, b"b" * size, 0)
old = os.pread(far, size, 0).count(b"a")
os.pwrite(far, b"F", 20 * 4096 + 1)
os.fsync(far)
print(old, "old bytes read")
END
	# Write back what the far host's page cache still holds.
	stop_far
	sync
	python3 - "$share/data" <<'END'
import sys

with open(sys.argv[1], "rb") as f:
    data = f.read()
at = 20 * 4096 + 1
assert data[at:at + 1] == b"F", data[at:at + 1]
lost = data[:at].count(b"a") + data[at + 1:].count(b"a")
assert len(data) == 1 << 20 and not lost, f"{lost} bytes of the other's write are lost"
END
	grep -x '0 old bytes read' "$work/read"
	start_far
}

# Files of other file systems in the same directory are mapped.
chain_local()
{
	"$host_fstest" --make "$top/local" 4M 3
	marked local 4M 3
	rm "$top/local"
}

# --map-remote maps them, with a warning.
chain_map_remote()
{
	stop_far
	start_far --map-remote
	"$host_fstest" --make "$share/data" 4M 3
	marked near/data 4M 3
	[ "$(grep -c 'files on FUSE or virtiofs are mapped (--map-remote)' "$work/host.log")" = 1 ]
	stop_far
	start_far
}

# --inode-dax does not mark them either.
chain_unmarked()
{
	stop_far
	(
		share=$top
		start_host --cache=none --window=64M --inode-dax=all
	)
	start_fuse -o dax=inode
	"$host_fstest" --make "$share/data" 4M 3
	unmarked near/data 4M 3
	[ "$(requests_of setupmapping)" = 0 ]
	"$host_fstest" --make "$top/local" 4M 3
	marked local 4M 3
	rm "$top/local"
}

chain()
{
	check "chain: start" start_chain
	top=$work/mnt-top
	check "chain: what others write is read" chain_reads
	check "chain: what others write stays" chain_writes
	check "chain: local files are mapped" chain_local
	check "chain: --map-remote" chain_map_remote
	check "chain: --inode-dax=all" chain_unmarked
	check "chain: end" stop_far
	check "chain: end of the near one" stop_chain
}

# A directory is bound read-only below the share while that is served. vfsdaxhost's mount namespace gets the
# mount with the flags that it has when it is attached; later changes of the flags do not reach the namespace.
start_binds()
{
	mkdir -p "$work/mnt-top/near" "$work/other"
	mount --bind "$work/mnt-top" "$work/mnt-top"
	mount --make-shared "$work/mnt-top"
	: >"$work/other/f"
	(
		share=$work/mnt-top
		start_host --cache=none
	)
	start_fuse
}

# read_only_below - neither side can write there
read_only_below()
{
	[ -e "$mnt/near/f" ]
	fails touch "$work/mnt-top/near/f"
	fails touch "$mnt/near/f" "$mnt/near/new" 2>"$work/out"
	cat "$work/out"
	[ "$(grep -c 'Read-only' "$work/out")" = 2 ]
	umount -l "$work/mnt-top/near"
}

# The workaround for every version of mount(8): bind a mount that is already read-only.
bind_of_read_only()
{
	mkdir "$work/mnt-stage"
	mount -o bind,ro "$work/other" "$work/mnt-stage"
	mount --bind "$work/mnt-stage" "$work/mnt-top/near"
	read_only_below
	umount "$work/mnt-stage"
	rmdir "$work/mnt-stage"
}

# As mount(8) does since util-linux 2.39: set the flag before the mount is attached.
bind_in_one_step()
{
	python3 - "$work/other" "$work/mnt-top/near" <<'END'
import ctypes, os, sys
AT_FDCWD, AT_EMPTY_PATH = -100, 0x1000
OPEN_TREE, MOVE_MOUNT, MOUNT_SETATTR = 428, 429, 442
OPEN_TREE_CLONE, MOVE_MOUNT_F_EMPTY_PATH, MOUNT_ATTR_RDONLY = 1, 4, 1
libc = ctypes.CDLL(None, use_errno=True)

def call(*args):
    r = libc.syscall(*args)
    if r < 0:
        raise OSError(ctypes.get_errno(), f"{args[0]}: " + os.strerror(ctypes.get_errno()))
    return r

class Attr(ctypes.Structure):
    _fields_ = [(n, ctypes.c_uint64) for n in ("set", "clear", "propagation", "userns")]

tree = call(OPEN_TREE, AT_FDCWD, sys.argv[1].encode(), OPEN_TREE_CLONE | os.O_CLOEXEC)
attr = Attr(MOUNT_ATTR_RDONLY, 0, 0, 0)
call(MOUNT_SETATTR, tree, b"", AT_EMPTY_PATH, ctypes.byref(attr), ctypes.sizeof(attr))
call(MOVE_MOUNT, tree, b"", AT_FDCWD, sys.argv[2].encode(), MOVE_MOUNT_F_EMPTY_PATH)
END
	read_only_below
}

# --sandbox=chroot has no namespace of its own, so every kind of read-only mount takes effect.
bind_in_two_steps()
{
	umount "$mnt"
	stop host
	(
		share=$work/mnt-top
		start_host --cache=none --sandbox=chroot
	)
	start_fuse
	mount --bind "$work/other" "$work/mnt-top/near"
	mount -o remount,bind,ro "$work/mnt-top/near"
	read_only_below
}

stop_binds()
{
	umount "$mnt"
	[ "$(status_of fuse)" = 0 ]
	stop host
	umount "$work/mnt-top"
	rm -r "$work/mnt-top" "$work/other"
}

binds()
{
	check "binds: start" start_binds
	check "binds: of a read-only mount" bind_of_read_only
	check "binds: in one step" bind_in_one_step
	check "binds: in two steps, --sandbox=chroot" bind_in_two_steps
	check "binds: end" stop_binds
}
