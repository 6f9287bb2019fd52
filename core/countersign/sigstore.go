package countersign

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"time"

	"github.com/go-json-experiment/json"
)

// Subject is the e-mail address in the certificates of form [Sigstore], for subjectEmail in policy.json. It is the same on every host: what tells
// hosts apart is their authority.
const Subject = "countersign@touchmark.localhost"

const (
	// cosignType is the payload type of cosign's simple signing.
	cosignType = "cosign container image signature"
	// sigstoreFormat is how containers/image marks the form in a lookaside.
	sigstoreFormat = "sigstore-json"
	// simpleSigning is the media type of cosign's payloads.
	simpleSigning = "application/vnd.dev.cosign.simplesigning.v1+json"
	// authorityValidity is how long a host's authority lasts; rotate before.
	authorityValidity = 10 * 365 * 24 * time.Hour
	// clockStep is how much older than its making a new authority's certificate is: the clock of a host that boots may be set back a little.
	clockStep = time.Hour
	// maxAuthorities bounds the file with the certificates.
	maxAuthorities = 16
)

// newAuthority makes the certificate of a host's authority.
func newAuthority(signer crypto.Signer, host string, now time.Time) ([]byte, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{Organization: []string{"Touchmark"}, CommonName: "Countersignatures of " + hostName(host)},
		NotBefore: now.Add(-clockStep), NotAfter: now.Add(authorityValidity),
		IsCA: true, BasicConstraintsValid: true, MaxPathLenZero: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, signer.Public(), signer)
	if err != nil {
		return nil, fmt.Errorf("making the certificate of the host's authority: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}

// parseAuthorities reads the certificates of the host's authorities.
func parseAuthorities(data []byte) ([]entry, error) {
	var out []entry
	for rest := bytes.TrimSpace(data); len(rest) > 0; rest = bytes.TrimSpace(rest) {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil || block.Type != "CERTIFICATE" || len(out) == maxAuthorities {
			return nil, fmt.Errorf("it is not PEM of at most %d certificates", maxAuthorities)
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		out = append(out, entry{raw: pem.EncodeToMemory(&pem.Block{Type: block.Type, Bytes: block.Bytes}), key: cert.PublicKey, cert: cert, name: fmt.Sprintf("%X", sha256.Sum256(cert.Raw))})
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate")
	}
	return out, nil
}

// sigstoreBlob is a signature as containers/image keeps it in a lookaside.
type sigstoreBlob struct {
	MIMEType    string            `json:"mimeType"`
	Payload     []byte            `json:"payload"`
	Annotations map[string]string `json:"annotations"`
}

// Attachment is a signature of form [Sigstore] as it lies beside an image in a registry, where cosign 2 puts it: a layer of the manifest at the tag
// sha256-<hex>.sig.
type Attachment struct {
	MediaType   string            // of the layer
	Payload     []byte            // its content
	Annotations map[string]string // its descriptor's
}

// Attach makes one countersignature in the form that registries hold. The key that signs is made for it, and certified for as long as it is good.
func (k *Key) Attach(repository, digest string, now time.Time) (Attachment, error) {
	text, err := payload(cosignType, repository, digest, now)
	if err != nil {
		return Attachment{}, err
	}
	leaf, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return Attachment{}, fmt.Errorf("countersigning: %w", err)
	}
	certificate, err := k.certify(leaf.Public(), now.Truncate(time.Second))
	if err != nil {
		return Attachment{}, err
	}
	hash := sha256.Sum256(text)
	signature, err := leaf.Sign(rand.Reader, hash[:], crypto.SHA256)
	if err != nil {
		return Attachment{}, fmt.Errorf("countersigning: %w", err)
	}
	return Attachment{MediaType: simpleSigning, Payload: text, Annotations: map[string]string{
		"dev.cosignproject.cosign/signature": base64Text(signature),
		"dev.sigstore.cosign/certificate":    string(certificate),
	}}, nil
}

// Sigstore makes one countersignature in the form of the same name: the whole blob that a lookaside serves.
func (k *Key) Sigstore(repository, digest string, now time.Time) ([]byte, error) {
	a, err := k.Attach(repository, digest, now)
	if err != nil {
		return nil, err
	}
	chunk, err := json.Marshal(sigstoreBlob{MIMEType: a.MediaType, Payload: a.Payload, Annotations: a.Annotations})
	if err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	return append([]byte("\x00"+sigstoreFormat+"\n"), chunk...), nil
}

// Validity is how long each countersignature is good.
func (k *Key) Validity() time.Duration { return k.validity }

// certify makes the certificate for one countersignature, PEM.
func (k *Key) certify(leaf crypto.PublicKey, now time.Time) ([]byte, error) {
	if k.public.cert == nil {
		return nil, fmt.Errorf("countersigning: form %q needs a host with an authority", Sigstore)
	}
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 159))
	if err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, NotBefore: now, NotAfter: now.Add(k.validity), EmailAddresses: []string{Subject},
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, k.public.cert, leaf, k.signer)
	if err != nil {
		return nil, fmt.Errorf("countersigning: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), nil
}
