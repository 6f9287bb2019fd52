package coretest_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/verify"
)

func p384(t *testing.T) crypto.Signer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

// Everything made here verifies, in every combination: what tests of attacks change is then what is refused.
func TestSignedEvidenceVerifies(t *testing.T) {
	s := coretest.New(t)
	root, others := s.TrustedRoot(t), coretest.New(t).TrustedRoot(t)
	digest := coretest.Digest(t, coretest.Image(t, 1))
	matcher, err := identity.NewMatcher(identity.Spec{Issuer: coretest.Issuer, Subject: "alice@acme.example"})
	if err != nil {
		t.Fatal(err)
	}
	for _, content := range []coretest.Content{coretest.DSSE, coretest.MessageSignature, coretest.SimpleSigning} {
		for _, key := range []crypto.Signer{coretest.NewKey(t), p384(t)} {
			if content != coretest.DSSE && key.Public().(*ecdsa.PublicKey).Curve != elliptic.P256() {
				continue // these are signed over a SHA-256
			}
			for _, log := range []*coretest.Log{s.V1, s.V2} {
				for _, keyless := range []bool{true, false} {
					name := fmt.Sprintf("content %d %s v1 %v keyless %v", content, key.Public().(*ecdsa.PublicKey).Params().Name, log.Promises, keyless)
					t.Run(name, func(t *testing.T) {
						opts := coretest.SignOptions{Key: key, Content: content, Log: log, Reference: "registry.example/app"}
						signer := verify.Keyed(verify.Key{Name: "key", Public: key.Public()})
						if keyless {
							opts.Identity, signer = coretest.Email("alice@acme.example"), verify.Keyless(matcher)
						}
						evidence := s.SignDigest(t, digest, opts)
						in := verify.Input{Evidence: reread(t, evidence), Artifact: verify.SHA256(digest), Signer: signer, Root: root, Now: s.Clock.Now()}
						if _, err := verify.Verify(in); err != nil {
							t.Errorf("good evidence refused: %v", err)
						}
						in.Artifact = verify.SHA256([32]byte{1})
						if _, err := verify.Verify(in); err == nil {
							t.Error("evidence for another image accepted")
						}
						in.Artifact, in.Root = verify.SHA256(digest), others
						if _, err := verify.Verify(in); err == nil {
							t.Error("evidence of another Sigstore accepted")
						}
					})
				}
			}
		}
	}
}

// reread sends evidence through its encoding, as a registry would. A legacy annotation cannot hold an entry without a promise: then it stays as it is.
func reread(t *testing.T, e *bundle.Evidence) *bundle.Evidence {
	t.Helper()
	var read *bundle.Evidence
	var err error
	if e.Payload != nil {
		if e.Entries[0].SET == nil {
			return e
		}
		annotations, marshalErr := bundle.LegacyAnnotations(e)
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		read, err = bundle.ParseLegacy(e.Payload.Text, annotations)
	} else {
		text, marshalErr := bundle.Marshal(e)
		if marshalErr != nil {
			t.Fatal(marshalErr)
		}
		read, err = bundle.Parse(text)
	}
	if err != nil {
		t.Fatal(err)
	}
	return read
}

func TestImagesAreDeterministic(t *testing.T) {
	image, index := coretest.Digest(t, coretest.Image(t, 3)), coretest.Digest(t, coretest.Index(t, 3))
	if coretest.Digest(t, coretest.Image(t, 3)) != image || coretest.Digest(t, coretest.Index(t, 3)) != index {
		t.Error("equal seeds give different images")
	}
	if coretest.Digest(t, coretest.Image(t, 4)) == image {
		t.Error("different seeds give equal images")
	}
}

func TestPush(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		host := coretest.NewRegistry(t, referrers)
		index := coretest.Index(t, 9)
		ref := coretest.Push(t, host+"/team/app:v1", index)
		if want := fmt.Sprintf("sha256:%x", coretest.Digest(t, index)); ref.DigestStr() != want {
			t.Errorf("pushed %s, want %s", ref.DigestStr(), want)
		}
		read, err := remote.Index(ref)
		if err != nil {
			t.Fatal(err)
		}
		got, err := read.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		want, err := index.RawManifest()
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		image := coretest.Push(t, host+"/team/app:single", coretest.Image(t, 9))
		if _, err := remote.Image(image); err != nil {
			t.Error(err)
		}
	}
}

func TestClock(t *testing.T) {
	s := coretest.New(t)
	first := s.SignDigest(t, [32]byte{1}, coretest.SignOptions{Identity: coretest.Email("a@b.example")})
	s.Clock.Advance(90e9)
	second := s.SignDigest(t, [32]byte{1}, coretest.SignOptions{Identity: coretest.Email("a@b.example")})
	if d := second.Entries[0].IntegratedTime - first.Entries[0].IntegratedTime; d != 90 {
		t.Errorf("entries are %d s apart, want 90", d)
	}
	if bytes.Equal(first.Timestamps[0], second.Timestamps[0]) {
		t.Error("timestamps are equal")
	}
}
