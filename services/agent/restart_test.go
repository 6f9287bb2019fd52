package agent_test

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/services/agent/store"
)

const signed = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/**"}]
  authorities:
  - keyless: {identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]}
`

// down is a registry that is.
type down struct{}

func (down) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, errors.New("connection refused")
}

// signedImage is an image with a signature by alice.
func signedImage(t *testing.T, s *coretest.Sigstore) (attach.Source, v1.Hash) {
	t.Helper()
	pushed := coretest.Push(t, coretest.NewRegistry(t, true)+"/app:1", coretest.Image(t, 1))
	image, err := v1.NewHash(pushed.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(image.Hex)); err != nil {
		t.Fatal(err)
	}
	raw, err := bundle.Marshal(s.SignDigest(t, sum, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		t.Fatal(err)
	}
	subject, err := remote.Head(pushed)
	if err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository(pushed.Context().Name())
	if err != nil {
		t.Fatal(err)
	}
	source := attach.Source{Repository: repo}
	if _, err := attach.WriteBundle(t.Context(), source, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		t.Fatal(err)
	}
	return source, image
}

// With the registry down after a restart, an image that was admitted is admitted
// for the rest of its ten minutes. Then, after a change of the rules, and if the
// clock went back, the registry would have to be asked.
func TestRegistryDownAfterARestart(t *testing.T) {
	s := coretest.New(t)
	source, image := signedImage(t, s)
	req := gate.Request{Repository: "registry.example/app", Digest: image, ParentsKnown: true, Source: source}
	for _, c := range []struct {
		name   string
		policy string
		later  time.Duration
		code   gate.Code
	}{
		{"within ten minutes", signed, 9 * time.Minute, gate.CodeAdmitted},
		{"after ten minutes", signed, 10*time.Minute + time.Second, gate.CodeLookupFailed},
		{"a changed policy", signed + "# changed\n", time.Minute, gate.CodeLookupFailed},
		{"a revocation", signed + "---\n" + strings.ReplaceAll(revocation, "DIGEST", image.String()), time.Minute, gate.CodeRevoked},
		{"the clock went back", signed, -time.Minute, gate.CodeLookupFailed},
	} {
		clock, dir := coretest.NewClock(coretest.Start), t.TempDir()
		begin := func(text string) (*gate.Gate, *store.Store) {
			records := store.Open(t.Context(), store.Config{Dir: dir, Version: "1", Now: clock.Now})
			set, err := policy.Parse(t.Context(), []byte(text), policy.Options{Now: clock.Now})
			if err != nil {
				t.Fatal(err)
			}
			g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{s.TrustedRoot(t)}, Now: clock.Now, Store: records})
			if err != nil {
				t.Fatal(err)
			}
			return g, records
		}
		g, records := begin(signed)
		if v := g.Admit(t.Context(), req); !v.Admitted() {
			t.Fatalf("%s: %s", c.name, v.Reason)
		}
		if err := records.Close(); err != nil {
			t.Error(err)
		}
		clock.Advance(c.later)
		g, records = begin(c.policy)
		cut := req
		cut.Source.Transport = down{}
		if v := g.Admit(t.Context(), cut); v.Code != c.code || v.Admitted() != (c.code == gate.CodeAdmitted) {
			t.Errorf("%s: %s, %s (%s); want %s", c.name, v.Outcome, v.Code, v.Reason, c.code)
		}
		if err := records.Close(); err != nil {
			t.Error(err)
		}
	}
}

const revocation = `apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
spec:
  revocations: [{image: DIGEST, reason: "it is bad"}]
`
