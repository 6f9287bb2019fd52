package tsp

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Object identifiers, as the content bytes of their DER encoding.
const (
	oidSignedData   = "\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02"         // 1.2.840.113549.1.7.2
	oidTSTInfo      = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04" // 1.2.840.113549.1.9.16.1.4
	oidContentType  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x03"         // 1.2.840.113549.1.9.3
	oidDigest       = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x04"         // 1.2.840.113549.1.9.4
	oidSigningTime  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x05"         // 1.2.840.113549.1.9.5
	oidSigningCert  = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x0c" // 1.2.840.113549.1.9.16.2.12
	oidSigningCert2 = "\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x2f" // 1.2.840.113549.1.9.16.2.47

	oidSHA256 = "\x60\x86\x48\x01\x65\x03\x04\x02\x01" // 2.16.840.1.101.3.4.2.1
	oidSHA384 = "\x60\x86\x48\x01\x65\x03\x04\x02\x02" // 2.16.840.1.101.3.4.2.2
	oidSHA512 = "\x60\x86\x48\x01\x65\x03\x04\x02\x03" // 2.16.840.1.101.3.4.2.3

	oidRSA         = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" // 1.2.840.113549.1.1.1
	oidRSASHA256   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b" // 1.2.840.113549.1.1.11
	oidRSASHA384   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c" // 1.2.840.113549.1.1.12
	oidRSASHA512   = "\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d" // 1.2.840.113549.1.1.13
	oidECDSASHA256 = "\x2a\x86\x48\xce\x3d\x04\x03\x02"     // 1.2.840.10045.4.3.2
	oidECDSASHA384 = "\x2a\x86\x48\xce\x3d\x04\x03\x03"     // 1.2.840.10045.4.3.3
	oidECDSASHA512 = "\x2a\x86\x48\xce\x3d\x04\x03\x04"     // 1.2.840.10045.4.3.4
	oidEd25519     = "\x2b\x65\x70"                         // 1.3.101.112
)

// maxOID bounds the encoded length of an object identifier that is decoded (CVE-2025-66564: millions of arcs).
const maxOID = 64

// readAlgorithm reads an AlgorithmIdentifier and returns its identifier. All algorithms here have either no parameters or NULL (RFC 5754 section 2).
func readAlgorithm(in *cryptobyte.String) (oid string, err error) {
	var algorithm, id cryptobyte.String
	if !in.ReadASN1(&algorithm, cbasn1.SEQUENCE) || !algorithm.ReadASN1(&id, cbasn1.OBJECT_IDENTIFIER) {
		return "", errors.New("malformed algorithm identifier")
	}
	if len(algorithm) != 0 && string(algorithm) != "\x05\x00" {
		return "", errors.New("algorithm has parameters")
	}
	return string(id), nil
}

// readHash reads an AlgorithmIdentifier of the SHA-2 family. SHA-1 and MD5 can be collided and are refused.
func readHash(in *cryptobyte.String) (crypto.Hash, error) {
	oid, err := readAlgorithm(in)
	if err != nil {
		return 0, err
	}
	switch oid {
	case oidSHA256:
		return crypto.SHA256, nil
	case oidSHA384:
		return crypto.SHA384, nil
	case oidSHA512:
		return crypto.SHA512, nil
	}
	return 0, fmt.Errorf("hash algorithm with the DER identifier %x, want SHA-256, SHA-384 or SHA-512", oid[:min(len(oid), maxOID)])
}

// readSignatureAlgorithm reads a signer's signatureAlgorithm; its hash must be the digestAlgorithm (RFC 5652 section 5.3).
// With Ed25519 any SHA-2 digest is accepted: RFC 8419 asks for SHA-512, Sigstore's authority uses SHA-256.
func readSignatureAlgorithm(in *cryptobyte.String, digest crypto.Hash) (x509.SignatureAlgorithm, error) {
	oid, err := readAlgorithm(in)
	if err != nil {
		return 0, err
	}
	want := digest
	var algorithm x509.SignatureAlgorithm
	switch oid {
	case oidRSA:
		algorithm = map[crypto.Hash]x509.SignatureAlgorithm{
			crypto.SHA256: x509.SHA256WithRSA, crypto.SHA384: x509.SHA384WithRSA, crypto.SHA512: x509.SHA512WithRSA,
		}[digest]
	case oidRSASHA256:
		algorithm, want = x509.SHA256WithRSA, crypto.SHA256
	case oidRSASHA384:
		algorithm, want = x509.SHA384WithRSA, crypto.SHA384
	case oidRSASHA512:
		algorithm, want = x509.SHA512WithRSA, crypto.SHA512
	case oidECDSASHA256:
		algorithm, want = x509.ECDSAWithSHA256, crypto.SHA256
	case oidECDSASHA384:
		algorithm, want = x509.ECDSAWithSHA384, crypto.SHA384
	case oidECDSASHA512:
		algorithm, want = x509.ECDSAWithSHA512, crypto.SHA512
	case oidEd25519:
		algorithm = x509.PureEd25519
	default:
		return 0, fmt.Errorf("signature algorithm with the DER identifier %x is not supported", oid[:min(len(oid), maxOID)])
	}
	if want != digest {
		return 0, fmt.Errorf("signature algorithm %v with digest algorithm %v", algorithm, digest)
	}
	return algorithm, nil
}
