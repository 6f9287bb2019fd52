package stack

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/token"
)

const (
	testURL = "http://127.0.0.1:7465"
	alice   = "alice@acme.example"
)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

// testConfig is a stack in a directory that does not exist yet.
func testConfig(t testing.TB) Config {
	return Config{Dir: filepath.Join(t.TempDir(), "data"), PublicURL: testURL, InsecureDevIssuer: true, CertificatesPerIdentity: -1, CertificatesTotal: -1}
}

// start opens a stack that the test closes.
func start(t testing.TB, config Config) *Stack {
	t.Helper()
	s, err := New(context.Background(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// serve puts a stack on a server and returns its URL.
func serve(t testing.TB, s *Stack) string {
	server := httptest.NewServer(s.Handler())
	t.Cleanup(server.Close)
	return server.URL
}

// issueOver gets a certificate over HTTP as a client does: token, key, proof, request.
func issueOver(ctx context.Context, url string) (*x509.Certificate, error) {
	identity, err := token.DevIssuer{Server: url, Subject: alice}.Token(ctx)
	if err != nil {
		return nil, err
	}
	return certify(ctx, url, identity, alice)
}

// certify gets a certificate for a token, with a proof of possession over name.
func certify(ctx context.Context, url, identity, name string) (*x509.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	body, err := json.Marshal(map[string]any{
		"credentials": map[string]any{"oidcIdentityToken": identity},
		"publicKeyRequest": map[string]any{
			"publicKey": map[string]any{"content": string(must(keys.MarshalPublic(key.Public())))}, "proofOfPossession": must(keys.Sign(key, []byte(name))),
		},
	})
	if err != nil {
		return nil, err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, url+"/api/v2/signingCert", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("status %d: %s", response.StatusCode, answer)
	}
	var decoded struct {
		Embedded struct {
			Chain struct{ Certificates []string }
		} `json:"signedCertificateEmbeddedSct"`
	}
	if err := json.Unmarshal(answer, &decoded); err != nil {
		return nil, err
	}
	if len(decoded.Embedded.Chain.Certificates) == 0 {
		return nil, errors.New("no certificate in the answer")
	}
	block, _ := pem.Decode([]byte(decoded.Embedded.Chain.Certificates[0]))
	return x509.ParseCertificate(block.Bytes)
}

// get fetches a path.
func get(t testing.TB, url string) (int, []byte) {
	t.Helper()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	return response.StatusCode, must(io.ReadAll(response.Body))
}
