package entry

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"testing"
)

func newKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// rsaKey is a public key of the given size; nobody knows its private key.
func rsaKey(bits int) *rsa.PublicKey {
	n := new(big.Int).Lsh(big.NewInt(1), uint(bits-1))
	return &rsa.PublicKey{N: n.SetBit(n, 0, 1), E: 65537}
}

// requireCanonical checks that a body is RFC 8785's form of itself. Decoded
// into maps and encoded again it has its keys sorted and no white space; the
// strings in bodies hold no characters that encoding/json escapes otherwise
// than RFC 8785.
func requireCanonical(t *testing.T, body []byte) {
	t.Helper()
	var v any
	dec := json.NewDecoder(bytes.NewReader(body))
	dec.UseNumber()
	if err := dec.Decode(&v); err != nil {
		t.Fatalf("body is not JSON: %v", err)
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(v); err != nil {
		t.Fatal(err)
	}
	if got := bytes.TrimSuffix(out.Bytes(), []byte("\n")); !bytes.Equal(got, body) {
		t.Errorf("body is not canonical:\n%s\nwant\n%s", body, got)
	}
}

func TestBodiesAreCanonical(t *testing.T) {
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	// Bytes whose base64 has every special character.
	odd := []byte{0xfb, 0xff, 0xfe, 0x3e, 0x3f, '<', '>', '&', 0x00, 0xe2, 0x80, 0xa8}
	sum := sha256.Sum256(odd)
	for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
		body, err := HashedRekordV001(hash, make([]byte, hash.Size()), odd, CertificatePEM(odd))
		if err != nil {
			t.Fatal(err)
		}
		requireCanonical(t, body)
	}
	for _, pub := range []crypto.PublicKey{
		newKey(t, elliptic.P256()).Public(), newKey(t, elliptic.P384()).Public(), newKey(t, elliptic.P521()).Public(),
		edKey.Public(), rsaKey(2048), rsaKey(3072), rsaKey(4096),
	} {
		hash, err := HashFor(pub)
		if err != nil {
			t.Fatal(err)
		}
		for _, cert := range [][]byte{nil, odd} {
			body, err := HashedRekordV002(make([]byte, hash.Size()), odd, Verifier{Certificate: cert, Key: pub})
			if err != nil {
				t.Fatal(err)
			}
			requireCanonical(t, body)
			if got := bytes.Contains(body, []byte("x509Certificate")); got != (cert != nil) {
				t.Errorf("%T: body holds a certificate: %v", pub, got)
			}
			// The algorithm's words end alike: SHA2_256 and ..._SHA_256 or ..._SHA256.
			bits := fmt.Sprint(hash.Size() * 8)
			if _, isEd := pub.(ed25519.PublicKey); !isEd && (!bytes.Contains(body, []byte("SHA2_"+bits)) || !bytes.Contains(body, []byte(bits+`"`))) {
				t.Errorf("%T: algorithm and key details disagree: %s", pub, body)
			}
		}
	}
	body, err := DSSEV001(sum, sum, odd, odd)
	if err != nil {
		t.Fatal(err)
	}
	requireCanonical(t, body)
	for _, keyID := range []string{"", "SHA256:abc/+=", " ~!#$%'()*,:;=?@[]^_`{|}"} {
		body, err := IntotoV002(sum, sum, "application/vnd.in-toto+json", keyID, odd, odd)
		if err != nil {
			t.Fatal(err)
		}
		requireCanonical(t, body)
	}
}

