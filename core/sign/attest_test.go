package sign_test

import (
	"encoding/hex"
	"errors"
	"slices"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

var slsa = sign.Attestation{Type: predicate.SLSA1, Predicate: []byte(`{"buildDefinition":{"buildType":"t"},"runDetails":{"builder":{"id":"b"}}}`)}

// checkAttested: beside the digest lies this attestation at these places, and it verifies everywhere.
func checkAttested(tb testing.TB, ref name.Reference, digest v1.Hash, root *trust.Root, by verify.Expected, predicateType string, want ...attach.Where) {
	tb.Helper()
	found, err := attach.FindWithAttestations(tb.Context(), source(ref), digest)
	if err != nil {
		tb.Fatal(err)
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		tb.Fatal(err)
	}
	var got []attach.Where
	for _, located := range found.Evidence {
		got = append(got, located.Where)
		if located.Err != nil {
			tb.Error(located.Err)
			continue
		}
		in := verify.Input{Evidence: located.Evidence, Artifact: verify.Digest{Algorithm: "sha256", Value: sum}, PredicateType: predicateType, Root: root, Signer: by}
		if _, err := verify.Verify(in); err != nil {
			tb.Errorf("%s at %s: %v", digest, located.Where, err)
		}
		in.PredicateType = ""
		if _, err := verify.Verify(in); err == nil {
			tb.Errorf("%s at %s passes for a signature", digest, located.Where)
		}
	}
	if !slices.Equal(got, want) {
		tb.Errorf("%s has attestations at %v, want %v", digest, got, want)
	}
}

func TestAttest(t *testing.T) {
	w := newWorld(t)
	for _, referrersAPI := range []bool{true, false} {
		ref, digests := pushIndex(t, referrersAPI)
		result, err := sign.Attest(t.Context(), w.asAlice(), ref, source(ref), slsa, sign.Options{SkipPlatforms: true})
		if err != nil {
			t.Fatal(err)
		}
		if len(result.Signatures) != 1 || result.PredicateType != slsa.Type || result.Signatures[0].Legacy == nil {
			t.Fatalf("%d attestations of type %q, legacy %v", len(result.Signatures), result.PredicateType, result.Signatures[0].Legacy)
		}
		if s := result.Signatures[0]; s.Bundle.LogIndex != s.Legacy.LogIndex {
			t.Errorf("the same envelope is in the log twice: %d and %d", s.Bundle.LogIndex, s.Legacy.LogIndex)
		}
		place := attach.Referrers
		if !referrersAPI {
			place = attach.ReferrersTag
		}
		checkAttested(t, ref, digests[2], w.root, keyless(t, alice, w.url), slsa.Type, place, attach.AttTag)
		checkAttested(t, ref, digests[0], w.root, keyless(t, alice, w.url), slsa.Type)
	}
}

func TestAttestPlatforms(t *testing.T) {
	w := newWorld(t)
	ref, digests := pushIndex(t, true)
	if _, err := sign.Attest(t.Context(), w.asAlice(), ref, source(ref), slsa, sign.Options{SkipLegacy: true}); err != nil {
		t.Fatal(err)
	}
	for _, d := range digests {
		checkAttested(t, ref, d, w.root, keyless(t, alice, w.url), slsa.Type, attach.Referrers)
	}
}

// An attestation takes keys that a .sig signature can't.
func TestAttestWithKey(t *testing.T) {
	w := newWorld(t)
	for _, algorithm := range []keys.Algorithm{keys.P256, keys.P384, keys.Ed25519, keys.RSA3072} {
		t.Run(string(algorithm), func(t *testing.T) {
			key := generate(t, algorithm)
			ref, digests := pushIndex(t, true)
			config := sign.Config{Signing: w.signing, Root: w.root, Key: key}
			if _, err := sign.Attest(t.Context(), config, ref, source(ref), slsa, sign.Options{}); err != nil {
				t.Fatal(err)
			}
			checkAttested(t, ref, digests[2], w.root, verify.Keyed(verify.Key{Public: key.Public()}), slsa.Type, attach.Referrers, attach.AttTag)
		})
	}
}

// What is refused for its predicate is refused before anything is asked.
func TestAttestRefuses(t *testing.T) {
	w := newWorld(t)
	ref, digests := pushIndex(t, true)
	config := w.asAlice()
	config.Token = nil
	for name, tt := range map[string]struct {
		config sign.Config
		a      sign.Attestation
	}{
		"wrong shape": {w.asAlice(), sign.Attestation{Type: predicate.SLSA02, Predicate: slsa.Predicate}},
		"not JSON":    {w.asAlice(), sign.Attestation{Type: "https://acme.example/v1", Predicate: []byte("hello")}},
		"nobody":      {config, slsa},
	} {
		if _, err := sign.Attest(t.Context(), tt.config, ref, source(ref), tt.a, sign.Options{}); !errors.Is(err, sign.ErrInput) {
			t.Errorf("%s: error %v, want ErrInput", name, err)
		}
	}
	checkAttested(t, ref, digests[2], w.root, keyless(t, alice, w.url), slsa.Type)
}
