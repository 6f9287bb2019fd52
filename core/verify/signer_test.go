package verify_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/asn1"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/verify"
)

func parseCertificate(tb testing.TB, der []byte) *x509.Certificate {
	tb.Helper()
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		tb.Fatal(err)
	}
	return cert
}

// TestA003_A039_A040_EveryField is generated from the fields of a matcher's
// specification: evidence that violates only that field is refused, and the
// same matcher accepts the right evidence.
func TestA003_A039_A040_LIB18_EveryField(t *testing.T) {
	w := newWorld(t)
	right := map[string]string{
		"Issuer": alice.Issuer, "IssuerRegExp": `https://issuer\.touchmark\.example`,
		"Subject": alice.SAN.Value, "SubjectRegExp": `.*@acme\.example`,
	}
	wrong := map[string]string{
		"Issuer": "https://other.example", "IssuerRegExp": `https://other\..*`,
		"Subject": mallory.SAN.Value, "SubjectRegExp": `.*@evil\.example`,
	}
	fields := reflect.TypeFor[identity.Spec]()
	for i := range fields.NumField() {
		name := fields.Field(i).Name
		if name == "NoIssuer" {
			continue // see TestOwnPKI
		}
		if right[name] == "" {
			t.Fatalf("field %s has no case here", name)
		}
		other := "Subject" // the other half of the specification
		if strings.HasPrefix(name, "Subject") {
			other = "Issuer"
		}
		spec := func(value string) *identity.Matcher {
			var s identity.Spec
			v := reflect.ValueOf(&s).Elem()
			v.FieldByName(name).SetString(value)
			v.FieldByName(other).SetString(right[other])
			return matcher(t, s)
		}
		for form, options := range forms(w) {
			in := w.input(t, w.sign(t, options))
			in.Signer = verify.Keyless(spec(right[name]))
			requireAccepted(t, form+" with "+name, in)
			in.Signer = verify.Keyless(spec(wrong[name]))
			requireCode(t, form+" with another "+name, in, verify.CodeIdentity)
			in.Signer = verify.Keyless(spec(wrong[name]), spec(right[name]))
			requireAccepted(t, form+" with one of two identities", in)
		}
	}
	// A CI workflow's identity: another branch, another workflow, another kind.
	workflow := identity.Identity{SAN: identity.SAN{Kind: identity.URI, Value: "https://ci.example/acme/app/release.yml@refs/heads/main"}, Issuer: "https://ci.example"}
	for _, tt := range []struct {
		san  identity.SAN
		want verify.Code
	}{
		{workflow.SAN, ""},
		{identity.SAN{Kind: identity.URI, Value: "https://ci.example/acme/app/release.yml@refs/heads/evil"}, verify.CodeIdentity},
		{identity.SAN{Kind: identity.URI, Value: "https://ci.example/evil/app/release.yml@refs/heads/main"}, verify.CodeIdentity},
		{identity.SAN{Kind: identity.Email, Value: "release@acme.example"}, verify.CodeIdentity},
		{identity.SAN{Kind: identity.Username, Value: "release!acme.example"}, verify.CodeIdentity},
	} {
		in := w.input(t, w.sign(t, coretest.SignOptions{Identity: identity.Identity{SAN: tt.san, Issuer: workflow.Issuer}}))
		in.Signer = verify.Keyless(exactly(t, workflow))
		requireCode(t, tt.san.Value, in, tt.want)
	}
}

