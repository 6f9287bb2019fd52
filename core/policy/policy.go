// Package policy says who may have signed the images of which repositories.
//
// The file format is sigstore policy-controller's ClusterImagePolicy
// (policy.sigstore.dev/v1beta1), read strictly by [Parse]: an unknown field, a
// duplicate key, or a field that has no meaning here is an error that names file,
// line and field, and is never ignored. A file may hold several documents, separated by "---".
//
//	apiVersion: policy.sigstore.dev/v1beta1
//	kind: ClusterImagePolicy
//	metadata:
//	  name: release
//	spec:
//	  images:
//	  - glob: "registry.example/acme/**"
//	  authorities:
//	  - name: release-team
//	    keyless:
//	      trustRootRef: private
//	      identities:
//	      - issuer: https://login.acme.example
//	        subjectRegExp: .*@acme\.example
//
// As policy-controller has it, all policies that match an image must be
// satisfied, and any one authority satisfies its policy. If no policy matches,
// the image is refused. A [Set] only says what is demanded; core/gate decides.
//
// Beside it stand sigstore's TrustRoot and one kind of our own, [Enforcement].
// [Load] reads a file, or a directory of files. [Set.Check] finds what is
// allowed and may be a mistake, and [Edit] writes exceptions, pins and
// revocations into a file. docs/policy.md describes every field, and where
// policy-controller differs.
package policy

import (
	"crypto"
	"crypto/x509"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
)

// MaxSize bounds a policy file, or all files of a directory, in bytes: 10,000
// policies with a key each have about 8 MB.
const MaxSize = 16 << 20

// Limits on what is in a file, far above what people write.
const (
	maxPolicies    = 20_000
	maxAuthorities = 100
	maxIdentities  = 1000
	maxGlobs       = 1000
)

// Mode says what happens when a policy is not satisfied.
type Mode string

// The modes.
const (
	Enforce Mode = "enforce" // the image is refused
	Observe Mode = "observe" // the image is admitted, and the verdict says what enforcing would have done
)

// Set is all that is in force: policies, trust roots that came with them, and
// the site's [Enforcement]. It is not changed after it was made and may be used
// by many goroutines.
type Set struct {
	Policies []*Policy // in the order of the file
	// Roots are the TrustRoot documents, under their names.
	Roots []*trust.Root
	// Enforcement is the site's own document; never nil, its zero value where the
	// file has none.
	Enforcement *Enforcement
	// Digest is the SHA-256 of the file's bytes, or of all files' in the order in
	// which they were read, and of what they refer to behind them, so that a
	// verdict can be traced to the policy that led to it. Zero if there is no file.
	Digest [32]byte

	index *index
}

// Policy is one ClusterImagePolicy.
type Policy struct {
	Name        string
	Mode        Mode
	Globs       []string // as they were written
	Authorities []*Authority
	// Predicate judges what the authorities found, once one of them is satisfied;
	// nil if the document has no policy.
	Predicate *Predicate

	patterns []pattern
	where    string // the file and line it is from
}

// Authority is one way to satisfy a policy. Exactly one of Static, Key,
// Identities and OpenPGP is set.
type Authority struct {
	Name   string
	Static *Static
	// Key is the public key that must have signed.
	Key crypto.PublicKey
	// KeyHash is the hash that a signature by Key is over, where that is not the
	// one that goes with the key; 0 if it is.
	KeyHash crypto.Hash
	// Identities are the certified identities of which one must have signed.
	Identities []*identity.Matcher
	// OpenPGP are the keys of which one must have made a simple-signing
	// signature, as Red Hat's images carry it. Only an [Enforcement] names them.
	OpenPGP *OpenPGP

	// TrustRoot names the trust root to verify against; empty means the only
	// one that is loaded.
	TrustRoot string
	// CAURL and LogURL, if not empty, are the URLs under which that trust root
	// has the certificate authority that must have issued the certificate, and
	// the log that must hold the signature.
	CAURL, LogURL string
	// CACert, if not empty, takes the place of the trust root's certificate
	// authorities: an issuing certificate first, its root last.
	CACert []*x509.Certificate
	// RequireLog says that a signature by a key must be in a log too (the
	// authority has a ctlog). A certified one always must, unless a timestamp is
	// required and no log.
	RequireLog bool
	// LogTrustRoot and TimestampTrustRoot name the trust roots of the log and of
	// the timestamp authorities, where they are not TrustRoot.
	LogTrustRoot, TimestampTrustRoot string
	// RequireTimestamp says that an RFC 3161 timestamp must say when the signature
	// was made.
	RequireTimestamp bool
	// InsecureIgnoreSCT accepts certificates that are in no certificate log.
	InsecureIgnoreSCT bool

	// Format, if not empty, is the only form of evidence that is accepted.
	Format bundle.Form
	// Sources are where the evidence lies; none means beside the image.
	Sources []Source
	// Attestations must all be found, each made by this authority. None means
	// that the authority must have signed the image itself.
	Attestations []Attestation

	specs []identity.Spec // the text of Identities
}

// Static decides without looking at any signature.
type Static struct {
	Pass    bool
	Message string // shown when it refuses
}

// Source is another repository in which evidence about an image lies.
type Source struct {
	Repository string // empty: the image's own
	// TagPrefix stands before the tags of cosign's tag scheme.
	TagPrefix string
}

// Attestation is a statement about the image that must have been made.
type Attestation struct {
	Name          string
	PredicateType string // the whole URI
	// Predicate, if not nil, must be satisfied by the statement.
	Predicate *Predicate
}

// For returns the policies that match the logical name of a repository (see
// core/attach.NormalizeRepository), in the order of the file.
func (s *Set) For(repository string) []*Policy {
	if s.index == nil {
		return nil
	}
	return s.index.lookup(repository)
}

// Any makes a set of one policy that any one of the authorities satisfies,
// whatever the repository: what the flags of "touchmark verify" say.
func Any(authorities ...*Authority) *Set {
	p := &Policy{Name: "command line", Mode: Enforce, Globs: []string{"**"}, Authorities: authorities}
	p.patterns = []pattern{everything}
	policies := []*Policy{p}
	return &Set{Policies: policies, Enforcement: &Enforcement{}, index: newIndex(policies)}
}
