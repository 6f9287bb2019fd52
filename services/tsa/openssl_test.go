package tsa

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// openssl, which shares no code with us, makes the request and accepts the answer.
func TestTSA07_OpenSSLAccepts(t *testing.T) {
	openssl, err := exec.LookPath("openssl")
	if err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatal("openssl is not installed: timestamps were not checked against another implementation")
		}
		t.Skip("NOT RUN: openssl is not installed, timestamps are not checked against another implementation")
	}
	w := newWorld(t)
	dir := t.TempDir()
	run := func(args ...string) {
		t.Helper()
		if out, err := exec.CommandContext(t.Context(), openssl, args...).CombinedOutput(); err != nil {
			t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	certificate := func(c *x509.Certificate) []byte {
		return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.Raw})
	}
	leaf, root := file("leaf.pem", certificate(w.chain[0])), file("root.pem", certificate(w.chain[1]))
	data, request := file("data", []byte("message")), filepath.Join(dir, "request")
	for _, args := range [][]string{{"-sha256", "-cert"}, {"-sha384", "-cert"}, {"-sha512"}, {"-sha256", "-no_nonce"}, {"-sha256", "-cert", "-tspolicy", Policy.String()}} {
		run(append([]string{"ts", "-query", "-data", data, "-out", request}, args...)...)
		status, reply := w.post(t, must(os.ReadFile(request)))
		if status != http.StatusCreated {
			t.Fatalf("%v: status %d: %s", args, status, reply)
		}
		run("ts", "-verify", "-queryfile", request, "-in", file("reply", reply), "-CAfile", root, "-untrusted", leaf)
	}
	run("ts", "-query", "-data", data, "-sha1", "-out", request)
	_, reply := w.post(t, must(os.ReadFile(request)))
	out, err := exec.CommandContext(t.Context(), openssl, "ts", "-reply", "-in", file("rejection", reply), "-text").CombinedOutput()
	if err != nil || !bytes.Contains(out, []byte("Rejected")) || !bytes.Contains(out, []byte("unrecognized or unsupported algorithm")) {
		t.Errorf("openssl reads the rejection as: %v\n%s", err, out)
	}
}
