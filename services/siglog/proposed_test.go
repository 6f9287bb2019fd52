package siglog_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/siglog"
)

func TestDSSEKeysSignWithTheirOwnHash(t *testing.T) {
	payload := []byte(`{"a":"?>"}`) // its base64 differs between the alphabets
	for _, algorithm := range []keys.Algorithm{keys.P256, keys.P384, keys.P521, keys.Ed25519, keys.RSA3072} {
		key, err := keys.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		sig, err := keys.Sign(key, bundle.PAE(inToto, payload))
		if err != nil {
			t.Fatal(err)
		}
		std := envelope(inToto, payload, sig)
		if _, err := siglog.Parse(dsse(std, keyPEM(t, key.Public()))); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
		urlSafe := strings.Replace(std, b64(payload), base64.URLEncoding.EncodeToString(payload), 1)
		if _, err := siglog.Parse(dsse(urlSafe, keyPEM(t, key.Public()))); err != nil {
			t.Errorf("%s, other alphabet: %v", algorithm, err)
		}
	}
	// The wrong hash for the key.
	key, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	h := crypto.SHA256.New()
	h.Write(bundle.PAE(inToto, payload))
	sig, err := ecdsa.SignASN1(rand.Reader, key, h.Sum(nil))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := siglog.Parse(dsse(envelope(inToto, payload, sig), keyPEM(t, key.Public()))); err == nil {
		t.Error("P-384 with SHA-256 was taken")
	}
}

// FuzzParse holds that no request panics, and that what is taken has the leaf hash
// of its body, which fits into a tile.
func FuzzParse(f *testing.F) {
	_, key, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	digest := make([]byte, 64)
	sig, err := key.Sign(nil, digest, &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		f.Fatal(err)
	}
	pub := keyPEM(f, key.Public())
	f.Add(hashedRekord("sha512", digest, sig, pub))
	f.Add(dsse(envelope(inToto, []byte("{}"), ed25519.Sign(key, bundle.PAE(inToto, []byte("{}")))), pub))
	f.Add([]byte(`{"kind":"intoto","apiVersion":"0.0.2","spec":{}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, untrusted []byte) {
		p, err := siglog.Parse(untrusted)
		if err != nil {
			return
		}
		if p.LeafHash != tlog.LeafHash(p.Body) || len(p.Body) > 1<<16-1 {
			t.Errorf("taken: %q", p.Body)
		}
	})
}

// FuzzParseV2 holds the same for the v2 face, and that what is taken is taken again
// in the form in which clients send it now.
func FuzzParseV2(f *testing.F) {
	_, key, err := ed25519.GenerateKey(bytes.NewReader(make([]byte, 32)))
	if err != nil {
		f.Fatal(err)
	}
	digest := make([]byte, 64)
	sig, err := key.Sign(nil, digest, &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		f.Fatal(err)
	}
	v := verifierV2("publicKey", keyDER(f, key.Public()), "PKIX_ED25519_PH")
	f.Add(hashedRekordV2(digest, sig, v))
	f.Add([]byte(`{"dsse_request_v002":{"envelope":{"payload":"","payloadType":"x","signatures":[{"sig":""}]},"verifiers":[` + v + `]}}`))
	f.Add([]byte(`{"hashedRekordRequestV002":{"signature":{"verifier":{"x509Certificate":{"rawBytes":"MAA="},"keyDetails":5}}}}`))
	f.Add([]byte("null"))
	f.Fuzz(func(t *testing.T, untrusted []byte) {
		p, err := siglog.ParseV2(untrusted)
		if err != nil {
			return
		}
		if p.LeafHash != tlog.LeafHash(p.Body) || len(p.Body) > 1<<16-1 {
			t.Errorf("taken: %q", p.Body)
		}
		var b leafV2
		if err := json.Unmarshal(p.Body, &b); err != nil {
			t.Fatalf("body %q: %v", p.Body, err)
		}
		in := b.Spec.HashedRekordV002
		if len(in.Signature.Verifier.PublicKey.RawBytes) == 0 {
			return // a certificate
		}
		again := hashedRekordV2(in.Data.Digest, in.Signature.Content, verifierV2("publicKey", in.Signature.Verifier.PublicKey.RawBytes, in.Signature.Verifier.KeyDetails))
		if q, err := siglog.ParseV2(again); err != nil || q.LeafHash != p.LeafHash {
			t.Errorf("%q is taken, %q is not: %v", untrusted, again, err)
		}
	})
}
