package registries

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

const tokenIssuer = "token.example"

// tokenServer gives registry tokens (distribution's "Token Authentication Specification") to one user.
type tokenServer struct {
	key    *ecdsa.PrivateKey
	cert   []byte
	bundle string // file with the certificate
}

func newTokenServer(t *testing.T) *tokenServer {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tokenIssuer}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	s := &tokenServer{key: key, cert: der, bundle: filepath.Join(t.TempDir(), "token.pem")}
	if err := os.WriteFile(s.bundle, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return s
}

// ServeHTTP grants whatever is asked for to whoever has the password.
func (s *tokenServer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name, pw, _ := r.BasicAuth()
	if name != user || pw != password {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	type grant struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	var access []grant
	for _, scope := range r.URL.Query()["scope"] {
		if part := strings.Split(scope, ":"); len(part) == 3 {
			access = append(access, grant{part[0], part[1], strings.Split(part[2], ",")})
		}
	}
	now := time.Now()
	token, err := s.sign(map[string]any{
		"iss": tokenIssuer, "sub": name, "aud": r.URL.Query().Get("service"), "jti": rand.Text(), "access": access,
		"nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(map[string]string{"token": token})
}

// sign makes a JSON web token by ES256 that carries its certificate.
func (s *tokenServer) sign(claims any) (string, error) {
	header, err := json.Marshal(map[string]any{"typ": "JWT", "alg": "ES256", "x5c": []string{base64.StdEncoding.EncodeToString(s.cert)}})
	if err != nil {
		return "", err
	}
	body, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	text := base64.RawURLEncoding.EncodeToString(header) + "." + base64.RawURLEncoding.EncodeToString(body)
	sum := sha256.Sum256([]byte(text))
	sigR, sigS, err := ecdsa.Sign(rand.Reader, s.key, sum[:])
	if err != nil {
		return "", fmt.Errorf("signing token: %w", err)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(append(sigR.FillBytes(make([]byte, 32)), sigS.FillBytes(make([]byte, 32))...)), nil
}
