package policy

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func publicPEM(tb testing.TB, pub crypto.PublicKey) string {
	tb.Helper()
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		tb.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

func withAuthority(yaml string) string {
	return release[:strings.Index(release, "  authorities:")] + "  authorities:\n  - name: a\n    " + strings.ReplaceAll(yaml, "\n", "\n    ") + "\n"
}

func keyYAML(pem, rest string) string {
	return "key:\n  data: |\n    " + strings.ReplaceAll(strings.TrimSuffix(pem, "\n"), "\n", "\n    ") + "\n" + rest
}

// TestLIB32_A048_Keys: only keys that can verify something are read, and an
// authority without one is an error, not an authority that asks for nothing.
func TestLIB32_A044_A048_Keys(t *testing.T) {
	key := func(c elliptic.Curve) *ecdsa.PrivateKey {
		k, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return k
	}
	edPub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rsaPub := func(bits int) *rsa.PublicKey {
		n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
		return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
	}
	p256 := key(elliptic.P256())
	good := publicPEM(t, p256.Public())
	private, err := x509.MarshalPKCS8PrivateKey(p256)
	if err != nil {
		t.Fatal(err)
	}
	identityPoint := make(ed25519.PublicKey, 32)
	identityPoint[0] = 1
	for _, tt := range []struct {
		name, authority string
		ok              bool
	}{
		{"P-256", keyYAML(good, ""), true},
		{"P-256 with its hash", keyYAML(good, "  hashAlgorithm: sha256"), true},
		{"P-384", keyYAML(publicPEM(t, key(elliptic.P384()).Public()), ""), true},
		{"P-521", keyYAML(publicPEM(t, key(elliptic.P521()).Public()), ""), true},
		{"Ed25519", keyYAML(publicPEM(t, edPub), ""), true},
		{"RSA-2048", keyYAML(publicPEM(t, rsaPub(2048)), ""), true},
		{"P-224", keyYAML(publicPEM(t, key(elliptic.P224()).Public()), ""), false},
		{"RSA-1024", keyYAML(publicPEM(t, rsaPub(1024)), ""), false},
		{"Ed25519 of small order", keyYAML(publicPEM(t, identityPoint), ""), false},
		{"private key", keyYAML(string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})), ""), false},
		{"certificate", keyYAML(string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: private})), ""), false},
		{"two keys", keyYAML(good+good, ""), false},
		{"text behind the key", keyYAML(good+"x", ""), false},
		{"not PEM", "key: {data: x}", false},
		{"no data", "key: {}", false},
		{"null", "key: null", false},
		{"empty data", `key: {data: ""}`, false},
		{"another hash", keyYAML(good, "  hashAlgorithm: sha512"), true},
		{"a weak hash", keyYAML(good, "  hashAlgorithm: sha224"), false},
		{"a hash beside Ed25519", keyYAML(publicPEM(t, edPub), "  hashAlgorithm: sha512"), false},
		{"a hash that is none", keyYAML(good, "  hashAlgorithm: none"), false},
		{"from a secret", "key: {secretRef: {name: x}}", false},
		{"from a KMS", "key: {kms: awskms://x}", false},
		{"key and keyless", keyYAML(good, "keyless: {identities: [{issuer: i, subject: s}]}"), false},
		{"with a log", keyYAML(good, "ctlog: {}"), true},
		{"nothing", "ctlog: {}", false},
		{"keyless without identities", "keyless: {trustRootRef: private}", false},
		{"keyless with no identity in the list", "keyless: {identities: []}", false},
		{"keyless with an empty identity", "keyless: {identities: [{}]}", false},
		{"keyless with null", "keyless: {identities: [null]}", false},
		{"keyless with a CA of its own", "keyless: {ca-cert: {data: x}, identities: [{issuer: i, subject: s}]}", false},
		{"two trust roots", "keyless: {trustRootRef: a, identities: [{issuer: i, subject: s}]}\nctlog: {trustRootRef: b}", true},
		{"one trust root twice", "keyless: {trustRootRef: a, identities: [{issuer: i, subject: s}]}\nctlog: {trustRootRef: a}", true},
		{"static pass", "static: {action: pass}", true},
		{"static without action", "static: {}", false},
		{"static maybe", "static: {action: maybe}", false},
		{"static with a log", "static: {action: pass}\nctlog: {}", false},
	} {
		set, err := Parse(t.Context(), []byte(withAuthority(tt.authority)), Options{})
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err != nil {
			continue
		}
		a := set.Policies[0].Authorities[0]
		ways := 0
		for _, given := range []bool{a.Key != nil, a.Static != nil, len(a.Identities) > 0} {
			if given {
				ways++
			}
		}
		if ways != 1 {
			t.Errorf("%s: the authority has %d ways", tt.name, ways)
		}
	}
}

