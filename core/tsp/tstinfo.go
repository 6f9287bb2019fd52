package tsp

import (
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// maxInteger bounds the encoded serial number and nonce, in bytes: RFC 3161 asks for up to 20, clients send 8 to 16.
const maxInteger = 64

// readTSTInfo reads what the authority attests.
//
//	TSTInfo ::= SEQUENCE { version INTEGER { v1(1) }, policy OBJECT IDENTIFIER, messageImprint MessageImprint, serialNumber INTEGER,
//	  genTime GeneralizedTime, accuracy SEQUENCE OPTIONAL, ordering BOOLEAN DEFAULT FALSE, nonce INTEGER OPTIONAL,
//	  tsa [0] GeneralName OPTIONAL, extensions [1] IMPLICIT Extensions OPTIONAL }
//
// accuracy, ordering and tsa say nothing that a verifier acts upon (the authority is known by its certificate): they are skipped.
func (t *Token) readTSTInfo(content cryptobyte.String) error {
	var info cryptobyte.String
	if !content.ReadASN1(&info, cbasn1.SEQUENCE) || !content.Empty() {
		return errors.New("not one DER SEQUENCE")
	}
	var version int64
	if !info.ReadASN1Integer(&version) || version != 1 {
		return errors.New("version is not 1")
	}
	if err := readPolicy(&info, &t.Policy); err != nil {
		return err
	}
	if err := t.readImprint(&info); err != nil {
		return fmt.Errorf("messageImprint: %w", err)
	}
	var ok bool
	if t.Serial, ok = readNumber(&info); !ok {
		return errors.New("serialNumber is malformed, negative or too long")
	}
	if t.Time, ok = readGenTime(&info); !ok {
		return errors.New("genTime is not a DER GeneralizedTime in UTC")
	}
	var accuracy, ordering, name, extensions cryptobyte.String
	var present bool
	if !info.ReadOptionalASN1(&accuracy, &present, cbasn1.SEQUENCE) {
		return errors.New("malformed accuracy")
	}
	if !info.ReadOptionalASN1(&ordering, &present, cbasn1.BOOLEAN) || present && len(ordering) != 1 {
		return errors.New("malformed ordering")
	}
	if info.PeekASN1Tag(cbasn1.INTEGER) {
		if t.Nonce, ok = readNumber(&info); !ok {
			return errors.New("nonce is malformed, negative or too long")
		}
	}
	if !info.ReadOptionalASN1(&name, &present, tag0) || !info.ReadOptionalASN1(&extensions, &present, tag1) || !info.Empty() {
		return errors.New("malformed end")
	}
	return checkExtensions(extensions)
}

// readPolicy reads an object identifier of bounded length.
func readPolicy(in *cryptobyte.String, out *asn1.ObjectIdentifier) error {
	var element cryptobyte.String
	if !in.ReadASN1Element(&element, cbasn1.OBJECT_IDENTIFIER) || len(element) > maxOID || !element.ReadASN1ObjectIdentifier(out) {
		return errors.New("policy is malformed or too long")
	}
	return nil
}

// readImprint reads MessageImprint ::= SEQUENCE { hashAlgorithm AlgorithmIdentifier, hashedMessage OCTET STRING }.
func (t *Token) readImprint(in *cryptobyte.String) error {
	var imprint, hashed cryptobyte.String
	if !in.ReadASN1(&imprint, cbasn1.SEQUENCE) {
		return errors.New("malformed")
	}
	var err error
	if t.Hash, err = readHash(&imprint); err != nil {
		return err
	}
	if !imprint.ReadASN1(&hashed, cbasn1.OCTET_STRING) || !imprint.Empty() {
		return errors.New("malformed hashedMessage")
	}
	if len(hashed) != t.Hash.Size() {
		return fmt.Errorf("hashedMessage has %d bytes, %v has %d", len(hashed), t.Hash, t.Hash.Size())
	}
	t.HashedMessage = hashed
	return nil
}

// readNumber reads a non-negative INTEGER of bounded length.
func readNumber(in *cryptobyte.String) (*big.Int, bool) {
	var element cryptobyte.String
	n := new(big.Int)
	if !in.ReadASN1Element(&element, cbasn1.INTEGER) || len(element) > maxInteger || !element.ReadASN1Integer(n) || n.Sign() < 0 {
		return nil, false
	}
	return n, true
}

// readGenTime reads a time as RFC 3161 section 2.4.2 restricts it: "YYYYMMDDhhmmss[.s...]Z", a fraction without trailing zeros. More than nine digits of it
// and leap seconds have no representation here and are refused.
func readGenTime(in *cryptobyte.String) (time.Time, bool) {
	var text cryptobyte.String
	if !in.ReadASN1(&text, cbasn1.GeneralizedTime) {
		return time.Time{}, false
	}
	const layout = "20060102150405.999999999Z"
	t, err := time.Parse(layout, string(text))
	return t, err == nil && t.Format(layout) == string(text)
}

// checkExtensions refuses every critical extension: none is known here (RFC 3161 section 2.4.2).
//
//	Extension ::= SEQUENCE { extnID OBJECT IDENTIFIER, critical BOOLEAN DEFAULT FALSE, extnValue OCTET STRING }
func checkExtensions(extensions cryptobyte.String) error {
	for !extensions.Empty() {
		var extension, oid, value cryptobyte.String
		var critical bool
		if !extensions.ReadASN1(&extension, cbasn1.SEQUENCE) || !extension.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
			extension.PeekASN1Tag(cbasn1.BOOLEAN) && !extension.ReadASN1Boolean(&critical) ||
			!extension.ReadASN1(&value, cbasn1.OCTET_STRING) || !extension.Empty() {
			return errors.New("malformed extension")
		}
		if critical {
			return fmt.Errorf("unknown critical extension with the DER identifier %x", oid[:min(len(oid), maxOID)])
		}
	}
	return nil
}
