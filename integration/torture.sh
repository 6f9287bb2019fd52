#!/usr/bin/env bash
# The long campaigns, which make test only does in small: kill -9 over and over, hostile
# registries, every situation with real clients, every fuzz target for a while, and mutants
# of the verifier.
#
#	integration/torture.sh [services] [proxy] [replicas] [failures] [verifiers] [situations] [mutants] [fuzz]
#
# runs those that are named, or all; the last log of each is kept in
# integration/results/torture-NAME.txt, and each mutant in mutation.txt. These make it longer
# or shorter: FUZZTIME, ROUNDS (kills of the signature log), KILLS (of the proxy's cache),
# HOSTILE_REQUESTS, TCP_REQUESTS, REPLICA_PULLS, CAMPAIGN_INPUTS, FLIP_EVERY and MUTANTS (of each package; 0 is all
# of them). CAMPAIGN_SEED repeats the inputs and mutants of another run; moments of kills and
# the hostile registry's moods are drawn at random, without a seed.
. "$(dirname "$0")/campaign.sh"

fuzztime=${FUZZTIME:-60s}
rounds=${ROUNDS:-300}
seed=${CAMPAIGN_SEED:-$((RANDOM << 15 | RANDOM))}
inputs=${CAMPAIGN_INPUTS:-120000}
every=${FLIP_EVERY:-1}
mutants=${MUTANTS:-200}
kills=${KILLS:-1000}
requests=${HOSTILE_REQUESTS:-1000000}
tcp=${TCP_REQUESTS:-250000}
pulls=${REPLICA_PULLS:-200}

# verbose runs tests one after the other and prints what they log.
verbose() {
	go test -count 1 -timeout 120m -v "$@" | grep -v -e '^=== ' -e 'INFO registered route'
}

campaign_services() {
	echo "## the signature log is killed $rounds times"
	SIGLOG_TEST_ROUNDS=$rounds verbose -run '^TestLOG06' ./services/siglog
	echo "## first starts, issuing and publishing are killed, ten times over"
	go test -timeout 60m -count 10 -run 'Kill' ./services/stack ./services/trustroot | grep -v 'INFO registered route'
}

campaign_proxy() {
	echo "## the cache is killed $kills times while it fills"
	CACHE_KILLS=$kills verbose -run '^TestPX29' ./registry-proxy/cache
	echo "## $requests requests to an upstream that attacks, and a quarter of that with a cache"
	HOSTILE_REQUESTS=$requests verbose -run '^TestHostileUpstream$' ./registry-proxy
	echo "## $tcp requests to the proxy's own process and an upstream that attacks over TCP, and half of that with a cache"
	HOSTILE_REQUESTS=$tcp verbose -run '^TestHostileUpstream' ./integration/proxyfailures
}

campaign_replicas() {
	echo "## $pulls pulls by crane, skopeo, podman and containerd from three processes, of which one is restarted and one killed during each"
	REPLICA_PULLS=$pulls verbose -run '^TestReplicas' ./integration/proxy
	echo "## 2000 pulls from three in one process"
	go test -timeout 60m -count 10 -run '^TestReplicas_200' ./registry-proxy
}

campaign_failures() {
	echo "## every dependency of the proxy, every failure, every entry point"
	# One at a time: thousands of them at once would starve each other into failures that are nobody's.
	FAILURES=all verbose -parallel 1 -run '^TestPX25' ./integration/proxyfailures | grep -v '^ *--- PASS'
}

campaign_verifiers() (
	cd integration/oracles
	echo "## $inputs inputs for both verifiers, and every bit of good evidence"
	CAMPAIGN_SEED=$seed CAMPAIGN_INPUTS=$inputs FLIP_EVERY=$every \
		go test -timeout 120m -count 1 -v -run '^TestLIB35_(Campaign|EveryBit)' . 2>/dev/null |
		sed -nE 's/^ +[a-z_]+\.go:[0-9]+: //p; /^(--- |panic|ok|FAIL)/p' # the reference prints, too
)

campaign_situations() {
	echo "## every situation, with all clients"
	TOUCHMARK_MATRIX=all go test -timeout 60m -count 1 -run '^TestSituations' ./integration/podman ./integration/containerd ./integration/proxy
}

campaign_mutants() {
	echo "## $mutants mutants of each of the verifier's packages"
	./integration/mutation.sh "$mutants" "$seed" | grep '^# core' # which survived stands in mutation.txt
}

campaign_fuzz() {
	echo "## each fuzz target for $fuzztime"
	git grep -E '^func Fuzz' -- '*_test.go' | sed -E 's|^(.*)/[^/]*:func (Fuzz[A-Za-z0-9_]*).*|\1 \2|' | while read -r dir target; do
		echo "$dir $target"
		case $dir in
		integration/oracles) (cd "$dir" && go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x .) ;;
		*) go test -run '^$' -fuzz "^$target\$" -fuzztime "$fuzztime" -fuzzminimizetime 1x "./$dir" ;;
		esac | tail -n 2
	done
}

campaigns torture "FUZZTIME=$fuzztime ROUNDS=$rounds CAMPAIGN_SEED=$seed CAMPAIGN_INPUTS=$inputs FLIP_EVERY=$every KILLS=$kills HOSTILE_REQUESTS=$requests TCP_REQUESTS=$tcp REPLICA_PULLS=$pulls MUTANTS=$mutants" \
	"services proxy replicas failures verifiers situations mutants fuzz" -- "$@"
