package ca

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sct"
)

const (
	testIssuer = "https://issuer.acme.example"
	testKeyID  = "issuer-1"
	alice      = "alice@acme.example"
)

var (
	issuerKey = sync.OnceValue(func() *rsa.PrivateKey { return must(rsa.GenerateKey(rand.Reader, 2048)) })
	rootKey   = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)) })
	caKey     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
	ctKey     = sync.OnceValue(func() *ecdsa.PrivateKey { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) })
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// clock is a time that tests set.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) step(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// ctLog is a certificate log that keeps its entries in memory and can be made to misbehave.
type ctLog struct {
	mu      sync.Mutex
	entries [][]byte                              // precertificates
	spoil   func(sct.SCT, error) (sct.SCT, error) // applied to each answer; nil: none
	block   bool                                  // wait for the context to end
}

func (l *ctLog) AddPreChain(ctx context.Context, chain [][]byte) (sct.SCT, error) {
	if l.block {
		<-ctx.Done()
		return sct.SCT{}, ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	precertificate, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return sct.SCT{}, err
	}
	issuer, err := x509.ParseCertificate(chain[1])
	if err != nil {
		return sct.SCT{}, err
	}
	tbs, err := sct.PrecertTBS(precertificate.RawTBSCertificate)
	if err != nil {
		return sct.SCT{}, err
	}
	index := uint64(len(l.entries))
	l.entries = append(l.entries, chain[0])
	timestamp, err := sct.Sign(ctKey(), uint64(time.Now().UnixMilli()), sct.LeafIndexExtension(index), sha256.Sum256(issuer.RawSubjectPublicKeyInfo), tbs)
	if l.spoil != nil {
		return l.spoil(timestamp, err)
	}
	return timestamp, err
}

// testChain makes an intermediate and a root, valid around now.
func testChain(now time.Time, change func(intermediate, root *x509.Certificate)) []*x509.Certificate {
	root := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "root"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLen: 1, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	intermediate := &x509.Certificate{
		SerialNumber: big.NewInt(2), Subject: pkix.Name{CommonName: "intermediate"}, NotBefore: now.Add(-time.Hour), NotAfter: now.Add(1000 * time.Hour),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning},
	}
	if change != nil {
		change(intermediate, root)
	}
	rootDER := must(x509.CreateCertificate(rand.Reader, root, root, rootKey().Public(), rootKey()))
	rootCertificate := must(x509.ParseCertificate(rootDER))
	der := must(x509.CreateCertificate(rand.Reader, intermediate, rootCertificate, caKey().Public(), rootKey()))
	return []*x509.Certificate{must(x509.ParseCertificate(der)), rootCertificate}
}

func issuerKeys() *jose.JSONWebKeySet {
	return &jose.JSONWebKeySet{Keys: []jose.JSONWebKey{{Key: issuerKey().Public(), KeyID: testKeyID, Algorithm: "RS256", Use: "sig"}}}
}

// world is an authority on a server, with everything around it.
type world struct {
	*testing.T
	ca     *CA
	clock  *clock
	log    *ctLog
	config Config
	url    string
}

func newWorld(t testing.TB, change func(*Config)) *world {
	t.Helper()
	// A whole second, so that tests meet the exact end of a token's life.
	w := &world{clock: &clock{now: time.Now().Truncate(time.Second)}, log: &ctLog{}}
	w.T, _ = t.(*testing.T)
	w.config = Config{
		Signer: caKey(), Chain: testChain(w.clock.now, nil), CTLog: w.log, CTLogKey: &ctKey().PublicKey, Clock: w.clock.Now,
		Issuers: []Issuer{{URL: testIssuer, Keys: issuerKeys()}},
	}
	if change != nil {
		change(&w.config)
	}
	var err error
	if w.ca, err = New(w.config); err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(w.ca.Handler())
	t.Cleanup(server.Close)
	w.url = server.URL
	return w
}

// claims are those of a good token for Alice.
func (w *world) claims() map[string]any {
	now := w.clock.Now().Unix()
	return map[string]any{
		"iss": testIssuer, "sub": "subject-of-alice", "aud": "sigstore", "exp": now + 600, "iat": now, "email": alice, "email_verified": true,
	}
}

