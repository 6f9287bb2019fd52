package ca

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/sct"
)

// A certificate has Fulcio's profile, names the identity, and carries a timestamp that verifies.
func TestCertificate(t *testing.T) {
	w := newWorld(t, nil)
	chain := w.post("/api/v2/signingCert", w.request(w.token(nil)), nil).certificates(t)
	if len(chain) != 3 {
		t.Fatalf("%d certificates, want leaf, intermediate and root", len(chain))
	}
	leaf := chain[0]
	got, err := identity.FromCertificate(leaf)
	if err != nil {
		t.Fatal(err)
	}
	want := identity.Identity{
		SAN: identity.SAN{Kind: identity.Email, Value: alice}, Issuer: testIssuer, Extensions: identity.Extensions{TokenSubject: "subject-of-alice"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("identity (-want +got):\n%s", diff)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(chain[2])
	intermediates.AddCert(chain[1])
	if _, err := leaf.Verify(x509.VerifyOptions{Roots: roots, Intermediates: intermediates, CurrentTime: w.clock.Now(), KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}}); err != nil {
		t.Error(err)
	}
	if leaf.IsCA || leaf.KeyUsage != x509.KeyUsageDigitalSignature || !slices.Equal(leaf.ExtKeyUsage, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}) {
		t.Errorf("key usage %v %v, CA %v", leaf.KeyUsage, leaf.ExtKeyUsage, leaf.IsCA)
	}
	if leaf.NotAfter.Sub(leaf.NotBefore) != CertificateLifetime || leaf.NotBefore.After(w.clock.Now()) {
		t.Errorf("valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
	}
	if !bytes.Equal(leaf.RawSubject, []byte{0x30, 0}) || len(leaf.SubjectKeyId) == 0 || !bytes.Equal(leaf.AuthorityKeyId, chain[1].SubjectKeyId) {
		t.Errorf("subject %x, key identifiers %x %x", leaf.RawSubject, leaf.SubjectKeyId, leaf.AuthorityKeyId)
	}
	if last := leaf.Extensions[len(leaf.Extensions)-1]; !last.Id.Equal(sct.OIDList) || last.Critical {
		t.Errorf("last extension is %v, critical %v, want the timestamps", last.Id, last.Critical)
	}
	if n := leaf.SerialNumber.BitLen(); n > 128 || n < 64 {
		t.Errorf("serial number has %d bits", n)
	}
	if scts, err := sct.FromCertificate(leaf); err != nil || len(scts) != 1 || scts[0].LogID != must(sct.LogID(&ctKey().PublicKey)) {
		t.Errorf("timestamps %v, %v", scts, err)
	}
}

// Version 1 of the API, as podman and skopeo speak it: DER of the key, the token in the header, 201 and PEM.
func TestLegacyAPI(t *testing.T) {
	w := newWorld(t, nil)
	for _, form := range []string{"DER", "PEM"} {
		key, proof := newSigner(alice)
		content := must(x509.MarshalPKIXPublicKey(key.Public()))
		if form == "PEM" {
			content = []byte(publicPEM(key.Public()))
		}
		body := must(json.Marshal(map[string]any{"publicKey": map[string]any{"content": content, "algorithm": "ecdsa"}, "signedEmailAddress": proof}))
		header := http.Header{"Authorization": {"Bearer " + w.token(nil)}}
		a := w.post("/api/v1/signingCert", body, header)
		if a.status != http.StatusCreated || a.header.Get("Content-Type") != "application/pem-certificate-chain" || a.header.Get("SCT") != "" {
			t.Fatalf("%s: status %d, header %v: %s", form, a.status, a.header, a.body)
		}
		block, rest := pem.Decode(a.body)
		leaf := must(x509.ParseCertificate(block.Bytes))
		if !key.PublicKey.Equal(leaf.PublicKey) || bytes.Count(rest, []byte("BEGIN CERTIFICATE")) != 2 {
			t.Errorf("%s: the chain is not leaf, intermediate, root", form)
		}
		w.isError("v1 without a token", w.post("/api/v1/signingCert", body, nil), http.StatusBadRequest)
	}
	csr := must(x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{}, must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))))
	body := must(json.Marshal(map[string]any{"certificateSigningRequest": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: csr})}))
	if a := w.post("/api/v1/signingCert", body, http.Header{"Authorization": {"Bearer " + w.token(nil)}}); a.status != http.StatusCreated {
		t.Errorf("signing request: status %d: %s", a.status, a.body)
	}
	if a := w.do(http.MethodGet, "/api/v1/rootCert", nil, nil); a.status != http.StatusOK || bytes.Count(a.body, []byte("BEGIN CERTIFICATE")) != 2 {
		t.Errorf("rootCert: status %d: %s", a.status, a.body)
	}
}

