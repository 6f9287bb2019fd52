package verify_test

import (
	"crypto/sha256"
	"slices"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/verify"
)

// TestA001_A007_LegacyAttestationEntries holds a legacy attestation against every kind of
// log entry that was ever made for one, and each of these about something else.
func TestA001_A007_LegacyAttestationEntries(t *testing.T) {
	w := newWorld(t)
	const vuln = "https://cosign.sigstore.dev/attestation/vuln/v1"
	e := w.sign(t, coretest.SignOptions{Content: coretest.LegacyAttestation, PredicateType: vuln})
	other := w.sign(t, coretest.SignOptions{Content: coretest.LegacyAttestation, PredicateType: vuln})
	kinds := map[string]func(text, payload, signature, verifier []byte) ([]byte, error){
		"dsse 0.0.1": func(text, payload, signature, verifier []byte) ([]byte, error) {
			return entry.DSSEV001(sha256.Sum256(text), sha256.Sum256(payload), signature, verifier)
		},
		"intoto 0.0.1": func(text, payload, _, verifier []byte) ([]byte, error) {
			sum := sha256.Sum256(payload)
			return entry.IntotoV001(sha256.Sum256(text), &sum, verifier)
		},
		"intoto 0.0.1 without a payload's hash": func(text, _, _, verifier []byte) ([]byte, error) {
			return entry.IntotoV001(sha256.Sum256(text), nil, verifier)
		},
		"intoto 0.0.2": func(text, payload, signature, verifier []byte) ([]byte, error) {
			return entry.IntotoV002(sha256.Sum256(text), sha256.Sum256(payload), inToto, "key", signature, verifier)
		},
	}
	for kind, body := range kinds {
		logged := func(text, payload, signature, certificate []byte) *bundle.Evidence {
			t.Helper()
			b, err := body(text, payload, signature, entry.CertificatePEM(certificate))
			if err != nil {
				t.Fatal(err)
			}
			c := clone(e)
			c.Entries = []bundle.Entry{w.V1.Add(t, b, w.Clock.Now())}
			return c
		}
		ask := func(what string, c *bundle.Evidence, want verify.Code) {
			t.Helper()
			in := w.input(t, c)
			in.PredicateType = vuln
			requireCode(t, kind+": "+what, in, want)
		}
		env, cert := e.Envelope, e.Certificates[0]
		good := logged(env.Text, env.Payload, env.Signature, cert)
		ask("good", good, "")
		ask("another text", logged(append(slices.Clone(env.Text), ' '), env.Payload, env.Signature, cert), verify.CodeLogEntry)
		ask("another certificate", logged(env.Text, env.Payload, env.Signature, other.Certificates[0]), verify.CodeLogEntry)
		ask("another attestation", logged(other.Envelope.Text, other.Envelope.Payload, other.Envelope.Signature, other.Certificates[0]), verify.CodeLogEntry)
		if kind != "intoto 0.0.1 without a payload's hash" {
			ask("another payload", logged(env.Text, []byte("{}"), env.Signature, cert), verify.CodeLogEntry)
		}
		if kind == "dsse 0.0.1" || kind == "intoto 0.0.2" {
			ask("another signature", logged(env.Text, env.Payload, other.Envelope.Signature, cert), verify.CodeLogEntry)
		}
		changed := clone(good)
		changed.Envelope.Text = append(changed.Envelope.Text, ' ')
		changed.Timestamps = nil
		ask("a text that was changed afterwards", changed, verify.CodeLogEntry)
		// A bundle has lost the text: only entries that hold the signature can be
		// compared.
		bare := clone(good)
		bare.Envelope.Text = nil
		want := verify.Code("")
		if kind != "dsse 0.0.1" && kind != "intoto 0.0.2" {
			want = verify.CodeUnsupported
		}
		ask("in a bundle", bare, want)
	}
}

// TestLegacyAttestationTimestamps: cosign 2 has the whole envelope stamped, cosign 3
// the signature in it.
func TestLIB29_LegacyAttestationTimestamps(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{Content: coretest.LegacyAttestation, WithoutTimestamp: true})
	for what, tt := range map[string]struct {
		message []byte
		want    verify.Code
	}{
		"the envelope": {e.Envelope.Text, ""}, "the signature": {e.Envelope.Signature, ""},
		"the payload": {e.Envelope.Payload, verify.CodeTimestamp}, "another text": {append(slices.Clone(e.Envelope.Text), ' '), verify.CodeTimestamp},
	} {
		c := clone(e)
		c.Timestamps = [][]byte{w.TSA.Stamp(t, tt.message, w.Clock.Now())}
		requireCode(t, what, w.require(t, c, verify.Requirements{Timestamps: 1}), tt.want)
	}
	// In a bundle only the signature's timestamp counts.
	c := clone(e)
	c.Timestamps = [][]byte{w.TSA.Stamp(t, e.Envelope.Text, w.Clock.Now())}
	c.Envelope.Text = nil
	requireCode(t, "the envelope, in a bundle", w.require(t, c, verify.Requirements{Timestamps: 1}), verify.CodeTimestamp)
}
