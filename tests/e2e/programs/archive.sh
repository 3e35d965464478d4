#!/bin/sh
# SPDX-License-Identifier: MIT
# tar, rsync and dpkg: trees with all kinds of metadata go in and come out the same.
# In the guest: archive.sh DIRECTORY, which holds package.deb
set -eux # what failed is told by its last lines
list=$(dirname "$0")/list.py
tmp=$(mktemp -d)
trap 'rm -rf "$tmp"' EXIT
tree=$tmp/tree
mkdir -p "$tree/sub/deep"
cd "$tree"

# Every kind of file, owner, mode, time, link, ACL, attribute, hole.
cp -a /etc etc
mkdir many
i=0
while [ $i -lt 300 ]; do
	echo $i >many/file$i
	i=$((i + 1))
done
head -c 3000001 /dev/urandom >big
truncate -s 5000000 sparse
printf end | dd of=sparse bs=1 seek=4000000 conv=notrunc status=none
ln big hard
ln -s nowhere/at/all dangling
ln -s big link
mkfifo pipe
mknod null c 1 3
mknod disk b 7 9
: >empty
: >"a name with blanks and \"quotes\" 'n' $(printf '\377\001')"
cp /bin/true setuid
chown 1234:5678 setuid many/file1
chmod 6755 setuid
chmod 3775 sub
chmod 000 empty
setfacl -m u:4321:rw-,g:8765:r-- many/file2
setfacl -d -m u:4321:rwx sub/deep
setfattr -n user.note -v 'a value' many/file3
setfattr -n user.binary -v 0x00ff0a00 sub
setfacl -m u:4321:r-- pipe null
setcap cap_net_raw=ep setuid
touch -d '1970-01-01 00:00:01.5 UTC' many/file5
touch -d '2100-12-31 23:59:59.123456789 UTC' many/file6
touch -h -d '2001-02-03 04:05:06.789 UTC' link
chown -h 77:88 dangling
touch -d '2011-11-11 11:11:11.11 UTC' sub

python3 "$list" "$tree" >"$tmp/want"

# same DIRECTORY - all that can be seen of the tree is what it was
same()
{
	echo 2 >/proc/sys/vm/drop_caches
	python3 "$list" "$1" >"$tmp/have"
	diff "$tmp/want" "$tmp/have"
	echo "$(wc -l <"$tmp/have") entries the same in $1"
}

tar="tar --acls --xattrs --xattrs-include=* --sparse --numeric-owner --format=posix"
$tar -cf "$tmp/tar" -C "$tree" .
mkdir "$1/tar"
$tar -xpf "$tmp/tar" -C "$1/tar"
same "$1/tar"
$tar -cf "$1/again.tar" -C "$1/tar" .
mkdir "$tree.tar"
$tar -xpf "$1/again.tar" -C "$tree.tar"
same "$tree.tar"
$tar --compare -f "$1/again.tar" -C "$1/tar"

rsync -aHAXS --numeric-ids "$tree/" "$1/rsync"
same "$1/rsync"
rsync -aHAX --checksum --numeric-ids --delete "$1/rsync/" "$tree.rsync"
same "$tree.rsync"
[ -z "$(rsync -aHAXn --checksum --numeric-ids --delete --itemize-changes "$1/rsync/" "$tree/")" ]
# And a change goes over, by the copy-and-rename that rsync does.
echo more >>"$tree/many/file7"
rsync -aHAX --checksum --numeric-ids "$tree/" "$1/rsync"
python3 "$list" "$tree" >"$tmp/want"
same "$1/rsync"

mkdir "$tree.deb"
dpkg -x "$1/package.deb" "$tree.deb"
dpkg -x "$1/package.deb" "$1/deb"
python3 "$list" "$tree.deb" >"$tmp/want"
same "$1/deb"
