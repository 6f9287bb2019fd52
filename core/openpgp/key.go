package openpgp

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"

	pgpecdsa "github.com/ProtonMail/go-crypto/openpgp/ecdsa"
	pgped25519 "github.com/ProtonMail/go-crypto/openpgp/ed25519"
	pgpeddsa "github.com/ProtonMail/go-crypto/openpgp/eddsa"
)

// standardKey gives a key the type that the standard library has for it, so
// that it is equal to the same key from elsewhere, such as a revocation. A key
// for which it has none stays as it is.
func standardKey(key any) crypto.PublicKey {
	switch k := key.(type) {
	case *pgpecdsa.PublicKey:
		for _, curve := range []elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()} {
			if own, err := ecdsa.ParseUncompressedPublicKey(curve, k.MarshalPoint()); err == nil {
				return own
			}
		}
	case *pgpeddsa.PublicKey:
		if len(k.X) == ed25519.PublicKeySize {
			return ed25519.PublicKey(k.X)
		}
	case *pgped25519.PublicKey:
		if len(k.Point) == ed25519.PublicKeySize {
			return ed25519.PublicKey(k.Point)
		}
	}
	return key
}
