package coretest

import (
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Content is what is signed about an image.
type Content int

// The contents: a DSSE envelope with an in-toto statement as cosign 3 makes it, a signature of the manifest itself, and simple signing as cosign 2 and podman
// make it.
const (
	DSSE Content = iota
	MessageSignature
	SimpleSigning
	// LegacyAttestation is a DSSE envelope as cosign 2 lays it beside an image.
	LegacyAttestation
)

// SignOptions say how to sign. The zero value is invalid: Identity or Key must be set.
type SignOptions struct {
	// Identity makes the signature keyless. Without it the signature is Key's alone.
	Identity identity.Identity
	// Key signs; keyless, nil is a new ECDSA P-256 key. Only DSSE goes with every key: the other contents are signed over a SHA-256,
	// as cosign does whatever the key, and a Rekor v2 log takes that only from P-256 and RSA.
	Key     crypto.Signer
	Content Content
	// Reference is the name in a simple-signing payload.
	Reference string
	// PredicateType of the statement; empty is that of an image signature.
	PredicateType string
	// Predicate is JSON; empty is {}.
	Predicate string
	// Log takes the entry; nil is the Sigstore's V1.
	Log *Log
	// WithoutLog and WithoutTimestamp leave these out.
	WithoutLog, WithoutTimestamp bool
	// Certificate changes the certificate.
	Certificate []func(*CertificateSpec)
}

// SignDigest signs the image manifest with the given SHA-256 and returns complete evidence. Everything happens now, by the Sigstore's clock.
func (s *Sigstore) SignDigest(tb testing.TB, digest [32]byte, opts SignOptions) *bundle.Evidence {
	tb.Helper()
	keyless := opts.Identity.SAN.Value != ""
	if opts.Key == nil {
		if !keyless {
			tb.Fatal("signing options have neither identity nor key")
		}
		opts.Key = NewKey(tb)
	}
	e := &bundle.Evidence{Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03}
	if keyless {
		e.Certificates = [][]byte{s.Certificate(tb, opts.Identity, opts.Key.Public(), opts.Certificate...)}
	} else {
		e.KeyHint = keyHint(tb, opts.Key.Public())
	}
	sign(tb, e, digest, opts)
	if !opts.WithoutTimestamp {
		stamped := e.Signature()
		if opts.Content == LegacyAttestation {
			stamped = e.Envelope.Text
		}
		e.Timestamps = [][]byte{s.TSA.Stamp(tb, stamped, s.Clock.Now())}
	}
	if !opts.WithoutLog {
		log := opts.Log
		if log == nil {
			log = s.V1
		}
		body := EntryBody(tb, e, digest, opts.Key.Public(), !log.Promises)
		e.Entries = []bundle.Entry{log.Add(tb, body, s.Clock.Now())}
	}
	return e
}

// sign puts content and signature into e.
func sign(tb testing.TB, e *bundle.Evidence, digest [32]byte, opts SignOptions) {
	tb.Helper()
	switch opts.Content {
	case DSSE, LegacyAttestation:
		envelope := &bundle.Envelope{PayloadType: "application/vnd.in-toto+json", Payload: Statement(digest, opts.PredicateType, opts.Predicate)}
		envelope.Signature = Signature(tb, opts.Key, bundle.PAE(envelope.PayloadType, envelope.Payload))
		e.Envelope = envelope
		if opts.Content == LegacyAttestation {
			e.Form, e.MediaType, e.KeyHint = bundle.FormLegacy, bundle.MediaTypeDSSE, ""
			envelope.Text = EnvelopeJSON(tb, envelope)
		}
	case MessageSignature:
		e.Message = &bundle.Message{DigestAlgorithm: "sha256", Digest: digest[:], Signature: signSHA256(tb, opts.Key, digest)}
	case SimpleSigning:
		text, err := bundle.SimpleSigningPayload(opts.Reference, "sha256:"+hex.EncodeToString(digest[:]))
		if err != nil {
			tb.Fatal(err)
		}
		e.Form, e.MediaType, e.KeyHint = bundle.FormLegacy, bundle.MediaTypeSimpleSigning, ""
		e.Payload = &bundle.Payload{Text: text, Signature: signSHA256(tb, opts.Key, sha256.Sum256(text))}
	default:
		tb.Fatalf("unknown content %d", opts.Content)
	}
}

// Statement returns an in-toto statement about the image with the given SHA-256. An empty type is that of an image signature, an empty predicate {}.
func Statement(digest [32]byte, predicateType, predicate string) []byte {
	if predicateType == "" {
		predicateType = "https://sigstore.dev/cosign/sign/v1"
	}
	if predicate == "" {
		predicate = "{}"
	}
	return []byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"` + hex.EncodeToString(digest[:]) +
		`"}}],"predicateType":"` + predicateType + `","predicate":` + predicate + `}`)
}