// TestA044_LIB31_KindsOfSigner: a certificate where a key is wanted, the
// reverse, and a key in a certificate's place.
func TestA044_LIB31_KindsOfSigner(t *testing.T) {
	w := newWorld(t)
	key, other := coretest.NewKey(t), coretest.NewKey(t)
	keyless, keyed := w.sign(t, coretest.SignOptions{Key: key, Identity: alice}), w.sign(t, coretest.SignOptions{Key: key})
	byKey := func(keys ...*ecdsa.PrivateKey) verify.Expected {
		var list []verify.Key
		for _, k := range keys {
			list = append(list, verify.Key{Name: "k", Public: k.Public()})
		}
		return verify.Keyed(list...)
	}
	spki, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certIsKey := clone(keyless)
	certIsKey.Certificates = [][]byte{spki}
	anybody := verify.Keyless(matcher(t, identity.Spec{IssuerRegExp: ".*", SubjectRegExp: ".*"}))
	for _, tt := range []struct {
		name   string
		e      *bundle.Evidence
		signer verify.Expected
		want   verify.Code
	}{
		{"certificate for an identity", keyless, anybody, ""},
		{"key for a key", keyed, byKey(key), ""},
		{"key for one of two keys", keyed, byKey(other, key), ""},
		{"key for another key", keyed, byKey(other), verify.CodeKey},
		{"key for nobody in particular", keyed, byKey(other, other), verify.CodeKey},
		{"certificate of that very key for a key", keyless, byKey(key), verify.CodeWrongSignerKind},
		{"bare key for an identity", keyed, anybody, verify.CodeWrongSignerKind},
		{"public key as the certificate, for an identity", certIsKey, anybody, verify.CodeCertificate},
		{"public key as the certificate, for that key", certIsKey, byKey(key), verify.CodeWrongSignerKind},
	} {
		in := w.input(t, tt.e)
		in.Signer = tt.signer
		requireCode(t, tt.name, in, tt.want)
		in.InsecureIgnoreLog, in.InsecureIgnoreSCT = true, true
		requireCode(t, tt.name+", log and certificate log ignored", in, tt.want)
	}
	// Without a log, a key's signature stands alone, if the caller says so.
	bare := w.sign(t, coretest.SignOptions{Key: key, WithoutLog: true, WithoutTimestamp: true})
	in := w.input(t, bare)
	in.Signer = byKey(key)
	requireCode(t, "no log", in, verify.CodeUntrustedLog)
	in.InsecureIgnoreLog = true
	requireAccepted(t, "no log, ignored", in)
	in.Root = nil
	requireAccepted(t, "no log and no root, ignored", in)
	in.Artifact = verify.SHA256(otherDigest)
	requireCode(t, "another image", in, verify.CodeWrongArtifact)
	// A log entry that is there must be right even where none is demanded.
	wrong := clone(keyed)
	wrong.Entries = w.SignDigest(t, otherDigest, coretest.SignOptions{Key: key}).Entries
	in = w.input(t, wrong)
	in.Signer, in.InsecureIgnoreLog = byKey(key), true
	requireCode(t, "another image's entry, log ignored", in, verify.CodeLogEntry)
	// A certificate is in a log, whatever is ignored.
	in = w.input(t, w.sign(t, coretest.SignOptions{WithoutLog: true}))
	in.InsecureIgnoreLog = true
	requireCode(t, "certificate without log, ignored", in, verify.CodeUntrustedLog)
}

