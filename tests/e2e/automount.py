#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A direct autofs mount whose first access runs a command, as systemd's x-systemd.automount does.

usage: automount.py MOUNTPOINT COMMAND...

The command runs in this process's group, which is the one that autofs lets pass. Prints "ready"
when an access may come. SIGTERM: unmount and end.
"""

import ctypes
import fcntl
import os
import signal
import struct
import subprocess
import sys

IOC_READY, IOC_FAIL = 0x9360, 0x9361    # linux/auto_fs.h
MISSING_DIRECT = 5
PACKET_SIZE = 304                       # struct autofs_v5_packet, aligned
MNT_DETACH = 2


def main():
    place, command = sys.argv[1], sys.argv[2:]
    libc = ctypes.CDLL(None, use_errno=True)
    os.setpgid(0, 0)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    out, into = os.pipe()
    options = f"fd={into},pgrp={os.getpgrp()},minproto=5,maxproto=5,direct"
    if libc.mount(b"test", place.encode(), b"autofs", 0, options.encode()) < 0:
        raise OSError(ctypes.get_errno(), "mount of autofs")
    root = os.open(place, os.O_RDONLY | os.O_DIRECTORY)
    os.close(into)
    try:
        print("ready", flush=True)
        while True:
            packet = os.read(out, PACKET_SIZE)
            if not packet:
                break
            _, kind, token = struct.unpack_from("=iiI", packet)
            ok = kind == MISSING_DIRECT and subprocess.run(command, check=False).returncode == 0
            fcntl.ioctl(root, IOC_READY if ok else IOC_FAIL, token)
            print("mounted" if ok else "failed", flush=True)
    finally:
        os.close(root)
        libc.umount2(place.encode(), MNT_DETACH)


main()
