//go:build cgo

package pkcs11

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"math/big"

	"github.com/miekg/pkcs11"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/keys/worker"
)

// public reads the public half without a PIN if the token shows it, else with one.
func (b *Backend) public(u *URI, pin []byte) (crypto.PublicKey, error) {
	pin, err := u.pin(pin)
	if err != nil {
		return nil, err
	}
	s, err := b.connect(u)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if pin == nil {
		pub, ok, err := s.publicObject(u)
		if err == nil && !ok {
			err = worker.NeedsPIN(s.name)
		}
		return pub, err
	}
	if err := s.login(pin); err != nil {
		return nil, err
	}
	return s.publicKey(u)
}

// open checks that the private half is there. Each signature opens a session of its own: a token may be pulled out in between.
func (b *Backend) open(u *URI, pin []byte) (crypto.Signer, error) {
	s, err := b.connect(u)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.login(pin); err != nil {
		return nil, err
	}
	if _, err := s.privateObject(u); err != nil {
		return nil, err
	}
	pub, err := s.publicKey(u)
	if err != nil {
		return nil, err
	}
	return &key{b, u, pin, pub}, nil
}

// key is a private key on a token.
type key struct {
	backend *Backend
	uri     *URI
	pin     []byte
	pub     crypto.PublicKey
}

func (k *key) Public() crypto.PublicKey { return k.pub }

// Sign signs a digest. It may be called by many goroutines; the token sees one after the other.
func (k *key) Sign(_ io.Reader, digest []byte, opts crypto.SignerOpts) ([]byte, error) {
	s, err := k.backend.connect(k.uri)
	if err != nil {
		return nil, err
	}
	defer s.close()
	if err := s.login(k.pin); err != nil {
		return nil, err
	}
	object, err := s.privateObject(k.uri)
	if err != nil {
		return nil, err
	}
	if _, ok := k.pub.(*ecdsa.PublicKey); ok {
		raw, err := s.sign(object, k.pin, pkcs11.CKM_ECDSA, digest)
		if err != nil {
			return nil, err
		}
		return encodeECDSA(raw)
	}
	info, ok := digestInfo[opts.HashFunc()]
	if !ok {
		return nil, fmt.Errorf("hash function %s is not supported", opts.HashFunc())
	}
	return s.sign(object, k.pin, pkcs11.CKM_RSA_PKCS, append(append([]byte{}, info...), digest...))
}

// sign makes one signature. Keys that always authenticate (those of smart cards) want the PIN again for each.
func (s *session) sign(object pkcs11.ObjectHandle, pin []byte, mechanism uint, data []byte) ([]byte, error) {
	if err := s.ctx.SignInit(s.handle, []*pkcs11.Mechanism{pkcs11.NewMechanism(mechanism, nil)}, object); err != nil {
		return nil, fmt.Errorf("signing on %s: %w", s.name, err)
	}
	always, err := s.ctx.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_ALWAYS_AUTHENTICATE, nil)})
	if err == nil && len(always) == 1 && len(always[0].Value) > 0 && always[0].Value[0] != 0 {
		if err := s.ctx.Login(s.handle, pkcs11.CKU_CONTEXT_SPECIFIC, string(pin)); err != nil {
			return nil, fmt.Errorf("signing on %s: showing the PIN again: %w", s.name, err)
		}
	}
	sig, err := s.ctx.Sign(s.handle, data)
	if err != nil {
		return nil, fmt.Errorf("signing on %s: %w", s.name, err)
	}
	return sig, nil
}

func (s *session) privateObject(u *URI) (pkcs11.ObjectHandle, error) {
	object, ok, err := s.one(u, pkcs11.CKO_PRIVATE_KEY)
	if err == nil && !ok {
		err = fmt.Errorf("looking for the key on %s: there is no private key of that name", s.name)
	}
	return object, err
}

// publicKey reads the public half from the public object, or from the private one where RSA keeps it.
func (s *session) publicKey(u *URI) (crypto.PublicKey, error) {
	pub, ok, err := s.publicObject(u)
	if err != nil || ok {
		return pub, err
	}
	object, err := s.privateObject(u)
	if err != nil {
		return nil, err
	}
	if pub, err = s.rsaKey(object); err != nil {
		return nil, fmt.Errorf("reading public key from %s: there is no public key object beside the private one", s.name)
	}
	return pub, keys.Check(pub)
}

