package ca

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"math/big"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
)

func TestCA10_A104_ProofOfPossession(t *testing.T) {
	w := newWorld(t, nil)
	key, proof := newSigner(alice)
	other, otherProof := newSigner(alice)
	keyPEM := publicPEM(key.Public())
	overDigest := sha256.Sum256([]byte(alice))
	token := w.token(nil)
	for name, body := range map[string][]byte{
		"by another key":         v2Body(token, keyPEM, otherProof),
		"replayed for a new key": v2Body(token, publicPEM(other.Public()), proof),
		"over another address":   v2Body(token, keyPEM, must(keys.Sign(key, []byte("bob@acme.example")))),
		"over sub":               v2Body(token, keyPEM, must(keys.Sign(key, []byte("subject-of-alice")))),
		"over the token":         v2Body(token, keyPEM, must(keys.Sign(key, []byte(token)))),
		"over the digest":        v2Body(token, keyPEM, must(keys.Sign(key, overDigest[:]))),
		"over a line":            v2Body(token, keyPEM, must(keys.Sign(key, []byte(alice+"\n")))),
		"missing":                v2Body(token, keyPEM, nil),
		"empty":                  v2Body(token, keyPEM, []byte{}),
		"trailing byte":          v2Body(token, keyPEM, append(slices.Clone(proof), 0)),
		"zero":                   v2Body(token, keyPEM, []byte{0x30, 6, 2, 1, 0, 2, 1, 0}),
	} {
		w.refuses(name, body, http.StatusBadRequest)
	}
	w.issues("by this key over this address", v2Body(token, keyPEM, proof))

	strong := must(rsa.GenerateKey(rand.Reader, 2048))
	pss := must(strong.Sign(rand.Reader, overDigest[:], &rsa.PSSOptions{SaltLength: 32, Hash: crypto.SHA256}))
	w.refuses("RSA-PSS", v2Body(token, publicPEM(strong.Public()), pss), http.StatusBadRequest)
	w.issues("RSA PKCS #1", v2Body(token, publicPEM(strong.Public()), must(keys.Sign(strong, []byte(alice)))))
}

func csrBody(token string, der []byte) []byte {
	return must(json.Marshal(map[string]any{
		"credentials":               map[string]any{"oidcIdentityToken": token},
		"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}),
	}))
}

// What a certificate signing request asks for is not what is given.
func TestCA11_SigningRequestFieldsIgnored(t *testing.T) {
	w := newWorld(t, nil)
	key := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	constraints := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{
		Subject:        pkix.Name{CommonName: "mallory", Organization: []string{"Evil"}},
		EmailAddresses: []string{"mallory@acme.example"},
		DNSNames:       []string{"evil.example"},
		ExtraExtensions: []pkix.Extension{
			{Id: []int{2, 5, 29, 19}, Critical: true, Value: []byte{0x30, 3, 1, 1, 0xff}},                            // CA:TRUE
			{Id: []int{2, 5, 29, 37}, Value: []byte{0x30, 10, 6, 8, 0x2b, 6, 1, 5, 5, 7, 3, 8}},                      // time stamping
			{Id: []int{1, 3, 6, 1, 4, 1, 57264, 1, 1}, Value: []byte("https://token.actions.githubusercontent.com")}, // another issuer
		},
	}, key))
	leaf := w.post("/api/v2/signingCert", csrBody(w.token(nil), constraints), nil).certificates(t)[0]
	who, err := identity.FromCertificate(leaf)
	if err != nil || who.SAN.Value != alice || who.Issuer != testIssuer {
		t.Errorf("identity %+v, %v", who, err)
	}
	if leaf.IsCA || len(leaf.DNSNames) != 0 || leaf.Subject.String() != "" || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}) {
		t.Errorf("CA %v, names %v, subject %q, usages %v", leaf.IsCA, leaf.DNSNames, leaf.Subject, leaf.ExtKeyUsage)
	}
	if leaf.NotAfter.Sub(leaf.NotBefore) != CertificateLifetime {
		t.Errorf("lives %v", leaf.NotAfter.Sub(leaf.NotBefore))
	}

	broken := slices.Clone(constraints)
	broken[len(broken)-1] ^= 1
	w.refuses("broken signature", csrBody(w.token(nil), broken), http.StatusBadRequest)
	w.refuses("not DER", csrBody(w.token(nil), []byte("x")), http.StatusBadRequest)
	w.refuses("not PEM", must(json.Marshal(map[string]any{"credentials": map[string]any{"oidcIdentityToken": w.token(nil)}, "certificateSigningRequest": []byte("x")})), http.StatusBadRequest)
}

