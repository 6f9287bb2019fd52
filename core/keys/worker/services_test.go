package worker_test

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/keys"
)

// The clouds themselves can't be had in a test. These servers speak as much of their APIs as sigstore's providers use, with real keys.

// vault is the transit engine of HashiCorp Vault with one key, "release".
type vault struct {
	url string

	mu      sync.Mutex
	key     crypto.Signer
	created bool
}

func newVault(t *testing.T, key crypto.Signer) *vault {
	v := &vault{key: key}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	v.url = server.URL
	return v
}

func (v *vault) setKey(key crypto.Signer) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.key = key
}

func (v *vault) wasCreated() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.created
}

func (v *vault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if r.Header.Get("X-Vault-Token") != "token" {
		w.WriteHeader(http.StatusForbidden)
		_, _ = w.Write([]byte(`{"errors":["permission denied"]}`))
		return
	}
	const sign = "/v1/transit/sign/release"
	switch {
	case r.URL.Path == "/v1/transit/keys/release" && r.Method == http.MethodGet:
		pub := map[string]any{"name": "key"}
		if k, ok := v.key.Public().(ed25519.PublicKey); ok {
			pub = map[string]any{"name": "ed25519", "public_key": base64.StdEncoding.EncodeToString(k)}
		} else if der, err := x509.MarshalPKIXPublicKey(v.key.Public()); err == nil {
			pub["public_key"] = pemPublic(der)
		}
		respond(w, map[string]any{"data": map[string]any{"latest_version": 1, "keys": map[string]any{"1": pub}}})
	case r.URL.Path == "/v1/transit/keys/release":
		v.created = true
		w.WriteHeader(http.StatusNoContent)
	case strings.HasPrefix(r.URL.Path, sign):
		var body struct {
			Input     []byte `json:"input"`
			Prehashed bool   `json:"prehashed"`
		}
		hash := map[string]crypto.Hash{"": crypto.SHA256, "/sha2-256": crypto.SHA256, "/sha2-384": crypto.SHA384, "/sha2-512": crypto.SHA512}[r.URL.Path[len(sign):]]
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || !body.Prehashed || hash == 0 {
			http.Error(w, "bad request", http.StatusBadRequest)
			return
		}
		sig, err := v.key.Sign(rand.Reader, body.Input, hash)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		respond(w, map[string]any{"data": map[string]any{"signature": "vault:v1:" + base64.StdEncoding.EncodeToString(sig)}})
	default:
		http.NotFound(w, r)
	}
}

// newAWS is AWS KMS with one key, alias/release. It doesn't check who asks.
func newAWS(t *testing.T, key crypto.Signer) (endpoint string) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var body struct {
			KeyId            string
			Message          []byte
			MessageType      string
			SigningAlgorithm string
		}
		w.Header().Set("Content-Type", "application/x-amz-json-1.1")
		if err := json.NewDecoder(r.Body).Decode(&body); err != nil || body.KeyId != "alias/release" {
			w.WriteHeader(http.StatusBadRequest)
			respond(w, map[string]any{"__type": "NotFoundException", "message": "no such key"})
			return
		}
		algorithms := map[crypto.Hash][]string{
			crypto.SHA256: {"RSASSA_PKCS1_V1_5_SHA_256"},
			crypto.SHA384: {"ECDSA_SHA_384"},
		}[keys.Hash(key.Public())]
		if keys.Hash(key.Public()) == crypto.SHA256 && !isRSA(key) {
			algorithms = []string{"ECDSA_SHA_256"}
		}
		switch r.Header.Get("X-Amz-Target") {
		case "TrentService.GetPublicKey":
			der, _ := x509.MarshalPKIXPublicKey(key.Public())
			respond(w, map[string]any{"KeyId": "1", "PublicKey": der, "SigningAlgorithms": algorithms})
		case "TrentService.DescribeKey":
			spec := map[string]string{"RSASSA_PKCS1_V1_5_SHA_256": "RSA_3072", "ECDSA_SHA_256": "ECC_NIST_P256", "ECDSA_SHA_384": "ECC_NIST_P384"}[algorithms[0]]
			respond(w, map[string]any{"KeyMetadata": map[string]any{"KeyId": "1", "KeySpec": spec, "CustomerMasterKeySpec": spec, "SigningAlgorithms": algorithms}})
		case "TrentService.Sign":
			if body.MessageType != "DIGEST" || body.SigningAlgorithm != algorithms[0] {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			sig, err := key.Sign(rand.Reader, body.Message, keys.Hash(key.Public()))
			if err != nil {
				w.WriteHeader(http.StatusBadRequest)
				return
			}
			respond(w, map[string]any{"KeyId": "1", "Signature": sig, "SigningAlgorithm": algorithms[0]})
		default:
			w.WriteHeader(http.StatusBadRequest)
		}
	}))
	t.Cleanup(server.Close)
	return server.URL
}

func respond(w http.ResponseWriter, v any) { _ = json.NewEncoder(w).Encode(v) }

func isRSA(key crypto.Signer) bool {
	_, ok := key.Public().(*rsa.PublicKey)
	return ok
}

func pemPublic(der []byte) string {
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}