// What clients write differently: the token only in the header, snake case, base64 in the URL alphabet without padding, unknown
// fields, names of algorithms that are not in the enumeration.
func TestFormsOfRequest(t *testing.T) {
	w := newWorld(t, nil)
	key, proof := newSigner(alice)
	for name, test := range map[string]struct {
		body, authorization string
		status              int
	}{
		"header":                  {`{"publicKeyRequest":{"publicKey":{"algorithm":"RSA","content":KEY},"proofOfPossession":"PROOF"}}`, "Bearer TOKEN", 200},
		"snake":                   {`{"credentials":{"oidc_identity_token":"TOKEN"},"public_key_request":{"public_key":{"content":KEY},"proof_of_possession":"PROOF"}}`, "", 200},
		"url alphabet":            {`{"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"URLPROOF"}}`, "", 200},
		"unknown field":           {`{"new":[1],"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 200},
		"same token twice":        {`{"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "bearer TOKEN", 200},
		"null":                    {`{"certificateSigningRequest":null,"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 200},
		"two tokens":              {`{"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "Bearer other", 400},
		"both spellings":          {`{"credentials":{"oidcIdentityToken":"TOKEN","oidc_identity_token":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 400},
		"field twice":             {`{"credentials":{"oidcIdentityToken":"TOKEN"},"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 400},
		"key and signing request": {`{"certificateSigningRequest":"AAAA","credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 400},
		"basic authorization":     {`{"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "Basic TOKEN", 400},
		"no token":                {`{"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"PROOF"}}`, "", 400},
		"no key":                  {`{"credentials":{"oidcIdentityToken":"TOKEN"}}`, "", 400},
		"key is a number":         {`{"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":7},"proofOfPossession":"PROOF"}}`, "", 400},
		"proof is not base64":     {`{"credentials":{"oidcIdentityToken":"TOKEN"},"publicKeyRequest":{"publicKey":{"content":KEY},"proofOfPossession":"!"}}`, "", 400},
		"array":                   {`[]`, "", 400},
		"empty":                   {``, "", 400},
		"two documents":           {`{}{}`, "", 400},
		"deep":                    {strings.Repeat(`{"a":`, 10_000) + "1" + strings.Repeat("}", 10_000), "", 400},
	} {
		fill := strings.NewReplacer("URLPROOF", encode(proof), "PROOF", string(must(json.Marshal(proof))[1:len(must(json.Marshal(proof)))-1]),
			"KEY", string(must(json.Marshal(publicPEM(key.Public())))), "TOKEN", w.token(nil))
		header := http.Header{}
		if test.authorization != "" {
			header.Set("Authorization", fill.Replace(test.authorization))
		}
		a := w.post("/api/v2/signingCert", []byte(fill.Replace(test.body)), header)
		if test.status != http.StatusOK {
			w.isError(name, a, test.status)
		} else if a.status != http.StatusOK {
			t.Errorf("%s: status %d: %s", name, a.status, a.body)
		}
	}
	w.isError("65 KiB", w.post("/api/v2/signingCert", make([]byte, maxRequest+1), nil), http.StatusRequestEntityTooLarge)
}

func TestKeysOfEachKind(t *testing.T) {
	w := newWorld(t, nil)
	for name, key := range map[string]crypto.Signer{
		"P-256":    must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)),
		"P-384":    must(ecdsa.GenerateKey(elliptic.P384(), rand.Reader)),
		"P-521":    must(ecdsa.GenerateKey(elliptic.P521(), rand.Reader)),
		"RSA 2048": must(rsa.GenerateKey(rand.Reader, 2048)),
		"Ed25519":  must(keys.Generate(keys.Ed25519)).(ed25519.PrivateKey),
	} {
		w.issues(name, v2Body(w.token(nil), publicPEM(key.Public()), must(keys.Sign(key, []byte(alice)))))
	}
}

func TestReadOnlyPaths(t *testing.T) {
	w := newWorld(t, nil)
	var bundle struct {
		Chains []struct{ Certificates []string }
	}
	a := w.do(http.MethodGet, "/api/v2/trustBundle", nil, nil)
	if err := json.Unmarshal(a.body, &bundle); err != nil || len(bundle.Chains) != 1 || len(bundle.Chains[0].Certificates) != 2 {
		t.Errorf("trustBundle: %d %s", a.status, a.body)
	}
	a = w.do(http.MethodGet, "/api/v2/configuration", nil, nil)
	want := `{"issuers":[{"issuerUrl":"https://issuer.acme.example","audience":"sigstore","challengeClaim":"email","issuerType":"email"}]}`
	if string(a.body) != want {
		t.Errorf("configuration: %s", a.body)
	}
	for path, method := range map[string]string{
		"/api/v2/signingCert": "GET", "/api/v1/signingCert": "PUT", "/api/v2/trustBundle": "POST", "/api/v2/configuration": "DELETE", "/api/v1/rootCert": "POST",
	} {
		a := w.do(method, path, nil, nil)
		w.isError(method+" "+path, a, http.StatusMethodNotAllowed)
		if a.header.Get("Allow") == "" {
			t.Errorf("%s %s: no Allow header", method, path)
		}
	}
	w.isError("unknown path", w.do(http.MethodGet, "/api/v2/other", nil, nil), http.StatusNotFound)
}

func TestCA19_KeyAndChainAtStart(t *testing.T) {
	now := time.Now()
	good := newWorld(t, nil).config
	for name, change := range map[string]func(*Config){
		"no signer":     func(c *Config) { c.Signer = nil },
		"another key":   func(c *Config) { c.Signer = must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) },
		"no chain":      func(c *Config) { c.Chain = nil },
		"swapped chain": func(c *Config) { c.Chain = []*x509.Certificate{c.Chain[1], c.Chain[0]} },
		"no root":       func(c *Config) { c.Chain = c.Chain[:1] },
		"expired": func(c *Config) {
			c.Chain = testChain(now, func(i, _ *x509.Certificate) { i.NotAfter = now.Add(-time.Minute) })
		},
		"not yet valid": func(c *Config) {
			c.Chain = testChain(now, func(i, _ *x509.Certificate) { i.NotBefore = now.Add(time.Hour) })
		},
		"root expired": func(c *Config) {
			c.Chain = testChain(now, func(_, r *x509.Certificate) { r.NotAfter = now.Add(-time.Minute) })
		},
		"other usage": func(c *Config) {
			c.Chain = testChain(now, func(i, _ *x509.Certificate) { i.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth} })
		},
		"leaf as authority": func(c *Config) {
			c.Chain = testChain(now, func(i, _ *x509.Certificate) { i.IsCA, i.MaxPathLenZero = false, false })
		},
		"other root": func(c *Config) {
			c.Chain = []*x509.Certificate{c.Chain[0], testChain(now, func(_, r *x509.Certificate) { r.Subject = pkix.Name{CommonName: "other"} })[1]}
		},
		"no log":        func(c *Config) { c.CTLog = nil },
		"no log key":    func(c *Config) { c.CTLogKey = nil },
		"P-384 log key": func(c *Config) { c.CTLogKey = &rootKey().PublicKey },
		"no issuers":    func(c *Config) { c.Issuers = nil },
		"http issuer":   func(c *Config) { c.Issuers = []Issuer{{URL: "http://issuer.acme.example"}} },
		"issuer twice":  func(c *Config) { c.Issuers = append(c.Issuers, c.Issuers[0]) },
		"user in URL":   func(c *Config) { c.Issuers = []Issuer{{URL: "https://good@evil.example"}} },
	} {
		config := good
		config.Issuers = slices.Clone(good.Issuers)
		change(&config)
		if _, err := New(config); err == nil {
			t.Errorf("%s: the authority started", name)
		}
	}
	if _, err := New(good); err != nil {
		t.Errorf("good configuration: %v", err)
	}
}

// The log says who got which certificate, and never what they proved it with.
func TestAuditLine(t *testing.T) {
	var lines bytes.Buffer
	w := newWorld(t, func(c *Config) { c.Logger = slog.New(slog.NewJSONHandler(&lines, nil)) })
	token := w.token(nil)
	leaf := w.post("/api/v2/signingCert", w.request(token), nil).certificates(t)[0]
	bad := w.token(map[string]any{"exp": 1})
	w.refuses("expired", w.request(bad), http.StatusBadRequest)
	text := lines.String()
	for _, want := range []string{"certificate issued", leaf.SerialNumber.Text(16), alice, testIssuer, `"ctlog_index":0`, "certificate refused"} {
		if !strings.Contains(text, want) {
			t.Errorf("log lacks %q:\n%s", want, text)
		}
	}
	for _, part := range append(strings.Split(token, "."), strings.Split(bad, ".")[1:]...) {
		if strings.Contains(text, part) {
			t.Errorf("OPS-03: log holds a part of a token:\n%s", text)
		}
	}
}
