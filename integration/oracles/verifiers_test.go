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
	issuer        string           // of the expected identity; "" for anybody with a certificate
	subject       string           // of the expected identity
	key           crypto.PublicKey // the expected key; nil for an identity
	keyWindow     *trust.Window    // of the key; nil if it is valid for ever
	withoutLog    bool             // keyed and not logged
	require       verify.Requirements
}

// judge is one verifier, prepared for one trust root and one expected signer.
type judge func(bundleJSON []byte) error

// ours prepares core/verify.
func ours(s sample) (judge, error) {
	root, err := trust.Parse("root", s.root)
	if err != nil {
		return nil, err
	}
	return oursUnder(root, s)
}

// oursUnder is ours with a trust root that was read already.
func oursUnder(root *trust.Root, s sample) (judge, error) {
	expected := verify.Keyed(verify.Key{Name: "key", Public: s.key, Window: s.keyWindow})
	if s.key == nil {
		spec := identity.Spec{Issuer: s.issuer, Subject: s.subject}
		if s.issuer == "" {
			spec = identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"}
		}
		signer, err := identity.NewMatcher(spec)
		if err != nil {
			return nil, err
		}
		expected = verify.Keyless(signer)
	}
	return func(bundleJSON []byte) error {
		evidence, err := bundle.Parse(bundleJSON)
		if err != nil {
			return err
		}
		_, err = verify.Verify(verify.Input{
			Evidence: evidence, Artifact: s.digest, Signer: expected, Root: root, PredicateType: s.predicateType,
			Now: time.Now(), InsecureIgnoreLog: s.withoutLog, Require: s.require,
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
	return theirsUnder(root, s)
}

// theirsUnder is theirs with a trust root that was read already.
func theirsUnder(root *sgroot.TrustedRoot, s sample) (judge, error) {
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
		sgverify.WithSignedCertificateTimestamps(max(s.require.SCTs, 1)), sgverify.WithTransparencyLog(max(s.require.Logs, 1)),
	}
	if s.require.Timestamps > 0 {
		options = append(options, sgverify.WithSignedTimestamps(s.require.Timestamps))
	} else {
		options = append(options, sgverify.WithObserverTimestamps(1))
	}
	var signer sgverify.PolicyOption
	if s.key == nil {
		issuer, issuerRegExp, subject, subjectRegExp := s.issuer, "", s.subject, ""
		if issuer == "" {
			issuerRegExp, subjectRegExp = ".*", ".*"
		}
		expected, err := sgverify.NewShortCertificateIdentity(issuer, issuerRegExp, subject, subjectRegExp)
		if err != nil {
			return nil, sgverify.PolicyBuilder{}, err
		}
		signer = sgverify.WithCertificateIdentity(expected)
	} else {
		key, err := signature.LoadDefaultVerifier(s.key)
		if err != nil {
			return nil, sgverify.PolicyBuilder{}, err
		}
		var window trust.Window
		if s.keyWindow != nil {
			window = *s.keyWindow
		}
		signer = sgverify.WithKey()
		material = sgroot.TrustedMaterialCollection{root, sgroot.NewTrustedPublicKeyMaterial(
			func(string) (sgroot.TimeConstrainedVerifier, error) {
				return sgroot.NewExpiringKey(key, window.Start, window.End), nil
			},
		)}
		// A key that is valid for ever needs no time, as with cosign.
		options = []sgverify.VerifierOption{sgverify.WithNoObserverTimestamps()}
		switch {
		case s.require.Timestamps > 0:
			options = []sgverify.VerifierOption{sgverify.WithSignedTimestamps(s.require.Timestamps)}
		case s.keyWindow != nil:
			options = []sgverify.VerifierOption{sgverify.WithObserverTimestamps(1)}
		}
		if !s.withoutLog {
			options = append(options, sgverify.WithTransparencyLog(max(s.require.Logs, 1)))
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
