#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Insert rows until killed, each in a transaction; print its number when it is committed."""

import os
import sqlite3
import sys

path, name = sys.argv[1:]
db = sqlite3.connect(path, timeout=60, isolation_level=None)
db.execute("PRAGMA synchronous = FULL")
# Small, so that checkpoints, which write to the database itself, happen all the time.
db.execute("PRAGMA wal_autocheckpoint = 50")
n = 0
while True:
    db.execute("BEGIN IMMEDIATE")
    data = bytes([n % 256]) * (100 + n % 5000)
    db.execute("INSERT INTO t VALUES (?, ?, ?)", (name, n, data))
    db.execute("COMMIT")
    os.write(1, b"%d\n" % n)
    n += 1
