#!/usr/bin/env bash
# The long campaigns, which make test only does in small: kill -9 over and over,
# and every fuzz target for a while. The last run is kept in
# integration/results/torture.txt. FUZZTIME and ROUNDS make it longer or shorter.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-60s}
rounds=${ROUNDS:-300}
out=integration/results/torture.txt
mkdir -p "$(dirname "$out")"
{
	echo "# FUZZTIME=$fuzztime ROUNDS=$rounds make torture"
	echo "# commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' with uncommitted changes'), $(date -u +%F), $(go version | cut -d' ' -f3-4), $(nproc) cores; moments are drawn at random, without a seed"
	echo
	echo "## the signature log is killed $rounds times"
	SIGLOG_TEST_ROUNDS=$rounds go test -timeout 60m -count 1 -v -run '^TestLOG06' ./services/siglog
	echo
	echo "## first starts, issuing and publishing are killed, ten times over"
	go test -timeout 60m -count 10 -run 'Kill' ./services/stack ./services/trustroot
	echo
	echo "## each fuzz target for $fuzztime"
	git grep -hE '^func Fuzz' -- '*_test.go' >/dev/null # fails if there is none
	git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | while read -r dir target; do
		echo "$dir $target"
		go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "./$dir" | tail -n 2
	done
} 2>&1 | tee "$out"