// TestBodyVectors holds one whole body of each Rekor v1 kind.
func TestBodyVectors(t *testing.T) {
	sum := sha256.Sum256([]byte("hello"))
	hash := hex.EncodeToString(sum[:])
	sig, key := []byte("sig"), []byte("key")
	b64sig, b64key := base64.StdEncoding.EncodeToString(sig), base64.StdEncoding.EncodeToString(key)
	for _, tt := range []struct {
		make func() ([]byte, error)
		want string
	}{
		{func() ([]byte, error) { return HashedRekordV001(crypto.SHA256, sum[:], sig, key) },
			`{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{"data":{"hash":{"algorithm":"sha256","value":"` + hash + `"}},"signature":{"content":"` + b64sig + `","publicKey":{"content":"` + b64key + `"}}}}`},
		{func() ([]byte, error) { return DSSEV001(sum, sum, sig, key) },
			`{"apiVersion":"0.0.1","kind":"dsse","spec":{"envelopeHash":{"algorithm":"sha256","value":"` + hash + `"},"payloadHash":{"algorithm":"sha256","value":"` + hash + `"},"signatures":[{"signature":"` + b64sig + `","verifier":"` + b64key + `"}]}}`},
		{func() ([]byte, error) { return IntotoV001(sum, nil, key) },
			`{"apiVersion":"0.0.1","kind":"intoto","spec":{"content":{"hash":{"algorithm":"sha256","value":"` + hash + `"}},"publicKey":"` + b64key + `"}}`},
		{func() ([]byte, error) { return IntotoV001(sum, &sum, key) },
			`{"apiVersion":"0.0.1","kind":"intoto","spec":{"content":{"hash":{"algorithm":"sha256","value":"` + hash + `"},"payloadHash":{"algorithm":"sha256","value":"` + hash + `"}},"publicKey":"` + b64key + `"}}`},
		{func() ([]byte, error) {
			return IntotoV002(sum, sum, "application/vnd.in-toto+json", "", sig, key)
		},
			`{"apiVersion":"0.0.2","kind":"intoto","spec":{"content":{"envelope":{"payloadType":"application/vnd.in-toto+json","signatures":[{"publicKey":"` + b64key + `","sig":"` + base64.StdEncoding.EncodeToString([]byte(b64sig)) + `"}]},"hash":{"algorithm":"sha256","value":"` + hash + `"},"payloadHash":{"algorithm":"sha256","value":"` + hash + `"}}}}`},
	} {
		body, err := tt.make()
		if err != nil {
			t.Fatal(err)
		}
		if string(body) != tt.want {
			t.Errorf("body is\n%s\nwant\n%s", body, tt.want)
		}
	}
}

// TestA081_DigestLength: a digest has its algorithm's length, exactly.
func TestA081_DigestLength(t *testing.T) {
	pub := newKey(t, elliptic.P384()).Public()
	for n := range 70 {
		for _, hash := range []crypto.Hash{crypto.SHA256, crypto.SHA384, crypto.SHA512} {
			if _, err := HashedRekordV001(hash, make([]byte, n), []byte{1}, []byte{1}); (err == nil) != (n == hash.Size()) {
				t.Errorf("0.0.1 %v with %d bytes: %v", hash, n, err)
			}
		}
		if _, err := HashedRekordV002(make([]byte, n), []byte{1}, Verifier{Key: pub}); (err == nil) != (n == 48) {
			t.Errorf("0.0.2 P-384 with %d bytes: %v", n, err)
		}
	}
}