// TestLIB34_LIB38_Text is about the text as such.
func TestLIB34_LIB38_Text(t *testing.T) {
	// Without bounds, reading a bomb would not end before the test does.
	bomb := "a: &a [x,x,x,x,x,x,x,x,x]\n"
	for i := 'b'; i < 'k'; i++ {
		bomb += fmt.Sprintf("%c: &%c [*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c,*%c]\n", i, i, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1, i-1)
	}
	documents := func(n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p%d}\nspec: {images: [{glob: x}], authorities: [{static: {action: fail}}]}\n", i)
		}
		return b.String()
	}
	for _, tt := range []struct {
		name, text string
		ok         bool
	}{
		{"good", release, true},
		{"document marks around", "---\n" + release + "...\n", true},
		{"comments", "# first\n" + release + "# last\n", true},
		{"20,000 documents", documents(maxPolicies), true},
		{"20,001 documents", documents(maxPolicies + 1), false},
		{"a second document that is empty", release + "---\n", false},
		{"a second document of another kind", release + "---\napiVersion: v1\nkind: ConfigMap\n", false},
		{"a second document that is broken", release + "---\n{\n", false},
		{"a second document of one name", release + "---\n" + release, false},
		{"above the limit", release + "#" + strings.Repeat("x", MaxSize), false},
		{"binary", "\x00\x01\x02", false},
		{"invalid UTF-8", strings.Replace(release, "release", "rel\xffease", 1), false},
		{"a list", "- " + strings.ReplaceAll(release, "\n", "\n  "), false},
		{"text", "hello", false},
		{"tab for indentation", strings.Replace(release, "  mode", "\tmode", 1), false},
		{"alias bomb", bomb, false},
		{"alias bomb in what is not read", strings.Replace(release, "  uid: 1234\n", "  "+strings.ReplaceAll(strings.TrimSpace(bomb), "\n", "\n  ")+"\n", 1), false},
		{"depth of 100,000", strings.Replace(release, "uid: 1234", "uid: "+strings.Repeat("[", 100_000)+strings.Repeat("]", 100_000), 1), false},
		{"duplicate key at the top", release + "kind: ClusterImagePolicy\n", false},
		{"key in capitals", strings.Replace(release, "spec:", "Spec:", 1), false},
		{"mode in capitals", strings.Replace(release, "mode: enforce", "mode: Enforce", 1), false},
		{"mode a truth value", strings.Replace(release, "mode: enforce", "mode: true", 1), false},
		{"mode empty", strings.Replace(release, "mode: enforce", `mode: ""`, 1), false},
		{"merge key", strings.Replace(release, "  mode: enforce", "  <<: {mode: warn}", 1), false},
	} {
		set, err := Parse(t.Context(), []byte(tt.text), Options{})
		if (err == nil) != tt.ok {
			t.Errorf("%s: error is %v, want accepted %v", tt.name, err, tt.ok)
		}
		if err == nil && set.Policies[0].Mode != Enforce {
			t.Errorf("%s: mode is %s", tt.name, set.Policies[0].Mode)
		}
	}
}

// TestLIB37_Load: what is not a readable file is an error that names it.
func TestLIB37_Load(t *testing.T) {
	dir := t.TempDir()
	good := filepath.Join(dir, "good.yaml")
	if err := os.WriteFile(good, []byte(release), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Load(t.Context(), good, Options{}); err != nil {
		t.Errorf("the good twin is refused: %v", err)
	}
	noYAML := t.TempDir()
	fifo, large, empty := filepath.Join(dir, "fifo"), filepath.Join(dir, "large"), filepath.Join(dir, "empty")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(large, []byte(release+strings.Repeat("#", MaxSize)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{filepath.Join(dir, "missing"), noYAML, fifo, large, empty, "/dev/zero"} {
		if _, err := Load(t.Context(), path, Options{}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: error is %v, want one that names it", path, err)
		}
	}
}

// TestLIB39_Scopes: prefixes end at whole components, and every policy that
// matches is given, in the file's order.
func TestLIB39_A127_Scopes(t *testing.T) {
	doc := func(name, glob string) string {
		return fmt.Sprintf("---\napiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: %s}\nspec: {images: [{glob: %q}], authorities: [{static: {action: fail}}]}\n", name, glob)
	}
	set, err := Parse(t.Context(), []byte(doc("all", "**")+doc("a", "reg.io/a/**")+doc("ab", "reg.io/ab/**")+doc("exact", "reg.io/a")+doc("one", "reg.io/*")+doc("deep", "reg.io/a/b/c")), Options{})
	if err != nil {
		t.Fatal(err)
	}
	for repository, want := range map[string]string{
		"reg.io/a":         "all exact one",
		"reg.io/ab":        "all one",
		"reg.io/a/x":       "all a",
		"reg.io/ab/x":      "all ab",
		"reg.io/a/b/c":     "all a deep",
		"reg.io/a/b/c/d":   "all a",
		"reg.io/abc/x":     "all",
		"xreg.io/a":        "all",
		"reg.io.evil/a":    "all",
		"docker.io/reg.io": "all",
	} {
		var names []string
		for _, p := range set.For(repository) {
			names = append(names, p.Name)
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: policies %q, want %q", repository, got, want)
		}
	}
	if n := len(Any(&Authority{}).For("anything/at/all")); n != 1 {
		t.Errorf("a policy for every repository matches %d times", n)
	}
}

func ed25519Key(tb testing.TB) ed25519.PublicKey {
	tb.Helper()
	pub, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return pub
}
