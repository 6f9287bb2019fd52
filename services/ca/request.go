package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/touchmark/touchmark/core/keys"
)

// signingRequest is what either version of the API asks for, before anything of it is verified.
type signingRequest struct {
	token string
	key   crypto.PublicKey
	// proof is the signature over the token's subject; nil when a certificate signing request proves possession by its own.
	proof []byte
}

// parseV2 reads the body of POST /api/v2/signingCert: CreateSigningCertificateRequest of fulcio.proto in protobuf's JSON mapping.
// Fields that are not known are ignored, as grpc-gateway does.
func parseV2(body []byte, authorization string) (signingRequest, error) {
	o, err := parseObject(body)
	if err != nil {
		return signingRequest{}, invalid(msgRequest, fmt.Errorf("the body %w", err))
	}
	token, err := bearer(authorization)
	if err != nil {
		return signingRequest{}, invalid(msgToken, err)
	}
	credentials, err := o.object("credentials", "credentials")
	if err != nil {
		return signingRequest{}, invalid(msgRequest, err)
	}
	given, err := credentials.text("oidcIdentityToken", "oidc_identity_token")
	if err != nil {
		return signingRequest{}, invalid(msgRequest, err)
	}
	if given != "" && token != "" && given != token {
		return signingRequest{}, invalid(msgToken, errors.New("credentials.oidcIdentityToken and the Authorization header hold two tokens"))
	}
	if given != "" {
		token = given
	}
	wanted, err := o.object("publicKeyRequest", "public_key_request")
	if err != nil {
		return signingRequest{}, invalid(msgRequest, err)
	}
	if wanted == nil {
		return withCSR(token, o)
	}
	if csr, err := o.member("certificateSigningRequest", "certificate_signing_request"); csr != nil || err != nil {
		return signingRequest{}, invalid(msgRequest, errors.New("publicKeyRequest and certificateSigningRequest exclude each other"))
	}
	public, err := wanted.object("publicKey", "public_key")
	if err != nil {
		return signingRequest{}, invalid(msgKey, err)
	}
	// publicKey.algorithm is not read: the key says what it is, and clients write names that are not in the enumeration.
	content, err := public.text("content", "content")
	if err != nil {
		return signingRequest{}, invalid(msgKey, err)
	}
	proof, err := wanted.bytes("proofOfPossession", "proof_of_possession")
	if err != nil {
		return signingRequest{}, invalid(msgProof, err)
	}
	return withKey(token, []byte(content), proof)
}

// parseV1 reads the body of POST /api/v1/signingCert (fulcio_legacy.proto). The token comes in the Authorization header alone.
func parseV1(body []byte, authorization string) (signingRequest, error) {
	o, err := parseObject(body)
	if err != nil {
		return signingRequest{}, invalid(msgRequest, fmt.Errorf("the body %w", err))
	}
	token, err := bearer(authorization)
	if err != nil {
		return signingRequest{}, invalid(msgToken, err)
	}
	public, err := o.object("publicKey", "public_key")
	if err != nil {
		return signingRequest{}, invalid(msgKey, err)
	}
	if public == nil {
		return withCSR(token, o)
	}
	if csr, err := o.member("certificateSigningRequest", "certificate_signing_request"); csr != nil || err != nil {
		return signingRequest{}, invalid(msgRequest, errors.New("publicKey and certificateSigningRequest exclude each other"))
	}
	content, err := public.bytes("content", "content")
	if err != nil {
		return signingRequest{}, invalid(msgKey, err)
	}
	proof, err := o.bytes("signedEmailAddress", "signed_email_address")
	if err != nil {
		return signingRequest{}, invalid(msgProof, err)
	}
	return withKey(token, content, proof)
}

// bearer takes the token out of an Authorization header; "" if there is none.
func bearer(authorization string) (string, error) {
	if authorization == "" {
		return "", nil
	}
	scheme, token, found := strings.Cut(authorization, " ")
	if !found || !strings.EqualFold(scheme, "Bearer") || token == "" {
		return "", errors.New("the Authorization header is not of the form Bearer TOKEN")
	}
	return token, nil
}

func withKey(token string, content, proof []byte) (signingRequest, error) {
	if len(content) == 0 {
		return signingRequest{}, invalid(msgKey, errors.New("publicKey.content is missing"))
	}
	if len(proof) == 0 {
		return signingRequest{}, invalid(msgProof, errors.New("proof of possession is missing"))
	}
	key, err := parseKey(content)
	if err != nil {
		return signingRequest{}, invalid(msgKey, err)
	}
	return signingRequest{token: token, key: key, proof: proof}, nil
}

