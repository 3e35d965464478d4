#!/bin/sh
# SPDX-License-Identifier: MIT
# Words that are spelled wrong, in documents, comments, messages and names.
# usage: spelling.sh SOURCE-ROOT
set -u
cd "$1" || exit 2
command -v codespell >/dev/null || {
	echo "codespell is not there"
	exit 77
}
# nd: /sys/bus/nd. The others are names in the sources.
codespell --ignore-words-list=nd,inflight,fo,te,ot,inout,ba,hist,sav README.md CONTRIBUTING.md NEWS doc man src include tests contrib check demo
