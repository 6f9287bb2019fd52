#!/usr/bin/env bash
# Installs the clients that the tests drive, at pinned versions: programs, with the
# version in the name, into touchmark/tools in the user's cache directory, where
# every checkout finds them, with a system of Debian 13 for its podman, and packages
# into integration/clients/npm/node_modules.
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
# runc, which runs the containers, is the distribution's own.
for name in containerd ctr containerd-shim-runc-v2; do
	install $name github.com/containerd/containerd/v2/cmd/$name@v2.4.2
done
# Docker's daemon of the newest line, whose own numbers are others: this is Docker 29.
install dockerd github.com/moby/moby/v2/cmd/dockerd@v2.0.0-beta.24
# CNI's plugins, for pods with a network of their own.
for plugin in main/bridge main/loopback ipam/host-local; do
	install "${plugin#*/}" github.com/containernetworking/plugins/plugins/$plugin@v1.9.1
done

# The archive is the one that this machine's apt uses.
suite=trixie
mirror=$(apt-get indextargets --format '$(LABEL) $(COMPONENT) $(REPO_URI)' 'Created-By: Packages' 2>/dev/null | awk '$1 == "Debian" && $2 == "main" {print $3; exit}')

# unpacked DIRECTORY unpacks what was kept of it.
unpacked() {
	[ -f "$1.tar.gz" ] && mkdir "$1.new" && tar -C "$1.new" -xzf "$1.tar.gz" && mv "$1.new" "$1"
}

# keep DIRECTORY puts DIRECTORY.new in its place, and keeps an archive of it.
keep() {
	tar -C "$1.new" -cf - . | gzip -1 >"$1.tar.gz.new" && mv "$1.tar.gz.new" "$1.tar.gz" && mv "$1.new" "$1"
}

# debian installs container clients that are newer than the machine's own, in the root
# directory of an installed system, which tests lay hosts over. A change of the suite or
# of the packages needs another number in the name, here and in
# integration/internal/lab.
debian() {
	local target=$tools/debian-13-1
	local packages=ca-certificates,podman,skopeo,buildah,runc,conmon,netavark,aardvark-dns,passt,catatonit,nftables,uidmap,fuse-overlayfs,busybox-static
	[ ! -d "$target" ] || return 0
	if [ "$(id -u)" -ne 0 ] || ! command -v debootstrap >/dev/null || ! command -v apt-get >/dev/null; then
		echo "== Debian's $suite with podman is not installed: that needs root's rights, debootstrap and a machine with apt" >&2
		return 1
	fi
	rm -rf "$target.new"
	! unpacked "$target" || return 0
	if [ -z "$mirror" ]; then
		echo "== Debian's $suite with podman is not installed: this machine's apt knows no archive of Debian (apt-get update?)" >&2
		return 1
	fi
	local proxy
	eval "$(apt-config shell proxy Acquire::http::Proxy)"
	echo "== installing Debian's $suite with podman (once; kept in $tools)"
	if http_proxy=${http_proxy:-${proxy:-}} debootstrap --variant=minbase "--include=$packages" "$suite" "$target.new" "$mirror" >"$target.log" 2>&1; then
		rm -rf "$target.new"/var/cache/apt/archives/*.deb "$target.new"/var/lib/apt/lists/*
		keep "$target"
	else
		echo "== Debian's $suite with podman could not be installed, see $target.log:" >&2
		tail -n 5 "$target.log" >&2
		rm -rf "$target.new"
		return 1
	fi
}
debian || status=1

# docker unpacks that system's Docker beside it: in the system, the settings of its
# containerd would be those of all hosts. What apt notes stands in directories of its
# own. A change of the packages needs another number in the name, as above.
docker() {
	local target=$tools/docker-13-1
	local dir=$target.new/apt
	[ ! -d "$target" ] || return 0
	rm -rf "$target.new"
	! unpacked "$target" || return 0
	if [ -z "$mirror" ] || ! command -v dpkg-deb >/dev/null; then
		echo "== Debian's $suite with Docker is not installed: that needs a machine whose apt knows an archive of Debian" >&2
		return 1
	fi
	echo "== unpacking Debian's Docker of $suite (once; kept in $tools)"
	mkdir -p "$dir"/{lists,cache}/partial "$dir/cache/archives/partial"
	echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$dir/sources.list"
	local options=(-o "Dir::Etc::SourceList=$dir/sources.list" -o Dir::Etc::SourceParts=- -o "Dir::State::lists=$dir/lists" -o Dir::State::status=/dev/null
		-o "Dir::Cache=$dir/cache" -o APT::Sandbox::User=root)
	if (cd "$dir" && apt-get "${options[@]}" update && apt-get "${options[@]}" download docker.io docker-cli containerd &&
		for package in *.deb; do dpkg-deb --extract "$package" "$target.new" || exit 1; done) >"$target.log" 2>&1; then
		rm -rf "$dir" "$target.new/etc" "$target.new/usr/share"
		keep "$target"
	else
		echo "== Debian's Docker of $suite could not be unpacked, see $target.log:" >&2
		tail -n 5 "$target.log" >&2
		rm -rf "$target.new"
		return 1
	fi
}
docker || status=1

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
