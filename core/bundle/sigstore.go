package bundle

import (
	"errors"
	"fmt"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// Parse reads a Sigstore bundle v0.1, v0.2 or v0.3.
//
// Unknown and duplicate JSON fields are errors, as are bytes that are not in
// canonical base64, more than one DSSE signature, an empty signature, a v0.1 log
// entry without a signed entry timestamp, a later one without an inclusion
// proof, a certificate chain in a v0.3 bundle, and anything above the package's
// limits. Fields have the names that every client writes (mediaType, not
// media_type).
func Parse(untrustedJSON []byte) (*Evidence, error) {
	e, err := parse(untrustedJSON)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return e, nil
}

func parse(untrustedJSON []byte) (*Evidence, error) {
	var w wireBundle
	if err := unmarshalWire(untrustedJSON, &w); err != nil {
		return nil, err
	}
	e := &Evidence{Form: FormBundle, MediaType: w.MediaType}
	switch e.MediaType {
	case mediaTypeV01, mediaTypeV02, MediaTypeV03, mediaTypeV03Old:
	default:
		return nil, fmt.Errorf("mediaType %q is not a Sigstore bundle v0.1, v0.2 or v0.3", jsonguard.Excerpt(e.MediaType))
	}
	if err := e.readContent(&w); err != nil {
		return nil, err
	}
	if w.VerificationMaterial == nil {
		return nil, errors.New("verificationMaterial is missing")
	}
	return e, e.readMaterial(w.VerificationMaterial)
}

// unmarshalWire reads JSON of a bundle or of a part of one.
func unmarshalWire(untrustedJSON []byte, w any) error {
	if len(untrustedJSON) > MaxSize {
		return fmt.Errorf("has %d bytes, the limit is %d", len(untrustedJSON), MaxSize)
	}
	if err := jsonguard.Check(untrustedJSON, maxTokens, isBase64); err != nil {
		return err
	}
	if err := json.Unmarshal(untrustedJSON, w, json.RejectUnknownMembers(true), jsontext.AllowDuplicateNames(true)); err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	return nil
}

func (e *Evidence) readContent(w *wireBundle) error {
	switch env, m := w.DSSEEnvelope, w.MessageSignature; {
	case env != nil && m != nil:
		return errors.New("malformed JSON: both dsseEnvelope and messageSignature are set")
	case env != nil:
		if n := len(env.Signatures); n != 1 {
			return fmt.Errorf("dsseEnvelope has %d signatures, want exactly one", n)
		}
		if env.PayloadType == "" {
			return errors.New("dsseEnvelope.payloadType is missing")
		}
		sig := env.Signatures[0]
		e.Envelope = &Envelope{PayloadType: env.PayloadType, Payload: env.Payload, Signature: sig.Sig, KeyID: sig.KeyID}
	case m != nil:
		var digest wireDigest
		if m.MessageDigest != nil {
			digest = *m.MessageDigest
		}
		algorithm, ok := digestAlgorithms[digest.Algorithm]
		if !ok {
			return fmt.Errorf("messageSignature.messageDigest: algorithm %q is missing or not supported", jsonguard.Excerpt(digest.Algorithm))
		}
		e.Message = &Message{DigestAlgorithm: algorithm, Digest: digest.Digest, Signature: m.Signature}
	default:
		return errors.New("neither dsseEnvelope nor messageSignature is set")
	}
	return nil
}

func (e *Evidence) readMaterial(w *wireMaterial) error {
	if err := e.readSigner(w); err != nil {
		return err
	}
	for i, entry := range w.TlogEntries {
		read, err := entry.entry(e.MediaType == mediaTypeV01)
		if err != nil {
			return fmt.Errorf("tlogEntries[%d]: %w", i, err)
		}
		e.Entries = append(e.Entries, read)
	}
	if w.TimestampVerificationData == nil {
		return nil
	}
	for i, ts := range w.TimestampVerificationData.RFC3161Timestamps {
		if len(ts.SignedTimestamp) == 0 {
			return fmt.Errorf("rfc3161Timestamps[%d]: signedTimestamp is missing", i)
		}
		e.Timestamps = append(e.Timestamps, ts.SignedTimestamp)
	}
	return nil
}

func (e *Evidence) readSigner(w *wireMaterial) error {
	set := 0
	if w.Certificate != nil {
		set++
		e.Certificates = [][]byte{w.Certificate.RawBytes}
	}
	if w.PublicKey != nil {
		set++
		e.KeyHint = w.PublicKey.Hint
	}
	if chain := w.X509CertificateChain; chain != nil {
		set++
		if e.MediaType == MediaTypeV03 || e.MediaType == mediaTypeV03Old {
			return errors.New("x509CertificateChain is set; a v0.3 bundle has a single certificate")
		}
		if len(chain.Certificates) == 0 {
			return errors.New("x509CertificateChain is empty")
		}
		for _, c := range chain.Certificates {
			e.Certificates = append(e.Certificates, c.RawBytes)
		}
	}
	switch set {
	case 0:
		return errors.New("verificationMaterial names neither certificate nor publicKey")
	case 1:
		return nil
	}
	return errors.New("malformed JSON: verificationMaterial names more than one of certificate, x509CertificateChain and publicKey")
}

// ParseEntry reads a log entry (a TransparencyLogEntry), as Rekor v2 answers it
// and bundles hold it, as strictly as [Parse].
func ParseEntry(untrustedJSON []byte) (Entry, error) {
	var w wireEntry
	err := unmarshalWire(untrustedJSON, &w)
	if err == nil {
		var e Entry
		if e, err = w.entry(false); err == nil {
			return e, nil
		}
	}
	return Entry{}, fmt.Errorf("log entry: %w", err)
}

// Marshal writes evidence as a v0.3 bundle. The evidence must hold an
// envelope or a message signature; a legacy payload has no form as a bundle.
// Of a certificate chain only the leaf is written. It is an error if [Parse]
// would refuse the bundle, as where a log entry has no inclusion proof.
func Marshal(e *Evidence) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	vm := &wireMaterial{}
	if len(e.Certificates) == 0 {
		vm.PublicKey = &wireHint{e.KeyHint}
	} else {
		vm.Certificate = &wireCertificate{e.Certificates[0]}
	}
	for _, entry := range e.Entries {
		vm.TlogEntries = append(vm.TlogEntries, entry.wire())
	}
	if len(e.Timestamps) > 0 {
		vm.TimestampVerificationData = &wireTimestamps{}
		for _, ts := range e.Timestamps {
			vm.TimestampVerificationData.RFC3161Timestamps = append(vm.TimestampVerificationData.RFC3161Timestamps, wireTimestamp{ts})
		}
	}
	w := wireBundle{MediaType: MediaTypeV03, VerificationMaterial: vm}
	switch {
	case e.Envelope != nil:
		w.DSSEEnvelope = &wireEnvelope{
			PayloadType: e.Envelope.PayloadType, Payload: e.Envelope.Payload,
			Signatures: []wireSignature{{Sig: e.Envelope.Signature, KeyID: e.Envelope.KeyID}},
		}
	case e.Message != nil:
		w.MessageSignature = &wireMessage{MessageDigest: &wireDigest{Digest: e.Message.Digest}, Signature: e.Message.Signature}
		for name, algorithm := range digestAlgorithms {
			if algorithm == e.Message.DigestAlgorithm {
				w.MessageSignature.MessageDigest.Algorithm = name
			}
		}
	default:
		return nil, errors.New("bundle: a simple-signing payload cannot be written as a bundle")
	}
	out, err := json.Marshal(w)
	if err != nil {
		return nil, fmt.Errorf("bundle: encoding: %w", err)
	}
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("writing as v0.3: %w", err)
	}
	return out, nil
}
