package tsp

import (
	"bytes"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"math/big"
	"time"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Context-specific tags of SignedData, SignerInfo and TSTInfo.
var (
	tag0 = cbasn1.Tag(0).ContextSpecific().Constructed()
	tag1 = cbasn1.Tag(1).ContextSpecific().Constructed()
)

// signerInfo is the one SignerInfo of a token.
type signerInfo struct {
	issuer      []byte   // DER Name of the signer's issuer
	serial      *big.Int // of the signer's certificate
	digest      crypto.Hash
	algorithm   x509.SignatureAlgorithm
	signature   []byte
	signed      []byte     // DER SET OF Attribute: what the signature is over
	messageHash []byte     // attribute messageDigest
	signingTime *time.Time // attribute signingTime, nil when there is none
	signingCert []certID   // attributes signingCertificate and signingCertificateV2
}

// readContentInfo reads the token itself.
//
//	ContentInfo ::= SEQUENCE { contentType OBJECT IDENTIFIER, content [0] EXPLICIT ANY }
//	SignedData ::= SEQUENCE { version INTEGER, digestAlgorithms SET OF AlgorithmIdentifier, encapContentInfo EncapsulatedContentInfo,
//	  certificates [0] IMPLICIT SET OPTIONAL, crls [1] IMPLICIT SET OPTIONAL, signerInfos SET OF SignerInfo }
//
// Revocation lists and unsigned attributes are refused: nobody vouches for them, and no authority in use adds them.
func (t *Token) readContentInfo(in *cryptobyte.String) error {
	var info, oid, explicit, data cryptobyte.String
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
		!info.ReadASN1(&explicit, tag0) || !info.Empty() ||
		!explicit.ReadASN1(&data, cbasn1.SEQUENCE) || !explicit.Empty() {
		return errors.New("malformed ContentInfo")
	}
	if string(oid) != oidSignedData {
		return errors.New("token is not CMS SignedData")
	}
	var version int64
	var algorithms, certificates, signers cryptobyte.String
	var hasCertificates bool
	// RFC 5652 section 5.1: version 3, as the content isn't plain data.
	if !data.ReadASN1Integer(&version) || version != 3 {
		return errors.New("SignedData version is not 3")
	}
	if !data.ReadASN1(&algorithms, cbasn1.SET) {
		return errors.New("malformed digestAlgorithms")
	}
	if err := t.readEncapsulated(&data); err != nil {
		return err
	}
	if !data.ReadOptionalASN1(&certificates, &hasCertificates, tag0) || !data.ReadASN1(&signers, cbasn1.SET) || !data.Empty() {
		return errors.New("malformed certificates or signerInfos")
	}
	for !certificates.Empty() {
		if len(t.certificates) == maxCertificates {
			return fmt.Errorf("more than %d certificates", maxCertificates)
		}
		var certificate cryptobyte.String
		if !certificates.ReadASN1Element(&certificate, cbasn1.SEQUENCE) {
			return fmt.Errorf("malformed certificate %d", len(t.certificates))
		}
		t.certificates = append(t.certificates, certificate)
	}
	var signer cryptobyte.String
	if !signers.ReadASN1(&signer, cbasn1.SEQUENCE) || !signers.Empty() {
		return errors.New("signerInfos does not hold exactly one signer")
	}
	if err := t.signer.read(signer); err != nil {
		return fmt.Errorf("SignerInfo: %w", err)
	}
	return checkDigestAlgorithms(algorithms, t.signer.digest)
}

// checkDigestAlgorithms checks that the list, a hint for one-pass readers, holds the signer's algorithm and nothing weaker.
func checkDigestAlgorithms(algorithms cryptobyte.String, signer crypto.Hash) error {
	found := false
	for !algorithms.Empty() {
		hash, err := readHash(&algorithms)
		if err != nil {
			return fmt.Errorf("digestAlgorithms: %w", err)
		}
		found = found || hash == signer
	}
	if !found {
		return fmt.Errorf("digestAlgorithms lacks the signer's %v", signer)
	}
	return nil
}

// readEncapsulated reads EncapsulatedContentInfo ::= SEQUENCE { eContentType OBJECT IDENTIFIER, eContent [0] EXPLICIT OCTET STRING }.
func (t *Token) readEncapsulated(in *cryptobyte.String) error {
	var info, oid, explicit, content cryptobyte.String
	if !in.ReadASN1(&info, cbasn1.SEQUENCE) || !info.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
		!info.ReadASN1(&explicit, tag0) || !info.Empty() ||
		!explicit.ReadASN1(&content, cbasn1.OCTET_STRING) || !explicit.Empty() {
		return errors.New("malformed encapContentInfo")
	}
	if string(oid) != oidTSTInfo {
		return errors.New("content is not a TSTInfo")
	}
	t.content = content
	return nil
}

// read reads SignerInfo ::= SEQUENCE { version INTEGER, sid IssuerAndSerialNumber, digestAlgorithm AlgorithmIdentifier,
// signedAttrs [0] IMPLICIT SET, signatureAlgorithm AlgorithmIdentifier, signature OCTET STRING, unsignedAttrs [1] IMPLICIT SET OPTIONAL }.
// The other form of sid, a subject key identifier, is what no authority emits and what Sigstore's own verifier cannot read.
func (s *signerInfo) read(in cryptobyte.String) error {
	var version int64
	var sid, issuer, attributes, signature cryptobyte.String
	if !in.ReadASN1Integer(&version) || version != 1 {
		return errors.New("version is not 1")
	}
	s.serial = new(big.Int)
	if !in.ReadASN1(&sid, cbasn1.SEQUENCE) || !sid.ReadASN1Element(&issuer, cbasn1.SEQUENCE) ||
		!sid.ReadASN1Integer(s.serial) || !sid.Empty() {
		return errors.New("signer is not named by issuer and serial number")
	}
	s.issuer = issuer
	var err error
	if s.digest, err = readHash(&in); err != nil {
		return fmt.Errorf("digestAlgorithm: %w", err)
	}
	// RFC 5652 section 5.3: signed attributes must be there when the content isn't plain data.
	if !in.ReadASN1Element(&attributes, tag0) {
		return errors.New("missing signedAttrs")
	}
	if err := s.readAttributes(attributes); err != nil {
		return fmt.Errorf("signedAttrs: %w", err)
	}
	if s.algorithm, err = readSignatureAlgorithm(&in, s.digest); err != nil {
		return err
	}
	if !in.ReadASN1(&signature, cbasn1.OCTET_STRING) || !in.Empty() {
		return errors.New("malformed signature, or unsigned attributes behind it")
	}
	s.signature = signature
	return nil
}

// readAttributes reads the signed attributes that matter here, each at most once with exactly one value, and skips the others.
//
//	Attribute ::= SEQUENCE { attrType OBJECT IDENTIFIER, attrValues SET OF ANY }
func (s *signerInfo) readAttributes(element cryptobyte.String) error {
	// RFC 5652 section 5.4: the signature is over the attributes with the tag of a SET OF instead of [0].
	s.signed = bytes.Clone(element)
	s.signed[0] = byte(cbasn1.SET)

	var attributes cryptobyte.String
	if !element.ReadASN1(&attributes, tag0) {
		return errors.New("malformed")
	}
	found := make(map[string]cryptobyte.String, 8)
	var previous []byte
	for !attributes.Empty() {
		var raw, attribute, oid, values cryptobyte.String
		if !attributes.ReadASN1Element(&raw, cbasn1.SEQUENCE) {
			return errors.New("malformed attribute")
		}
		// DER sorts a SET OF. A verifier that sorts before it checks the signature must see the same bytes as one that doesn't.
		if bytes.Compare(previous, raw) > 0 {
			return errors.New("attributes are not in DER order")
		}
		previous = raw
		content := raw
		if !content.ReadASN1(&attribute, cbasn1.SEQUENCE) || !attribute.ReadASN1(&oid, cbasn1.OBJECT_IDENTIFIER) ||
			!attribute.ReadASN1(&values, cbasn1.SET) || !attribute.Empty() {
			return errors.New("malformed attribute")
		}
		if _, duplicate := found[string(oid)]; duplicate {
			return fmt.Errorf("duplicate attribute with the DER identifier %x", oid[:min(len(oid), maxOID)])
		}
		found[string(oid)] = values
	}
	return s.takeAttributes(found)
}

// takeAttributes interprets the attributes by type.
func (s *signerInfo) takeAttributes(found map[string]cryptobyte.String) error {
	var contentType, digest cryptobyte.String
	values, ok := found[oidContentType]
	if !ok || !values.ReadASN1(&contentType, cbasn1.OBJECT_IDENTIFIER) || !values.Empty() || string(contentType) != oidTSTInfo {
		return errors.New("contentType is missing or not id-ct-TSTInfo")
	}
	values, ok = found[oidDigest]
	if !ok || !values.ReadASN1(&digest, cbasn1.OCTET_STRING) || !values.Empty() {
		return errors.New("messageDigest is missing or malformed")
	}
	s.messageHash = digest
	if values, ok = found[oidSigningTime]; ok {
		s.signingTime = new(time.Time)
		if !readTime(&values, s.signingTime) || !values.Empty() {
			return errors.New("malformed signingTime")
		}
	}
	if values, ok = found[oidSigningCert]; ok {
		id, err := readSigningCertificate(values)
		if err != nil {
			return fmt.Errorf("signingCertificate: %w", err)
		}
		s.signingCert = append(s.signingCert, id)
	}
	if values, ok = found[oidSigningCert2]; ok {
		id, err := readSigningCertificateV2(values)
		if err != nil {
			return fmt.Errorf("signingCertificateV2: %w", err)
		}
		s.signingCert = append(s.signingCert, id)
	}
	// RFC 3161 section 2.4.1 with RFC 5816: without it the signer's certificate could be exchanged for another one with the same key.
	if len(s.signingCert) == 0 {
		return errors.New("neither signingCertificate nor signingCertificateV2 is there")
	}
	return nil
}

// readTime reads Time ::= CHOICE { UTCTime, GeneralizedTime } (RFC 5652 section 11.3).
func readTime(in *cryptobyte.String, out *time.Time) bool {
	if in.PeekASN1Tag(cbasn1.UTCTime) {
		return in.ReadASN1UTCTime(out)
	}
	return in.ReadASN1GeneralizedTime(out)
}
