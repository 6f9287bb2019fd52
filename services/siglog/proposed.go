package siglog

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Proposed is an entry that has been read and verified, but is not in the log.
type Proposed struct {
	// Body is the canonical body: the leaf.
	Body []byte
	// LeafHash is the body's RFC 6962 hash.
	LeafHash [sha256.Size]byte

	keys []string // for the search index
}

// maxSubjects bounds how many of an in-toto statement's subjects are indexed.
const maxSubjects = 64

// strict are the options for requests: what is not known is refused.
var strict = json.RejectUnknownMembers(true)

// Parse reads a Rekor v1 ProposedEntry and verifies it: the signature over the
// digest or envelope must be that of the key or of the certificate's key. JSON that
// readers could understand differently (repeated names, trailing data, null) is
// refused. Every error is the submitter's fault.
func Parse(untrustedJSON []byte) (Proposed, error) {
	if err := refuseNull(untrustedJSON); err != nil {
		return Proposed{}, err
	}
	var p struct {
		Kind       string         `json:"kind"`
		APIVersion string         `json:"apiVersion"`
		Spec       jsontext.Value `json:"spec"`
	}
	if err := decode(untrustedJSON, &p); err != nil {
		return Proposed{}, err
	}
	if len(p.Spec) == 0 {
		return Proposed{}, errors.New("spec is missing")
	}
	switch {
	case p.Kind == entry.KindHashedRekord && p.APIVersion == entry.V001:
		return parseHashedRekord(p.Spec)
	case p.Kind == entry.KindDSSE && p.APIVersion == entry.V001:
		return parseDSSE(p.Spec)
	}
	return Proposed{}, fmt.Errorf("entries of kind %.64q version %.64q are not taken; hashedrekord 0.0.1 and dsse 0.0.1 are", p.Kind, p.APIVersion)
}

func parseHashedRekord(untrusted []byte) (Proposed, error) {
	var spec struct {
		Data struct {
			Hash struct {
				Algorithm string `json:"algorithm"`
				Value     string `json:"value"`
			} `json:"hash"`
		} `json:"data"`
		Signature struct {
			Content   []byte `json:"content"`
			PublicKey struct {
				Content []byte `json:"content"`
			} `json:"publicKey"`
		} `json:"signature"`
	}
	if err := decode(untrusted, &spec); err != nil {
		return Proposed{}, fmt.Errorf("spec: %w", err)
	}
	hash, ok := map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}[spec.Data.Hash.Algorithm]
	if !ok {
		return Proposed{}, fmt.Errorf("spec.data.hash.algorithm is %.64q; want sha256, sha384 or sha512", spec.Data.Hash.Algorithm)
	}
	digest, err := hex.DecodeString(spec.Data.Hash.Value)
	if err != nil || len(digest) != hash.Size() {
		return Proposed{}, fmt.Errorf("spec.data.hash.value is not a %s digest of %d hex digits", spec.Data.Hash.Algorithm, 2*hash.Size())
	}
	v, err := parseVerifier(spec.Signature.PublicKey.Content)
	if err != nil {
		return Proposed{}, fmt.Errorf("spec.signature.publicKey.content: %w", err)
	}
	if err := v.verifyDigest(hash, digest, spec.Signature.Content); err != nil {
		return Proposed{}, fmt.Errorf("spec.signature.content: %w", err)
	}
	body, err := entry.HashedRekordV001(hash, digest, spec.Signature.Content, v.pem)
	if err != nil {
		return Proposed{}, err
	}
	return newProposed(body, append(v.searchKeys(), hashKey(spec.Data.Hash.Algorithm, digest)))
}

