package openpgp_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/core/verify"
)

const (
	repository = "registry.example/ubi9"
	digest     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

var start = time.Date(2026, 11, 1, 12, 0, 0, 0, time.UTC)

// at is a configuration whose clock stands still.
func at(t time.Time) *packet.Config {
	return &packet.Config{Time: func() time.Time { return t }, RSABits: 2048, Algorithm: packet.PubKeyAlgoRSA}
}

func newKey(t *testing.T) *pgp.Entity {
	t.Helper()
	key, err := pgp.NewEntity("vendor", "", "vendor@registry.example", at(start.AddDate(-1, 0, 0)))
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func keyring(t *testing.T, keys ...*pgp.Entity) []byte {
	t.Helper()
	var out bytes.Buffer
	for _, k := range keys {
		if err := k.Serialize(&out); err != nil {
			t.Fatal(err)
		}
	}
	return out.Bytes()
}

func payload(kind, reference, digest string) string {
	return fmt.Sprintf(`{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":%q},"optional":{"creator":"test","timestamp":1}}`, reference, digest, kind)
}

func sign(t *testing.T, key *pgp.Entity, text string, config *packet.Config) *bundle.Evidence {
	t.Helper()
	var out bytes.Buffer
	w, err := pgp.Sign(&out, key, nil, config)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return evidence(out.Bytes())
}

func evidence(text []byte) *bundle.Evidence {
	return &bundle.Evidence{Form: bundle.FormOpenPGP, Payload: &bundle.Payload{Text: text}}
}

func TestVerify(t *testing.T) {
	key, other := newKey(t), newKey(t)
	const kind = "atomic container signature"
	good := payload(kind, repository+":latest", digest)
	expiring := at(start)
	expiring.SigLifetimeSecs = 600

	flipped := sign(t, key, good, at(start))
	flipped.Payload.Text[len(flipped.Payload.Text)-3] ^= 1

	for _, c := range []struct {
		name     string
		evidence *bundle.Evidence
		now      time.Time
		code     verify.Code // empty: accepted
	}{
		{"good", sign(t, key, good, at(start)), start, ""},
		{"good, by digest reference", sign(t, key, payload(kind, repository+"@"+digest, digest), at(start)), start, ""},
		{"good, years later", sign(t, key, good, at(start)), start.AddDate(5, 0, 0), ""},
		{"another key", sign(t, other, good, at(start)), start, verify.CodeKey},
		{"another digest", sign(t, key, payload(kind, repository+":latest", strings.Replace(digest, "a", "b", 1)), at(start)), start, verify.CodeWrongArtifact},
		{"LIB-03: another repository", sign(t, key, payload(kind, "registry.example/ubi8:latest", digest), at(start)), start, verify.CodeWrongArtifact},
		{"another type", sign(t, key, payload("cosign container image signature", repository+":latest", digest), at(start)), start, verify.CodeMalformed},
		{"duplicate field", sign(t, key, strings.Replace(good, `"type"`, `"type":"x","type"`, 1), at(start)), start, verify.CodeMalformed},
		{"not JSON", sign(t, key, "hello", at(start)), start, verify.CodeMalformed},
		{"flipped bit", flipped, start, verify.CodeSignature},
		{"before it expires", sign(t, key, good, expiring), start.Add(9 * time.Minute), ""},
		{"after it expired", sign(t, key, good, expiring), start.Add(11 * time.Minute), verify.CodeSignature},
		{"A064: too old", sign(t, key, good, at(start.Add(-2*time.Hour))), start, verify.CodeTooOld},
		{"not OpenPGP", evidence([]byte(good)), start, verify.CodeMalformed},
		{"empty", evidence(nil), start, verify.CodeMalformed},
		{"truncated", evidence(sign(t, key, good, at(start)).Payload.Text[:200]), start, verify.CodeMalformed},
		{"another form", &bundle.Evidence{Form: bundle.FormLegacy, Payload: &bundle.Payload{Text: []byte("x")}}, start, verify.CodeWrongSignerKind},
	} {
		result, err := openpgp.Verify(c.evidence, repository, digest, keyring(t, key), "vendor", c.now, start.Add(-time.Hour))
		var refused *verify.Error
		switch {
		case c.code == "" && err != nil:
			t.Errorf("%s: %v", c.name, err)
		case c.code == "":
			if !strings.HasPrefix(result.Signer.Key, "vendor (") {
				t.Errorf("%s: signer is %q", c.name, result.Signer.Key)
			}
		case !errors.As(err, &refused) || refused.Code != c.code:
			t.Errorf("%s: %v, want code %s", c.name, err, c.code)
		}
	}
}

func TestReadKeyring(t *testing.T) {
	key := newKey(t)
	var armoured bytes.Buffer
	w, err := armor.Encode(&armoured, pgp.PublicKeyType, nil)
	if err != nil {
		t.Fatal(err)
	}
	w.Write(keyring(t, key))
	w.Close()
	for name, data := range map[string][]byte{"binary": keyring(t, key), "armoured": armoured.Bytes(), "two": keyring(t, key, newKey(t))} {
		if _, err := openpgp.ReadKeyring(data); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	var secret bytes.Buffer
	if err := key.SerializePrivate(&secret, at(start)); err != nil {
		t.Fatal(err)
	}
	for name, data := range map[string][]byte{"empty": nil, "text": []byte("hello"), "secret key": secret.Bytes()} {
		if _, err := openpgp.ReadKeyring(data); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}