func TestCA11_WeakKeys(t *testing.T) {
	w := newWorld(t, nil)
	p := func(bits int) *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, bits)) }
	small := p(1024)
	exponent := &rsa.PublicKey{N: p(2048).N, E: 3}
	factor := &rsa.PublicKey{N: new(big.Int).Mul(new(big.Int).Rsh(p(2048).N, 9), big.NewInt(701)), E: 65537}
	factor.N.SetBit(factor.N, 2047, 1)
	for factor.N.Bit(0) == 0 || new(big.Int).Mod(factor.N, big.NewInt(701)).Sign() != 0 {
		factor.N.Add(factor.N, big.NewInt(1))
	}
	huge := &rsa.PublicKey{N: new(big.Int).SetBit(big.NewInt(1), 16383, 1), E: 65537}
	point := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: append(must(x509.MarshalPKIXPublicKey(caKey().Public()))[:27], make([]byte, 64)...)})
	p224 := must(ecdsa.GenerateKey(elliptic.P224(), rand.Reader))
	encoded := func(key crypto.PublicKey) string {
		return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: must(x509.MarshalPKIXPublicKey(key))}))
	}
	for name, keyPEM := range map[string]string{
		"RSA 1024":           encoded(small.Public()),
		"RSA 16384":          encoded(huge),
		"RSA exponent 3":     encoded(exponent),
		"RSA small factor":   encoded(factor),
		"P-224":              encoded(p224.Public()),
		"point not on curve": string(point),
		"private key":        string(must(keys.MarshalPrivate(caKey()))),
		"certificate":        certificatePEM(w.config.Chain[0].Raw),
		"two keys":           encoded(caKey().Public()) + encoded(rootKey().Public()),
		"text after":         publicPEM(must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)).Public()) + "x",
		"not a key":          "x",
		"empty":              "",
	} {
		w.refuses(name, v2Body(w.token(nil), keyPEM, []byte{1}), http.StatusBadRequest)
	}
	// A key that nobody holds and anybody can sign with: the proof is a good one, for every message.
	neutral := append([]byte{1}, make([]byte, 31)...)
	forged := append(neutral, make([]byte, 32)...)
	if !ed25519.Verify(ed25519.PublicKey(neutral), []byte(alice), forged) {
		t.Fatal("the attack does not work")
	}
	w.refuses("Ed25519 of small order", v2Body(w.token(nil), encoded(ed25519.PublicKey(neutral)), forged), http.StatusBadRequest)
	// The authority's own keys, with a good proof.
	for name, key := range map[string]*ecdsa.PrivateKey{"intermediate's key": caKey(), "root's key": rootKey()} {
		a := w.refuses(name, v2Body(w.token(nil), publicPEM(key.Public()), must(keys.Sign(key, []byte(alice)))), http.StatusBadRequest)
		if !strings.Contains(string(a.body), msgWeakKey) {
			t.Errorf("%s: %s", name, a.body)
		}
	}
}

func TestCA12_CompromisedKeys(t *testing.T) {
	known := must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	digest := sha256.Sum256(must(x509.MarshalPKIXPublicKey(known.Public())))
	body := func(w *world) []byte {
		return v2Body(w.token(nil), publicPEM(known.Public()), must(keys.Sign(known, []byte(alice))))
	}
	w := newWorld(t, func(c *Config) { c.RefusedKeys = [][32]byte{digest} })
	w.refuses("known key", body(w), http.StatusBadRequest)
	der := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, known))
	w.refuses("known key in a signing request", csrBody(w.token(nil), der), http.StatusBadRequest)
	w = newWorld(t, nil)
	w.issues("the same key, not listed", body(w))
}

func TestCA22_Limits(t *testing.T) {
	w := newWorld(t, func(c *Config) { c.PerIdentity, c.Total = 0.1, 0.25 }) // bursts of 2 and of 5
	bob := func() []byte {
		key, proof := newSigner("bob@acme.example")
		return v2Body(w.token(map[string]any{"email": "bob@acme.example"}), publicPEM(key.Public()), proof)
	}
	w.issues("alice 1", w.request(w.token(nil)))
	w.issues("alice 2", w.request(w.token(nil)))
	for range 10 {
		w.refuses("alice 3", w.request(w.token(nil)), http.StatusTooManyRequests)
	}
	w.issues("bob 1, whatever alice does", bob())
	w.clock.step(10 * time.Second)
	w.issues("alice again", w.request(w.token(nil)))
}

func TestLimitsForgetInBounds(t *testing.T) {
	l := newLimits(1, -1)
	now := time.Now()
	for i := range 3 * maxRemembered {
		if err := l.allow(big.NewInt(int64(i)).String(), now); err != nil {
			t.Fatal(err)
		}
	}
	if n := len(l.young) + len(l.old); n > 2*maxRemembered {
		t.Errorf("%d identities are remembered", n)
	}
}