func parseDSSE(untrusted []byte) (Proposed, error) {
	var spec struct {
		ProposedContent *struct {
			Envelope  string   `json:"envelope"`
			Verifiers [][]byte `json:"verifiers"`
		} `json:"proposedContent"`
		// Clients generated from Rekor's API description send null here.
		Signatures []jsontext.Value `json:"signatures"`
	}
	if err := decode(untrusted, &spec); err != nil {
		return Proposed{}, fmt.Errorf("spec: %w", err)
	}
	if spec.ProposedContent == nil {
		return Proposed{}, errors.New("spec.proposedContent is missing")
	}
	if len(spec.Signatures) > 0 {
		return Proposed{}, errors.New("spec.signatures and spec.proposedContent exclude each other")
	}
	if len(spec.ProposedContent.Verifiers) != 1 {
		return Proposed{}, fmt.Errorf("spec.proposedContent.verifiers has %d keys; want one", len(spec.ProposedContent.Verifiers))
	}
	v, err := parseVerifier(spec.ProposedContent.Verifiers[0])
	if err != nil {
		return Proposed{}, fmt.Errorf("spec.proposedContent.verifiers[0]: %w", err)
	}
	text := []byte(spec.ProposedContent.Envelope)
	payloadType, payload, signature, err := parseEnvelope(text)
	if err != nil {
		return Proposed{}, fmt.Errorf("spec.proposedContent.envelope: %w", err)
	}
	if err := v.verifyMessage(bundle.PAE(payloadType, payload), signature); err != nil {
		return Proposed{}, fmt.Errorf("spec.proposedContent.envelope: signatures[0]: %w", err)
	}
	envelopeHash, payloadHash := sha256.Sum256(text), sha256.Sum256(payload)
	body, err := entry.DSSEV001(envelopeHash, payloadHash, signature, v.pem)
	if err != nil {
		return Proposed{}, err
	}
	keys := append(v.searchKeys(), hashKey("sha256", payloadHash[:]), hashKey("sha256", envelopeHash[:]))
	return newProposed(body, append(keys, subjectKeys(payloadType, payload)...))
}

// parseEnvelope reads a DSSE envelope, whose JSON may hold more than is known
// here (the specification says so), with one signature.
func parseEnvelope(untrusted []byte) (payloadType string, payload, signature []byte, err error) {
	if err := refuseNull(untrusted); err != nil {
		return "", nil, nil, err
	}
	var e struct {
		Payload     string `json:"payload"`
		PayloadType string `json:"payloadType"`
		Signatures  []struct {
			Sig string `json:"sig"`
		} `json:"signatures"`
	}
	if err := decode(untrusted, &e, json.RejectUnknownMembers(false)); err != nil {
		return "", nil, nil, err
	}
	if len(e.Signatures) != 1 {
		return "", nil, nil, fmt.Errorf("it has %d signatures; want one", len(e.Signatures))
	}
	if e.PayloadType == "" {
		return "", nil, nil, errors.New("payloadType is missing")
	}
	if payload, err = decodeBase64(e.Payload); err != nil {
		return "", nil, nil, errors.New("payload is not base64")
	}
	if signature, err = decodeBase64(e.Signatures[0].Sig); err != nil || len(signature) == 0 {
		return "", nil, nil, errors.New("signatures[0].sig is not base64")
	}
	return e.PayloadType, payload, signature, nil
}

// decodeBase64 reads either alphabet, as DSSE demands.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "-_") {
		return base64.URLEncoding.Strict().DecodeString(s)
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

func newProposed(body []byte, keys []string) (Proposed, error) {
	if len(body) > maxBody {
		return Proposed{}, fmt.Errorf("the entry's canonical body has %d bytes, the limit is %d", len(body), maxBody)
	}
	return Proposed{Body: body, LeafHash: tlog.LeafHash(body), keys: keys}, nil
}

// maxBody bounds a canonical body in bytes: a tile's bundle gives a leaf 16 bits.
const maxBody = 1<<16 - 1

// decode reads one JSON value. Names must match exactly and occur once. Errors say
// where, and never quote Go types.
func decode(untrusted []byte, out any, opts ...json.Options) error {
	err := json.Unmarshal(untrusted, out, append([]json.Options{strict}, opts...)...)
	if err == nil {
		return nil
	}
	var semantic *json.SemanticError
	if errors.As(err, &semantic) {
		where := string(semantic.JSONPointer)
		if where == "" {
			where = "the value"
		}
		if errors.Is(err, json.ErrUnknownName) {
			return fmt.Errorf("%.128s is not a known field", where)
		}
		return fmt.Errorf("%.128s has the wrong type or encoding", where)
	}
	return malformed(err)
}

func malformed(err error) error {
	var syntactic *jsontext.SyntacticError
	if errors.As(err, &syntactic) && errors.Is(err, jsontext.ErrDuplicateName) {
		return fmt.Errorf("%.128s occurs twice", syntactic.JSONPointer)
	}
	return errors.New("it is not well-formed JSON")
}

// refuseNull refuses null anywhere but in spec.signatures, where generated clients
// write it for an empty list.
func refuseNull(untrusted []byte) error {
	d := jsontext.NewDecoder(bytes.NewReader(untrusted))
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return malformed(err)
		}
		if where := d.StackPointer(); token.Kind() == 'n' && where != "/spec/signatures" {
			return fmt.Errorf("%.128s is null", where)
		}
	}
}
