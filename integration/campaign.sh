# For torture.sh and bench.sh, which read it: campaigns, each a function of the shell,
# whose last log is kept under integration/results.
set -euo pipefail
cd "$(dirname "$0")/.."

# campaigns PREFIX SETTINGS ALL -- NAME... runs the campaigns that are named, or all of
# them. Each prints to integration/results/PREFIX-NAME.txt, below a head that says what it
# was: the settings, the commit, the machine. One that fails stops none of the others.
campaigns() {
	local prefix=$1 settings=$2 all=$3 failed=0 name
	shift 4
	[ $# -gt 0 ] || set -- $all
	for name in "$@"; do
		if [[ " $all " != *" $name "* ]]; then
			echo "$0: there is no campaign $name; there are: $all" >&2
			exit 2
		fi
	done
	mkdir -p integration/results
	for name in "$@"; do
		{
			echo "# ${settings:+$settings }integration/$(basename "$0") $name"
			echo "# commit $(git rev-parse --short HEAD)$(git diff --quiet HEAD -- . ":!integration/results" || echo ' with uncommitted changes'), $(date -u +%F), $(go version | cut -d' ' -f3-4), $(nproc) cores, load $(cut -d' ' -f1 /proc/loadavg)"
			echo
			"campaign_$name" || echo "FAILED: $name"
		} 2>&1 | tee "integration/results/$prefix-$name.txt"
		! grep -q '^FAILED: \|^--- FAIL\|^FAIL' "integration/results/$prefix-$name.txt" || failed=1
	done
	exit $failed
}
