package sign

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/token"
)

// certificateRequest is the body of Fulcio's POST /api/v2/signingCert.
type certificateRequest struct {
	Credentials struct {
		Token string `json:"oidcIdentityToken"`
	} `json:"credentials"`
	PublicKeyRequest struct {
		PublicKey struct {
			Algorithm string `json:"algorithm"`
			Content   string `json:"content"`
		} `json:"publicKey"`
		ProofOfPossession []byte `json:"proofOfPossession"`
	} `json:"publicKeyRequest"`
}

// certificateAnswer is its answer, in the form with the certificate timestamp inside the certificate.
type certificateAnswer struct {
	Embedded struct {
		Chain struct {
			Certificates []string `json:"certificates"`
		} `json:"chain"`
	} `json:"signedCertificateEmbeddedSct"`
}

// certify gets a certificate for the key from the authority at this base URL. It returns the chain in DER, the leaf first, and the identity in the leaf.
func certify(ctx context.Context, s service, base, tok string, key crypto.Signer) ([][]byte, identity.Identity, error) {
	none := identity.Identity{}
	subject, err := token.Subject(tok)
	if err != nil {
		return nil, none, err
	}
	publicPEM, err := keys.MarshalPublic(key.Public())
	if err != nil {
		return nil, none, err
	}
	var req certificateRequest
	req.Credentials.Token = tok
	req.PublicKeyRequest.PublicKey.Algorithm = "ECDSA"
	req.PublicKeyRequest.PublicKey.Content = string(publicPEM)
	if req.PublicKeyRequest.ProofOfPossession, err = keys.Sign(key, []byte(subject)); err != nil {
		return nil, none, err
	}
	body, err := json.Marshal(req)
	if err != nil {
		return nil, none, errors.New("encoding certificate request") // the cause might quote the token
	}
	a, err := s.request(ctx, http.MethodPost, join(base, "/api/v2/signingCert"), "application/json", body, http.StatusOK)
	if err != nil {
		return nil, none, err
	}
	chain, err := parseChain(a.body)
	if err != nil {
		return nil, none, s.unusable(a, "%w", err)
	}
	id, err := checkLeaf(chain[0], key.Public(), subject)
	if err != nil {
		return nil, none, s.unusable(a, "%w", err)
	}
	return chain, id, nil
}

func parseChain(untrusted []byte) ([][]byte, error) {
	var parsed certificateAnswer
	if err := json.Unmarshal(untrusted, &parsed); err != nil {
		return nil, err
	}
	texts := parsed.Embedded.Chain.Certificates
	if len(texts) == 0 {
		return nil, errors.New("no signedCertificateEmbeddedSct")
	}
	if len(texts) > bundle.MaxCertificates {
		return nil, fmt.Errorf("%d certificates, limit %d", len(texts), bundle.MaxCertificates)
	}
	var chain [][]byte
	for i, text := range texts {
		block, _ := pem.Decode([]byte(text))
		if block == nil || block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("certificates[%d] is not a PEM certificate", i)
		}
		chain = append(chain, block.Bytes)
	}
	return chain, nil
}

// checkLeaf: the certificate is for our key, and for who the token says we are. Who that is when it's no e-mail address is up to the authority.
func checkLeaf(der []byte, key crypto.PublicKey, subject string) (identity.Identity, error) {
	leaf, err := x509.ParseCertificate(der)
	if err != nil {
		return identity.Identity{}, err
	}
	if pub, ok := leaf.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); !ok || !pub.Equal(key) {
		return identity.Identity{}, errors.New("the certificate is for another key")
	}
	id, err := identity.FromCertificate(leaf)
	if err != nil {
		return identity.Identity{}, err
	}
	if id.SAN.Kind == identity.Email && id.SAN.Value != subject {
		return identity.Identity{}, fmt.Errorf("the certificate is for %q, the token for %q", id.SAN.Value, subject)
	}
	return id, nil
}
