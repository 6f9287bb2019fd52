package bundle

import (
	"bytes"
	"errors"
	"fmt"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// The JSON of a bundle (sigstore/protobuf-specs, sigstore_bundle.proto, in
// protobuf's JSON mapping). Bytes are base64, which jsonguard has found to be
// canonical, and 64-bit integers are strings.

type wireBundle struct {
	MediaType            string        `json:"mediaType,omitzero"`
	VerificationMaterial *wireMaterial `json:"verificationMaterial,omitzero"`
	MessageSignature     *wireMessage  `json:"messageSignature,omitzero"`
	DSSEEnvelope         *wireEnvelope `json:"dsseEnvelope,omitzero"`
}

type wireMaterial struct {
	PublicKey                 *wireHint        `json:"publicKey,omitzero"`
	X509CertificateChain      *wireChain       `json:"x509CertificateChain,omitzero"`
	Certificate               *wireCertificate `json:"certificate,omitzero"`
	TlogEntries               []wireEntry      `json:"tlogEntries,omitempty"`
	TimestampVerificationData *wireTimestamps  `json:"timestampVerificationData,omitzero"`
}

type wireHint struct {
	Hint string `json:"hint,omitzero"`
}

type wireChain struct {
	Certificates []wireCertificate `json:"certificates,omitempty"`
}

type wireCertificate struct {
	RawBytes []byte `json:"rawBytes,omitempty"`
}

type wireTimestamps struct {
	RFC3161Timestamps []wireTimestamp `json:"rfc3161Timestamps,omitempty"`
}

type wireTimestamp struct {
	SignedTimestamp []byte `json:"signedTimestamp,omitempty"`
}

type wireMessage struct {
	MessageDigest *wireDigest `json:"messageDigest,omitzero"`
	Signature     []byte      `json:"signature,omitempty"`
}

type wireDigest struct {
	Algorithm string `json:"algorithm,omitzero"`
	Digest    []byte `json:"digest,omitempty"`
}

type wireEnvelope struct {
	Payload     []byte          `json:"payload,omitempty"`
	PayloadType string          `json:"payloadType,omitzero"`
	Signatures  []wireSignature `json:"signatures,omitempty"`
}

type wireSignature struct {
	Sig   []byte `json:"sig,omitempty"`
	KeyID string `json:"keyid,omitzero"`
}

type wireEntry struct {
	LogIndex          integer      `json:"logIndex,omitzero"`
	LogID             wireLogID    `json:"logId"`
	KindVersion       wireKind     `json:"kindVersion"`
	IntegratedTime    integer      `json:"integratedTime,omitzero"`
	InclusionPromise  *wirePromise `json:"inclusionPromise,omitzero"`
	InclusionProof    *wireProof   `json:"inclusionProof,omitzero"`
	CanonicalizedBody []byte       `json:"canonicalizedBody,omitempty"`
}

type wireLogID struct {
	KeyID []byte `json:"keyId,omitempty"`
}

type wireKind struct {
	Kind    string `json:"kind,omitzero"`
	Version string `json:"version,omitzero"`
}

type wirePromise struct {
	SignedEntryTimestamp []byte `json:"signedEntryTimestamp,omitempty"`
}

type wireProof struct {
	LogIndex   integer        `json:"logIndex,omitzero"`
	RootHash   []byte         `json:"rootHash,omitempty"`
	TreeSize   integer        `json:"treeSize,omitzero"`
	Hashes     [][]byte       `json:"hashes,omitempty"`
	Checkpoint wireCheckpoint `json:"checkpoint"`
}

type wireCheckpoint struct {
	Envelope string `json:"envelope,omitzero"`
}

// integer is a 64-bit integer, which is written as a string; many clients' JSON
// has a number.
type integer int64

// UnmarshalJSONFrom reads a decimal integer, in quotes or without.
func (n *integer) UnmarshalJSONFrom(dec *jsontext.Decoder) error {
	text, err := dec.ReadValue()
	if err != nil || text.Kind() == 'n' {
		return err
	}
	digits := string(bytes.Trim(text, `"`))
	v, err := strconv.ParseInt(digits, 10, 64)
	if err != nil || strconv.FormatInt(v, 10) != digits {
		return errors.New("not a 64-bit integer")
	}
	*n = integer(v)
	return nil
}

// MarshalJSONTo writes the integer as a string.
func (n integer) MarshalJSONTo(enc *jsontext.Encoder) error {
	return enc.WriteToken(jsontext.String(strconv.FormatInt(int64(n), 10)))
}

// isBase64 says which members of a bundle are bytes.
func isBase64(name []byte) bool {
	switch string(name) {
	case "rawBytes", "keyId", "signedTimestamp", "signedEntryTimestamp", "canonicalizedBody",
		"rootHash", "hashes", "payload", "sig", "signature", "digest":
		return true
	}
	return false
}

// digestAlgorithms are a message digest's algorithms, by their names in a bundle.
var digestAlgorithms = map[string]string{"SHA2_256": "sha256", "SHA2_384": "sha384", "SHA2_512": "sha512"}

func (w wireEntry) entry(v01 bool) (Entry, error) {
	e := Entry{
		LogIndex: int64(w.LogIndex), Kind: w.KindVersion.Kind, Version: w.KindVersion.Version,
		IntegratedTime: int64(w.IntegratedTime), Body: w.CanonicalizedBody,
	}
	if n := copy(e.LogID[:], w.LogID.KeyID); n != len(e.LogID) || n != len(w.LogID.KeyID) {
		return Entry{}, fmt.Errorf("logId.keyId has %d bytes, want %d", len(w.LogID.KeyID), len(e.LogID))
	}
	if e.LogIndex < 0 || e.IntegratedTime < 0 {
		return Entry{}, errors.New("logIndex or integratedTime is negative")
	}
	if e.Kind == "" || e.Version == "" {
		return Entry{}, errors.New("kindVersion is missing")
	}
	if len(e.Body) == 0 {
		return Entry{}, errors.New("canonicalizedBody is missing")
	}
	if w.InclusionPromise != nil {
		if e.SET = w.InclusionPromise.SignedEntryTimestamp; len(e.SET) == 0 {
			return Entry{}, errors.New("inclusionPromise is empty")
		}
	}
	if p := w.InclusionProof; p != nil {
		e.Proof = &Proof{
			Index: int64(p.LogIndex), TreeSize: int64(p.TreeSize), RootHash: p.RootHash,
			Hashes: p.Hashes, Checkpoint: p.Checkpoint.Envelope,
		}
		if e.Proof.Index < 0 || e.Proof.TreeSize <= 0 {
			return Entry{}, errors.New("inclusionProof: logIndex is negative or treeSize not positive")
		}
	}
	switch {
	case v01 && e.SET == nil:
		return Entry{}, errors.New("inclusionPromise is missing; a v0.1 bundle must have one")
	case !v01 && e.Proof == nil:
		return Entry{}, errors.New("inclusionProof is missing")
	case e.Proof != nil && e.Proof.Checkpoint == "":
		return Entry{}, errors.New("inclusionProof.checkpoint is missing; without it the proof leads nowhere")
	}
	return e, nil
}

func (e Entry) wire() wireEntry {
	w := wireEntry{
		LogIndex: integer(e.LogIndex), LogID: wireLogID{e.LogID[:]},
		KindVersion:    wireKind{Kind: e.Kind, Version: e.Version},
		IntegratedTime: integer(e.IntegratedTime), CanonicalizedBody: e.Body,
	}
	if e.SET != nil {
		w.InclusionPromise = &wirePromise{e.SET}
	}
	if p := e.Proof; p != nil {
		w.InclusionProof = &wireProof{
			LogIndex: integer(p.Index), TreeSize: integer(p.TreeSize), RootHash: p.RootHash, Hashes: p.Hashes,
			Checkpoint: wireCheckpoint{p.Checkpoint},
		}
	}
	return w
}
