package countersign_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/countersign"
)

// TestSigstoreForm reads the form as containers/image does under "pki" (signature/pki_cert.go of go.podman.io/image/v5).
func TestSigstoreForm(t *testing.T) {
	c := newConfig(t, countersign.Sigstore)
	blob, err := newKey(t, c).Countersign(repository, digest, start)
	if err != nil {
		t.Fatal(err)
	}
	chunk, ok := bytes.CutPrefix(blob, []byte("\x00sigstore-json\n"))
	if !ok {
		t.Fatalf("%q", blob)
	}
	var signature struct {
		MIMEType    string            `json:"mimeType"`
		Payload     []byte            `json:"payload"`
		Annotations map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(chunk, &signature); err != nil || signature.MIMEType != "application/vnd.dev.cosign.simplesigning.v1+json" {
		t.Fatalf("%v: %s", err, chunk)
	}
	block, rest := pem.Decode([]byte(signature.Annotations["dev.sigstore.cosign/certificate"]))
	if block == nil || len(bytes.TrimSpace(rest)) > 0 {
		t.Fatal("no certificate, or more than one")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(read(t, c.Public))
	for at, want := range map[time.Duration]bool{0: true, 10 * time.Minute: true, -time.Second: false, 10*time.Minute + time.Second: false} {
		_, err := leaf.Verify(x509.VerifyOptions{Roots: roots, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, CurrentTime: start.Add(at)})
		if (err == nil) != want {
			t.Errorf("POD-10: %v after it was made: %v", at, err)
		}
	}
	if diff := cmp.Diff([]string{countersign.Subject}, leaf.EmailAddresses); diff != "" {
		t.Error(diff)
	}
	raw, err := base64.StdEncoding.DecodeString(signature.Annotations["dev.cosignproject.cosign/signature"])
	if err != nil {
		t.Fatal(err)
	}
	if sum := sha256.Sum256(signature.Payload); !ecdsa.VerifyASN1(leaf.PublicKey.(*ecdsa.PublicKey), sum[:], raw) {
		t.Error("the signature is not one of the payload")
	}
	want := `{"critical":{"identity":{"docker-reference":"registry.example/acme/app"},"image":{"docker-manifest-digest":"` + digest +
		`"},"type":"cosign container image signature"},"optional":{"creator":"touchmark agent","timestamp":1793534400}}`
	if string(signature.Payload) != want {
		t.Errorf("payload %s, want %s", signature.Payload, want)
	}
}
