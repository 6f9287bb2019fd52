package verify_test

import (
	"crypto/sha256"
	"errors"
	"slices"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

var (
	digest      = sha256.Sum256([]byte("the image"))
	otherDigest = sha256.Sum256([]byte("another image"))
	alice       = coretest.Email("alice@acme.example")
	mallory     = coretest.Email("mallory@evil.example")
)

// world is a Sigstore and what its verifier trusts. A case changes evidence,
// root or question, and says which code refuses it.
type world struct {
	*coretest.Sigstore
	root *trust.Root
}

func newWorld(tb testing.TB) *world {
	tb.Helper()
	s := coretest.New(tb)
	return &world{Sigstore: s, root: s.TrustedRoot(tb)}
}

// forms are the ways in which a certificate's signature comes, all of them
// acceptable.
func forms(w *world) map[string]coretest.SignOptions {
	return map[string]coretest.SignOptions{
		"DSSE, Rekor v1":              {Identity: alice},
		"DSSE, Rekor v1, no TSA":      {Identity: alice, WithoutTimestamp: true},
		"DSSE, Rekor v2":              {Identity: alice, Log: w.V2},
		"message signature, Rekor v1": {Identity: alice, Content: coretest.MessageSignature},
		"message signature, Rekor v2": {Identity: alice, Content: coretest.MessageSignature, Log: w.V2},
		"simple signing, Rekor v1":    {Identity: alice, Content: coretest.SimpleSigning, Reference: "registry.example/app"},
		"legacy attestation":          {Identity: alice, Content: coretest.LegacyAttestation},
		"simple signing, Rekor v2":    {Identity: alice, Content: coretest.SimpleSigning, Reference: "registry.example/app", Log: w.V2},
	}
}

// sign makes evidence about the image, as alice if nobody else is named.
func (w *world) sign(tb testing.TB, o coretest.SignOptions) *bundle.Evidence {
	tb.Helper()
	if o.Identity.SAN.Value == "" && o.Key == nil {
		o.Identity = alice
	}
	return w.SignDigest(tb, digest, o)
}

// input asks whether alice signed the image.
func (w *world) input(tb testing.TB, e *bundle.Evidence) verify.Input {
	tb.Helper()
	return verify.Input{
		Evidence: e, Artifact: verify.SHA256(digest), Signer: verify.Keyless(exactly(tb, alice)), Root: w.root, Now: w.Clock.Now(),
	}
}

func exactly(tb testing.TB, id identity.Identity) *identity.Matcher {
	tb.Helper()
	return matcher(tb, identity.Spec{Issuer: id.Issuer, Subject: id.SAN.Value})
}

func matcher(tb testing.TB, s identity.Spec) *identity.Matcher {
	tb.Helper()
	m, err := identity.NewMatcher(s)
	if err != nil {
		tb.Fatal(err)
	}
	return m
}

// clone copies evidence so deeply that a test may change any of it.
func clone(e *bundle.Evidence) *bundle.Evidence {
	c := *e
	if e.Envelope != nil {
		v := *e.Envelope
		v.Payload, v.Signature, v.Text = slices.Clone(v.Payload), slices.Clone(v.Signature), slices.Clone(v.Text)
		c.Envelope = &v
	}
	if e.Message != nil {
		v := *e.Message
		v.Digest, v.Signature = slices.Clone(v.Digest), slices.Clone(v.Signature)
		c.Message = &v
	}
	if e.Payload != nil {
		v := *e.Payload
		v.Text, v.Signature = slices.Clone(v.Text), slices.Clone(v.Signature)
		c.Payload = &v
	}
	c.Certificates, c.Timestamps = cloneAll(e.Certificates), cloneAll(e.Timestamps)
	c.Entries = slices.Clone(e.Entries)
	for i := range c.Entries {
		v := &c.Entries[i]
		v.SET, v.Body = slices.Clone(v.SET), slices.Clone(v.Body)
		if v.Proof != nil {
			p := *v.Proof
			p.RootHash, p.Hashes = slices.Clone(p.RootHash), cloneAll(p.Hashes)
			v.Proof = &p
		}
	}
	return &c
}

func cloneAll(in [][]byte) [][]byte {
	out := slices.Clone(in)
	for i := range out {
		out[i] = slices.Clone(out[i])
	}
	return out
}

// codeOf verifies and gives the code; "" means accepted.
func codeOf(tb testing.TB, in verify.Input) verify.Code {
	tb.Helper()
	result, err := verify.Verify(in)
	if err == nil {
		if result == nil || len(result.Checks) == 0 {
			tb.Fatal("accepted without a result")
		}
		return ""
	}
	var refused *verify.Error
	if !errors.As(err, &refused) {
		tb.Fatalf("the question is refused, not the evidence: %v", err)
	}
	if result != nil {
		tb.Error("a refusal comes with a result")
	}
	if last := refused.Checks[len(refused.Checks)-1]; last.Passed || last.Name != refused.Check {
		tb.Errorf("the failed check %q is not the last one: %+v", refused.Check, last)
	}
	if refused.Error() == "" {
		tb.Error("no reason")
	}
	return refused.Code
}

func requireAccepted(tb testing.TB, what string, in verify.Input) *verify.Result {
	tb.Helper()
	result, err := verify.Verify(in)
	if err != nil {
		tb.Fatalf("%s: the good twin is refused: %v", what, err)
	}
	return result
}

func requireCode(tb testing.TB, what string, in verify.Input, want verify.Code) {
	tb.Helper()
	if got := codeOf(tb, in); got != want {
		_, err := verify.Verify(in)
		tb.Errorf("%s: code %q (%v), want %q", what, got, err, want)
	}
}
