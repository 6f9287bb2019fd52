#!/usr/bin/env bash
# The long campaigns, which make test only does in small: kill -9 over and over,
# every fuzz target for a while, and mutants of the verifier. The last run is kept in
# integration/results: torture.txt, and each mutant in mutation.txt. FUZZTIME, ROUNDS,
# CAMPAIGN_INPUTS, FLIP_EVERY, KILLS, HOSTILE_REQUESTS and MUTANTS (of each package; 0 is
# all of them) make it longer or shorter; CAMPAIGN_SEED repeats the campaign of another run.
set -euo pipefail
cd "$(dirname "$0")/.."

fuzztime=${FUZZTIME:-60s}
rounds=${ROUNDS:-300}
seed=${CAMPAIGN_SEED:-$((RANDOM << 15 | RANDOM))}
inputs=${CAMPAIGN_INPUTS:-120000}
every=${FLIP_EVERY:-1}
mutants=${MUTANTS:-200}
kills=${KILLS:-1000}
requests=${HOSTILE_REQUESTS:-1000000}
out=integration/results/torture.txt
mkdir -p "$(dirname "$out")"
{
	echo "# FUZZTIME=$fuzztime ROUNDS=$rounds CAMPAIGN_SEED=$seed CAMPAIGN_INPUTS=$inputs FLIP_EVERY=$every KILLS=$kills HOSTILE_REQUESTS=$requests MUTANTS=$mutants make torture"
	echo "# commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' with uncommitted changes'), $(date -u +%F), $(go version | cut -d' ' -f3-4), $(nproc) cores; moments of kills are drawn at random, without a seed"
	echo
	echo "## the signature log is killed $rounds times"
	SIGLOG_TEST_ROUNDS=$rounds go test -timeout 60m -count 1 -v -run '^TestLOG06' ./services/siglog
	echo
	echo "## first starts, issuing and publishing are killed, ten times over"
	go test -timeout 60m -count 10 -run 'Kill' ./services/stack ./services/trustroot | grep -v 'INFO registered route'
	echo
	echo "## the proxy's cache is killed $kills times while it fills"
	CACHE_KILLS=$kills go test -timeout 60m -count 1 -v -run '^TestPX29' ./registry-proxy/cache | grep -v '^=== '
	echo
	echo "## $requests requests through the proxy to an upstream that attacks, and a quarter of that with a cache; 2000 pulls from replicas that come and go"
	HOSTILE_REQUESTS=$requests go test -timeout 90m -count 1 -v -run '^TestHostileUpstream$' ./registry-proxy | grep -v '^=== '
	go test -timeout 60m -count 10 -run '^TestReplicas' ./registry-proxy
	echo
	echo "## $inputs inputs for both verifiers, and every bit of good evidence"
	(cd integration/oracles && CAMPAIGN_SEED=$seed CAMPAIGN_INPUTS=$inputs FLIP_EVERY=$every \
		go test -timeout 120m -count 1 -v -run '^TestLIB35_(Campaign|EveryBit)' . 2>/dev/null |
		sed -nE 's/^ +[a-z_]+\.go:[0-9]+: //p; /^(--- |panic|ok|FAIL)/p') # the reference prints, too
	echo
	echo "## every situation, with real clients"
	TOUCHMARK_MATRIX=all go test -timeout 60m -count 1 -run '^TestSituations$' ./integration/podman
	echo
	echo "## $mutants mutants of each of the verifier's packages"
	./integration/mutation.sh "$mutants" "$seed" | grep '^# core' || true # which survived stands in mutation.txt
	echo
	echo "## each fuzz target for $fuzztime"
	git grep -hE '^func Fuzz' -- '*_test.go' >/dev/null # fails if there is none
	git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | while read -r dir target; do
		echo "$dir $target"
		case $dir in
		integration/oracles) (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x .) ;;
		*) go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "./$dir" ;;
		esac | tail -n 2
	done
} 2>&1 | tee "$out"
