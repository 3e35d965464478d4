#!/bin/sh
# SPDX-License-Identifier: MIT
# Each source file names its licence on top and says in one sentence what it is for; nothing names a
# home directory.
# usage: spdx.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
bad=0
n=0

fail()
{
	echo "$1: $2"
	bad=1
}

list=$(mktemp) || exit 2
trap 'rm -f "$list"' EXIT
find src include tests demo check .ci contrib -type f \
	\( -name '*.[ch]' -o -name '*.sh' -o -name '*.py' -o ! -name '*.*' -o -path '.ci/*' \) \
	! -path '*/__pycache__/*' 2>/dev/null | sort >"$list"
while read -r f; do
	case $f in
	*.[ch])
		head -n 1 "$f" | grep -q 'SPDX-License-Identifier: MIT' || fail "$f" "no SPDX line"
		sed -n 2p "$f" | grep -Eq '^(//|/\*) .' || fail "$f" "no sentence of purpose"
		;;
	*)
		# Files without a suffix count when they are scripts.
		head -n 1 "$f" | grep -aq '^#!' || continue
		head -n 3 "$f" | grep -q 'SPDX-License-Identifier: MIT' || fail "$f" "no SPDX line"
		;;
	esac
	n=$((n + 1))
	# /root in a guest's initramfs is where its root file system stands.
	if [ "${f#tests/vm/guest/}" = "$f" ] && grep -nE '/(home|root|work)/[a-z]' "$f"; then
		fail "$f" "a path of one machine"
	fi
done <"$list"
echo "$n files"
exit $bad
