#!/bin/sh
# SPDX-License-Identifier: MIT
# sqlite in WAL mode: two writers, SIGKILL in the middle; what was committed is there and whole.
# In the guest: sqlite.sh DIRECTORY
set -eux # what failed is told by its last lines
writer=$(dirname "$0")/sqlite_writer.py
tmp=$(mktemp -d)
a="" b="" c=""
# Those that still run are ours.
trap 'kill -KILL $a $b $c 2>/dev/null || true; rm -rf "$tmp"' EXIT
cd "$1"

# The -shm file is a shared mapping; where that does not work sqlite keeps another mode.
[ "$(sqlite3 db 'PRAGMA journal_mode = WAL')" = wal ]
sqlite3 db 'CREATE TABLE t (writer TEXT, n INTEGER, data BLOB, PRIMARY KEY (writer, n))'

# acknowledged NAME - how many rows this writer was told to be committed
acknowledged()
{
	wc -l <"$tmp/$1"
}

# until_acknowledged NAME NUMBER
until_acknowledged()
{
	i=0
	while [ "$(acknowledged "$1")" -lt "$2" ]; do
		i=$((i + 1))
		[ $i -lt 1200 ]
		sleep 0.1
	done
}

start()
{
	: >"$tmp/$1"
	python3 "$writer" db "$1" >"$tmp/$1" &
}

start a
a=$!
start b
b=$!
until_acknowledged a 100
until_acknowledged b 100
[ -s db-shm ]
[ -s db-wal ]
kill -KILL $a
wait $a || true
a=""
before=$(acknowledged b)
start c
c=$!
until_acknowledged b $((before + 100)) # it goes on without the dead one
until_acknowledged c 100
kill -KILL $b $c
wait $b $c || true
a="" b="" c=""

# Nobody has the file open now, so this opens it anew and recovers.
echo 2 >/proc/sys/vm/drop_caches
[ "$(sqlite3 db 'PRAGMA integrity_check')" = ok ]
for name in a b c; do
	# All that was acknowledged, and at most the one on its way; without a gap, and unharmed.
	told=$(acknowledged $name)
	found=$(sqlite3 db "SELECT count(*) FROM t WHERE writer = '$name'")
	echo "writer $name: $told acknowledged, $found found"
	[ "$found" -ge "$told" ]
	[ "$found" -le $((told + 1)) ]
	[ "$(sqlite3 db "SELECT max(n) + 1 FROM t WHERE writer = '$name'")" = "$found" ]
done
bad=$(sqlite3 db "SELECT count(*) FROM t WHERE length(data) != 100 + n % 5000
	OR hex(substr(data, -1)) != printf('%02X', n % 256)")
[ "$bad" = 0 ]
[ "$(sqlite3 db 'PRAGMA wal_checkpoint(TRUNCATE)' | cut -d '|' -f 1)" = 0 ]
[ "$(sqlite3 db 'PRAGMA integrity_check')" = ok ]
[ ! -s db-wal ]
