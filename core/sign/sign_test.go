package sign_test

import (
	"crypto"
	"encoding/hex"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/services/stack"
)

const alice = "alice@acme.example"

// world is a real stack and what a signer needs of it.
type world struct {
	url     string
	root    *trust.Root
	signing *trust.SigningConfig
}

func newWorld(tb testing.TB) world {
	tb.Helper()
	var handler atomic.Value
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.Load().(http.Handler).ServeHTTP(w, r) }))
	s, err := stack.New(tb.Context(), stack.Config{
		Dir: tb.TempDir(), PublicURL: server.URL, InsecureDevIssuer: true, CertificatesPerIdentity: -1, CertificatesTotal: -1,
	})
	if err != nil {
		tb.Fatal(err)
	}
	handler.Store(s.Handler())
	tb.Cleanup(func() {
		server.Close()
		if err := s.Close(); err != nil {
			tb.Error(err)
		}
	})
	root, err := trust.Parse("test", s.TrustedRoot())
	if err != nil {
		tb.Fatal(err)
	}
	signing, err := sign.FetchSigningConfig(tb.Context(), nil, server.URL, false)
	if err != nil {
		tb.Fatal(err)
	}
	return world{url: server.URL, root: root, signing: signing}
}

// asAlice signs with a certificate.
func (w world) asAlice() sign.Config {
	return sign.Config{Signing: w.signing, Root: w.root, Token: token.DevIssuer{Server: w.url, Subject: alice}}
}

func source(ref name.Reference) attach.Source { return attach.Source{Repository: ref.Context()} }

// pushIndex pushes an index of two platforms and returns it by tag, with the digests of everything that is to be signed.
func pushIndex(tb testing.TB, referrersAPI bool) (name.Reference, []v1.Hash) {
	tb.Helper()
	index := coretest.Index(tb, 1)
	ref, err := name.ParseReference(coretest.NewRegistry(tb, referrersAPI) + "/team/app:1")
	if err != nil {
		tb.Fatal(err)
	}
	coretest.Push(tb, ref.Name(), index)
	manifest, err := index.IndexManifest()
	if err != nil {
		tb.Fatal(err)
	}
	var digests []v1.Hash
	for _, m := range manifest.Manifests {
		digests = append(digests, m.Digest)
	}
	digest, err := index.Digest()
	if err != nil {
		tb.Fatal(err)
	}
	return ref, append(digests, digest)
}

// checkSigned: beside the digest lie these forms, and all verify.
func checkSigned(tb testing.TB, ref name.Reference, digest v1.Hash, root *trust.Root, by verify.Expected, forms int) {
	tb.Helper()
	found, err := attach.Find(tb.Context(), source(ref), digest)
	if err != nil {
		tb.Fatal(err)
	}
	if len(found.Evidence) != forms {
		tb.Errorf("%s has %d signatures, want %d", digest, len(found.Evidence), forms)
	}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		tb.Fatal(err)
	}
	for _, located := range found.Evidence {
		if located.Err != nil {
			tb.Error(located.Err)
			continue
		}
		in := verify.Input{Evidence: located.Evidence, Artifact: verify.Digest{Algorithm: "sha256", Value: sum}, Root: root, Signer: by}
		if _, err := verify.Verify(in); err != nil {
			tb.Errorf("%s at %s: %v", digest, located.Where, err)
		}
	}
}

func keyless(tb testing.TB, subject, issuer string) verify.Expected {
	tb.Helper()
	m, err := identity.NewMatcher(identity.Spec{Subject: subject, Issuer: issuer})
	if err != nil {
		tb.Fatal(err)
	}
	return verify.Keyless(m)
}

func TestImageWithToken(t *testing.T) {
	w := newWorld(t)
	for _, referrersAPI := range []bool{true, false} {
		ref, digests := pushIndex(t, referrersAPI)
		result, err := sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{})
		if err != nil {
			t.Fatal(err)
		}
		for _, d := range digests {
			checkSigned(t, ref, d, w.root, keyless(t, alice, w.url), 2)
		}
		if result.Identity == nil || result.Identity.Subject != alice || result.Identity.Issuer != w.url || !result.Verified || result.Repository != ref.Context().Name() {
			t.Errorf("result %+v", result)
		}
		if len(result.Signatures) != 3 || result.Digest != digests[2].String() {
			t.Fatalf("signatures %+v", result.Signatures)
		}
		seen := map[int64]bool{}
		for i, s := range result.Signatures {
			if s.Digest != digests[i].String() || s.Platform != []string{"linux/amd64", "linux/arm64", ""}[i] {
				t.Errorf("signature %d is of %s %s", i, s.Digest, s.Platform)
			}
			for _, written := range []sign.Written{s.Bundle, *s.Legacy} {
				if seen[written.LogIndex] || written.Log != w.url || written.Timestamp == nil || !strings.HasPrefix(written.Manifest, "sha256:") {
					t.Errorf("written %+v", written)
				}
				seen[written.LogIndex] = true
			}
		}
	}
}

func TestImageAgainAddsSignatures(t *testing.T) {
	w := newWorld(t)
	ref, digests := pushIndex(t, false)
	for range 2 {
		if _, err := sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{}); err != nil {
			t.Fatal(err)
		}
	}
	checkSigned(t, ref, digests[2], w.root, keyless(t, alice, w.url), 4)
}