// signSHA256 signs a SHA-256, whatever the key's own hash.
func signSHA256(tb testing.TB, key crypto.Signer, sum [32]byte) []byte {
	tb.Helper()
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// Signature signs message as Sigstore's clients do with that kind of key.
func Signature(tb testing.TB, key crypto.Signer, message []byte) []byte {
	tb.Helper()
	signature, err := keys.Sign(key, message)
	if err != nil {
		tb.Fatal(err)
	}
	return signature
}

// EntryBody returns the body of the log entry for e, whose signature was made with the private key of pub: for a Rekor v2 log hashedrekord 0.0.2, for a Rekor v1
// log dsse 0.0.1 or hashedrekord 0.0.1.
func EntryBody(tb testing.TB, e *bundle.Evidence, digest [32]byte, pub crypto.PublicKey, v2 bool) []byte {
	tb.Helper()
	var certificate []byte
	if len(e.Certificates) > 0 {
		certificate = e.Certificates[0]
	}
	signed := signedDigest(tb, e, digest, pub)
	if v2 {
		body, err := entry.HashedRekordV002(signed, e.Signature(), entry.Verifier{Certificate: certificate, Key: pub})
		if err != nil {
			tb.Fatal(err)
		}
		return body
	}
	verifier := entry.CertificatePEM(certificate)
	if certificate == nil {
		var err error
		if verifier, err = entry.PublicKeyPEM(pub); err != nil {
			tb.Fatal(err)
		}
	}
	var body []byte
	var err error
	if e.Envelope != nil {
		body, err = entry.DSSEV001(sha256.Sum256(EnvelopeJSON(tb, e.Envelope)), sha256.Sum256(e.Envelope.Payload), e.Signature(), verifier)
	} else {
		body, err = entry.HashedRekordV001(crypto.SHA256, signed, e.Signature(), verifier)
	}
	if err != nil {
		tb.Fatal(err)
	}
	return body
}

// signedDigest is the digest that the signature of e is over.
func signedDigest(tb testing.TB, e *bundle.Evidence, manifest [32]byte, pub crypto.PublicKey) []byte {
	tb.Helper()
	switch {
	case e.Envelope != nil:
		hash, err := entry.HashFor(pub)
		if err != nil {
			tb.Fatal(err)
		}
		return digest(hash, bundle.PAE(e.Envelope.PayloadType, e.Envelope.Payload))
	case e.Payload != nil:
		return digest(crypto.SHA256, e.Payload.Text)
	}
	return manifest[:]
}

// EnvelopeJSON is the envelope as a client sends it to a Rekor v1 log.
func EnvelopeJSON(tb testing.TB, e *bundle.Envelope) []byte {
	tb.Helper()
	if e.Text != nil {
		return e.Text
	}
	text, err := bundle.EnvelopeJSON(e)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// keyHint is what a bundle says of a key: the base64 of the SHA-256 of its SubjectPublicKeyInfo.
func keyHint(tb testing.TB, pub crypto.PublicKey) string {
	tb.Helper()
	spki, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	sum := sha256.Sum256(spki)
	return base64.StdEncoding.EncodeToString(sum[:])
}
