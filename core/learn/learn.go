// Package learn finds out who signs the images that are in use, and drafts a
// policy that admits just these.
//
// [Examine] looks at one image and verifies everything that lies beside it
// against the trust roots and keys at hand, whoever signed it. [Draft] writes
// what was learned as ClusterImagePolicy documents: for each repository, the
// very identities and keys that signed there and nothing wider. What nobody
// signed is listed in comments, for a person to decide.
//
// A draft says what is, not what should be: an image that was tampered with
// before it was examined is in it too.
package learn

import (
	"context"
	"crypto"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// Image is what is examined.
type Image struct {
	Repository string // logical name
	Digest     v1.Hash
	Source     attach.Source
}

// Key is a public key that may have signed.
type Key struct {
	Name   string // as it is to stand in the draft
	Public crypto.PublicKey
}

// Signer is who made a signature or attestation that verifies.
type Signer struct {
	// Identity and Issuer are those of a certificate; Key is the name of one of
	// the keys. Either the former or the latter is set.
	Identity string `json:"identity,omitempty"`
	Issuer   string `json:"issuer,omitempty"`
	Key      string `json:"key,omitempty"`
	// Root is the trust root that it verifies under; empty for a key without log.
	Root string `json:"trustRoot,omitempty"`
	// PredicateType is set if it is an attestation.
	PredicateType string `json:"predicateType,omitempty"`
	// Logged says that the signature is in a log of the trust root.
	Logged bool `json:"logged"`
}

// Learned is what is known of an image.
type Learned struct {
	Repository string   `json:"repository"`
	Digest     string   `json:"digest"`
	Signers    []Signer `json:"signers,omitempty"` // each once, sorted
	// Unverified says of evidence that no trust root or key verifies why not.
	Unverified []string `json:"unverified,omitempty"`
	// Others are names of what lies beside it and is no evidence here, such as
	// Notation's signatures.
	Others []string `json:"others,omitempty"`
	// Err says why it could not be examined; then nothing else is known.
	Err string `json:"error,omitempty"`
}

// anybody matches every certified identity. It is only ever used to learn who
// signed, never to admit anything.
func anybody() (*identity.Matcher, error) {
	return identity.NewMatcher(identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"})
}

// maxChildren bounds the platforms of an index that are looked at.
const maxChildren = 64

// Examine looks at one image, and at the platforms of an index that carries
// nothing itself. It never fails: what went wrong is in the result.
func Examine(ctx context.Context, image Image, roots []*trust.Root, keys []Key, now time.Time) Learned {
	l := Learned{Repository: image.Repository, Digest: image.Digest.String()}
	err := l.look(ctx, image, image.Digest, roots, keys, now)
	if err == nil && len(l.Signers) == 0 && len(l.Unverified) == 0 {
		err = l.lookAtPlatforms(ctx, image, roots, keys, now)
	}
	if err != nil {
		return Learned{Repository: image.Repository, Digest: image.Digest.String(), Err: err.Error()}
	}
	slices.SortFunc(l.Signers, compare)
	l.Signers = slices.Compact(l.Signers)
	slices.Sort(l.Others)
	l.Others = slices.Compact(l.Others)
	return l
}

func (l *Learned) lookAtPlatforms(ctx context.Context, image Image, roots []*trust.Root, keys []Key, now time.Time) error {
	children, _, err := attach.Children(ctx, image.Source, image.Digest)
	if err != nil {
		return err
	}
	if len(children) > maxChildren {
		return errors.New("the index lists more platforms than are looked at")
	}
	for _, child := range children {
		if p := child.Platform; p != nil && p.OS == "unknown" {
			continue // BuildKit's attestations
		}
		if err := l.look(ctx, image, child.Digest, roots, keys, now); err != nil {
			return err
		}
	}
	return nil
}

// look verifies what lies beside one manifest.
func (l *Learned) look(ctx context.Context, image Image, digest v1.Hash, roots []*trust.Root, keys []Key, now time.Time) error {
	found, err := attach.FindWithAttestations(ctx, image.Source, digest)
	if err != nil {
		return err
	}
	for _, o := range found.Other {
		l.Others = append(l.Others, o.Name)
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(digest.Hex)); err != nil {
		return err
	}
	for _, located := range found.Evidence {
		if located.Err != nil {
			l.Unverified = append(l.Unverified, located.Err.Error())
			continue
		}
		signer, err := whoSigned(verify.Input{Evidence: located.Evidence, Artifact: verify.SHA256(sum), Now: now}, roots, keys)
		if err != nil {
			l.Unverified = append(l.Unverified, err.Error())
			continue
		}
		l.Signers = append(l.Signers, signer)
	}
	return nil
}

// whoSigned tries every trust root and key. The error is that of the attempt
// that came furthest.
func whoSigned(in verify.Input, roots []*trust.Root, keys []Key) (Signer, error) {
	in.PredicateType = verify.ClaimedPredicateType(in.Evidence)
	var furthest error = errors.New("no trust root and no key was given")
	passed := -1
	try := func(in verify.Input, s Signer) (Signer, bool) {
		result, err := verify.Verify(in)
		if err == nil {
			s.PredicateType, s.Logged = in.PredicateType, len(result.Entries) > 0
			if id := result.Signer.Identity; id != nil {
				s.Identity, s.Issuer = id.SAN.Value, id.Issuer
			}
			return s, true
		}
		n := 0
		if refused := (*verify.Error)(nil); errors.As(err, &refused) {
			n = len(refused.Checks)
		}
		if n > passed {
			furthest, passed = err, n
		}
		return Signer{}, false
	}
	if len(in.Evidence.Certificates) > 0 {
		everybody, err := anybody()
		if err != nil {
			return Signer{}, err
		}
		in.Signer = verify.Keyless(everybody)
		for _, root := range roots {
			in.Root = root
			if s, ok := try(in, Signer{Root: root.Name}); ok {
				return s, nil
			}
		}
		return Signer{}, furthest
	}
	for _, key := range keys {
		in.Signer = verify.Keyed(verify.Key{Name: key.Name, Public: key.Public})
		for _, root := range roots {
			in.Root = root
			if s, ok := try(in, Signer{Key: key.Name, Root: root.Name}); ok {
				return s, nil
			}
		}
		in.Root, in.InsecureIgnoreLog = nil, true
		if s, ok := try(in, Signer{Key: key.Name}); ok {
			return s, nil
		}
		in.InsecureIgnoreLog = false
	}
	return Signer{}, furthest
}