func TestImageWithKey(t *testing.T) {
	w := newWorld(t)
	for _, algorithm := range []keys.Algorithm{keys.P256, keys.P384, keys.P521, keys.RSA3072} {
		t.Run(string(algorithm), func(t *testing.T) {
			key := generate(t, algorithm)
			ref, digests := pushIndex(t, true)
			config := sign.Config{Signing: w.signing, Root: w.root, Key: key}
			result, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
			if err != nil {
				t.Fatal(err)
			}
			if result.Identity != nil || result.KeyHint == "" {
				t.Errorf("result %+v", result)
			}
			for _, d := range digests {
				checkSigned(t, ref, d, w.root, verify.Keyed(verify.Key{Public: key.Public()}), 2)
			}
			// The same again: signatures of RSA keys are deterministic, so log and registry hold them already.
			if _, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{}); err != nil {
				t.Error(err)
			}
		})
	}
	t.Run("ed25519", func(t *testing.T) {
		key := generate(t, keys.Ed25519)
		ref, digests := pushIndex(t, true)
		config := sign.Config{Signing: w.signing, Root: w.root, Key: key}
		if _, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{}); err == nil || !strings.Contains(err.Error(), "Ed25519") {
			t.Errorf("with .sig: error %v", err)
		}
		if _, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{SkipLegacy: true}); err != nil {
			t.Fatal(err)
		}
		checkSigned(t, ref, digests[2], w.root, verify.Keyed(verify.Key{Public: key.Public()}), 1)
	})
}

func TestOptions(t *testing.T) {
	w := newWorld(t)
	ref, digests := pushIndex(t, true)
	result, err := sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{SkipPlatforms: true, SkipLegacy: true})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Signatures) != 1 || result.Signatures[0].Legacy != nil {
		t.Errorf("signatures %+v", result.Signatures)
	}
	for i, want := range []int{0, 0, 1} {
		checkSigned(t, ref, digests[i], w.root, keyless(t, alice, w.url), want)
	}
}

// Attestation manifests stand in the index like platforms, but nobody runs them.
func TestAttestationManifestsAreLeftOut(t *testing.T) {
	w := newWorld(t)
	var addenda []mutate.IndexAddendum
	for i, d := range []v1.Descriptor{
		{Platform: &v1.Platform{OS: "linux", Architecture: "amd64"}},
		{Platform: &v1.Platform{OS: "unknown", Architecture: "unknown"}},
		{Annotations: map[string]string{"vnd.docker.reference.type": "attestation-manifest"}},
		{},
	} {
		addenda = append(addenda, mutate.IndexAddendum{Add: coretest.Image(t, int64(10+i)), Descriptor: d})
	}
	ref, err := name.ParseReference(coretest.NewRegistry(t, true) + "/team/app:1")
	if err != nil {
		t.Fatal(err)
	}
	coretest.Push(t, ref.Name(), mutate.IndexMediaType(mutate.AppendManifests(empty.Index, addenda...), types.OCIImageIndex))
	result, err := sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Signatures) != 3 { // the first, the one without a platform, the index
		t.Errorf("signatures %+v", result.Signatures)
	}
}

func TestRegistryThatFails(t *testing.T) {
	w := newWorld(t)
	ref, err := name.ParseReference(coretest.NewRegistry(t, true) + "/team/none:1")
	if err != nil {
		t.Fatal(err)
	}
	_, err = sign.Image(t.Context(), w.asAlice(), ref, source(ref), sign.Options{})
	if le := (*attach.LookupError)(nil); !errors.As(err, &le) || le.Status != 404 {
		t.Errorf("error %v, want a *LookupError with status 404", err)
	}
}

func TestConfigIsChecked(t *testing.T) {
	w := newWorld(t)
	ref, _ := pushIndex(t, true)
	key := generate(t, keys.P256)
	remote := *w.signing
	remote.CAs = []trust.Service{{URL: "http://ca.acme.example", MajorAPIVersion: 1, Window: remote.CAs[0].Window}}
	v3 := *w.signing
	v3.Logs = []trust.Service{{URL: w.url, MajorAPIVersion: 3, Window: v3.Logs[0].Window}}
	for name, tt := range map[string]struct {
		config sign.Config
		want   string
	}{
		"no signing config": {sign.Config{Key: key}, "no signing config"},
		"nobody":            {sign.Config{Signing: w.signing}, "neither a token nor a key"},
		"two":               {sign.Config{Signing: w.signing, Key: key, Token: token.Given("x")}, "both a token and a key"},
		"no log":            {sign.Config{Signing: &trust.SigningConfig{}, Key: key}, "choosing log"},
		"log of version 3":  {sign.Config{Signing: &v3, Key: key}, "choosing log"},
		"no CA":             {sign.Config{Signing: &trust.SigningConfig{Logs: w.signing.Logs}, Token: token.Given("a.b.c")}, "choosing certificate authority"},
		"token over HTTP":   {sign.Config{Signing: &remote, Token: token.Given("a.b.c")}, "plain HTTP"},
		"bad token":         {sign.Config{Signing: w.signing, Token: token.Given("hello")}, "not a JWT"},
		"token from nobody": {sign.Config{Signing: w.signing, Token: token.DevIssuer{Server: w.url, Subject: "no address"}}, "/dev/token"},
	} {
		if _, err := sign.Image(t.Context(), tt.config, ref, source(ref), sign.Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error %v, want one with %q", name, err, tt.want)
		}
	}
	if _, err := sign.FetchSigningConfig(t.Context(), nil, "http://touchmark.acme.example", false); err == nil || !strings.Contains(err.Error(), "plain HTTP") {
		t.Errorf("fetching without TLS: error %v", err)
	}
}

func generate(tb testing.TB, a keys.Algorithm) crypto.Signer {
	tb.Helper()
	key, err := keys.Generate(a)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}
