package tsp_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/digitorus/timestamp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tsp"
)

// What github.com/digitorus/timestamp makes, the library within Sigstore's own authority and ours.
func TestReadsDigitorus(t *testing.T) {
	current := time.Now() // digitorus writes the present into signingTime
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edwards, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": coretest.NewKey(t), "P-384": p384, "RSA": rsaKey, "Ed25519": edwards} {
		tsa := coretest.NewTSA(t, current, key)
		for _, certReq := range []bool{false, true} {
			for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
				t.Run(name+" "+hash.String(), func(t *testing.T) {
					request, err := tsp.NewRequest(message, tsp.RequestOptions{Nonce: big.NewInt(1 << 60), CertReq: certReq})
					if err != nil {
						t.Fatal(err)
					}
					read, err := timestamp.ParseRequest(request)
					if err != nil {
						t.Fatal(err)
					}
					answer := timestamp.Timestamp{
						HashAlgorithm: read.HashAlgorithm, HashedMessage: read.HashedMessage, Nonce: read.Nonce, Time: current,
						Policy: asn1.ObjectIdentifier{1, 2, 3}, Accuracy: time.Second, Ordering: true, AddTSACertificate: read.Certificates,
					}
					response, err := answer.CreateResponseWithOpts(tsa.Leaf, key, hash)
					if err != nil {
						t.Fatal(err)
					}
					token, err := tsp.Parse(response)
					if err != nil {
						t.Fatal(err)
					}
					want(t, token.Verify(message, tsa.Authority()), true)
					want(t, token.CheckNonce(big.NewInt(1<<60)), true)
					want(t, token.Verify([]byte("another"), tsa.Authority()), false)
				})
			}
		}
	}
}

// What coretest makes is read by digitorus, too: so a test against coretest is a test against what others accept.
func TestDigitorusReadsCoretest(t *testing.T) {
	tsa := coretest.NewTSA(t, now, nil)
	read, err := timestamp.ParseResponse(tsa.Response(t, coretest.TimestampSpec{Message: message, Time: now, Embed: []*x509.Certificate{tsa.Leaf}}))
	if err != nil {
		t.Fatal(err)
	}
	if !read.Time.Equal(now) {
		t.Errorf("time %v, want %v", read.Time, now)
	}
}

const opensslConfig = `[ tsa ]
default_tsa = touchmark
[ touchmark ]
serial = serial
default_policy = 1.2.3.4
digests = sha256, sha384, sha512
signer_digest = sha256
accuracy = secs:1
ordering = yes
tsa_name = yes
`

// What "openssl ts" makes, and what it thinks of our requests and of coretest's tokens.
func TestReadsOpenSSL(t *testing.T) {
	openssl := coretest.RequireTool(t, "openssl")
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"P-256": coretest.NewKey(t), "RSA": rsaKey} {
		for _, ess := range []string{"sha1", "sha256", "sha512"} {
			for _, certReq := range []bool{false, true} {
				t.Run(name+" "+ess, func(t *testing.T) {
					dir := t.TempDir()
					tsa := coretest.NewTSA(t, time.Now(), key)
					write := func(name string, blocks ...*pem.Block) {
						var text []byte
						for _, b := range blocks {
							text = append(text, pem.EncodeToMemory(b)...)
						}
						if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
							t.Fatal(err)
						}
					}
					der, err := x509.MarshalPKCS8PrivateKey(key)
					if err != nil {
						t.Fatal(err)
					}
					write("key", &pem.Block{Type: "PRIVATE KEY", Bytes: der})
					write("leaf", &pem.Block{Type: "CERTIFICATE", Bytes: tsa.Leaf.Raw})
					write("chain", &pem.Block{Type: "CERTIFICATE", Bytes: tsa.Intermediate.Raw})
					write("root", &pem.Block{Type: "CERTIFICATE", Bytes: tsa.Root.Raw})
					request, err := tsp.NewRequest(message, tsp.RequestOptions{Nonce: big.NewInt(9), CertReq: certReq})
					if err != nil {
						t.Fatal(err)
					}
					for file, content := range map[string][]byte{
						"conf": []byte(opensslConfig + "ess_cert_id_alg = " + ess + "\n"), "query": request, "data": message, "serial": []byte("01\n"),
					} {
						if err := os.WriteFile(filepath.Join(dir, file), content, 0o600); err != nil {
							t.Fatal(err)
						}
					}
					run := func(args ...string) {
						t.Helper()
						cmd := exec.CommandContext(t.Context(), openssl, args...)
						cmd.Dir = dir
						if out, err := cmd.CombinedOutput(); err != nil {
							t.Fatalf("openssl %q: %v\n%s", args, err, out)
						}
					}
					run("ts", "-reply", "-config", "conf", "-queryfile", "query", "-signer", "leaf", "-inkey", "key", "-chain", "chain", "-out", "reply")
					response, err := os.ReadFile(filepath.Join(dir, "reply"))
					if err != nil {
						t.Fatal(err)
					}
					token, err := tsp.Parse(response)
					if err != nil {
						t.Fatal(err)
					}
					want(t, token.Verify(message, tsa.Authority()), true)
					want(t, token.CheckNonce(big.NewInt(9)), true)
					want(t, token.Verify(message, coretest.NewTSA(t, time.Now(), nil).Authority()), false)

					own := tsa.Response(t, coretest.TimestampSpec{Message: message, Time: time.Now(), Embed: []*x509.Certificate{tsa.Leaf, tsa.Intermediate}})
					if err := os.WriteFile(filepath.Join(dir, "own"), own, 0o600); err != nil {
						t.Fatal(err)
					}
					run("ts", "-verify", "-data", "data", "-in", "own", "-CAfile", "root")
				})
			}
		}
	}
}
