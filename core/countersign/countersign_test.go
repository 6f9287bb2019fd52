package countersign_test

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	oldpgp "golang.org/x/crypto/openpgp" //lint:ignore SA1019 containers/image read signatures with it for years

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/core/verify"
)

const (
	repository = "registry.example/acme/app"
	digest     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

func newConfig(t testing.TB, form countersign.Form) countersign.Config {
	t.Helper()
	dir := t.TempDir()
	return countersign.Config{
		Form: form, Key: filepath.Join(dir, "countersign.key"), Public: filepath.Join(dir, "public"), Host: "node-1.example",
		Now: func() time.Time { return start },
	}
}

// pool are RSA keys that tests share: to make one takes a tenth of a second and more.
var pool = sync.OnceValue(func() (made [2]crypto.Signer) {
	for i := range made {
		key, err := rsa.GenerateKey(rand.Reader, 2048)
		if err != nil {
			panic(err)
		}
		made[i] = key
	}
	return made
})

// place puts a key of the pool where another one would be made.
func place(t testing.TB, path string, i int) {
	t.Helper()
	if err := keys.WritePrivate(path, pool()[i]); err != nil && !errors.Is(err, fs.ErrExist) {
		t.Fatal(err)
	}
}

func newKey(t testing.TB, c countersign.Config) *countersign.Key {
	t.Helper()
	if c.Form == countersign.OpenPGP && !keys.IsRemote(c.Key) {
		place(t, c.Key, 0)
	}
	if _, err := countersign.Generate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	return open(t, c)
}

func open(t testing.TB, c countersign.Config) *countersign.Key {
	t.Helper()
	key, err := countersign.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func read(t testing.TB, path string) []byte {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func verifyAt(t *testing.T, c countersign.Config, blob []byte, repository, digest string, now time.Time) error {
	t.Helper()
	_, err := openpgp.Verify(&bundle.Evidence{Form: bundle.FormOpenPGP, Payload: &bundle.Payload{Text: blob}}, repository, digest, read(t, c.Public), "host", now, time.Time{})
	return err
}

func TestPOD08_BoundToRepositoryAndDigest(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	blob, err := newKey(t, c).Countersign(repository, digest, start.Add(500*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	other := newConfig(t, countersign.OpenPGP)
	place(t, other.Key, 1)
	newKey(t, other)
	for _, tt := range []struct {
		name               string
		repository, digest string
		config             countersign.Config
		now                time.Time
		code               verify.Code // empty: accepted
	}{
		{"admitted", repository, digest, c, start, ""},
		{"another repository", repository + "2", digest, c, start, verify.CodeWrongArtifact},
		{"a namespace above", "registry.example/acme", digest, c, start, verify.CodeWrongArtifact},
		{"another digest", repository, strings.Replace(digest, "a", "b", 1), c, start, verify.CodeWrongArtifact},
		{"another host's key", repository, digest, other, start, verify.CodeKey},
		{"nine minutes later", repository, digest, c, start.Add(9*time.Minute + 59*time.Second), ""},
		{"POD-10: ten minutes later", repository, digest, c, start.Add(10*time.Minute + time.Second), verify.CodeSignature},
	} {
		err := verifyAt(t, tt.config, blob, tt.repository, tt.digest, tt.now)
		var refused *verify.Error
		if tt.code == "" && err != nil || tt.code != "" && (!errors.As(err, &refused) || refused.Code != tt.code) {
			t.Errorf("%s: %v, want code %q", tt.name, err, tt.code)
		}
	}
}

// TestReadByOldGo reads a countersignature as builds of containers/image with golang.org/x/crypto/openpgp did.
func TestReadByOldGo(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	blob, err := newKey(t, c).Countersign(repository, digest, start)
	if err != nil {
		t.Fatal(err)
	}
	ring, err := oldpgp.ReadKeyRing(bytes.NewReader(read(t, c.Public)))
	if err != nil {
		t.Fatal(err)
	}
	message, err := oldpgp.ReadMessage(bytes.NewReader(blob), ring, nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	var text bytes.Buffer
	if _, err := text.ReadFrom(message.UnverifiedBody); err != nil {
		t.Fatal(err)
	}
	if message.SignatureError != nil || message.Signature == nil || message.SignedBy == nil {
		t.Fatalf("signature: %v", message.SignatureError)
	}
	if life := message.Signature.SigLifetimeSecs; life == nil || *life != 600 {
		t.Errorf("it is good for %v seconds, want 600", life)
	}
	want := `{"critical":{"identity":{"docker-reference":"registry.example/acme/app"},"image":{"docker-manifest-digest":"` + digest +
		`"},"type":"atomic container signature"},"optional":{"creator":"touchmark agent","timestamp":1793534400}}`
	if text.String() != want {
		t.Errorf("signed text\n%s, want\n%s", &text, want)
	}
}

// TestReadByGnuPG reads a countersignature as containers/image's gpgme does, with both keys of a rotation in the keyring.
func TestReadByGnuPG(t *testing.T) {
	gpg := coretest.RequireTool(t, "gpg")
	c := newConfig(t, countersign.OpenPGP)
	now := time.Now()
	before, err := newKey(t, c).Countersign(repository, digest, now)
	if err != nil {
		t.Fatal(err)
	}
	if err := countersign.Rotate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	key := open(t, c)
	after, err := key.Countersign(repository, digest, now)
	if err != nil {
		t.Fatal(err)
	}
	expired, err := key.Countersign(repository, digest, now.Add(-11*time.Minute))
	if err != nil {
		t.Fatal(err)
	}
	home := filepath.Join(t.TempDir(), "gnupg")
	if err := os.Mkdir(home, 0o700); err != nil {
		t.Fatal(err)
	}
	run := func(stdin []byte, args ...string) (string, error) {
		cmd := exec.CommandContext(t.Context(), gpg, append([]string{"--homedir", home, "--batch", "--no-autostart", "--status-fd", "1", "--trust-model", "always"}, args...)...)
		cmd.Stdin = bytes.NewReader(stdin)
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	if out, err := run(nil, "--import", c.Public); err != nil {
		t.Fatalf("gpg --import: %v\n%s", err, out)
	}
	for name, tt := range map[string]struct {
		blob []byte
		want string
	}{"before": {before, "GOODSIG"}, "after": {after, "GOODSIG"}, "POD-10": {expired, "EXPSIG"}} {
		out, _ := run(tt.blob, "--decrypt")
		if !strings.Contains(out, "[GNUPG:] "+tt.want+" ") || !strings.Contains(out, "Touchmark on node-1.example") {
			t.Errorf("%s: gpg says\n%s", name, out)
		}
	}
}

func TestRepeatedCountersignatures(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	key := newKey(t, c)
	sign := func(repository string, at time.Time) string {
		blob, err := key.Countersign(repository, digest, at)
		if err != nil {
			t.Fatal(err)
		}
		return string(blob)
	}
	first := sign(repository, start)
	for _, tt := range []struct {
		name       string
		repository string
		at         time.Time
		same       bool
	}{
		{"a minute later", repository, start.Add(time.Minute), true},
		{"another name", repository + "2", start.Add(time.Minute), false},
		{"just below eight minutes later", repository, start.Add(8*time.Minute - time.Second), true},
		{"eight minutes later", repository, start.Add(8 * time.Minute), false},
		{"the clock was set back", repository, start.Add(-time.Hour), false},
	} {
		if got := sign(tt.repository, tt.at) == first; got != tt.same {
			t.Errorf("%s: the same: %v, want %v", tt.name, got, tt.same)
		}
	}
	for _, bad := range []string{"", strings.Repeat("a", 600)} {
		if _, err := key.Countersign(bad, digest, start); err == nil {
			t.Errorf("repository %.10q: signed", bad)
		}
	}
	if _, err := key.Countersign(repository, "sha256:1", start); err == nil {
		t.Error("digest: signed")
	}
}

func BenchmarkOpenPGP(b *testing.B) {
	c := newConfig(b, countersign.OpenPGP)
	if _, err := countersign.Generate(b.Context(), c); err != nil { // of the size that hosts have
		b.Fatal(err)
	}
	key := open(b, c)
	for b.Loop() {
		if _, err := key.OpenPGP(repository, digest, start); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkSigstore(b *testing.B) {
	key := newKey(b, newConfig(b, countersign.Sigstore))
	for b.Loop() {
		if _, err := key.Sigstore(repository, digest, start); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkRepeated(b *testing.B) {
	key := newKey(b, newConfig(b, countersign.OpenPGP))
	for b.Loop() {
		if _, err := key.Countersign(repository, digest, start); err != nil {
			b.Fatal(err)
		}
	}
}
