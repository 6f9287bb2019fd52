package lab

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

// Tokens is a token service for distribution's registry ("Token Authentication Specification"): it knows users, and what they may read and write.
type Tokens struct {
	users map[string]string
	may   func(user, repository string) bool
	key   *ecdsa.PrivateKey
	cert  []byte
	file  string // with the certificate
}

// NewTokens makes a token service for users with their passwords.
func NewTokens(tb testing.TB, users map[string]string, may func(user, repository string) bool) *Tokens {
	tb.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: tokenIssuer}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, BasicConstraintsValid: true, IsCA: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		tb.Fatal(err)
	}
	s := &Tokens{users: users, may: may, key: key, cert: der, file: filepath.Join(tb.TempDir(), "token.pem")}
	if err := os.WriteFile(s.file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	return s
}

// Section is the line of a registry's configuration that has it send its clients to the service, at a URL, where they name the registry as service.
func (s *Tokens) Section(realm, service string) string {
	return fmt.Sprintf("auth: {token: {realm: %q, service: %q, issuer: %s, rootcertbundle: %q}}\n", realm, service, tokenIssuer, s.file)
}

// ServeHTTP gives a token for what the user may of what is asked for. Both ways of asking are known: GET with Basic, and OAuth2's POST.
func (s *Tokens) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if err := r.ParseForm(); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	user, password, _ := r.BasicAuth()
	if r.Method == http.MethodPost {
		user, password = r.PostFormValue("username"), r.PostFormValue("password")
	}
	if want, known := s.users[user]; !known || password != want {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	type grant struct {
		Type    string   `json:"type"`
		Name    string   `json:"name"`
		Actions []string `json:"actions"`
	}
	access := []grant{}
	for _, scope := range strings.Fields(strings.Join(r.Form["scope"], " ")) {
		if part := strings.Split(scope, ":"); len(part) == 3 && s.may(user, part[1]) {
			access = append(access, grant{part[0], part[1], strings.Split(part[2], ",")})
		}
	}
	now := time.Now()
	token, err := s.sign(map[string]any{
		"iss": tokenIssuer, "sub": user, "aud": r.FormValue("service"), "jti": rand.Text(), "access": access,
		"nbf": now.Add(-time.Minute).Unix(), "iat": now.Unix(), "exp": now.Add(time.Minute).Unix(),
	})
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	json.NewEncoder(w).Encode(map[string]any{"token": token, "access_token": token, "expires_in": 60})
}

// sign makes a JSON web token by ES256 that carries its certificate.
func (s *Tokens) sign(claims any) (string, error) {
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
