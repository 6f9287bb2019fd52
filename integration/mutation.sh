#!/usr/bin/env bash
# Changes the verifier's packages in one place after the other, and sees whether a
# test fails (see integration/mutation). The last run is kept in
# integration/results/mutation.txt. Fails if a mutant survives for which
# integration/mutation/survivors.txt has no reason.
# mutation.sh [mutants of each package; 0 is all of them] [seed] [packages]
set -euo pipefail
cd "$(dirname "$0")/.."

sample=${1:-0}
seed=${2:-1}
packages=("${@:3}")
[ ${#packages[@]} -gt 0 ] || packages=(core/jsonguard core/sct core/tlog/entry core/tlog core/tsp core/bundle core/verify)
out=integration/results/mutation.txt
mkdir -p "$(dirname "$out")"
{
	echo "# integration/mutation.sh $sample $seed ${packages[*]}"
	echo "# commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD || echo ' with uncommitted changes'), $(date -u +%F), $(go version | cut -d' ' -f3-4)"
	go run ./integration/mutation -sample "$sample" -seed "$seed" "${packages[@]}"
} | tee "$out"