// TestLIB32_A160_Algorithms signs with keys of every kind.
func TestLIB32_A160_Algorithms(t *testing.T) {
	w := newWorld(t)
	p := func(c elliptic.Curve) crypto.Signer {
		key, err := ecdsa.GenerateKey(c, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	r := func(bits int) crypto.Signer {
		t.Setenv("GODEBUG", "rsa1024min=0")
		key, err := rsa.GenerateKey(rand.Reader, bits)
		if err != nil {
			t.Fatal(err)
		}
		return key
	}
	_, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name  string
		key   crypto.Signer
		keyed verify.Code
	}{
		{"P-256", p(elliptic.P256()), ""}, {"P-384", p(elliptic.P384()), ""}, {"P-521", p(elliptic.P521()), ""},
		{"Ed25519", ed, ""}, {"RSA-2048", r(2048), ""}, {"RSA-3072", r(3072), ""},
		{"P-224", p(elliptic.P224()), verify.CodeKey}, {"RSA-1024", r(1024), verify.CodeKey}, {"RSA-2056", r(2056), verify.CodeKey},
	} {
		e := &bundle.Evidence{Form: bundle.FormBundle, Envelope: &bundle.Envelope{PayloadType: inToto, Payload: coretest.Statement(digest, "", "")}}
		e.Envelope.Signature = signAnyhow(t, tt.key, bundle.PAE(inToto, e.Envelope.Payload))
		in := w.input(t, e)
		in.Signer, in.Root, in.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "k", Public: tt.key.Public()}), nil, true
		requireCode(t, tt.name+" as a key", in, tt.keyed)
		if tt.keyed == "" {
			e := w.sign(t, coretest.SignOptions{Identity: alice, Key: tt.key})
			requireAccepted(t, tt.name+" in a certificate, Rekor v1", w.input(t, e))
			if tt.name != "Ed25519" { // Rekor v2 has Ed25519ph only
				e = w.sign(t, coretest.SignOptions{Identity: alice, Key: tt.key, Log: w.V2})
				requireAccepted(t, tt.name+" in a certificate, Rekor v2", w.input(t, e))
			}
			continue
		}
		e.Certificates = [][]byte{w.Certificate(t, alice, tt.key.Public())}
		requireCode(t, tt.name+" in a certificate", w.input(t, e), verify.CodeCertificate)
	}

	// Ed25519 keys of small order, for which everybody can sign everything.
	identityPoint := make(ed25519.PublicKey, 32)
	identityPoint[0] = 1
	forged := append(append([]byte{}, identityPoint...), make([]byte, 32)...)
	e := &bundle.Evidence{Form: bundle.FormBundle, Envelope: &bundle.Envelope{PayloadType: inToto, Payload: coretest.Statement(digest, "", ""), Signature: forged}}
	if !ed25519.Verify(identityPoint, bundle.PAE(inToto, e.Envelope.Payload), forged) {
		t.Fatal("the forgery does not verify: it tests nothing")
	}
	in := w.input(t, e)
	in.Signer, in.Root, in.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "k", Public: identityPoint}), nil, true
	requireCode(t, "Ed25519 of small order as a key", in, verify.CodeKey)
	e.Certificates = [][]byte{w.Certificate(t, alice, identityPoint)}
	requireCode(t, "Ed25519 of small order in a certificate", w.input(t, e), verify.CodeCertificate)

	// Keys that are no keys.
	for _, pub := range []crypto.PublicKey{nil, "key", ed25519.PublicKey{}, ed25519.PublicKey(make([]byte, 31)), &ecdsa.PublicKey{}, &ecdsa.PublicKey{Curve: elliptic.P224()}} {
		e := w.sign(t, coretest.SignOptions{Key: coretest.NewKey(t)})
		in := w.input(t, e)
		in.Signer = verify.Keyed(verify.Key{Name: "k", Public: pub})
		requireCode(t, "a key that is none", in, verify.CodeKey)
	}
}

// signAnyhow signs with the hash that goes with the key, or SHA-256.
func signAnyhow(tb testing.TB, key crypto.Signer, message []byte) []byte {
	tb.Helper()
	if pub, ok := key.Public().(*ecdsa.PublicKey); !ok || pub.Curve != elliptic.P224() {
		if pub, ok := key.Public().(*rsa.PublicKey); !ok || pub.N.BitLen() == 2048 || pub.N.BitLen() == 3072 {
			return coretest.Signature(tb, key, message)
		}
	}
	sum := sha256.Sum256(message)
	sig, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		tb.Fatal(err)
	}
	return sig
}

// TestLIB32_HighS: of a signature's two equivalent forms, only the one that was
// logged counts.
func TestLIB32_HighS(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	twin := clone(e)
	twin.Envelope.Signature = negateS(t, e.Envelope.Signature)
	requireAccepted(t, "as logged", w.input(t, e))
	requireCode(t, "the twin of what was logged", w.input(t, twin), verify.CodeLogEntry)
	twin.Entries = []bundle.Entry{w.V1.Add(t, coretest.EntryBody(t, twin, digest, certificateKey(t, twin), false), coretest.Start)}
	twin.Timestamps = nil
	requireAccepted(t, "the twin, logged itself", w.input(t, twin))
}

func negateS(tb testing.TB, der []byte) []byte {
	tb.Helper()
	var sig struct{ R, S *big.Int }
	if _, err := asn1.Unmarshal(der, &sig); err != nil {
		tb.Fatal(err)
	}
	sig.S.Sub(elliptic.P256().Params().N, sig.S)
	out, err := asn1.Marshal(sig)
	if err != nil {
		tb.Fatal(err)
	}
	return out
}
