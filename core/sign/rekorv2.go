package sign

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// createEntryRequest is Rekor v2's request for a hashedrekord 0.0.2 entry, in protobuf's JSON.
type createEntryRequest struct {
	HashedRekord struct {
		Digest    []byte `json:"digest"`
		Signature struct {
			Content  []byte     `json:"content"`
			Verifier verifierV2 `json:"verifier"`
		} `json:"signature"`
	} `json:"hashedRekordRequestV002"`
}

// verifierV2 has either a key or a certificate, in DER.
type verifierV2 struct {
	PublicKey   *rawBytes `json:"publicKey,omitempty"`
	Certificate *rawBytes `json:"x509Certificate,omitempty"`
	KeyDetails  string    `json:"keyDetails"`
}

type rawBytes struct {
	RawBytes []byte `json:"rawBytes"`
}

// proposeHashedRekordV2 proposes a hashedrekord 0.0.2 entry. The digest's algorithm is the key's.
func (s *signer) proposeHashedRekordV2(digest, sig []byte) (proposed, error) {
	p := proposed{kind: entry.KindHashedRekord, version: entry.V002}
	var err error
	if p.body, err = entry.HashedRekordV002(digest, sig, s.verifier); err != nil {
		return proposed{}, err
	}
	var req createEntryRequest
	req.HashedRekord.Digest = digest
	req.HashedRekord.Signature.Content = sig
	v := &req.HashedRekord.Signature.Verifier
	if v.KeyDetails, err = entry.KeyDetails(s.verifier.Key); err != nil {
		return proposed{}, err
	}
	if s.verifier.Certificate != nil {
		v.Certificate = &rawBytes{s.verifier.Certificate}
	} else {
		spki, err := x509.MarshalPKIXPublicKey(s.verifier.Key)
		if err != nil {
			return proposed{}, fmt.Errorf("encoding public key: %w", err)
		}
		v.PublicKey = &rawBytes{spki}
	}
	if p.request, err = json.Marshal(req); err != nil {
		return proposed{}, fmt.Errorf("encoding log entry: %w", err)
	}
	return p, nil
}

// logInV2 has the entry logged by the log (Rekor v2 API) at this base URL. The answer has to be about our entry, byte for byte, with an inclusion proof
// and a checkpoint; whether those verify is checked where the log's key is known.
func (p proposed) logInV2(ctx context.Context, s service, base string) (bundle.Entry, error) {
	a, err := s.request(ctx, http.MethodPost, join(base, "/api/v2/log/entries"), "application/json", p.request, http.StatusCreated)
	if err != nil {
		return bundle.Entry{}, err
	}
	e, err := bundle.ParseEntry(a.body)
	switch {
	case err != nil:
	case e.Kind != p.kind || e.Version != p.version:
		err = fmt.Errorf("it is about a %.64s %.64s entry", e.Kind, e.Version)
	case !bytes.Equal(e.Body, p.body):
		err = errors.New("the log's body is not that of the entry that was sent")
	case e.SET != nil || e.IntegratedTime != 0:
		err = errors.New("it has a promise or a time, which a log of Rekor v2 does not give")
	case e.LogIndex != e.Proof.Index:
		err = fmt.Errorf("the proof is for index %d, the entry has %d", e.Proof.Index, e.LogIndex)
	}
	if err != nil {
		return bundle.Entry{}, s.unusable(a, "%w", err)
	}
	return e, nil
}
