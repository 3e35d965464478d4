# SPDX-License-Identifier: MIT
# Mount options, remounts, automounts, busy back ends and those of other users. To be sourced by bash.
# shellcheck shell=bash disable=SC2154 # work, mnt, share, fuse and host come from the script

# Each filesystem-independent option of mount(8) and each option of FUSE, with a word that /proc/mounts then
# shows; "-" and a word: it does not show the word.
option_rows='
async -sync
atime relatime
auto rw
comment=word rw
default_permissions default_permissions
defaults relatime
dev -nodev
diratime -nodiratime
dirsync dirsync
exec -noexec
group -nosuid
iversion rw
lazytime lazytime
loud rw
max_read=65536 max_read=65536
_netdev rw
noallow_other -allow_other
allow_other allow_other
allow_root -allow_other
noatime noatime
noauto rw
nodev nodev
nodiratime nodiratime
noexec noexec
nofail rw
nogroup rw
noiversion rw
nolazytime -lazytime
nomand rw
noowner rw
norelatime relatime
nostrictatime relatime
nosuid nosuid
nosymfollow nosymfollow
nouser rw
nousers rw
owner -nosuid
relatime relatime
ro ro
rw rw
silent rw
strictatime -relatime
suid -nosuid
symfollow -nosymfollow
sync sync
subtype=vfsdaxfuse rw
user -nosuid
user=nobody -nosuid
users -nosuid
x-systemd.automount rw
X-mount.mkdir rw
user_id=0 user_id=0
group_id=0 group_id=0
'

# Of two options that exclude each other the last one counts.
option_pairs='
ro,rw rw
rw,ro ro
noatime,relatime -noatime
relatime,noatime noatime
noatime,strictatime -noatime
noatime,atime relatime
nosuid,suid -nosuid
noallow_other,allow_other allow_other
auto_unmount,nosuid nosuid
'

options_shown()
{
	awk -v dir="$mnt" '$2 == dir { shown = $4 } END { print shown }' /proc/self/mounts
}

