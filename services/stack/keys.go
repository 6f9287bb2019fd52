package stack

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/services/internal/durable"
)

const (
	keysDir         = "keys"
	certificatesDir = "certs"
)

// keyRing holds the keys and certificates of all services.
type keyRing struct {
	ca, ct, v1, v2, tsa, issuer crypto.Signer
	caChain, tsaChain           []*x509.Certificate // the signer's own first, the root last
	created                     []string            // paths of the files that were made just now
}

// openKeys reads the keys and certificates. What is missing is made during the first start, and an error after it: a new key in the
// place of a lost one would make another authority, and another log, under the old name.
//
// The private keys of the roots, keys/ca-root.pem and keys/tsa-root.pem, are needed for the first start only. They may be taken
// away afterwards; while they are there they are held to the same rules.
func openKeys(d *directory) (*keyRing, error) {
	for _, dir := range []string{keysDir, certificatesDir} {
		if err := ownDirectory(d, dir); err != nil {
			return nil, err
		}
	}
	r := &keyRing{}
	var caRoot, tsaRoot crypto.Signer
	for _, wanted := range []struct {
		name   string
		make   func() (crypto.Signer, error)
		place  *crypto.Signer
		isRoot bool
	}{
		{"ca-root", generate(keys.P384), &caRoot, true},
		{"ca-intermediate", generate(keys.P256), &r.ca, false},
		{"ctlog", generate(keys.P256), &r.ct, false},
		{"log-v1", generate(keys.P256), &r.v1, false},
		{"log-v2", generate(keys.Ed25519), &r.v2, false},
		{"tsa-root", generate(keys.P256), &tsaRoot, true},
		{"tsa", generate(keys.P256), &r.tsa, false},
		{"issuer", generateRSA, &r.issuer, false},
	} {
		key, err := r.key(d, d.first, wanted.name, wanted.make)
		if wanted.isRoot && !d.first && errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		*wanted.place = key
	}
	names := authorityNames(d.state.PublicURL)
	var err error
	if r.caChain, err = r.chain(d, names.ca(d.state.Created), caRoot, r.ca); err != nil {
		return nil, err
	}
	if r.tsaChain, err = r.chain(d, names.tsa(d.state.Created), tsaRoot, r.tsa); err != nil {
		return nil, err
	}
	return r, nil
}

// ownDirectory makes a directory within the data directory, and clears away what an interrupted write left in it.
func ownDirectory(d *directory, name string) error {
	path := d.file(name)
	if err := os.Mkdir(path, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return fmt.Errorf("making directory: %w", err)
	}
	if err := checkDirectory(path); err != nil {
		return err
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		return fmt.Errorf("reading directory: %w", err)
	}
	for _, entry := range entries {
		// Both this program and core/keys write under a hidden name first.
		if strings.HasPrefix(entry.Name(), ".") && strings.Contains(entry.Name(), ".new-") {
			if err := os.Remove(d.file(name, entry.Name())); err != nil {
				return fmt.Errorf("cleaning directory: %w", err)
			}
		}
	}
	return durable.SyncDir(d.path)
}

func generate(a keys.Algorithm) func() (crypto.Signer, error) {
	return func() (crypto.Signer, error) { return keys.Generate(a) }
}

// generateRSA makes the issuer's key. Its tokens live for minutes, so 2048 bits do, and are made in a tenth of a second.
func generateRSA() (crypto.Signer, error) { return rsa.GenerateKey(rand.Reader, 2048) }

// key reads a private key, or makes it if what it belongs to is being made.
func (r *keyRing) key(d *directory, making bool, name string, make func() (crypto.Signer, error)) (crypto.Signer, error) {
	path := d.file(keysDir, name+".pem")
	key, err := keys.Load(path)
	if err == nil || !making || !errors.Is(err, fs.ErrNotExist) {
		return key, err
	}
	if key, err = make(); err != nil {
		return nil, fmt.Errorf("making %s: %w", path, err)
	}
	if err := keys.WritePrivate(path, key); err != nil {
		return nil, err
	}
	r.created = append(r.created, path)
	return key, nil
}

// refused are the digests of the public keys that no signer may have: those of the services themselves.
func (r *keyRing) refused() ([][32]byte, error) {
	var digests [][32]byte
	for _, key := range []crypto.Signer{r.ca, r.ct, r.v1, r.v2, r.tsa, r.issuer} {
		spki, err := x509.MarshalPKIXPublicKey(key.Public())
		if err != nil {
			return nil, fmt.Errorf("encoding public key: %w", err)
		}
		digests = append(digests, sha256.Sum256(spki))
	}
	for _, certificate := range append(r.caChain, r.tsaChain...) {
		digests = append(digests, sha256.Sum256(certificate.RawSubjectPublicKeyInfo))
	}
	return digests, nil
}

// sameKey reports whether a private key is that of a certificate.
func sameKey(key crypto.Signer, certificate *x509.Certificate) bool {
	public, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	return ok && public.Equal(certificate.PublicKey)
}

// certificatePath is where a certificate lies.
func certificatePath(d *directory, name string) string {
	return filepath.Join(d.path, certificatesDir, name+".pem")
}