// token is a good token for Alice, with some claims changed; a nil value removes one.
func (w *world) token(changes map[string]any) string {
	claims := w.claims()
	for name, value := range changes {
		claims[name] = value
		if value == nil {
			delete(claims, name)
		}
	}
	return signJWT(must(json.Marshal(claims)), map[string]any{"alg": "RS256", "kid": testKeyID, "typ": "JWT"})
}

// signJWT signs with RS256 whatever the header says.
func signJWT(payload []byte, header map[string]any) string {
	signed := encode(must(json.Marshal(header))) + "." + encode(payload)
	digest := sha256.Sum256([]byte(signed))
	return signed + "." + encode(must(rsa.SignPKCS1v15(rand.Reader, issuerKey(), crypto.SHA256, digest[:])))
}

func encode(b []byte) string { return base64.RawURLEncoding.EncodeToString(b) }

// signerKey is a signer's key with the proof that it is held.
func newSigner(name string) (key *ecdsa.PrivateKey, proof []byte) {
	key = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	return key, must(keys.Sign(key, []byte(name)))
}

func publicPEM(key crypto.PublicKey) string { return string(must(keys.MarshalPublic(key))) }

// v2Body is a request as sigstore-go writes it, with the token in it.
func v2Body(token, keyPEM string, proof []byte) []byte {
	return must(json.Marshal(map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": token},
		"publicKeyRequest": map[string]any{
			"publicKey":         map[string]any{"algorithm": "ECDSA", "content": keyPEM},
			"proofOfPossession": proof,
		},
	}))
}

// request asks for a certificate for Alice's new key with this token.
func (w *world) request(token string) []byte {
	key, proof := newSigner(alice)
	return v2Body(token, publicPEM(key.Public()), proof)
}

type answer struct {
	status int
	header http.Header
	body   []byte
}

func (w *world) post(path string, body []byte, header http.Header) answer {
	return w.do(http.MethodPost, path, body, header)
}

func (w *world) do(method, path string, body []byte, header http.Header) answer {
	request := must(http.NewRequest(method, w.url+path, bytes.NewReader(body)))
	for name, values := range header {
		request.Header[name] = values
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.Fatal(err)
	}
	defer response.Body.Close()
	return answer{response.StatusCode, response.Header, must(io.ReadAll(response.Body))}
}

// certificates reads the chain of a v2 answer.
func (a answer) certificates(t testing.TB) []*x509.Certificate {
	t.Helper()
	var decoded struct {
		Embedded struct {
			Chain struct{ Certificates []string }
		} `json:"signedCertificateEmbeddedSct"`
	}
	if a.status != http.StatusOK {
		t.Fatalf("status %d: %s", a.status, a.body)
	}
	if err := json.Unmarshal(a.body, &decoded); err != nil {
		t.Fatal(err)
	}
	var chain []*x509.Certificate
	for _, text := range decoded.Embedded.Chain.Certificates {
		block, _ := pem.Decode([]byte(text))
		chain = append(chain, must(x509.ParseCertificate(block.Bytes)))
	}
	return chain
}

// issues demands a certificate.
func (w *world) issues(name string, body []byte) {
	w.Helper()
	if a := w.post("/api/v2/signingCert", body, nil); a.status != http.StatusOK {
		w.Errorf("%s: status %d, want a certificate: %s", name, a.status, a.body)
	}
}

// refuses demands an error of this status, in the form that Fulcio has, and that nothing was logged.
func (w *world) refuses(name string, body []byte, status int) answer {
	w.Helper()
	before := len(w.log.entries)
	a := w.post("/api/v2/signingCert", body, nil)
	w.isError(name, a, status)
	if len(w.log.entries) != before {
		w.Errorf("%s: a refused request reached the certificate log", name)
	}
	return a
}

func (w *world) isError(name string, a answer, status int) {
	w.Helper()
	var decoded struct {
		Code    int
		Message string
		Details []any
	}
	if a.status != status {
		w.Errorf("%s: status %d, want %d: %.300s", name, a.status, status, a.body)
		return
	}
	if err := json.Unmarshal(a.body, &decoded); err != nil || decoded.Code == 0 || decoded.Message == "" || decoded.Details == nil {
		w.Errorf("%s: body is not an error: %.300s", name, a.body)
	}
	if bytes.Contains(a.body, []byte("CERTIFICATE-----")) {
		w.Errorf("%s: an error came with a certificate", name)
	}
}
