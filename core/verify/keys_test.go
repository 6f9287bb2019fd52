package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/verify"
)

// signedWith is evidence by a bare key over a digest of what is signed, or over
// the text itself where hash is 0.
func signedWith(tb testing.TB, key crypto.Signer, options crypto.SignerOpts, content coretest.Content) *bundle.Evidence {
	tb.Helper()
	e := &bundle.Evidence{Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03}
	sign := func(text []byte) []byte {
		if hash := options.HashFunc(); hash != 0 {
			h := hash.New()
			h.Write(text)
			text = h.Sum(nil)
		}
		sig, err := key.Sign(rand.Reader, text, options)
		if err != nil {
			tb.Fatal(err)
		}
		return sig
	}
	switch content {
	case coretest.DSSE:
		statement := coretest.Statement(digest, "", "")
		e.Envelope = &bundle.Envelope{PayloadType: inToto, Payload: statement, Signature: sign(bundle.PAE(inToto, statement))}
	case coretest.SimpleSigning:
		text, err := bundle.SimpleSigningPayload("registry.example/app", verify.SHA256(digest).String())
		if err != nil {
			tb.Fatal(err)
		}
		e.Form, e.Payload = bundle.FormLegacy, &bundle.Payload{Text: text, Signature: sign(text)}
	default:
		tb.Fatalf("unknown content %d", content)
	}
	return e
}

