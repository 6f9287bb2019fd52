#!/usr/bin/env bash
# Prints every figure, and keeps the run in integration/results/bench.txt. The
# machine is what it is: compare ratios, and figures of one run.
set -euo pipefail
cd "$(dirname "$0")/.."

out=integration/results/bench.txt
mkdir -p "$(dirname "$out")"
{
	echo "# make bench"
	echo "# commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' with uncommitted changes'), $(date -u +%F), $(go version | cut -d' ' -f3-4), $(nproc) cores"
	echo
	echo "## verification of keyless bundles, beside sigstore-go by turns"
	(cd integration/oracles && go test -run '^$' -bench '^BenchmarkVerify$' -benchtime 2s -count 3 .)
	echo
	echo "## hostile input: for each parser and each trick; the five that are dearest by the MiB"
	(cd integration/oracles && go test -run '^$' -bench '^BenchmarkHostile$' -benchtime 3x .) |
		awk '/ms\/MiB/ {print $5, $0}' | sort -n | tail -n 5 | cut -d' ' -f2-
	echo
	echo "## verify-blob from the start of the process, beside cosign"
	(cd integration/oracles && go test -run '^$' -bench '^BenchmarkVerifyBlobCommand$' -benchtime 50x .)
	echo
	echo "## touchmark up from an empty directory to /healthz; resident memory then"
	go test -run '^$' -bench Up -benchtime 5x ./integration
	echo
	echo "## what the agent adds to a pull by skopeo, beside the pull without it; containerd's verifier from start to answer, beside cosign, and 200 at once"
	go test -run '^$' -bench . ./integration/podman
	go test -run '^$' -bench Verifier -benchtime 100x ./integration/containerd
	go test -run '^$' -bench ParallelPulls -benchtime 3x ./integration/containerd
	echo
	echo "## certificates, log appends with proof, proxy manifests, decisions, 10,000 policies, predicates, the agent, countersignatures"
	go test -run '^$' -bench . ./services/... ./registry-proxy ./podman/... ./cmd/... ./core/...
} 2>&1 | grep -v -E '^(ok|PASS|\?|goos|goarch)|INFO registered route' | tee "$out"
