package bundle

import (
	"encoding/base64"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// MediaTypeSimpleSigning is the media type of a legacy signature's layer.
const MediaTypeSimpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"

// Annotations of a legacy signature's layer descriptor, as cosign writes them.
const (
	annotationSignature   = "dev.cosignproject.cosign/signature"
	annotationCertificate = "dev.sigstore.cosign/certificate"
	annotationChain       = "dev.sigstore.cosign/chain"
	annotationBundle      = "dev.sigstore.cosign/bundle"
	annotationTimestamp   = "dev.sigstore.cosign/rfc3161timestamp"
)

// rekorBundle is the content of the bundle annotation.
type rekorBundle struct {
	SignedEntryTimestamp []byte       `json:"SignedEntryTimestamp"`
	Payload              rekorPayload `json:"Payload"`
}

type rekorPayload struct {
	Body           string `json:"body"` // base64
	IntegratedTime int64  `json:"integratedTime"`
	LogIndex       int64  `json:"logIndex"`
	LogID          string `json:"logID"` // hex
}

type timestampBundle struct {
	SignedRFC3161Timestamp []byte `json:"SignedRFC3161Timestamp"`
}

// ParseLegacy reads one simple-signing layer of a sha256-<hex>.sig image: its
// bytes, and the annotations of its descriptor. The chain annotation is
// ignored: authorities come from the trust root. Annotations of other names are
// ignored too; a known one that is malformed is an error.
func ParseLegacy(untrustedPayload []byte, untrustedAnnotations map[string]string) (*Evidence, error) {
	e, err := parseLegacy(untrustedPayload, untrustedAnnotations)
	if err == nil {
		err = e.check()
	}
	if err != nil {
		return nil, fmt.Errorf("simple signing: %w", err)
	}
	return e, nil
}

func parseLegacy(payload []byte, annotations map[string]string) (*Evidence, error) {
	if err := checkSize(payload, annotations); err != nil {
		return nil, err
	}
	sig, err := decodeBase64(annotations[annotationSignature])
	if err != nil || len(sig) == 0 {
		return nil, fmt.Errorf("annotation %s is missing or not base64", annotationSignature)
	}
	e := &Evidence{
		Form: FormLegacy, MediaType: MediaTypeSimpleSigning,
		Payload: &Payload{Text: payload, Signature: sig},
	}
	return e, e.readAnnotations(annotations)
}

func checkSize(payload []byte, annotations map[string]string) error {
	size := len(payload)
	for _, v := range annotations {
		size += len(v)
	}
	if size > MaxSize {
		return fmt.Errorf("payload and annotations have %d bytes, the limit is %d", size, MaxSize)
	}
	return nil
}

// readAnnotations reads what comes with both kinds of legacy layers.
func (e *Evidence) readAnnotations(annotations map[string]string) error {
	if text := annotations[annotationCertificate]; text != "" {
		block, rest := pem.Decode([]byte(text))
		// A public key here must not turn keyless evidence into keyed evidence
		// (GHSA-fx35-mq7g-6g98), so anything but one certificate is an error.
		if block == nil || block.Type != "CERTIFICATE" || len(block.Headers) != 0 || len(rest) != 0 {
			return fmt.Errorf("annotation %s is not one PEM certificate", annotationCertificate)
		}
		e.Certificates = [][]byte{block.Bytes}
	}
	if text := annotations[annotationBundle]; text != "" {
		entry, err := parseRekorBundle(text)
		if err != nil {
			return fmt.Errorf("annotation %s: %w", annotationBundle, err)
		}
		e.Entries = []Entry{entry}
	}
	if text := annotations[annotationTimestamp]; text != "" {
		var ts timestampBundle
		if err := unmarshal([]byte(text), &ts, json.RejectUnknownMembers(true)); err != nil {
			return fmt.Errorf("annotation %s: %w", annotationTimestamp, err)
		}
		if len(ts.SignedRFC3161Timestamp) == 0 {
			return fmt.Errorf("annotation %s: SignedRFC3161Timestamp is missing", annotationTimestamp)
		}
		e.Timestamps = [][]byte{ts.SignedRFC3161Timestamp}
	}
	return nil
}

// maxLegacyTokens bounds the JSON of an annotation, and of an envelope: neither
// has more than 20 tokens.
const maxLegacyTokens = 256

// unmarshal reads the small JSON texts of legacy layers.
func unmarshal(untrusted []byte, v any, options ...json.Options) error {
	isBase64 := func(name []byte) bool {
		switch string(name) {
		case "SignedEntryTimestamp", "SignedRFC3161Timestamp", "payload", "sig":
			return true
		}
		return false
	}
	if err := jsonguard.Check(untrusted, maxLegacyTokens, isBase64); err != nil {
		return err
	}
	if err := json.Unmarshal(untrusted, v, append(options, jsontext.AllowDuplicateNames(true))...); err != nil {
		return fmt.Errorf("malformed JSON: %w", err)
	}
	return nil
}

// decodeBase64 reads canonical standard base64: the decoder itself skips line
// breaks.
func decodeBase64(s string) ([]byte, error) {
	if strings.ContainsAny(s, "\r\n") {
		return nil, errors.New("line break in base64")
	}
	return base64.StdEncoding.Strict().DecodeString(s)
}

func parseRekorBundle(text string) (Entry, error) {
	var rb rekorBundle
	if err := unmarshal([]byte(text), &rb, json.RejectUnknownMembers(true)); err != nil {
		return Entry{}, err
	}
	body, err := decodeBase64(rb.Payload.Body)
	if err != nil || len(body) == 0 {
		return Entry{}, errors.New("Payload.body is missing or not base64")
	}
	entry := Entry{
		LogIndex: rb.Payload.LogIndex, IntegratedTime: rb.Payload.IntegratedTime,
		SET: rb.SignedEntryTimestamp, Body: body,
	}
	if len(entry.SET) == 0 {
		return Entry{}, errors.New("SignedEntryTimestamp is missing")
	}
	if entry.LogIndex < 0 || entry.IntegratedTime < 0 {
		return Entry{}, errors.New("logIndex or integratedTime is negative")
	}
	if _, err := hex.Decode(entry.LogID[:], []byte(rb.Payload.LogID)[:min(len(rb.Payload.LogID), 64)]); err != nil || len(rb.Payload.LogID) != 64 {
		return Entry{}, errors.New("Payload.logID is not 64 hexadecimal digits")
	}
	var kind struct {
		Kind       string `json:"kind"`
		APIVersion string `json:"apiVersion"`
	}
	if err := unmarshal(body, &kind); err != nil {
		return Entry{}, fmt.Errorf("Payload.body: %w", err)
	}
	entry.Kind, entry.Version = kind.Kind, kind.APIVersion
	return entry, nil
}

// LegacyAnnotations writes everything but the payload as the annotations of a
// simple-signing layer. Of several log entries the first one with a signed
// entry timestamp is written, of several timestamps the first.
func LegacyAnnotations(e *Evidence) (map[string]string, error) {
	if e.Payload == nil {
		return nil, errors.New("simple signing: the evidence holds no simple-signing payload")
	}
	a, err := e.annotations()
	if err != nil {
		return nil, fmt.Errorf("simple signing: %w", err)
	}
	a[annotationSignature] = base64.StdEncoding.EncodeToString(e.Payload.Signature)
	return a, nil
}

// annotations writes what comes with both kinds of legacy layers.
func (e *Evidence) annotations() (map[string]string, error) {
	if err := e.check(); err != nil {
		return nil, err
	}
	a := make(map[string]string)
	if len(e.Certificates) > 0 {
		a[annotationCertificate] = encodePEM(e.Certificates[:1])
		a[annotationChain] = encodePEM(e.Certificates[1:])
	}
	for _, entry := range e.Entries {
		if entry.SET == nil {
			continue
		}
		text, err := json.Marshal(rekorBundle{SignedEntryTimestamp: entry.SET, Payload: rekorPayload{
			Body:           base64.StdEncoding.EncodeToString(entry.Body),
			IntegratedTime: entry.IntegratedTime, LogIndex: entry.LogIndex, LogID: hex.EncodeToString(entry.LogID[:]),
		}})
		if err != nil {
			return nil, fmt.Errorf("encoding log entry: %w", err)
		}
		a[annotationBundle] = string(text)
		break
	}
	if len(e.Timestamps) > 0 {
		text, err := json.Marshal(timestampBundle{e.Timestamps[0]})
		if err != nil {
			return nil, fmt.Errorf("encoding timestamp: %w", err)
		}
		a[annotationTimestamp] = string(text)
	}
	return a, nil
}

func encodePEM(certs [][]byte) string {
	var out []byte
	for _, der := range certs {
		out = append(out, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	return string(out)
}
