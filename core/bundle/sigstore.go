package bundle

import (
	"encoding/json"
	"errors"
	"fmt"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	dssepb "github.com/sigstore/protobuf-specs/gen/pb-go/dsse"
	rekorpb "github.com/sigstore/protobuf-specs/gen/pb-go/rekor/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// Parse reads a Sigstore bundle v0.1, v0.2 or v0.3.
//
// Unknown and duplicate JSON fields are errors, as are bytes that are not in
// canonical base64, more than one DSSE
// signature, an empty signature, a v0.1 log entry without a signed entry
// timestamp, a later one without an inclusion proof, a certificate chain in a
// v0.3 bundle, and anything above the package's limits.
func Parse(untrustedJSON []byte) (*Evidence, error) {
	if len(untrustedJSON) > MaxSize {
		return nil, fmt.Errorf("bundle: has %d bytes, the limit is %d", len(untrustedJSON), MaxSize)
	}
	if err := jsonguard.Check(untrustedJSON, maxTokens, isBase64); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	var pb bundlepb.Bundle
	if err := protojson.Unmarshal(untrustedJSON, &pb); err != nil {
		return nil, fmt.Errorf("bundle: malformed JSON: %w", err)
	}
	e, err := fromProto(&pb)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	return e, nil
}

// isBase64 says which members of a bundle are bytes, in both of the spellings
// that protobuf's JSON allows.
func isBase64(name string) bool {
	switch name {
	case "rawBytes", "raw_bytes", "keyId", "key_id", "signedTimestamp", "signed_timestamp",
		"signedEntryTimestamp", "signed_entry_timestamp", "canonicalizedBody", "canonicalized_body",
		"rootHash", "root_hash", "hashes", "payload", "sig", "signature", "digest":
		return true
	}
	return false
}

func fromProto(pb *bundlepb.Bundle) (*Evidence, error) {
	e := &Evidence{Form: FormBundle, MediaType: pb.GetMediaType()}
	switch e.MediaType {
	case mediaTypeV01, mediaTypeV02, mediaTypeV03, mediaTypeV03Old:
	default:
		return nil, fmt.Errorf("mediaType %q is not a Sigstore bundle v0.1, v0.2 or v0.3", e.MediaType)
	}
	if err := e.readContent(pb); err != nil {
		return nil, err
	}
	vm := pb.GetVerificationMaterial()
	if vm == nil {
		return nil, errors.New("verificationMaterial is missing")
	}
	if err := e.readSigner(vm); err != nil {
		return nil, err
	}
	for i, tle := range vm.GetTlogEntries() {
		entry, err := readEntry(tle, e.MediaType == mediaTypeV01)
		if err != nil {
			return nil, fmt.Errorf("tlogEntries[%d]: %w", i, err)
		}
		e.Entries = append(e.Entries, entry)
	}
	for i, ts := range vm.GetTimestampVerificationData().GetRfc3161Timestamps() {
		if len(ts.GetSignedTimestamp()) == 0 {
			return nil, fmt.Errorf("rfc3161Timestamps[%d]: signedTimestamp is missing", i)
		}
		e.Timestamps = append(e.Timestamps, ts.GetSignedTimestamp())
	}
	return e, nil
}

// mediaTypeV03 is [MediaTypeV03]; the alias keeps the versions in one line.
const mediaTypeV03 = MediaTypeV03

func (e *Evidence) readContent(pb *bundlepb.Bundle) error {
	switch content := pb.GetContent().(type) {
	case *bundlepb.Bundle_DsseEnvelope:
		env := content.DsseEnvelope
		if n := len(env.GetSignatures()); n != 1 {
			return fmt.Errorf("dsseEnvelope has %d signatures, want exactly one", n)
		}
		if env.GetPayloadType() == "" {
			return errors.New("dsseEnvelope.payloadType is missing")
		}
		sig := env.GetSignatures()[0]
		e.Envelope = &Envelope{
			PayloadType: env.GetPayloadType(), Payload: env.GetPayload(),
			Signature: sig.GetSig(), KeyID: sig.GetKeyid(),
		}
	case *bundlepb.Bundle_MessageSignature:
		digest := content.MessageSignature.GetMessageDigest()
		m := &Message{Digest: digest.GetDigest(), Signature: content.MessageSignature.GetSignature()}
		switch digest.GetAlgorithm() {
		case commonpb.HashAlgorithm_SHA2_256:
			m.DigestAlgorithm = "sha256"
		case commonpb.HashAlgorithm_SHA2_384:
			m.DigestAlgorithm = "sha384"
		case commonpb.HashAlgorithm_SHA2_512:
			m.DigestAlgorithm = "sha512"
		default:
			return fmt.Errorf("messageSignature.messageDigest: algorithm %s is missing or not supported", digest.GetAlgorithm())
		}
		e.Message = m
	default:
		return errors.New("neither dsseEnvelope nor messageSignature is set")
	}
	return nil
}

func (e *Evidence) readSigner(vm *bundlepb.VerificationMaterial) error {
	switch content := vm.GetContent().(type) {
	case *bundlepb.VerificationMaterial_Certificate:
		e.Certificates = [][]byte{content.Certificate.GetRawBytes()}
	case *bundlepb.VerificationMaterial_X509CertificateChain:
		if e.MediaType == mediaTypeV03 || e.MediaType == mediaTypeV03Old {
			return errors.New("x509CertificateChain is set; a v0.3 bundle has a single certificate")
		}
		for _, c := range content.X509CertificateChain.GetCertificates() {
			e.Certificates = append(e.Certificates, c.GetRawBytes())
		}
		if len(e.Certificates) == 0 {
			return errors.New("x509CertificateChain is empty")
		}
	case *bundlepb.VerificationMaterial_PublicKey:
		e.KeyHint = content.PublicKey.GetHint()
	default:
		return errors.New("verificationMaterial names neither certificate nor publicKey")
	}
	return nil
}

// ParseEntry reads a log entry (a TransparencyLogEntry), as Rekor v2 answers it
// and bundles hold it, as strictly as [Parse].
func ParseEntry(untrustedJSON []byte) (Entry, error) {
	if len(untrustedJSON) > MaxSize {
		return Entry{}, fmt.Errorf("log entry: it has %d bytes, the limit is %d", len(untrustedJSON), MaxSize)
	}
	if err := jsonguard.Check(untrustedJSON, maxTokens, isBase64); err != nil {
		return Entry{}, fmt.Errorf("log entry: %w", err)
	}
	var tle rekorpb.TransparencyLogEntry
	if err := protojson.Unmarshal(untrustedJSON, &tle); err != nil {
		return Entry{}, fmt.Errorf("log entry: malformed JSON: %w", err)
	}
	entry, err := readEntry(&tle, false)
	if err != nil {
		return Entry{}, fmt.Errorf("log entry: %w", err)
	}
	return entry, nil
}

func readEntry(tle *rekorpb.TransparencyLogEntry, v01 bool) (Entry, error) {
	entry := Entry{
		LogIndex:       tle.GetLogIndex(),
		Kind:           tle.GetKindVersion().GetKind(),
		Version:        tle.GetKindVersion().GetVersion(),
		IntegratedTime: tle.GetIntegratedTime(),
		Body:           tle.GetCanonicalizedBody(),
	}
	id := tle.GetLogId().GetKeyId()
	if len(id) != len(entry.LogID) {
		return Entry{}, fmt.Errorf("logId.keyId has %d bytes, want %d", len(id), len(entry.LogID))
	}
	copy(entry.LogID[:], id)
	if entry.LogIndex < 0 || entry.IntegratedTime < 0 {
		return Entry{}, errors.New("logIndex or integratedTime is negative")
	}
	if entry.Kind == "" || entry.Version == "" {
		return Entry{}, errors.New("kindVersion is missing")
	}
	if len(entry.Body) == 0 {
		return Entry{}, errors.New("canonicalizedBody is missing")
	}
	if promise := tle.GetInclusionPromise(); promise != nil {
		if entry.SET = promise.GetSignedEntryTimestamp(); len(entry.SET) == 0 {
			return Entry{}, errors.New("inclusionPromise is empty")
		}
	}
	if p := tle.GetInclusionProof(); p != nil {
		entry.Proof = &Proof{
			Index: p.GetLogIndex(), TreeSize: p.GetTreeSize(), RootHash: p.GetRootHash(),
			Hashes: p.GetHashes(), Checkpoint: p.GetCheckpoint().GetEnvelope(),
		}
		if entry.Proof.Index < 0 || entry.Proof.TreeSize <= 0 {
			return Entry{}, errors.New("inclusionProof: logIndex is negative or treeSize not positive")
		}
	}
	if v01 && entry.SET == nil {
		return Entry{}, errors.New("inclusionPromise is missing; a v0.1 bundle must have one")
	}
	if !v01 && entry.Proof == nil {
		return Entry{}, errors.New("inclusionProof is missing")
	}
	if entry.Proof != nil && entry.Proof.Checkpoint == "" {
		return Entry{}, errors.New("inclusionProof.checkpoint is missing; without it the proof leads nowhere")
	}
	return entry, nil
}

// Marshal writes evidence as a v0.3 bundle. The evidence must hold an
// envelope or a message signature; a legacy payload has no form as a bundle.
// Of a certificate chain only the leaf is written. It is an error if [Parse]
// would refuse the bundle, as where a log entry has no inclusion proof.
func Marshal(e *Evidence) ([]byte, error) {
	if err := e.check(); err != nil {
		return nil, fmt.Errorf("bundle: %w", err)
	}
	vm := &bundlepb.VerificationMaterial{}
	switch len(e.Certificates) {
	case 0:
		vm.Content = &bundlepb.VerificationMaterial_PublicKey{PublicKey: &commonpb.PublicKeyIdentifier{Hint: e.KeyHint}}
	default:
		vm.Content = &bundlepb.VerificationMaterial_Certificate{Certificate: &commonpb.X509Certificate{RawBytes: e.Certificates[0]}}
	}
	for _, entry := range e.Entries {
		vm.TlogEntries = append(vm.TlogEntries, entry.proto())
	}
	if len(e.Timestamps) > 0 {
		vm.TimestampVerificationData = &bundlepb.TimestampVerificationData{}
		for _, ts := range e.Timestamps {
			vm.TimestampVerificationData.Rfc3161Timestamps = append(vm.TimestampVerificationData.Rfc3161Timestamps,
				&commonpb.RFC3161SignedTimestamp{SignedTimestamp: ts})
		}
	}
	pb := &bundlepb.Bundle{MediaType: MediaTypeV03, VerificationMaterial: vm}
	switch {
	case e.Envelope != nil:
		pb.Content = &bundlepb.Bundle_DsseEnvelope{DsseEnvelope: &dssepb.Envelope{
			PayloadType: e.Envelope.PayloadType, Payload: e.Envelope.Payload,
			Signatures: []*dssepb.Signature{{Sig: e.Envelope.Signature, Keyid: e.Envelope.KeyID}},
		}}
	case e.Message != nil:
		algorithm := map[string]commonpb.HashAlgorithm{
			"sha256": commonpb.HashAlgorithm_SHA2_256, "sha384": commonpb.HashAlgorithm_SHA2_384, "sha512": commonpb.HashAlgorithm_SHA2_512,
		}[e.Message.DigestAlgorithm]
		pb.Content = &bundlepb.Bundle_MessageSignature{MessageSignature: &commonpb.MessageSignature{
			MessageDigest: &commonpb.HashOutput{Algorithm: algorithm, Digest: e.Message.Digest}, Signature: e.Message.Signature,
		}}
	default:
		return nil, errors.New("bundle: a simple-signing payload cannot be written as a bundle")
	}
	raw, err := protojson.Marshal(pb)
	if err != nil {
		return nil, fmt.Errorf("bundle: encoding: %w", err)
	}
	// protojson varies its white space on purpose; what is pushed to a registry
	// by digest has to be reproducible.
	out, err := json.Marshal(json.RawMessage(raw))
	if err != nil {
		return nil, fmt.Errorf("bundle: encoding: %w", err)
	}
	if _, err := Parse(out); err != nil {
		return nil, fmt.Errorf("writing as v0.3: %w", err)
	}
	return out, nil
}

func (e Entry) proto() *rekorpb.TransparencyLogEntry {
	tle := &rekorpb.TransparencyLogEntry{
		LogIndex: e.LogIndex, LogId: &commonpb.LogId{KeyId: e.LogID[:]},
		KindVersion:    &rekorpb.KindVersion{Kind: e.Kind, Version: e.Version},
		IntegratedTime: e.IntegratedTime, CanonicalizedBody: e.Body,
	}
	if e.SET != nil {
		tle.InclusionPromise = &rekorpb.InclusionPromise{SignedEntryTimestamp: e.SET}
	}
	if p := e.Proof; p != nil {
		tle.InclusionProof = &rekorpb.InclusionProof{
			LogIndex: p.Index, TreeSize: p.TreeSize, RootHash: p.RootHash, Hashes: p.Hashes,
			Checkpoint: &rekorpb.Checkpoint{Envelope: p.Checkpoint},
		}
	}
	return tle
}
