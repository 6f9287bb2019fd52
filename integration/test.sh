#!/usr/bin/env bash
# Runs every test of every module, and ends with what could not be run and why. With
# CI=true a test that cannot run is a failure.
#
# The race detector makes cryptography ten times as dear. Tests in which goroutines meet
# run with it. core/verify's long tables of signatures and mutants, and registry-proxy's
# thousands of pulls, do so with -short, as samples, and in full without it; and what
# compares verdicts with another verifier's runs without it, since the parts that serve
# many at once have tests of their own. So does what drives programs from outside, which
# are built without it.
set -uo pipefail
cd "$(dirname "$0")/.."

# Without a client its tests are skipped, or fail with CI=true.
./integration/tools.sh

log=$(mktemp)
export TOUCHMARK_PROGRAMS # see integration/internal/lab
TOUCHMARK_PROGRAMS=$(mktemp -d)
trap 'rm -rf "$log" "$log.beside" "$TOUCHMARK_PROGRAMS"' EXIT
chmod 755 "$TOUCHMARK_PROGRAMS"
go build -o "$TOUCHMARK_PROGRAMS/" ./cmd/touchmark ./cmd/touchmark-predicates ./cmd/touchmark-keys ./cmd/touchmark-containerd || exit 1
status=0
# run MODULE TITLE ARGUMENTS... runs go test. Nothing is taken from its cache, which does
# not know that tests run programs, ours and others'.
run() {
	echo "== go test $2 in $1"
	(cd "$1" && go test -count 1 -timeout 30m -v "${@:3}" 2>&1) |
		tee -a "$log" | grep --line-buffered -E '^(ok|FAIL|---? FAIL|panic:|\?|[[:space:]]+[a-z_A-Z0-9]+\.go:[0-9]+:.*(want|got)|#)' |
		grep --line-buffered -v 'no test files'
	[ "${PIPESTATUS[0]}" -eq 0 ] || status=1
}
# beside is run in the background, which fills what others leave of two cores; together
# waits for it, and takes over what it logged.
beside() {
	: >"$log.beside"
	(
		log=$log.beside
		run "$@"
		exit $status
	) &
	background=$!
}
together() {
	wait $background || status=1
	cat "$log.beside" >>"$log"
}
packages=$(go list ./...) || exit 1
# integration/registries has our own code in it.
mapfile -t driven < <(grep -E '/integration(/|$)' <<<"$packages" | grep -v '/integration/registries$')
long=(./core/verify ./registry-proxy)
mapfile -t raced < <(grep -vE '/(core/verify|registry-proxy)$' <<<"$packages" | grep -vxFf <(printf '%s\n' "${driven[@]}"))
run . "-race, all packages but ${long[*]} and integration" -race -p 3 "${raced[@]}" # some of which wait, too
beside . "-race -short ${long[*]}" -race -short "${long[@]}"
run . "${long[*]}" "${long[@]}"
together
beside integration/oracles "./..." ./...
run . "./integration/..." -p 3 "${driven[@]}" # which wait for programs
together

passed=$(grep -cE '^[[:space:]]*--- PASS' "$log")
failed=$(grep -cE '^[[:space:]]*--- FAIL' "$log")
skipped=$(grep -cE '^[[:space:]]*--- SKIP' "$log")
if [ "$failed" -gt 0 ] || [ "$status" -ne 0 ]; then
	echo "== what failed"
	# go test -v prints what a test and its subtests logged between its RUN and its
	# FAIL line; the lines of the subtests come after those of all of them.
	awk '/^=== RUN[^\/]*$/ {kept = ""} {kept = kept $0 "\n"} /^[[:space:]]*--- FAIL/ {printf "%s", kept; kept = ""} /^panic:|\[build failed\]|\[setup failed\]|^FAIL/ {print}' "$log" |
		cut -c1-2000 | tail -n 300
	status=1
fi
if [ "$skipped" -gt 0 ]; then
	echo "== what could not be run, and why"
	grep -E -A 1 '^[[:space:]]*--- SKIP' "$log"
	[ "${CI:-}" != true ] || status=1
fi
echo "$passed passed, $failed failed, $skipped skipped"
exit $status
