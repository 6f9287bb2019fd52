package openpgp_test

import (
	"crypto"
	"crypto/x509"
	"testing"
	"time"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	pgp "github.com/ProtonMail/go-crypto/openpgp"

	"github.com/touchmark/touchmark/core/openpgp"
)

// TestKeyIsComparable: the key in a result is equal to the same key from a PEM
// text, or a revocation of it would revoke nothing.
func TestKeyIsComparable(t *testing.T) {
	for name, config := range map[string]*packet.Config{
		"RSA":           {Algorithm: packet.PubKeyAlgoRSA, RSABits: 2048},
		"ECDSA P-256":   {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP256},
		"ECDSA P-384":   {Algorithm: packet.PubKeyAlgoECDSA, Curve: packet.CurveNistP384},
		"EdDSA":         {Algorithm: packet.PubKeyAlgoEdDSA},
		"Ed25519 in v6": {Algorithm: packet.PubKeyAlgoEd25519, V6Keys: true},
	} {
		t.Run(name, func(t *testing.T) {
			config.Time = at(start.AddDate(-1, 0, 0)).Time
			key, err := pgp.NewEntity("vendor", "", "", config)
			if err != nil {
				t.Fatal(err)
			}
			signed := sign(t, key, payload("atomic container signature", repository+":latest", digest), at(start))
			result, err := openpgp.Verify(signed, repository, digest, keyring(t, key), "vendor", start, time.Time{})
			if err != nil {
				t.Fatal(err)
			}
			der, err := x509.MarshalPKIXPublicKey(result.Key)
			if err != nil {
				t.Fatalf("%T: %v", result.Key, err)
			}
			same, err := x509.ParsePKIXPublicKey(der)
			if err != nil {
				t.Fatal(err)
			}
			if !same.(interface{ Equal(crypto.PublicKey) bool }).Equal(result.Key) {
				t.Errorf("%T is not equal to itself", result.Key)
			}
		})
	}
}
