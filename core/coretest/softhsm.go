package coretest

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// SoftHSM is a PKCS#11 token in software, with a directory of its own.
type SoftHSM struct {
	Module string // the driver's path
	Token  string // its label
	PIN    string

	util string
}

// NewSoftHSM makes a token. The test is skipped where SoftHSM is missing, under the rule of [RequireTool]. It sets SOFTHSM2_CONF for the whole process,
// so the test can't be parallel.
func NewSoftHSM(tb testing.TB) *SoftHSM {
	tb.Helper()
	h := &SoftHSM{Token: "touchmark test", PIN: "sesame-1234", util: RequireTool(tb, "softhsm2-util")}
	for _, path := range []string{"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm.so", "/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(path); err == nil {
			h.Module = path
			break
		}
	}
	if h.Module == "" {
		tb.Fatal("softhsm2-util is there, but not its driver libsofthsm2.so")
	}
	dir := tb.TempDir()
	config := filepath.Join(dir, "softhsm2.conf")
	if err := os.WriteFile(config, fmt.Appendf(nil, "directories.tokendir = %s\nlog.level = ERROR\n", dir), 0o600); err != nil {
		tb.Fatal(err)
	}
	tb.Setenv("SOFTHSM2_CONF", config)
	h.run(tb, "--init-token", "--free", "--label", h.Token, "--pin", h.PIN, "--so-pin", "officer-1234")
	return h
}

// Import puts a key on the token, both halves, with a label and an id of hexadecimal digits.
func (h *SoftHSM) Import(tb testing.TB, label, id string, key crypto.Signer) {
	tb.Helper()
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		tb.Fatal(err)
	}
	path := filepath.Join(tb.TempDir(), "key.pem")
	if err := os.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), 0o600); err != nil {
		tb.Fatal(err)
	}
	h.run(tb, "--import", path, "--token", h.Token, "--label", label, "--id", id, "--pin", h.PIN)
}

func (h *SoftHSM) run(tb testing.TB, args ...string) {
	tb.Helper()
	if out, err := exec.Command(h.util, args...).CombinedOutput(); err != nil {
		tb.Fatalf("softhsm2-util %s: %v\n%s", args[0], err, out)
	}
}
