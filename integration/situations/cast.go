package situations

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"fmt"
	"testing"
	"time"

	pgp "github.com/ProtonMail/go-crypto/openpgp"
	"github.com/ProtonMail/go-crypto/openpgp/armor"
	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/trust"
)

// people sign with certificates.
var people = map[string]identity.Identity{
	"alice":   coretest.Email("alice@acme.example"),
	"bob":     coretest.Email("bob@acme.example"),
	"mallory": coretest.Email("mallory@evil.example"),
	// The same name, vouched for by another issuer.
	"alice-of-another-issuer": {SAN: identity.SAN{Kind: identity.Email, Value: "alice@acme.example"}, Issuer: "https://login.evil.example"},
	// An address that holds alice's.
	"alice-lookalike": coretest.Email("alice@acme.example.evil.example"),
	"machine":         {SAN: identity.SAN{Kind: identity.URI, Value: "https://ci.acme.example/app/.ci/release.yml@refs/heads/main"}, Issuer: coretest.Issuer},
	"machine-branch":  {SAN: identity.SAN{Kind: identity.URI, Value: "https://ci.acme.example/app/.ci/release.yml@refs/heads/feature"}, Issuer: coretest.Issuer},
	"rob":             coretest.Email("rob@acme.example"),  // revoked
	"rita":            coretest.Email("rita@acme.example"), // revoked, for what she signed long ago
}

// keySpec is how a key is made.
type keySpec struct {
	make func() (crypto.Signer, error)
	hash crypto.Hash // that its signatures are over; 0 is the usual
}

// keySpecs are keys of their owners' own.
var keySpecs = map[string]keySpec{
	"key":         {ec(elliptic.P256()), 0},
	"key-p384":    {ec(elliptic.P384()), 0},
	"key-ed25519": {func() (crypto.Signer, error) { _, key, err := ed25519.GenerateKey(rand.Reader); return key, err }, 0},
	"key-rsa":     {func() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }, 0},
	"key-sha512":  {ec(elliptic.P256()), crypto.SHA512},
	"key-revoked": {ec(elliptic.P256()), 0},
}

func ec(curve elliptic.Curve) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return ecdsa.GenerateKey(curve, rand.Reader) }
}

// predicateTypes are what attestations are about, by the values of "about".
var predicateTypes = map[string]string{"slsa": predicate.SLSA1, "spdx": predicate.SPDX, "vuln": predicate.Vuln}

// predicates are what attestations say.
var predicates = map[string]string{"0-critical": `{"critical":0}`, "3-critical": `{"critical":3}`, "empty": `{}`}

// cosigners are the witnesses that cosign, of which the third is unknown to every site.
var cosigners = map[string][]int{"by-one": {0}, "by-one-twice": {0, 0}, "by-one-and-stranger": {0, 2}, "by-two": {0, 1}}

// cast is everybody who signs and vouches.
type cast struct {
	private, second *coretest.Sigstore
	own, old        *coretest.CA // of its own; an older one of the private Sigstore
	keys            map[string]crypto.Signer
	witnesses       [3]*coretest.Witness
	vendors         map[string]vendor
}

func newCast(tb testing.TB) *cast {
	tb.Helper()
	c := &cast{
		private: coretest.New(tb), second: coretest.New(tb), own: coretest.NewCA(tb, coretest.Start), old: coretest.NewCA(tb, coretest.Start),
		keys: make(map[string]crypto.Signer), vendors: make(map[string]vendor),
	}
	for name, spec := range keySpecs {
		key, err := spec.make()
		if err != nil {
			tb.Fatal(err)
		}
		c.keys[name] = key
	}
	for i := range c.witnesses {
		c.witnesses[i] = coretest.NewWitness(tb, fmt.Sprintf("witness%d.example", i))
	}
	c.vendors["vendor"] = newVendor(tb, packet.PubKeyAlgoRSA) // as Red Hat's
	c.vendors["another-vendor"] = newVendor(tb, packet.PubKeyAlgoEdDSA)
	return c
}

// privateRoot is the trust root of the private Sigstore, which had an older
// certificate authority.
func (c *cast) privateRoot() *trust.Root {
	root := c.private.Root()
	older := root.CertificateAuthorities[0]
	older.URI, older.Root = "https://old-ca.touchmark.example", c.old.Root
	older.Intermediates = append(older.Intermediates[:0:0], c.old.Intermediate)
	root.CertificateAuthorities = append(root.CertificateAuthorities, older)
	return root
}

// vendor signs with OpenPGP.
type vendor struct{ entity *pgp.Entity }

func newVendor(tb testing.TB, algorithm packet.PublicKeyAlgorithm) vendor {
	tb.Helper()
	// Made a day ago, so that what it signed a minute ago is not older than itself.
	config := &packet.Config{Time: func() time.Time { return time.Now().Add(-24 * time.Hour) }, RSABits: 2048, Algorithm: algorithm}
	entity, err := pgp.NewEntity("vendor", "", "", config)
	if err != nil {
		tb.Fatal(err)
	}
	return vendor{entity}
}

func (v vendor) publicKeys(tb testing.TB) string {
	tb.Helper()
	var text bytes.Buffer
	w, err := armor.Encode(&text, pgp.PublicKeyType, nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := v.entity.Serialize(w); err != nil {
		tb.Fatal(err)
	}
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return text.String()
}

// sign makes an "atomic container signature" (containers-signature(5)).
func (v vendor) sign(tb testing.TB, reference, digest string, at time.Time) []byte {
	tb.Helper()
	var out bytes.Buffer
	w, err := pgp.Sign(&out, v.entity, nil, &packet.Config{Time: func() time.Time { return at }})
	if err != nil {
		tb.Fatal(err)
	}
	fmt.Fprintf(w, `{"critical":{"identity":{"docker-reference":%q},"image":{"docker-manifest-digest":%q},"type":"atomic container signature"},"optional":{}}`, reference, digest)
	if err := w.Close(); err != nil {
		tb.Fatal(err)
	}
	return out.Bytes()
}
