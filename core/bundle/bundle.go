// Package bundle reads and writes the forms in which Sigstore evidence lies
// beside an image, as one value: [Evidence].
//
//   - [Parse] reads a Sigstore bundle (protobuf-specs, v0.1 to v0.3), what
//     cosign 3 and GitHub Actions attach to an image as a referrer;
//   - [ParseLegacy] reads one simple-signing layer of a sha256-<hex>.sig image
//     with its annotations, what cosign 2, podman and skopeo make and read;
//   - [ParseLegacyAttestation] reads one DSSE layer of a sha256-<hex>.att image,
//     what cosign 2 attests with;
//   - [Marshal], [LegacyAnnotations] and [LegacyAttestationAnnotations] write
//     them.
//
// Nothing here does any cryptography or decides anything: what comes out is as
// untrusted as what went in, but well-formed, complete for its format, and
// within limits.
package bundle

import (
	"errors"
	"fmt"
)

// Limits, so that a hostile registry can cost a verifier little. The counts
// are those that sigstore-go enforces; real evidence has one or two of each.
const (
	// MaxSize bounds a bundle, and the payload and the annotations of a legacy
	// signature, in bytes. Signatures have a few KiB, attestations with an SBOM
	// up to some MiB.
	MaxSize = 8 << 20
	// maxTokens bounds a bundle's JSON. MaxEntries entries with the longest proofs
	// have 5,000 tokens; a statement is one.
	maxTokens = 16 << 10
	// MaxEntries bounds the log entries of one piece of evidence.
	MaxEntries = 32
	// MaxTimestamps bounds its RFC 3161 timestamps.
	MaxTimestamps = 32
	// MaxCertificates bounds its certificate chain.
	MaxCertificates = 8
	// MaxCertificateSize bounds one certificate, in bytes of DER.
	MaxCertificateSize = 16 << 10
)

// Media types of bundles.
const (
	MediaTypeV03 = "application/vnd.dev.sigstore.bundle.v0.3+json"

	mediaTypeV01    = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	mediaTypeV02    = "application/vnd.dev.sigstore.bundle+json;version=0.2"
	mediaTypeV03Old = "application/vnd.dev.sigstore.bundle+json;version=0.3"
)

// Form is the format that evidence was read from.
type Form string

// The forms of evidence.
const (
	FormBundle Form = "bundle" // a Sigstore bundle
	FormLegacy Form = "legacy" // a cosign layer: simple signing, or an attestation
	// FormOpenPGP is a signature of containers/image's own, whose Payload.Text is
	// the whole OpenPGP message. Nothing here reads it; core/openpgp does.
	FormOpenPGP Form = "openpgp"
)

// Evidence is one signature (or attestation) with all that came with it to
// prove who made it and when. Exactly one of Envelope, Message and Payload is
// set, and exactly one of Certificates and a key: if there is no certificate,
// the signature was made by a key that the verifier must know.
type Evidence struct {
	Form      Form
	MediaType string // the bundle's own, or the legacy layer's

	Envelope *Envelope // a DSSE envelope
	Message  *Message  // a signature over the artifact itself
	Payload  *Payload  // a signature over a legacy simple-signing payload

	// Certificates are DER, the leaf first. Only the leaf is evidence: the rest
	// of a chain is never trusted, authorities come from the trust root.
	Certificates [][]byte
	// KeyHint is what a bundle says of its public key. It selects nothing.
	KeyHint string

	Entries    []Entry  // transparency log entries
	Timestamps [][]byte // RFC 3161 responses, DER
}

// Envelope is a DSSE envelope with its one signature.
type Envelope struct {
	PayloadType string
	Payload     []byte
	Signature   []byte
	KeyID       string // a hint; selects nothing
	// Text is a legacy attestation's JSON text, which the log hashed and a
	// timestamp may be over; nil if the envelope comes from a bundle.
	Text []byte
}

// Message is a signature over an artifact, given by its digest.
type Message struct {
	DigestAlgorithm string // "sha256", "sha384" or "sha512"
	Digest          []byte // a hint until it was compared with the artifact's
	Signature       []byte
}

// Payload is a signature over a simple-signing payload.
type Payload struct {
	Text      []byte // the layer's bytes, which are what was signed
	Signature []byte
}

// Signature is the signature's bytes, which timestamps and log entries are
// about.
func (e *Evidence) Signature() []byte {
	switch {
	case e.Envelope != nil:
		return e.Envelope.Signature
	case e.Message != nil:
		return e.Message.Signature
	case e.Payload != nil:
		return e.Payload.Signature
	}
	return nil
}

// Entry is a transparency log entry: a Rekor v1 entry with a signed entry
// timestamp, an inclusion proof or both, or a Rekor v2 entry with a proof.
type Entry struct {
	LogID          [32]byte
	LogIndex       int64 // in the whole log; for Rekor v1 over all its shards
	Kind, Version  string
	IntegratedTime int64  // seconds since 1970; says nothing without the SET
	SET            []byte // signed entry timestamp; nil if there is none
	Body           []byte // the canonicalized body, as the evidence claims it
	Proof          *Proof // nil if there is none
}

// Proof is an inclusion proof with the checkpoint that it leads to.
type Proof struct {
	Index      int64 // in the tree (for Rekor v1, the shard)
	TreeSize   int64
	RootHash   []byte
	Hashes     [][]byte
	Checkpoint string // signed note
}

// PAE is DSSE's pre-authentication encoding, the text that an envelope's
// signature is over.
func PAE(payloadType string, payload []byte) []byte {
	out := make([]byte, 0, len("DSSEv1   ")+2*20+len(payloadType)+len(payload)) // numbers have up to 20 digits
	out = fmt.Appendf(out, "DSSEv1 %d %s %d ", len(payloadType), payloadType, len(payload))
	return append(out, payload...)
}

// check holds the evidence against the rules that both forms have in common.
func (e *Evidence) check() error {
	switch {
	case len(e.Signature()) == 0:
		return errors.New("its signature is empty")
	case len(e.Entries) > MaxEntries:
		return fmt.Errorf("has %d log entries, the limit is %d", len(e.Entries), MaxEntries)
	case len(e.Timestamps) > MaxTimestamps:
		return fmt.Errorf("has %d timestamps, the limit is %d", len(e.Timestamps), MaxTimestamps)
	case len(e.Certificates) > MaxCertificates:
		return fmt.Errorf("has %d certificates, the limit is %d", len(e.Certificates), MaxCertificates)
	}
	for i, der := range e.Certificates {
		if len(der) == 0 || len(der) > MaxCertificateSize {
			return fmt.Errorf("certificate %d has %d bytes, want 1 to %d", i, len(der), MaxCertificateSize)
		}
	}
	for i, a := range e.Entries {
		for _, b := range e.Entries[:i] {
			if a.LogID == b.LogID && a.LogIndex == b.LogIndex {
				return fmt.Errorf("log entry %d stands twice", i)
			}
		}
	}
	return nil
}
