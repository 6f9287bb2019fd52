package learn_test

import (
	"bytes"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/learn"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

const provenance = "https://slsa.dev/provenance/v1"

// shop is a registry with images, signed by whom it may concern.
type shop struct {
	*coretest.Sigstore
	host string
	seed int64
}

// push puts an image into a repository, with this evidence beside it.
func (s *shop) push(t *testing.T, repository string, signatures ...coretest.SignOptions) learn.Image {
	t.Helper()
	s.seed++
	d := coretest.Push(t, s.host+"/"+repository+":x", coretest.Image(t, s.seed))
	repo, err := name.NewRepository(s.host + "/" + repository)
	if err != nil {
		t.Fatal(err)
	}
	digest, err := v1.NewHash(d.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	image := learn.Image{Repository: "registry.example/" + repository, Digest: digest, Source: attach.Source{Repository: repo}}
	sum, err := hex.DecodeString(digest.Hex)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range signatures {
		raw, err := bundle.Marshal(s.SignDigest(t, [32]byte(sum), o))
		if err != nil {
			t.Fatal(err)
		}
		subject, err := remote.Head(d)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := attach.WriteBundle(t.Context(), image.Source, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
			t.Fatal(err)
		}
	}
	return image
}

// What was learned is admitted by the draft, and nothing else is.
func TestDraftAdmitsJustThat(t *testing.T) {
	s := &shop{Sigstore: coretest.New(t), host: coretest.NewRegistry(t, true)}
	root := s.TrustedRoot(t)
	alice, bob, mallory := coretest.Email("alice@acme.example"), coretest.Email("bob@acme.example"), coretest.Email("mallory@evil.example")
	key, stranger := coretest.NewKey(t), coretest.NewKey(t)
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	as := func(o coretest.SignOptions, predicateType string) coretest.SignOptions {
		o.PredicateType = predicateType
		return o
	}
	byAlice, byBob, byMallory := coretest.SignOptions{Identity: alice}, coretest.SignOptions{Identity: bob}, coretest.SignOptions{Identity: mallory}
	byKey := coretest.SignOptions{Key: key, WithoutLog: true, WithoutTimestamp: true}
	byLoggedKey := coretest.SignOptions{Key: key}

	admitted := map[string]learn.Image{
		"identity":             s.push(t, "acme/one", byAlice),
		"the same, elsewhere":  s.push(t, "acme/two", byAlice),
		"two identities":       s.push(t, "acme/three", byAlice, byBob),
		"key":                  s.push(t, "acme/key", byKey),
		"key in a log":         s.push(t, "acme/logged", byLoggedKey),
		"attestation":          s.push(t, "acme/attested", as(byBob, provenance)),
		"signed and attested":  s.push(t, "acme/both", byAlice, as(byBob, provenance)),
		"identity at Docker's": s.push(t, "library/app", byBob),
	}
	leftOut := map[string]learn.Image{
		"nobody":             s.push(t, "acme/unsigned"),
		"an unknown key":     s.push(t, "acme/unknown", coretest.SignOptions{Key: stranger}),
		"another trust root": (&shop{Sigstore: coretest.New(t), host: s.host, seed: 900}).push(t, "acme/foreign", byAlice),
	}
	var learned []learn.Learned
	for _, images := range []map[string]learn.Image{admitted, leftOut} {
		for name, image := range images {
			l := learn.Examine(t.Context(), image, []*trust.Root{root}, []learn.Key{{Name: "release.pub", Public: key.Public()}}, coretest.Start)
			if l.Err != "" {
				t.Errorf("%s: %s", name, l.Err)
			}
			learned = append(learned, l)
		}
	}
	var draft bytes.Buffer
	if err := learn.Draft(&draft, learned, map[string]string{"release.pub": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: spki}))}); err != nil {
		t.Fatal(err)
	}
	set, err := policy.Parse(t.Context(), draft.Bytes(), policy.Options{})
	if err != nil {
		t.Fatalf("%v in the draft:\n%s", err, draft.String())
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: []*trust.Root{root}, Now: coretest.NewClock(coretest.Start).Now})
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, image learn.Image, want bool) {
		t.Helper()
		v := g.Admit(t.Context(), gate.Request{Repository: image.Repository, Digest: image.Digest, Source: image.Source})
		if v.Admitted() != want {
			t.Errorf("%s: %s: %s", name, v.Outcome, v.Reason)
		}
	}
	for name, image := range admitted {
		check(name, image, true)
	}
	for name, image := range leftOut {
		check(name, image, false)
		if !strings.Contains(draft.String(), "# not admitted: "+image.Repository+"@"+image.Digest.String()) {
			t.Errorf("%s is not listed in the draft", name)
		}
	}
	// Nothing wider: other signers of the same repositories, other repositories
	// of the same signers.
	check("another identity", s.push(t, "acme/one", byBob), false)
	check("another identity of the evil one", s.push(t, "acme/three", byMallory), false)
	check("identity instead of key", s.push(t, "acme/key", byAlice), false)
	check("another key", s.push(t, "acme/key", coretest.SignOptions{Key: stranger}), false)
	check("key without log, where one was", s.push(t, "acme/logged", byKey), false)
	check("another attestation", s.push(t, "acme/attested", as(byBob, "https://spdx.dev/Document")), false)
	check("only attested, where signatures were", s.push(t, "acme/both", as(byBob, provenance)), false)
	check("another repository", s.push(t, "acme/onemore", byAlice), false)
	check("a repository below", s.push(t, "acme/one/more", byAlice), false)
	if t.Failed() {
		t.Log(draft.String())
	}
}

// What cannot be asked is not learned to be unsigned.
func TestExamineOutage(t *testing.T) {
	s := &shop{Sigstore: coretest.New(t), host: "127.0.0.1:1"}
	repo, err := name.NewRepository("127.0.0.1:1/acme/app")
	if err != nil {
		t.Fatal(err)
	}
	l := learn.Examine(t.Context(), learn.Image{Repository: "registry.example/acme/app", Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}, Source: attach.Source{Repository: repo}}, []*trust.Root{s.TrustedRoot(t)}, nil, coretest.Start)
	if !strings.Contains(l.Err, "connection refused") {
		t.Errorf("learned %+v", l)
	}
}
