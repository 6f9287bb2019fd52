#!/usr/bin/env bash
# The figures. The machine is what it is: compare ratios, and figures of one run.
#
#	integration/bench.sh [verification] [stack] [hosts] [proxy] [parts]
#
# runs the benchmarks that are named, or all; the last log of each is kept in
# integration/results/bench-NAME.txt.
. "$(dirname "$0")/campaign.sh"

# figures runs benchmarks and leaves out what is no figure.
figures() {
	go test -timeout 60m -run '^$' "$@" | grep -v -E '^(ok|PASS|\?|goos|goarch)|INFO registered route'
}

campaign_verification() (
	cd integration/oracles
	echo "## keyless bundles, beside sigstore-go by turns"
	figures -bench '^BenchmarkVerify$' -benchtime 2s -count 3 .
	echo "## hostile input: for each parser and each trick; the five that are dearest by the MiB"
	figures -bench '^BenchmarkHostile$' -benchtime 3x . | awk '/ms\/MiB/ {print $5, $0}' | sort -n | tail -n 5 | cut -d' ' -f2-
	echo "## verify-blob from the start of the process, beside cosign"
	figures -bench '^BenchmarkVerifyBlobCommand$' -benchtime 50x .
)

campaign_stack() {
	echo "## touchmark up from an empty directory to /healthz; resident memory then"
	figures -bench Up -benchtime 5x ./integration
	echo "## certificates, log entries with proof, timestamps"
	figures -bench . ./services/...
}

campaign_hosts() {
	echo "## what the agent adds to a pull by skopeo, beside the pull without it"
	figures -bench . ./integration/podman
	echo "## containerd's verifier from start to answer, beside cosign, and 200 at once"
	figures -bench Verifier -benchtime 100x ./integration/containerd
	figures -bench ParallelPulls -benchtime 3x ./integration/containerd
}

campaign_proxy() {
	echo "## beside distribution 3 itself, as pull-through cache, and a plain reverse proxy"
	figures -bench 'Proxy/(manifests|blob|idle)' -benchtime 5x ./integration/proxy
	figures -bench 'Proxy/streams' -benchtime 1x ./integration/proxy # 192 GiB
	figures -bench . ./registry-proxy/...
}

campaign_parts() {
	echo "## verification, policies, the gate, predicates, the agent, countersignatures"
	figures -bench . ./podman/... ./cmd/... ./core/...
}

campaigns bench "" "verification stack hosts proxy parts" -- "$@"
