// Package publicgood holds the trust root of Sigstore's public-good instance (fulcio.sigstore.dev, rekor.sigstore.dev) as it was on
// [Date], for use without a network, and what it takes to follow it by TUF.
//
// Both files are the seeds that Sigstore's own npm package @sigstore/tuf 5.0.1 (published 2026-11-05) carries for
// https://tuf-repo-cdn.sigstore.dev: version 16 of the TUF root, and the target trusted_root.json with SHA-256
// 6494e21ea73fa7ee769f85f57d5a3e6a08725eae1e38c755fc3517c9e6bc0b66, unchanged. The copy in sigstore-go's examples is older: it knows
// neither the Rekor v2 log nor the instance's timestamp authority.
//
// A trust root that is embedded does not learn of new logs, and not of keys that were withdrawn. Whoever has a network should follow
// it: touchmark trust fetch --mirror public-good.
package publicgood

import (
	_ "embed"

	"github.com/touchmark/touchmark/core/trust"
)

const (
	// Name is the name of this trust root in policies and flags.
	Name = "public-good"

	// Date is when the embedded files were known to be current.
	Date = "2026-11-05"

	// Mirror is where the instance's TUF repository is.
	Mirror = "https://tuf-repo-cdn.sigstore.dev"
)

//go:embed trusted_root.json
var trustedRoot []byte

//go:embed root.json
var tufRoot []byte

// Root returns the embedded trust root, under a name of the caller's, who may have reasons for another one than [Name].
func Root(name string) (*trust.Root, error) { return trust.Parse(name, trustedRoot) }

// TUFRoot returns the root metadata from which the TUF repository at [Mirror] is followed.
func TUFRoot() []byte { return append([]byte(nil), tufRoot...) }
