package policy

import (
	"crypto"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/tlog"
)

// Enforcement is the one kind of document that is not sigstore's
// (touchmark.dev/v1alpha1, kind Enforcement): what a site demands of every
// image, and what it makes exceptions of. The zero value demands nothing more
// than the policies do.
type Enforcement struct {
	// Mode, if [Observe], makes every policy observe.
	Mode Mode
	// Unmatched is what becomes of images that no policy is about.
	Unmatched Unmatched
	// Index says where evidence about a multi-platform image must lie.
	Index IndexRule
	// Witnesses must have cosigned the checkpoint that a signature's log entry is
	// proven against.
	Witnesses Quorum
	// MaxSignatureAge refuses signatures that are older; 0 if there is no limit.
	MaxSignatureAge time.Duration

	Revocations []Revocation
	Exceptions  []Exception
	Pins        []Pin
}

// Unmatched is the rule for images that no policy is about. The zero value
// refuses them.
type Unmatched struct {
	// InsecureAdmit admits them all.
	InsecureAdmit bool
	Mode          Mode // empty is [Enforce]
}

// IndexRule says which of a multi-platform image's manifests must carry the
// evidence.
type IndexRule string

// The index rules. Empty is [IndexOrPlatform].
const (
	IndexOrPlatform  IndexRule = "either"   // the index or the platform's own manifest
	IndexOnly        IndexRule = "index"    // the index
	PlatformOnly     IndexRule = "platform" // each platform's own manifest
	IndexAndPlatform IndexRule = "both"     // both
)

// Quorum is how many distinct witnesses must have cosigned. The zero value
// asks for none.
type Quorum struct {
	Witnesses []*tlog.Witness
	N         int
}

// Revocation takes something back that was once trusted. Nothing overrides it.
// Exactly one of Digest, Identity and Key is set.
type Revocation struct {
	Digest   string            // "sha256:..." of an image
	Identity *identity.Matcher // signatures by it do not count
	Key      crypto.PublicKey  // signatures by it do not count
	// From and Until bound the signatures of an identity or key that are revoked,
	// by when they were made; zero is no bound. A signature that does not say when
	// it was made is revoked.
	From, Until time.Time
	Reason      string
}

// Exception admits one image that the policies would refuse, for a while.
type Exception struct {
	Repository string // empty: wherever it lies
	Digest     string
	Reason     string
	By         string
	Expires    time.Time
}

// Pin admits one image by its digest, without looking at any signature, until
// it is taken out. Review is when somebody should look at it again; it is
// announced, and nothing is refused for it.
type Pin struct {
	Repository string // empty: wherever it lies
	Digest     string
	Reason     string
	By         string
	Review     time.Time
}

// OpenPGP is a set of keys, and where the signatures lie.
type OpenPGP struct {
	Keyring []byte // binary or ASCII-armoured public keys
	// Lookaside is the URL under which containers/image looks for signatures:
	// <Lookaside>/<repository path>@sha256=<hex>/signature-<n>.
	Lookaside string
}

// RevocationOf returns the revocation of an image by its digest
// ("sha256:..."), or nil.
func (e *Enforcement) RevocationOf(digest string) *Revocation {
	for i := range e.Revocations {
		if r := &e.Revocations[i]; r.Digest != "" && r.Digest == digest {
			return r
		}
	}
	return nil
}

// ExceptionFor returns the exception that admits an image at a time, or nil.
// The repository is its logical name.
func (e *Enforcement) ExceptionFor(repository, digest string, now time.Time) *Exception {
	for i := range e.Exceptions {
		x := &e.Exceptions[i]
		if x.Digest == digest && (x.Repository == "" || x.Repository == repository) && now.Before(x.Expires) {
			return x
		}
	}
	return nil
}

// PinFor returns the pin that admits an image, or nil. The repository is its
// logical name.
func (e *Enforcement) PinFor(repository, digest string) *Pin {
	for i := range e.Pins {
		p := &e.Pins[i]
		if p.Digest == digest && (p.Repository == "" || p.Repository == repository) {
			return p
		}
	}
	return nil
}