func rsaKey(tb testing.TB, bits int) *rsa.PrivateKey {
	tb.Helper()
	key, err := rsa.GenerateKey(rand.Reader, bits)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func ecKey(tb testing.TB, curve elliptic.Curve) *ecdsa.PrivateKey {
	tb.Helper()
	key, err := ecdsa.GenerateKey(curve, rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

func edKey(tb testing.TB) ed25519.PrivateKey {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return key
}

// TestLIB31_LIB32_Algorithms signs with every kind of key, in every way that
// it could, and says which are accepted where which hash is expected.
func TestLIB31_LIB32_Algorithms(t *testing.T) {
	const s256, s384, s512 = crypto.SHA256, crypto.SHA384, crypto.SHA512
	pss := func(hash crypto.Hash, salt int) crypto.SignerOpts {
		return &rsa.PSSOptions{Hash: hash, SaltLength: salt}
	}
	for _, tt := range []struct {
		name    string
		key     crypto.Signer
		options crypto.SignerOpts
		accept  []crypto.Hash // values of Key.Hash with which it is accepted
	}{
		{"P-256, SHA-256", ecKey(t, elliptic.P256()), s256, []crypto.Hash{0, s256}},
		{"P-256, SHA-384", ecKey(t, elliptic.P256()), s384, []crypto.Hash{s384}},
		{"P-256, SHA-512", ecKey(t, elliptic.P256()), s512, []crypto.Hash{s512}},
		{"P-384, SHA-256", ecKey(t, elliptic.P384()), s256, []crypto.Hash{0, s256}},
		{"P-384, SHA-384", ecKey(t, elliptic.P384()), s384, []crypto.Hash{0, s384}},
		{"P-384, SHA-512", ecKey(t, elliptic.P384()), s512, []crypto.Hash{s512}},
		{"P-521, SHA-256", ecKey(t, elliptic.P521()), s256, []crypto.Hash{0, s256}},
		{"P-521, SHA-512", ecKey(t, elliptic.P521()), s512, []crypto.Hash{0, s512}},
		{"P-256, SHA-1", ecKey(t, elliptic.P256()), crypto.SHA1, nil},
		{"P-224", ecKey(t, elliptic.P224()), s256, nil},
		{"RSA 2048", rsaKey(t, 2048), s256, []crypto.Hash{0, s256}},
		{"RSA 2048, SHA-512", rsaKey(t, 2048), s512, []crypto.Hash{s512}},
		{"RSA 3072", rsaKey(t, 3072), s256, []crypto.Hash{0, s256}},
		{"RSA 4096", rsaKey(t, 4096), s256, []crypto.Hash{0, s256}},
		{"RSA 2048, PSS", rsaKey(t, 2048), pss(s256, rsa.PSSSaltLengthEqualsHash), []crypto.Hash{0, s256}},
		{"RSA 2048, PSS with the longest salt", rsaKey(t, 2048), pss(s256, rsa.PSSSaltLengthAuto), []crypto.Hash{0, s256}},
		{"RSA 2048, PSS, SHA-384", rsaKey(t, 2048), pss(s384, rsa.PSSSaltLengthEqualsHash), []crypto.Hash{s384}},
		{"RSA 2048, SHA-1", rsaKey(t, 2048), crypto.SHA1, nil},
		{"RSA 2560", rsaKey(t, 2560), s256, nil},
		{"Ed25519", edKey(t), crypto.Hash(0), []crypto.Hash{0, s256, s384, s512}},
		{"Ed25519ph of a text", edKey(t), &ed25519.Options{Hash: s512}, nil},
	} {
		for _, content := range []coretest.Content{coretest.DSSE, coretest.SimpleSigning} {
			e := signedWith(t, tt.key, tt.options, content)
			for _, hash := range []crypto.Hash{0, s256, s384, s512} {
				in := verify.Input{
					Evidence: e, Artifact: verify.SHA256(digest), InsecureIgnoreLog: true,
					Signer: verify.Keyed(verify.Key{Name: "k", Public: tt.key.Public(), Hash: hash}),
				}
				want := verify.CodeKey
				for _, accepted := range tt.accept {
					if hash == accepted {
						want = ""
					}
				}
				requireCode(t, tt.name+" where "+hash.String()+" is expected", in, want)
			}
		}
	}
	in := verify.Input{
		Evidence: signedWith(t, ecKey(t, elliptic.P256()), s256, coretest.DSSE), Artifact: verify.SHA256(digest), InsecureIgnoreLog: true,
		Signer: verify.Keyed(verify.Key{Name: "k", Public: ecKey(t, elliptic.P256()).Public(), Hash: crypto.SHA1}),
	}
	if _, err := verify.Verify(in); !errors.Is(err, verify.ErrInput) {
		t.Errorf("SHA-1 is expected: %v", err)
	}
}

// TestLIB32_CertificateAlgorithms is the same of certificates, whose keys have
// fewer ways: no PSS, and no hash but their own and, for ECDSA, SHA-256.
func TestLIB32_CertificateAlgorithms(t *testing.T) {
	w := newWorld(t)
	for _, tt := range []struct {
		name    string
		key     crypto.Signer
		options crypto.SignerOpts
		want    verify.Code
	}{
		{"P-384, SHA-384", ecKey(t, elliptic.P384()), crypto.SHA384, ""},
		{"P-384, SHA-256", ecKey(t, elliptic.P384()), crypto.SHA256, ""},
		{"P-384, SHA-512", ecKey(t, elliptic.P384()), crypto.SHA512, verify.CodeSignature},
		{"P-521, SHA-256", ecKey(t, elliptic.P521()), crypto.SHA256, ""},
		{"P-256, SHA-384", ecKey(t, elliptic.P256()), crypto.SHA384, verify.CodeSignature},
		{"RSA 2048", rsaKey(t, 2048), crypto.SHA256, ""},
		{"RSA 2048, SHA-512", rsaKey(t, 2048), crypto.SHA512, verify.CodeSignature},
		{"RSA 2048, PSS", rsaKey(t, 2048), &rsa.PSSOptions{Hash: crypto.SHA256, SaltLength: 32}, verify.CodeSignature},
		{"Ed25519", edKey(t), crypto.Hash(0), ""},
	} {
		e := signedWith(t, tt.key, tt.options, coretest.DSSE)
		e.Certificates = [][]byte{w.Certificate(t, alice, tt.key.Public())}
		e.Entries = []bundle.Entry{w.V1.Add(t, coretest.EntryBody(t, e, digest, tt.key.Public(), false), w.Clock.Now())}
		requireCode(t, tt.name, w.input(t, e), tt.want)
		if tt.name == "P-384, SHA-256" { // a Rekor v2 log holds only the key's own hash
			e.Entries = []bundle.Entry{w.V2.Add(t, coretest.EntryBody(t, e, digest, tt.key.Public(), true), w.Clock.Now())}
			e.Timestamps = [][]byte{w.TSA.Stamp(t, e.Signature(), w.Clock.Now())}
			requireCode(t, tt.name+" in a v2 log", w.input(t, e), "")
		}
	}
}

// TestHashedRekordOfLegacySignature: the entry of a legacy signature holds the hash that was
// signed.
func TestA007_HashOfLegacyEntry(t *testing.T) {
	w := newWorld(t)
	key := ecKey(t, elliptic.P384())
	for _, signed := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
		for _, logged := range []crypto.Hash{crypto.SHA256, crypto.SHA384} {
			e := signedWith(t, key, signed, coretest.SimpleSigning)
			e.Certificates = [][]byte{w.Certificate(t, alice, key.Public())}
			h := logged.New()
			h.Write(e.Payload.Text)
			body, err := entry.HashedRekordV001(logged, h.Sum(nil), e.Signature(), entry.CertificatePEM(e.Certificates[0]))
			if err != nil {
				t.Fatal(err)
			}
			e.Entries = []bundle.Entry{w.V1.Add(t, body, w.Clock.Now())}
			want := verify.Code("")
			if signed != logged {
				want = verify.CodeLogEntry
			}
			requireCode(t, signed.String()+" signed, "+logged.String()+" logged", w.input(t, e), want)
		}
	}
}
