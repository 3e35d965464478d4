#!/bin/sh
# SPDX-License-Identifier: MIT
# Programs, libraries and scripts that lie on the mount are run from there.
# In the guest: exec.sh DIRECTORY
set -eux # what failed is told by its last lines
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$1"
cp -L /usr/bin/python3 /usr/bin/sort /usr/bin/busybox .
cp -L /lib/x86_64-linux-gnu/libc.so.6 .
echo 2 >/proc/sys/vm/drop_caches
[ "$(./python3 -c 'print(sum(range(1000)))')" = 499500 ]
[ "$(seq 1000 -1 1 | ./sort -n | head -n 1)" = 1 ]
[ "$(./busybox echo alive)" = alive ]
[ "$(LD_LIBRARY_PATH=$PWD ./sort --version | head -n 1 | cut -c 1-4)" = sort ]
LD_LIBRARY_PATH=$PWD ./python3 -c 'print(open("/proc/self/maps").read())' | grep -q "$PWD/libc.so.6"
printf '#!%s/busybox sh\necho "script $1"\n' "$PWD" >script
chmod 755 script
[ "$(./script works)" = 'script works' ]
# It is in use, so it cannot be written; a new one takes its place while the old one runs.
./busybox sleep 30 &
pid=$!
sleep 0.5
if (echo x >>busybox) 2>"$tmp/err"; then
	echo "a running program was written to"
	exit 1
fi
grep -q 'Text file busy' "$tmp/err"
cp sort busybox.new
mv busybox.new busybox
[ "$(printf '2\n1\n' | ./busybox | head -n 1)" = 1 ]
kill $pid
chmod 644 sort
if ./sort --version 2>/dev/null; then exit 1; fi
# Many at a time, all of them paging the same file in.
echo 3 >/proc/sys/vm/drop_caches
pids=
for i in 1 2 3 4 5 6 7 8; do
	./python3 -c "import json, hashlib; print(json.dumps($i))" >out$i &
	pids="$pids $!"
done
for pid in $pids; do
	wait "$pid"
done
[ "$(cat out? | tr -d '\n')" = 12345678 ]
