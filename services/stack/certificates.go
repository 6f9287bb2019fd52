package stack

import (
	"bytes"
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/big"
	"net/url"
	"os"
	"syscall"
	"time"

	"github.com/touchmark/touchmark/services/internal/durable"
)

const (
	// authorityYears is how long the authorities' certificates live. Their keys are rotated long before, by publishing new ones beside
	// the old.
	authorityYears = 10

	// maxCertificate bounds a certificate file; ours have less than 1 KiB.
	maxCertificate = 64 << 10
)

// pair describes the two certificates of an authority: a root, and what it vouches for.
type pair struct {
	rootName, name string // of the files
	root, template *x509.Certificate
}

// authorityNames names the authorities after the host that they serve, so that people who hold several roots can tell them apart.
type authorityNames string

func (publicURL authorityNames) subject(commonName string) pkix.Name {
	name := pkix.Name{CommonName: commonName, Organization: []string{"touchmark"}}
	if u, err := url.Parse(string(publicURL)); err == nil {
		name.Organization = []string{u.Hostname()}
	}
	return name
}

// ca describes the certificate authority: a root for one level of authorities below it, and the one that issues, for code signing.
func (publicURL authorityNames) ca(created time.Time) pair {
	root := authority(publicURL.subject("Touchmark signing root"), created)
	root.MaxPathLen = 1
	issuing := authority(publicURL.subject("Touchmark signing authority"), created)
	issuing.MaxPathLenZero = true
	issuing.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
	return pair{"ca-root", "ca-intermediate", root, issuing}
}

// tsa describes the time-stamping authority: a root, and the leaf that signs. RFC 3161 section 2.3 wants the leaf's extended key
// usage to be time stamping alone, and critical, which crypto/x509 would not make it.
func (publicURL authorityNames) tsa(created time.Time) pair {
	root := authority(publicURL.subject("Touchmark time-stamping root"), created)
	root.MaxPathLenZero = true
	leaf := authority(publicURL.subject("Touchmark time-stamping authority"), created)
	leaf.IsCA, leaf.KeyUsage = false, x509.KeyUsageDigitalSignature
	leaf.ExtraExtensions = []pkix.Extension{{
		Id: asn1.ObjectIdentifier{2, 5, 29, 37}, Critical: true,
		Value: []byte{0x30, 0x0a, 0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x08}, // SEQUENCE of id-kp-timeStamping
	}}
	return pair{"tsa-root", "tsa", root, leaf}
}

func authority(subject pkix.Name, created time.Time) *x509.Certificate {
	return &x509.Certificate{
		Subject: subject, NotBefore: created, NotAfter: created.AddDate(authorityYears, 0, 0),
		IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
	}
}

// chain reads an authority's certificates, or makes them if this is the first start. rootKey may be nil later.
func (r *keyRing) chain(d *directory, p pair, rootKey, key crypto.Signer) ([]*x509.Certificate, error) {
	root, err := r.certificate(d, p.rootName, func() ([]byte, error) { return sign(p.root, p.root, rootKey, rootKey) })
	if err != nil {
		return nil, err
	}
	if rootKey != nil && !sameKey(rootKey, root) {
		return nil, fmt.Errorf("%s is not the key of %s", d.file(keysDir, p.rootName+".pem"), certificatePath(d, p.rootName))
	}
	certificate, err := r.certificate(d, p.name, func() ([]byte, error) { return sign(p.template, root, key, rootKey) })
	if err != nil {
		return nil, err
	}
	if !sameKey(key, certificate) {
		return nil, fmt.Errorf("%s is not the key of %s", d.file(keysDir, p.name+".pem"), certificatePath(d, p.name))
	}
	return []*x509.Certificate{certificate, root}, nil
}

func sign(template, parent *x509.Certificate, key, parentKey crypto.Signer) ([]byte, error) {
	var bits [16]byte
	if _, err := rand.Read(bits[:]); err != nil {
		return nil, err
	}
	numbered := *template
	numbered.SerialNumber = new(big.Int).SetBytes(bits[:])
	return x509.CreateCertificate(rand.Reader, &numbered, parent, key.Public(), parentKey)
}

// certificate reads a certificate, or makes it if this is the first start.
func (r *keyRing) certificate(d *directory, name string, make func() ([]byte, error)) (*x509.Certificate, error) {
	path := certificatePath(d, name)
	certificate, err := readCertificate(path)
	if err == nil || !d.first || !errors.Is(err, fs.ErrNotExist) {
		return certificate, err
	}
	der, err := make()
	if err != nil {
		return nil, fmt.Errorf("making %s: %w", path, err)
	}
	if err := durable.WriteFile(path, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o644); err != nil {
		return nil, err
	}
	r.created = append(r.created, path)
	return readCertificate(path)
}

// readCertificate reads a file that holds one certificate and nothing else.
func readCertificate(path string) (*x509.Certificate, error) {
	file, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	if !info.Mode().IsRegular() || info.Mode().Perm()&0o022 != 0 {
		return nil, fmt.Errorf("reading certificate: %s must be a regular file that nobody else can write to (it is %v)", path, info.Mode())
	}
	content, err := io.ReadAll(io.LimitReader(file, maxCertificate))
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %w", err)
	}
	block, rest := pem.Decode(content)
	if block == nil || block.Type != "CERTIFICATE" || len(bytes.TrimSpace(rest)) > 0 {
		return nil, fmt.Errorf("reading certificate: %s is not one PEM block CERTIFICATE", path)
	}
	certificate, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return nil, fmt.Errorf("reading certificate: %s: %w", path, err)
	}
	return certificate, nil
}
