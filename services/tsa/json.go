package tsa

import (
	"crypto"
	"fmt"
	"math/big"
	"strings"

	"github.com/go-json-experiment/json"
)

// mediaTypeJSON is the other form of a request, which upstream takes too and Sigstore's JavaScript packages send.
const mediaTypeJSON = "application/json"

// maxJSON bounds a request in JSON, as upstream does: reading a long decimal nonce takes time that grows with the square of its digits.
const maxJSON = 1 << 10

var jsonHashes = map[string]crypto.Hash{"sha256": crypto.SHA256, "sha384": crypto.SHA384, "sha512": crypto.SHA512}

// parseJSONRequest reads a request in upstream's JSON form. What DER requests are refused for with a failInfo is an error here, where it
// has no object identifiers to speak of; the rest is for [request.grantable].
func parseJSONRequest(untrusted []byte) (request, error) {
	if len(untrusted) > maxJSON {
		return request{}, fmt.Errorf("a request in JSON has at most %d bytes", maxJSON)
	}
	var in struct {
		ArtifactHash  []byte   `json:"artifactHash"` // base64
		HashAlgorithm string   `json:"hashAlgorithm"`
		Certificates  bool     `json:"certificates"`
		Nonce         *big.Int `json:"nonce"`
		Policy        string   `json:"tsaPolicyOID"`
	}
	if err := json.Unmarshal(untrusted, &in, json.RejectUnknownMembers(true)); err != nil {
		return request{}, err
	}
	r := request{version: 1, hash: jsonHashes[strings.ToLower(in.HashAlgorithm)], digest: in.ArtifactHash, nonce: in.Nonce, wantCertificate: in.Certificates}
	switch {
	case r.hash == 0:
		return request{}, fmt.Errorf("hashAlgorithm %q is not accepted, want sha256, sha384 or sha512", in.HashAlgorithm)
	case in.Policy != "" && in.Policy != Policy.String():
		return request{}, fmt.Errorf("tsaPolicyOID %q is not known, want %s", in.Policy, Policy)
	case r.nonce != nil && (r.nonce.Sign() < 0 || r.nonce.BitLen() > maxNonce*8):
		return request{}, fmt.Errorf("nonce must be a positive integer of at most %d bytes", maxNonce)
	}
	return r, nil
}
