#!/bin/sh
# SPDX-License-Identifier: MIT
# A source package is built with make -j2 on the mount; the program runs from there.
# In the guest: build.sh DIRECTORY, which holds source.tar.gz of lua
set -eux # what failed is told by its last lines
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
cd "$1"
tar xzf source.tar.gz
cd lua-*
# -O0, because an emulated compiler takes minutes to optimise.
make -s -j2 posix MYCFLAGS=-O0 >"$tmp/log" 2>&1 || {
	tail -n 20 "$tmp/log"
	exit 1
}
# Nothing is to be made again: the times of what was made are in order.
echo 2 >/proc/sys/vm/drop_caches
make -C src -q lua luac
make -s install INSTALL_TOP="$1/prefix" >/dev/null
cat >test.lua <<'L'
local t = {}
for i = 1, 20000 do t[i] = (i * 7919) % 20011 end
table.sort(t)
local sum = 0
for i, v in ipairs(t) do sum = (sum * 31 + v * i) % 4294967291 end
local f <close> = assert(io.open(arg[1], "w"))
for i = 1, 1000 do f:write(string.format("%05d\n", t[i])) end
print(_VERSION, #t, sum)
L
"$1/prefix/bin/luac" -o test.luac test.lua
"$1/prefix/bin/lua" test.luac out1 >stdout1
"$1/prefix/bin/lua" test.lua out2 >stdout2
cat stdout1
cmp stdout1 stdout2
cmp out1 out2
grep -q '^Lua 5\.4	20000	' stdout1
[ "$(wc -l <out1) $(wc -c <out1)" = '1000 6000' ]
