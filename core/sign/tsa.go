package sign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"net/http"
	"time"

	"github.com/touchmark/touchmark/core/tsp"
)

// maxNonce is 2^64: enough that no answer can be an old one.
var maxNonce = new(big.Int).Lsh(big.NewInt(1), 64)

// timestamp gets an RFC 3161 timestamp over a signature from the authority at this URL. It returns the answer as it stands in bundles, and its time.
func timestamp(ctx context.Context, s service, u string, signature []byte) ([]byte, time.Time, error) {
	nonce, err := rand.Int(rand.Reader, maxNonce)
	if err != nil {
		return nil, time.Time{}, err
	}
	req, err := tsp.NewRequest(signature, tsp.RequestOptions{Nonce: nonce})
	if err != nil {
		return nil, time.Time{}, err
	}
	a, err := s.request(ctx, http.MethodPost, u, "application/timestamp-query", req, http.StatusOK, http.StatusCreated)
	if err != nil {
		return nil, time.Time{}, err
	}
	tok, err := tsp.Parse(a.body)
	if err != nil {
		return nil, time.Time{}, s.unusable(a, "%w", err)
	}
	if err := tok.CheckNonce(nonce); err != nil {
		return nil, time.Time{}, s.unusable(a, "%w", err)
	}
	want := sha256.Sum256(signature)
	if tok.Hash != crypto.SHA256 || !bytes.Equal(tok.HashedMessage, want[:]) {
		return nil, time.Time{}, s.unusable(a, "the timestamp is about something else")
	}
	return a.body, tok.Time, nil
}