// withCSR reads the alternative of both versions: a PKCS #10 request, of which nothing but the key and the proof that it is held
// is used. What else it asks for (names, extensions, a lifetime) is ignored.
func withCSR(token string, o object) (signingRequest, error) {
	text, err := o.bytes("certificateSigningRequest", "certificate_signing_request")
	if err != nil {
		return signingRequest{}, invalid(msgCSR, err)
	}
	if len(text) == 0 {
		return signingRequest{}, invalid(msgRequest, errors.New("neither a public key nor a certificateSigningRequest is given"))
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "CERTIFICATE REQUEST" && block.Type != "NEW CERTIFICATE REQUEST" || len(strings.TrimSpace(string(rest))) > 0 {
		return signingRequest{}, invalid(msgCSR, errors.New("it is not one PEM block CERTIFICATE REQUEST"))
	}
	csr, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return signingRequest{}, invalid(msgCSR, err)
	}
	if csr.SignatureAlgorithm == x509.SHA1WithRSA || csr.SignatureAlgorithm == x509.ECDSAWithSHA1 {
		return signingRequest{}, invalid(msgProof, errors.New("the certificate signing request is signed with SHA-1"))
	}
	if err := csr.CheckSignature(); err != nil {
		return signingRequest{}, invalid(msgProof, err)
	}
	return signingRequest{token: token, key: csr.PublicKey}, nil
}

func parseKey(content []byte) (crypto.PublicKey, error) {
	if strings.HasPrefix(strings.TrimSpace(string(content)), "-----BEGIN ") {
		return keys.ParsePublic(content)
	}
	key, err := x509.ParsePKIXPublicKey(content)
	if err != nil {
		return nil, errors.New("it is neither PEM nor DER of a public key")
	}
	return key, nil
}

// checkProof verifies that whoever asks holds the private key: a signature over the name that the token speaks of.
func checkProof(request signingRequest, name string) error {
	if request.proof == nil {
		return nil // verified in withCSR
	}
	if !verifySignature(request.key, []byte(name), request.proof) {
		return invalid(msgProof, fmt.Errorf("it is not by this key over %q", name))
	}
	return nil
}

func verifySignature(key crypto.PublicKey, message, signature []byte) bool {
	digest := message
	hash := keys.Hash(key)
	if hash != 0 {
		h := hash.New()
		_, _ = h.Write(message)
		digest = h.Sum(nil)
	}
	switch key := key.(type) {
	case *ecdsa.PublicKey:
		return ecdsa.VerifyASN1(key, digest, signature)
	case *rsa.PublicKey:
		return rsa.VerifyPKCS1v15(key, hash, digest, signature) == nil
	case ed25519.PublicKey:
		return ed25519.Verify(key, message, signature)
	}
	return false
}

// checkKey refuses keys that prove nothing: of a kind or size that verifiers refuse, of our own authority, or known to others.
func (c *CA) checkKey(key crypto.PublicKey) error {
	weak := func(err error) error { return invalid(msgWeakKey, err) }
	if err := keys.Check(key); err != nil {
		return weak(err)
	}
	if key, ok := key.(*rsa.PublicKey); ok {
		// 65537 is the exponent of every RSA key that tools make; smaller ones have attacks of their own.
		if key.E != 65537 {
			return weak(fmt.Errorf("RSA exponent %d, want 65537", key.E))
		}
		if hasSmallFactor(key.N) {
			return weak(errors.New("RSA modulus has a small factor"))
		}
	}
	spki, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return invalid(msgKey, err)
	}
	if c.refusedKeys[sha256.Sum256(spki)] {
		return weak(errors.New("the private key is known to others than its holder"))
	}
	return nil
}

// smallPrimes returns the product of the primes from 3 to 751, the divisors that the CA/Browser Forum's Baseline Requirements 6.1.6
// ask to be tried.
var smallPrimes = sync.OnceValue(func() *big.Int {
	product := big.NewInt(1)
	for n := int64(3); n <= 751; n += 2 {
		if p := big.NewInt(n); p.ProbablyPrime(0) {
			product.Mul(product, p)
		}
	}
	return product
})

func hasSmallFactor(modulus *big.Int) bool {
	return modulus.Bit(0) == 0 || new(big.Int).GCD(nil, nil, modulus, smallPrimes()).Cmp(big.NewInt(1)) != 0
}