func (s *session) publicObject(u *URI) (crypto.PublicKey, bool, error) {
	object, ok, err := s.one(u, pkcs11.CKO_PUBLIC_KEY)
	if err != nil || !ok {
		return nil, false, err
	}
	kind, err := s.ctx.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(0))})
	if err != nil {
		return nil, false, fmt.Errorf("reading public key from %s: %w", s.name, err)
	}
	var pub crypto.PublicKey
	switch kind := number(kind[0].Value); kind {
	case pkcs11.CKK_EC:
		pub, err = s.ecKey(object)
	case pkcs11.CKK_RSA:
		pub, err = s.rsaKey(object)
	default:
		err = fmt.Errorf("key type %#x is not supported, want ECDSA or RSA", kind)
	}
	if err == nil {
		err = keys.Check(pub)
	}
	if err != nil {
		return nil, false, fmt.Errorf("reading public key from %s: %w", s.name, err)
	}
	return pub, true, nil
}

// curves by the OID in CKA_EC_PARAMS.
var curves = map[string]elliptic.Curve{
	"1.2.840.10045.3.1.7": elliptic.P256(),
	"1.3.132.0.34":        elliptic.P384(),
	"1.3.132.0.35":        elliptic.P521(),
}

func (s *session) ecKey(object pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	values, err := s.ctx.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, nil), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, nil),
	})
	if err != nil {
		return nil, err
	}
	var oid asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(values[0].Value, &oid); err != nil || len(rest) > 0 {
		return nil, errors.New("its curve has no name")
	}
	curve := curves[oid.String()]
	if curve == nil {
		return nil, fmt.Errorf("curve %s is not supported, want P-256, P-384 or P-521", oid)
	}
	point := values[1].Value // an OCTET STRING with the point; some drivers leave the wrapping out
	var inner []byte
	if rest, err := asn1.Unmarshal(point, &inner); err == nil && len(rest) == 0 {
		point = inner
	}
	return ecdsa.ParseUncompressedPublicKey(curve, point)
}

func (s *session) rsaKey(object pkcs11.ObjectHandle) (crypto.PublicKey, error) {
	values, err := s.ctx.GetAttributeValue(s.handle, object, []*pkcs11.Attribute{
		pkcs11.NewAttribute(pkcs11.CKA_MODULUS, nil), pkcs11.NewAttribute(pkcs11.CKA_PUBLIC_EXPONENT, nil),
	})
	if err != nil {
		return nil, err
	}
	n, e := new(big.Int).SetBytes(values[0].Value), new(big.Int).SetBytes(values[1].Value)
	if n.Sign() == 0 || e.BitLen() > 31 {
		return nil, errors.New("it is no RSA key that can be used")
	}
	return &rsa.PublicKey{N: n, E: int(e.Int64())}, nil
}

// number reads a CK_ULONG, which is in the byte order and size of this machine.
func number(value []byte) uint64 {
	switch len(value) {
	case 4:
		return uint64(binary.NativeEndian.Uint32(value))
	case 8:
		return binary.NativeEndian.Uint64(value)
	}
	return math.MaxUint64 // no type of key
}

// encodeECDSA makes the ASN.1 of Sigstore from a token's two numbers.
func encodeECDSA(raw []byte) ([]byte, error) {
	if len(raw) == 0 || len(raw)%2 != 0 {
		return nil, fmt.Errorf("the token answered with a signature of %d bytes", len(raw))
	}
	half := len(raw) / 2
	return asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(raw[:half]), new(big.Int).SetBytes(raw[half:])})
}

// digestInfo is what PKCS #1 v1.5 puts before a digest (RFC 8017, 9.2); tokens leave that to us.
var digestInfo = map[crypto.Hash][]byte{
	crypto.SHA256: {0x30, 0x31, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x01, 0x05, 0x00, 0x04, 0x20},
	crypto.SHA384: {0x30, 0x41, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x02, 0x05, 0x00, 0x04, 0x30},
	crypto.SHA512: {0x30, 0x51, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04, 0x02, 0x03, 0x05, 0x00, 0x04, 0x40},
}
