#!/usr/bin/env bash
# Installs the clients that the tests drive, at pinned versions: programs, with the
# version in the name, into touchmark/tools in the user's cache directory, where
# every checkout finds them, and packages into integration/clients/npm/node_modules.
# What is there already is left alone, so that a second run takes a moment; the
# first one builds cosign twice, which takes some minutes. A tool that cannot be
# installed is reported, and its tests say what they miss.
set -uo pipefail
cd "$(dirname "$0")/.."

tools=${XDG_CACHE_HOME:-$HOME/.cache}/touchmark/tools
mkdir -p "$tools"
status=0

# install NAME MODULE@VERSION installs a program as NAME-VERSION.
install() {
	local name=$1 module=$2
	local target=$tools/$name-${module##*@}
	[ ! -x "$target" ] || return 0
	echo "== building $name ${module##*@} (once; kept in $tools)"
	local dir
	dir=$(mktemp -d)
	# Outside of this module's directory its go.mod has no say.
	if (cd "$dir" && GOBIN=$dir GOFLAGS= GOWORK=off CGO_ENABLED=0 go install -trimpath -ldflags=-s "$module"); then
		mv "$dir/$name" "$target.new" && mv "$target.new" "$target"
	else
		echo "== $module could not be built" >&2
		status=1
	fi
	rm -rf "$dir"
}

install cosign github.com/sigstore/cosign/v3/cmd/cosign@v3.1.3
install cosign github.com/sigstore/cosign/v2/cmd/cosign@v2.6.5
install rekor-cli github.com/sigstore/rekor/cmd/rekor-cli@v1.5.4
install oras oras.land/oras/cmd/oras@v1.3.6
install crane github.com/google/go-containerregistry/cmd/crane@v0.22.1
install registry github.com/distribution/distribution/v3/cmd/registry@v3.1.2

# Vectors of signatures, good and bad: no program, and no Go package either.
if ! (cd / && GOFLAGS= go mod download github.com/C2SP/wycheproof@v0.0.0-20250901140545-b51abcfb8daf); then
	echo "== Wycheproof's vectors could not be fetched" >&2
	status=1
fi

# The packages are those of package-lock.json; the copy inside node_modules says
# which ones were installed.
npm=integration/clients/npm
if ! command -v npm >/dev/null; then
	echo "== npm is missing: Sigstore's JavaScript packages are not installed" >&2
	status=1
elif ! cmp -s $npm/package-lock.json $npm/node_modules/.installed; then
	echo "== installing Sigstore's JavaScript packages"
	if (cd $npm && npm ci --ignore-scripts --no-audit --no-fund) && cp $npm/package-lock.json $npm/node_modules/.installed; then :; else
		echo "== the packages of $npm could not be installed" >&2
		status=1
	fi
fi
exit $status
