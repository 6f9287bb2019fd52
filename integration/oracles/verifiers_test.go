package oracles

import (
	"crypto"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"
	"time"

	sgbundle "github.com/sigstore/sigstore-go/pkg/bundle"
	sgroot "github.com/sigstore/sigstore-go/pkg/root"
	sgverify "github.com/sigstore/sigstore-go/pkg/verify"
	"github.com/sigstore/sigstore/pkg/signature"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// sample is one bundle with all that both verifiers need to judge it.
type sample struct {
	name          string
	bundle        []byte // JSON
	root          []byte // trusted_root.json
	digest        verify.Digest
	predicateType string           // of an attestation; "" for a signature of the artifact
	key           crypto.PublicKey // nil: any identity with a certificate
	withoutLog    bool             // keyed and not logged
}

// judge is one verifier, prepared for one trust root and one expected signer.
type judge func(bundleJSON []byte) error

// ours prepares core/verify.
func ours(s sample) (judge, error) {
	root, err := trust.Parse("root", s.root)
	if err != nil {
		return nil, err
	}
	expected := verify.Keyed(verify.Key{Name: "key", Public: s.key})
	if s.key == nil {
		anybody, err := identity.NewMatcher(identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"})
		if err != nil {
			return nil, err
		}
		expected = verify.Keyless(anybody)
	}
	return func(bundleJSON []byte) error {
		evidence, err := bundle.Parse(bundleJSON)
		if err != nil {
			return err
		}
		_, err = verify.Verify(verify.Input{
			Evidence: evidence, Artifact: s.digest, Signer: expected, Root: root, PredicateType: s.predicateType,
			Now: time.Now(), InsecureIgnoreLog: s.withoutLog,
		})
		return err
	}, nil
}

// theirs prepares sigstore-go with the thresholds that cosign sets, which are what core/verify demands.
func theirs(s sample) (judge, error) {
	root, err := sgroot.NewTrustedRootFromJSON(s.root)
	if err != nil {
		return nil, err
	}
	verifier, policy, err := reference(s, root)
	if err != nil {
		return nil, err
	}
	return func(bundleJSON []byte) (err error) {
		defer func() {
			if p := recover(); p != nil {
				err = fmt.Errorf("sigstore-go panics: %v", p)
			}
		}()
		b := new(sgbundle.Bundle)
		if err := b.UnmarshalJSON(bundleJSON); err != nil {
			return err
		}
		_, err = verifier.Verify(b, policy)
		return err
	}, nil
}

// reference makes sigstore-go's verifier and policy for a sample.
func reference(s sample, root *sgroot.TrustedRoot) (*sgverify.Verifier, sgverify.PolicyBuilder, error) {
	material := sgroot.TrustedMaterial(root)
	options := []sgverify.VerifierOption{
		sgverify.WithSignedCertificateTimestamps(1), sgverify.WithTransparencyLog(1), sgverify.WithObserverTimestamps(1),
	}
	var signer sgverify.PolicyOption
	if s.key == nil {
		anybody, err := sgverify.NewShortCertificateIdentity("", ".*", "", ".*")
		if err != nil {
			return nil, sgverify.PolicyBuilder{}, err
		}
		signer = sgverify.WithCertificateIdentity(anybody)
	} else {
		key, err := signature.LoadDefaultVerifier(s.key)
		if err != nil {
			return nil, sgverify.PolicyBuilder{}, err
		}
		signer = sgverify.WithKey()
		material = sgroot.TrustedMaterialCollection{root, sgroot.NewTrustedPublicKeyMaterial(
			func(string) (sgroot.TimeConstrainedVerifier, error) {
				return sgroot.NewExpiringKey(key, time.Time{}, time.Time{}), nil
			},
		)}
		// A key that is valid for ever needs no time, as with cosign.
		options = []sgverify.VerifierOption{sgverify.WithNoObserverTimestamps()}
		if !s.withoutLog {
			options = append(options, sgverify.WithTransparencyLog(1))
		}
	}
	verifier, err := sgverify.NewVerifier(material, options...)
	if err != nil {
		return nil, sgverify.PolicyBuilder{}, err
	}
	return verifier, sgverify.NewPolicy(sgverify.WithArtifactDigest(s.digest.Algorithm, s.digest.Value), signer), nil
}

// mustJudge prepares both verifiers.
func mustJudge(tb testing.TB, s sample) (our, their judge) {
	tb.Helper()
	our, err := ours(s)
	if err != nil {
		tb.Fatalf("ours: %v", err)
	}
	if their, err = theirs(s); err != nil {
		tb.Fatalf("sigstore-go: %v", err)
	}
	return our, their
}

// parseDigest reads "algorithm:hex".
func parseDigest(algorithm, text string) (verify.Digest, error) {
	value, err := hex.DecodeString(text)
	if err != nil || len(value) == 0 {
		return verify.Digest{}, errors.New("not a digest: " + text)
	}
	return verify.Digest{Algorithm: algorithm, Value: value}, nil
}
