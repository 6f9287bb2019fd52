package sign_test

import (
	"bytes"
	"crypto"
	"encoding/hex"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
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

// Every way in which a service can fail or lie: a typed error, and nothing is written.
func TestServicesThatFail(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	const ca, entries, tsa = "/api/v2/signingCert", "/api/v1/log/entries", "/api/v1/timestamp"
	var earlier []byte // an answer of the CA to another request
	var mu sync.Mutex
	var stamp []byte // an answer of the TSA to another request; guarded by mu
	tests := []struct {
		name, path string
		status     int                 // instead of the answer, if not 0
		change     func([]byte) []byte // of the answer
		want       string
	}{
		{name: "CA refuses", path: ca, status: 400, want: "status 400"},
		{name: "CA is down", path: ca, status: 503, want: "status 503"},
		{name: "CA says 201", path: ca, status: 201, want: "status 201"},
		{name: "CA redirects", path: ca, status: 307, want: "status 307"},
		{name: "CA answers without a chain", path: ca, change: func([]byte) []byte { return []byte(`{}`) }, want: "no signedCertificateEmbeddedSct"},
		{name: "CA answers nonsense", path: ca, change: func([]byte) []byte { return []byte(`<html>`) }, want: "can't be used"},
		{name: "CA answers for another key", path: ca, change: func(b []byte) []byte {
			if earlier == nil {
				earlier = b
			}
			return earlier
		}, want: "another key"},
		{name: "log is down", path: entries, status: 500, want: "status 500"},
		{name: "log says 200", path: entries, status: 200, want: "status 200"},
		{name: "log has no proof", path: entries, change: replace(`"inclusionProof"`, `"x"`), want: "no inclusion proof"},
		{name: "log has no promise", path: entries, change: replace(`"signedEntryTimestamp"`, `"x"`), want: "no signed entry timestamp"},
		{name: "log has another body", path: entries, change: replace(`"body":"`, `"body":"AAAA`), want: "not that of the entry"},
		{name: "log answers with two entries", path: entries, change: replace(`{"`, `{"00":{},"`), want: "2 entries"},
		{name: "log answers about another entry", path: entries, change: func(b []byte) []byte { return append([]byte(`{"`+strings.Repeat("0", 80)), b[82:]...) }, want: "is not the one that was sent"},
		{name: "log moved the index", path: entries, change: replace(`"logIndex":`, `"logIndex":1`), want: "checking the bundle before writing it"},
		{name: "TSA is down", path: tsa, status: 502, want: "status 502"},
		{name: "TSA answers nonsense", path: tsa, change: func([]byte) []byte { return []byte("no DER") }, want: "can't be used"},
		{name: "TSA repeats an answer", path: tsa, change: func(b []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if stamp == nil {
				stamp = b
			}
			return stamp
		}, want: "checking timestamp nonce"},
		{name: "endless answer", path: tsa, change: func([]byte) []byte { return make([]byte, 2<<20) }, want: "larger than"},
		{name: "admitted twin", path: "/none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			front, signing := behind(t, w, tt.path, tt.status, tt.change)
			ref, digests := pushIndex(t, true)
			config := w.asAlice()
			config.Signing = signing
			if tt.name == "CA answers for another key" { // whose key is then not ours
				_, _ = sign.Image(t.Context(), config, ref, source(ref), sign.Options{SkipLegacy: true, SkipPlatforms: true})
				ref, digests = pushIndex(t, true)
			}
			_, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			se := (*sign.ServiceError)(nil)
			if errors.As(err, &se); !strings.Contains(tt.want, "checking") && (se == nil || !strings.HasPrefix(se.URL, front+tt.path) || tt.status != 0 && se.Status != tt.status) {
				t.Errorf("error %#v, want a *ServiceError with URL and status", err)
			}
			for _, d := range digests {
				checkSigned(t, ref, d, w.root, keyless(t, alice, w.url), 0)
			}
		})
	}
	t.Run("another trust root", func(t *testing.T) {
		ref, digests := pushIndex(t, true)
		config := w.asAlice()
		config.Root = other.root
		_, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
		if ve := (*verify.Error)(nil); !errors.As(err, &ve) {
			t.Errorf("error %v, want a *verify.Error", err)
		}
		checkSigned(t, ref, digests[2], w.root, keyless(t, alice, w.url), 0)
	})
}

// behind puts a proxy before the stack that answers one path differently, and a signing config that names it.
func behind(t *testing.T, w world, path string, status int, change func([]byte) []byte) (string, *trust.SigningConfig) {
	t.Helper()
	target, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // when one platform fails, requests for the others are cancelled
	proxy.ModifyResponse = func(r *http.Response) error {
		if change == nil || !strings.HasPrefix(r.Request.URL.Path, path) {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = change(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Del("Content-Length")
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if status != 0 && strings.HasPrefix(r.URL.Path, path) {
			rw.Header().Set("Location", w.url+r.URL.Path)
			rw.WriteHeader(status)
			return
		}
		r.Host = target.Host
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	moved := *w.signing
	for _, list := range []*[]trust.Service{&moved.CAs, &moved.Logs, &moved.TSAs} {
		services := append([]trust.Service(nil), *list...)
		for i := range services {
			services[i].URL = strings.Replace(services[i].URL, w.url, server.URL, 1)
		}
		*list = services
	}
	return server.URL, &moved
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
	v2 := *w.signing
	v2.Logs = []trust.Service{{URL: w.url, MajorAPIVersion: 2, Window: v2.Logs[0].Window}}
	for name, tt := range map[string]struct {
		config sign.Config
		want   string
	}{
		"no signing config": {sign.Config{Key: key}, "no signing config"},
		"nobody":            {sign.Config{Signing: w.signing}, "neither a token nor a key"},
		"two":               {sign.Config{Signing: w.signing, Key: key, Token: token.Given("x")}, "both a token and a key"},
		"no log":            {sign.Config{Signing: &trust.SigningConfig{}, Key: key}, "choosing log"},
		"log of version 2":  {sign.Config{Signing: &v2, Key: key}, "choosing log"},
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