// TestA160_LIB32_Algorithms: what the algorithm registry does not have is
// refused, and nothing panics.
func TestA160_LIB32_Algorithms(t *testing.T) {
	for name, key := range map[string]crypto.PublicKey{
		"P-224": newKey(t, elliptic.P224()).Public(), "RSA-1024": rsaKey(1024), "RSA-2047": rsaKey(2047), "RSA-2049": rsaKey(2049),
		"RSA-8192": rsaKey(8192), "nothing": nil, "text": "key",
		"a private key": newKey(t, elliptic.P256()), "an ECDSA key by value": *newKey(t, elliptic.P256()),
	} {
		if _, err := HashFor(key); err == nil {
			t.Errorf("%s has a hash", name)
		}
		if _, err := HashedRekordV002(make([]byte, 32), []byte{1}, Verifier{Key: key}); err == nil {
			t.Errorf("%s makes an entry", name)
		}
		if _, err := HashedRekordV002(make([]byte, 32), []byte{1}, Verifier{Key: key, Certificate: []byte{1}}); err == nil {
			t.Errorf("%s makes an entry with a certificate", name)
		}
	}
	for _, y := range smallOrder {
		for _, sign := range []byte{0, 0x80} {
			point, err := hex.DecodeString(y)
			if err != nil {
				t.Fatal(err)
			}
			point[31] |= sign
			if _, err := HashFor(ed25519.PublicKey(point)); err == nil {
				t.Errorf("an Ed25519 key of small order has a hash: %x", point)
			}
		}
	}
	if _, err := HashFor(ed25519.PublicKey{1}); err == nil {
		t.Error("an Ed25519 key of one byte has a hash")
	}
	for _, hash := range []crypto.Hash{0, crypto.SHA1, crypto.MD5, crypto.SHA224, crypto.SHA512_256, crypto.SHA3_256, 99} {
		if _, err := HashedRekordV001(hash, make([]byte, 32), []byte{1}, []byte{1}); err == nil {
			t.Errorf("hash %d makes an entry", hash)
		}
	}
	sum := [32]byte{}
	for _, tt := range []struct{ payloadType, keyID string }{
		{"", ""}, {"application/json", ""}, {"application/vnd.in-toto+json ", ""}, {"APPLICATION/VND.IN-TOTO+JSON", ""},
		{"application/vnd.in-toto+json", `"`}, {"application/vnd.in-toto+json", `\`}, {"application/vnd.in-toto+json", "<"},
		{"application/vnd.in-toto+json", ">"}, {"application/vnd.in-toto+json", "&"}, {"application/vnd.in-toto+json", "\x1f"}, {"application/vnd.in-toto+json", "\x7f"},
		{"application/vnd.in-toto+json", "é"}, {"application/vnd.in-toto+json", "\n"}, {"application/vnd.in-toto+json", "\u2028"},
	} {
		if _, err := IntotoV002(sum, sum, tt.payloadType, tt.keyID, []byte{1}, []byte{1}); err == nil {
			t.Errorf("payload type %q with key ID %q makes an entry", tt.payloadType, tt.keyID)
		}
	}
}

// TestLIB32_Registry holds the algorithm registry's hash and name for each key.
func TestLIB32_Registry(t *testing.T) {
	edKey, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		key  crypto.PublicKey
		hash crypto.Hash
		name string
	}{
		{newKey(t, elliptic.P256()).Public(), crypto.SHA256, "PKIX_ECDSA_P256_SHA_256"},
		{newKey(t, elliptic.P384()).Public(), crypto.SHA384, "PKIX_ECDSA_P384_SHA_384"},
		{newKey(t, elliptic.P521()).Public(), crypto.SHA512, "PKIX_ECDSA_P521_SHA_512"},
		{rsaKey(2048), crypto.SHA256, "PKIX_RSA_PKCS1V15_2048_SHA256"},
		{rsaKey(3072), crypto.SHA256, "PKIX_RSA_PKCS1V15_3072_SHA256"},
		{rsaKey(4096), crypto.SHA256, "PKIX_RSA_PKCS1V15_4096_SHA256"},
		{edKey, crypto.SHA512, "PKIX_ED25519_PH"},
	} {
		hash, err := HashFor(tt.key)
		if err != nil || hash != tt.hash {
			t.Errorf("%s: the hash is %v, %v", tt.name, hash, err)
		}
		if name, err := KeyDetails(tt.key); err != nil || name != tt.name {
			t.Errorf("%s: the name is %q, %v", tt.name, name, err)
		}
	}
	if name, err := KeyDetails(rsaKey(1024)); err == nil {
		t.Errorf("RSA-1024 has the name %q", name)
	}
	//lint:ignore SA1019 no other way leads to a key that is none
	offCurve := &ecdsa.PublicKey{Curve: elliptic.P256(), X: big.NewInt(1), Y: big.NewInt(1)}
	if _, err := HashedRekordV002(make([]byte, 32), []byte{1}, Verifier{Key: offCurve}); err == nil {
		t.Error("a point off the curve makes an entry")
	}
}

func TestPEM(t *testing.T) {
	key := newKey(t, elliptic.P256())
	text, err := PublicKeyPEM(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(rest) != 0 {
		t.Fatalf("not one block: %s", text)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil || !key.PublicKey.Equal(pub) {
		t.Errorf("another key comes back (%v)", err)
	}
	if _, err := PublicKeyPEM("key"); err == nil {
		t.Error("text is a public key")
	}
	if text := CertificatePEM([]byte("der")); !strings.HasPrefix(string(text), "-----BEGIN CERTIFICATE-----\n") || !strings.HasSuffix(string(text), "\n") {
		t.Errorf("certificate is %q", text)
	}
}

// TestA024_Promise changes each thing that a signed entry timestamp promises.
func TestA024_Promise(t *testing.T) {
	key, other := newKey(t, elliptic.P256()), newKey(t, elliptic.P256())
	promise := Promise{Body: []byte(`{"kind":"x"}`), IntegratedTime: 1700000000, LogIndex: 7, LogID: [32]byte{1}}
	set, err := promise.Sign(key)
	if err != nil {
		t.Fatal(err)
	}
	if err := promise.Verify(&key.PublicKey, set); err != nil {
		t.Fatalf("the good twin is refused: %v", err)
	}
	for name, change := range map[string]func(*Promise){
		"body":           func(p *Promise) { p.Body = []byte(`{"kind":"y"}`) },
		"no body":        func(p *Promise) { p.Body = nil },
		"white space":    func(p *Promise) { p.Body = []byte(`{"kind": "x"}`) },
		"a second later": func(p *Promise) { p.IntegratedTime++ },
		"backdated":      func(p *Promise) { p.IntegratedTime = 0 },
		"negative time":  func(p *Promise) { p.IntegratedTime = -1 },
		"next index":     func(p *Promise) { p.LogIndex++ },
		"negative index": func(p *Promise) { p.LogIndex = -1 },
		"another log":    func(p *Promise) { p.LogID[31] = 1 },
	} {
		p := promise
		change(&p)
		if p.Verify(&key.PublicKey, set) == nil {
			t.Errorf("%s: accepted", name)
		}
	}
	if promise.Verify(&other.PublicKey, set) == nil {
		t.Error("accepted under another key")
	}
	for i := range len(set) * 8 {
		flipped := bytes.Clone(set)
		flipped[i/8] ^= 1 << (i % 8)
		if promise.Verify(&key.PublicKey, flipped) == nil {
			t.Errorf("accepted with bit %d flipped", i)
		}
	}
	for _, sig := range [][]byte{nil, {}, {0}, set[:len(set)-1], append(bytes.Clone(set), 0), bytes.Repeat([]byte{0x30}, 1<<16)} {
		if promise.Verify(&key.PublicKey, sig) == nil {
			t.Errorf("a signature of %d bytes is accepted", len(sig))
		}
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"Ed25519": edKey, "P-384": newKey(t, elliptic.P384())} {
		if _, err := promise.Sign(key); err == nil {
			t.Errorf("%s signs promises", name)
		}
	}
	nothing := sha256.Sum256(nil)
	overNothing, err := ecdsa.SignASN1(rand.Reader, key, nothing[:])
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Promise{{IntegratedTime: -1}, {LogIndex: -1}} {
		if _, err := p.Sign(key); err == nil {
			t.Errorf("%+v is signed", p)
		}
		if p.Verify(&key.PublicKey, overNothing) == nil {
			t.Errorf("%+v is verified by a signature over nothing", p)
		}
	}
}

// recorder is a key that says what it was asked for, or that it cannot sign.
type recorder struct {
	*ecdsa.PrivateKey
	hash crypto.Hash
	err  error
}

func (r *recorder) Sign(random io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	r.hash = opts.HashFunc()
	if r.err != nil {
		return []byte{1}, r.err
	}
	return r.PrivateKey.Sign(random, digest, opts)
}

func TestPromiseAsksForSHA256(t *testing.T) {
	key := &recorder{PrivateKey: newKey(t, elliptic.P256())}
	if _, err := (Promise{}).Sign(key); err != nil || key.hash != crypto.SHA256 {
		t.Errorf("asked for %v, %v", key.hash, err)
	}
	key.err = errors.New("out of order")
	if _, err := (Promise{}).Sign(key); !errors.Is(err, key.err) {
		t.Errorf("a key that cannot sign gives %v", err)
	}
}

// TestPromiseVector holds signed texts, up to the largest numbers that RFC 8785
// writes as integers.
func TestPromiseVector(t *testing.T) {
	for _, tt := range []struct {
		promise Promise
		want    string
	}{
		{Promise{Body: []byte("x")}, `{"body":"eA==","integratedTime":0,"logID":"` + strings.Repeat("00", 32) + `","logIndex":0}`},
		{Promise{Body: []byte{0xfb, 0xff}, IntegratedTime: 1<<53 - 1, LogIndex: 1<<53 - 1, LogID: [32]byte{0xab, 31: 0xcd}},
			`{"body":"+/8=","integratedTime":9007199254740991,"logID":"ab` + strings.Repeat("00", 30) + `cd","logIndex":9007199254740991}`},
	} {
		text, err := tt.promise.signed()
		if err != nil {
			t.Fatal(err)
		}
		if string(text) != tt.want {
			t.Errorf("signed is %s, want %s", text, tt.want)
		}
	}
}