# shown WORD - among the options of the mount; -WORD: not among them
shown()
{
	local list
	list=,$(options_shown),
	echo "$list"
	case $1 in
	-*) [[ $list != *,${1#-},* ]] ;;
	*) [[ $list == *,$1,* ]] ;;
	esac
}

# mount_once OPTIONS - mount, with the output in fuse.out
mount_once()
{
	! mounted || umount "$mnt"
	timeout 20 "$fuse" --vhost-user="$work/fs.sock" -o "$1" "$mnt" >"$work/fuse.out" 2>&1 </dev/null || {
		cat "$work/fuse.out"
		return 1
	}
}

# umount does not wait for the daemon's end. The next daemon tries again while the back end is not free yet.
mounted_with()
{
	mount_once "$1"
	[ ! -s "$work/fuse.out" ]
	shown "$2"
	umount "$mnt"
}

# The options that /proc/mounts shows can be given to a new mount and to its remount.
round_trip()
{
	local first second
	mount_once "$1"
	first=$(options_shown)
	umount "$mnt"
	mount_once "$first"
	second=$(options_shown)
	echo "$first" "$second"
	[ "$first" = "$second" ]
	"$fuse" -o "remount,$second" "$mnt"
	[ "$(options_shown)" = "$first" ]
	umount "$mnt"
}

# refused_option OPTION PATTERN - refused, with a message that begins with the option
refused_option()
{
	check "options: $1 is refused" refused 1 "$1: .*$2" --vhost-user="$work/fs.sock" \
		-o "$1" "$mnt"
}

remount()
{
	"$fuse" -o "remount,$1" "$mnt"
	shown "$2"
}

remounted()
{
	local before
	mount_once nodev,noatime
	before=$(options_shown)
	echo 1 >"$mnt/file"
	remount ro ro
	shown nodev
	shown noatime
	fails touch "$mnt/file" 2>"$work/out"
	grep -q 'Read-only' "$work/out"
	# read-only for the whole file system, not only for this mount, as with the kernel's virtiofs
	[[ $(awk -v dir="$mnt" '$5 == dir' /proc/self/mountinfo) == *" - "*" ro,"* ]]
	remount rw,dax=never rw
	[ "$(options_shown)" = "$before" ]
	echo 2 >"$mnt/file"
	remount relatime relatime
	remount strictatime -relatime
	remount nodiratime nodiratime
	shown -relatime
	remount atime -noatime
	remount lazytime lazytime
	remount nosymfollow nosymfollow
	remount nosuid nosuid
	remount sync sync
	shown nosymfollow
	umount "$mnt"
}

remount_busy()
{
	mount_once rw
	exec 5>"$mnt/open"
	changed_not 'open for writing' ro
	exec 5>&-
	remount ro ro
	umount "$mnt"
	changed_not 'no vfsdaxfuse is mounted at' ro
	mount -t tmpfs test "$mnt"
	changed_not 'no vfsdaxfuse is mounted at' ro
	shown rw
	umount "$mnt"
}

# changed_not PATTERN OPTIONS - the remount fails, with a message of PATTERN
changed_not()
{
	local status=0
	"$fuse" -o "remount,$2" "$mnt" >"$work/out" 2>&1 || status=$?
	cat "$work/out"
	[ "$status" = 32 ]
	grep -q "$1" "$work/out"
	[ "$(wc -l <"$work/out")" = 1 ]
}

# mount(8) passes all options of the mount to its helper, mount.fuse3, which looks for vfsdaxfuse in the
# system's directories: mount a directory of our own over one of these.
remounted_by_mount8()
{
	mount_once nosuid
	mount -t tmpfs -o size=1m test /usr/local/sbin
	ln -s "$fuse" /usr/local/sbin/vfsdaxfuse
	mount -o remount,ro "$mnt"
	shown ro
	shown nosuid
	mount -o remount,rw,noatime "$mnt"
	shown rw
	shown noatime
	umount /usr/local/sbin "$mnt"
}

# for_nobody PROGRAM - copy it to where every user can run it, as the build directory may be closed to others
for_nobody()
{
	install -m 755 "$1" "$work/"
	basename "$1"
}

as_nobody()
{
	setpriv --reuid=65534 --regid=65534 --clear-groups "$@"
}

# Only root can use the mount, whoever owns the files.
only_root()
{
	echo text >"$share/all"
	chmod 644 "$share/all"
	mount_once "$1"
	grep -q text "$mnt/all"
	fails as_nobody cat "$mnt/all" 2>"$work/out"
	fails as_nobody stat "$mnt" 2>>"$work/out"
	[ "$(grep -c 'Permission denied' "$work/out")" = 2 ]
	umount "$mnt"
	mount_once allow_other
	as_nobody grep -q text "$mnt/all"
	umount "$mnt"
}

# Set atimes long ago, so that the host would update them at the next read.
old_atime()
{
	touch -a -d '2001-01-01' "$share/atime" "$share/atimedir"
}

# read_all - read a file twice, and a directory
read_all()
{
	cat "$mnt/atime" >"$work/out"
	cmp "$mnt/atime" "$share/copy"
	ls "$mnt/atimedir"
}

atimes()
{
	stat -c %X "$share/atime" "$share/atimedir" | tr '\n' ' '
}

noatime_on_host()
{
	local old
	mkdir -p "$share/atimedir"
	"$host_fstest" --make "$share/atime" 1M 3
	cp "$share/atime" "$share/copy"
	: >"$share/atimedir/file"
	old_atime
	old=$(atimes)
	mount_once "$1"
	read_all
	[ "$(atimes)" != "$old" ]
	umount "$mnt"
	mount_once "$1,noatime"
	old_atime
	read_all
	[ "$(atimes)" = "$old" ]
	# a file that is written and then read by the same open
	"$host_fstest" --make "$mnt/written" 1M 4
	old=$(stat -c %X "$share/written")
	sleep 1.1
	echo >>"$mnt/written"
	cat "$mnt/written" >"$work/out"
	[ "$(stat -c %X "$share/written")" = "$old" ]
	"$fuse" -o remount,relatime,nodiratime "$mnt"
	until_true 20 moves_of_file_only
	"$fuse" -o remount,noatime "$mnt"
	until_true 20 moves_none
	umount "$mnt"
}

# moved - read all and print what changed its atime. Try again after a remount: the daemon sees it a moment later.
moved()
{
	local old
	old_atime
	old=$(atimes)
	echo 2 >/proc/sys/vm/drop_caches
	read_all >/dev/null
	# shellcheck disable=SC2046,SC2086 # words
	set -- $old $(atimes)
	[ "$1" = "$3" ] || printf file
	[ "$2" = "$4" ] || printf directory
}

moves_of_file_only()
{
	[ "$(moved)" = file ]
}

moves_none()
{
	[ -z "$(moved)" ]
}

options()
{
	local option word
	check "options: host starts" start_host --cache=none
	while read -r option word; do
		[ -z "$option" ] || check "options: $option" mounted_with "$option" "$word"
	done <<<"$option_rows$option_pairs"
	check "options: round trip" round_trip rw
	check "options: round trip of all" round_trip \
		ro,nosuid,nodev,noexec,noatime,nodiratime,nosymfollow,sync,dirsync,lazytime,max_read=65536
	refused_option mand 'no mandatory locks'
	refused_option nodefault_permissions 'host checks no permissions'
	refused_option fd=3 'opens /dev/fuse itself'
	refused_option rootmode=40000 'opens /dev/fuse itself'
	refused_option blksize=512 'block device'
	refused_option bind 'mount\(8\)'
	refused_option user_id=7 'who mounts'
	refused_option group_id=7 'who mounts'
	refused_option max_read=much 'number'
	refused_option subtype=other 'vfsdaxfuse'
	refused_option nonesuch 'no such option'
	refused_option rox 'no such option'
	check "options: remount" remounted
	check "options: remount that cannot be" remount_busy
	check "options: remount by mount(8)" remounted_by_mount8
	check "options: allow_root" only_root allow_root
	check "options: noallow_other" only_root noallow_other
	check "options: noatime" noatime_on_host rw
	check "options: noatime, dax=always" noatime_on_host dax=always
	check "options: noatime, dax=never" noatime_on_host dax=never
	check "options: second mount of a socket" second_mount
	stop host
	check "options: a back end that takes nobody" takes_nobody
	check "options: a back end of another user" other_users_host
	check "options: an ordinary user's mount" ordinary_user
}

# second_mount - try to mount the same back end at another mountpoint
second_mount()
{
	mkdir -p "$work/mnt2"
	mount_once rw
	not_free 'may serve another client' "$work/fs.sock"
	touch "$mnt/still-there"
	umount "$mnt"
}

# not_free PATTERN SOCKET - the mount fails within 4 s, with a message of PATTERN
not_free()
{
	local status=0
	timeout 4 "$fuse" --vhost-user="$2" "$work/mnt2" >"$work/out" 2>&1 </dev/null || status=$?
	cat "$work/out"
	[ "$status" = 32 ]
	grep -q "^vfsdaxfuse: $2: the back end .*$1" "$work/out"
	[ "$(wc -l <"$work/out")" = 1 ]
}

# A listener that never accepts. Its queue has room for one connection, which stays there after the client's end.
takes_nobody()
{
	mkdir -p "$work/mnt2"
	spawn listener python3 -c 'import signal, socket, sys
s = socket.socket(socket.AF_UNIX)
s.bind(sys.argv[1])
s.listen(0)
signal.pause()' "$work/nobody.sock"
	until_true 50 test -S "$work/nobody.sock"
	not_free 'does not read our requests: it may serve another client' "$work/nobody.sock"
	not_free 'takes no connection: it may serve another client' "$work/nobody.sock"
	stop listener
}

# Root mounts a share of an ordinary user's back end: set-id root programs and devices have no effect there.
other_users_host()
{
	mkdir -p "$work/other"
	chown 65534:65534 "$work/other"
	cp /usr/bin/id "$share/id"
	chmod 4755 "$share/id"
	mknod -m 666 "$share/null" c 1 3
	spawn other setpriv --reuid=65534 --regid=65534 --clear-groups "$work/$(for_nobody "$host")" --shared-dir="$share" \
		--socket-path="$work/other/sock" --sandbox=none
	until_true 50 test -S "$work/other/sock"
	other_mounted
	grep -q 'runs as uid 65534 .*nosuid,nodev' "$work/fuse.out"
	shown nosuid
	shown nodev
	[ "$(as_nobody "$mnt/id" -u)" = 65534 ]
	fails dd if="$mnt/null" count=0 2>"$work/out"
	grep -q 'Permission denied' "$work/out"
	# a remount keeps nosuid and nodev
	"$fuse" -o remount,ro "$mnt"
	shown nosuid
	shown nodev
	umount "$mnt"
	other_mounted -o suid,dev
	[ ! -s "$work/fuse.out" ]
	shown -nosuid
	[ "$(as_nobody "$mnt/id" -u)" = 0 ]
	dd if="$mnt/null" count=0
	umount "$mnt"
	other_mounted -o suid
	grep -q 'mounting with nodev' "$work/fuse.out"
	umount "$mnt"
	stop other
	# with root's own back end both work
	start_host
	mount_once rw
	[ "$(as_nobody "$mnt/id" -u)" = 0 ]
	dd if="$mnt/null" count=0
	umount "$mnt"
	stop host
}

# An ordinary user mounts by fusermount3. Options that only root may give are refused or have no effect.
ordinary_user()
{
	local pid
	mkdir -p "$work/user/mnt" "$work/user/share"
	chown -R 65534:65534 "$work/user"
	mknod -m 666 "$work/fuse" c 10 229
	mount --bind "$work/fuse" /dev/fuse
	spawn other setpriv --reuid=65534 --regid=65534 --clear-groups "$work/$(for_nobody "$host")" \
		--shared-dir="$work/user/share" --socket-path="$work/user/sock" --sandbox=none
	until_true 50 test -S "$work/user/sock"
	fails user_mounts allow_root
	grep -q '^vfsdaxfuse: allow_root: ' "$work/out"
	fails user_mounts noallow_other,strictatime
	grep -q '^vfsdaxfuse: strictatime.*only root' "$work/out"
	user_mounts noallow_other,suid,dev,noatime
	grep " $work/user/mnt fuse.vfsdaxfuse .*nosuid,nodev,noatime" /proc/self/mounts
	as_nobody touch "$work/user/mnt/file"
	fails stat "$work/user/mnt/file" 2>"$work/out"
	pid=$(pgrep -u 65534 -f "$work/user/mnt\$")
	kill "$pid"
	# sooner than the timeout for a mount that is in use
	until_true 30 test ! -e "/proc/$pid"
	fails grep " $work/user/mnt " /proc/self/mounts
	stop other
	umount /dev/fuse
}

user_mounts()
{
	as_nobody timeout 10 "$work/$(for_nobody "$fuse")" --vhost-user="$work/user/sock" -o "$1" "$work/user/mnt" \
		>"$work/out" 2>&1 </dev/null
}

other_mounted()
{
	timeout 20 "$fuse" --vhost-user="$work/other/sock" "$@" "$mnt" >"$work/fuse.out" 2>&1 </dev/null
	cat "$work/fuse.out"
}

# An access to an autofs mountpoint waits until the mount is made; the daemon that makes it must not wait there.
automount()
{
	check "automount: host starts" start_host
	echo text >"$share/file"
	spawn automount "$here/automount.py" "$mnt" "$fuse" --vhost-user="$work/fs.sock" "$mnt"
	check "automount: autofs is mounted" until_true 50 grep -q ready "$work/automount.log"
	check "automount: first access" first_access
	check "automount: again after an unmount" access_again
	check "automount: SIGTERM leaves autofs" autofs_stays
	stop automount
	stop host
}

first_access()
{
	local text
	# in a session of its own, like any program
	text=$(setsid --wait timeout 10 cat "$mnt/file")
	cat "$work/automount.log"
	[ "$text" = text ]
	mounted
	grep -q mounted "$work/automount.log"
}

# When the daemon ends, even while a file is in use, it unmounts only its own mount and not the one below.
autofs_stays()
{
	local pid
	pid=$(pgrep -f -x "$fuse --vhost-user=$work/fs.sock $mnt")
	exec 5<"$mnt/file"
	kill "$pid"
	until_true 150 test ! -e "/proc/$pid"
	exec 5<&-
	grep " $mnt autofs " /proc/self/mounts
	not_mounted
	first_access
	umount "$mnt"
}

access_again()
{
	umount "$mnt"
	not_mounted
	first_access
}
