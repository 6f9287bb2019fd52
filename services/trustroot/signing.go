package trustroot

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// firstRoot makes a root that trusts the keys at hand.
func (r *Repository) firstRoot(now time.Time) ([]byte, error) {
	root := metadata.Root(expiry(metadata.ROOT, now))
	for role, signers := range map[string][]crypto.Signer{
		metadata.ROOT: r.keys.Root, metadata.TARGETS: {r.keys.Targets}, metadata.SNAPSHOT: {r.keys.Online}, metadata.TIMESTAMP: {r.keys.Online},
	} {
		for _, signer := range signers {
			key, _, err := tufKey(signer)
			if err != nil {
				return nil, fmt.Errorf("%s key %w", role, err)
			}
			if err := root.Signed.AddKey(key, role); err != nil {
				return nil, fmt.Errorf("%s key %w", role, err)
			}
		}
	}
	threshold := max(r.keys.RootThreshold, 1)
	if n := len(root.Signed.Roles[metadata.ROOT].KeyIDs); threshold > n {
		return nil, fmt.Errorf("%d root keys must sign, and there are %d", threshold, n)
	}
	root.Signed.Roles[metadata.ROOT].Threshold = threshold
	return sign(root, r.keys.Root...)
}

// canSignRoot reports whether enough of the root's keys are at hand.
func (r *Repository) canSignRoot() bool {
	return len(r.rootSigners()) >= r.current.Root.Signed.Roles[metadata.ROOT].Threshold
}

// rootSigners are the keys at hand that the current root names.
func (r *Repository) rootSigners() []crypto.Signer {
	var signers []crypto.Signer
	for _, signer := range r.keys.Root {
		if _, id, err := tufKey(signer); err == nil && slices.Contains(r.current.Root.Signed.Roles[metadata.ROOT].KeyIDs, id) {
			signers = append(signers, signer)
		}
	}
	return signers
}

// addRoot adds the same root for another term.
func (r *Repository) addRoot(p *publication, now time.Time) error {
	root := metadata.Root(expiry(metadata.ROOT, now))
	expires := root.Signed.Expires
	root.Signed = r.current.Root.Signed
	root.Signed.Expires = expires
	root.Signed.Version++ // never skips one: clients ask for the next
	content, err := sign(root, r.rootSigners()...)
	if err != nil {
		return fmt.Errorf("signing root: %w", err)
	}
	p.roots = append(p.roots, content)
	p.add(versioned(root.Signed.Version, metadata.ROOT), content)
	return nil
}

// checkKeys refuses keys that the current root does not name: what they sign, nobody accepts.
func (r *Repository) checkKeys() error {
	for role, signer := range map[string]crypto.Signer{
		metadata.TARGETS: r.keys.Targets, metadata.SNAPSHOT: r.keys.Online, metadata.TIMESTAMP: r.keys.Online,
	} {
		if signer == nil {
			continue
		}
		_, id, err := tufKey(signer)
		if err != nil {
			return fmt.Errorf("%s key %w", role, err)
		}
		if !slices.Contains(r.current.Root.Signed.Roles[role].KeyIDs, id) {
			return fmt.Errorf("the %s key is not the one that %s names", role, versioned(r.current.Root.Signed.Version, metadata.ROOT))
		}
	}
	return nil
}

// tufKey is a signer's public key as TUF names it, and its identifier.
func tufKey(signer crypto.Signer) (*metadata.Key, string, error) {
	if signer == nil {
		return nil, "", errors.New("is missing")
	}
	public, ok := signer.Public().(*ecdsa.PublicKey)
	if !ok || public.Curve != elliptic.P256() {
		return nil, "", errors.New("is not ECDSA P-256")
	}
	key, err := metadata.KeyFromPublicKey(public)
	if err != nil {
		return nil, "", err
	}
	id, err := key.ID()
	return key, id, err
}

// sign signs metadata and writes it down.
func sign[T metadata.Roles](m *metadata.Metadata[T], signers ...crypto.Signer) ([]byte, error) {
	for _, signer := range signers {
		s, err := signature.LoadSigner(signer, crypto.SHA256)
		if err != nil {
			return nil, err
		}
		if _, err := m.Sign(s); err != nil {
			return nil, err
		}
	}
	return m.ToBytes(false)
}
