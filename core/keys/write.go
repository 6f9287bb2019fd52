package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
)

// MarshalPrivate encodes a private key as PEM of PKCS#8.
func MarshalPrivate(key crypto.Signer) ([]byte, error) {
	if err := Check(key.Public()); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), nil
}

// MarshalPublic encodes a public key as PEM of a PKIX structure.
func MarshalPublic(pub crypto.PublicKey) ([]byte, error) {
	if err := Check(pub); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(pub)
	if err != nil {
		return nil, fmt.Errorf("encoding public key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}), nil
}

// WritePrivate writes a private key to a new file with mode 0600. It never overwrites: a file that exists is an error that satisfies errors.Is(err, fs.ErrExist).
// The file appears whole or not at all, even if the machine stops in between: it is written and synced under another name in the same directory and
// then linked to its own, which fails where the name is taken.
func WritePrivate(path string, key crypto.Signer) error {
	data, err := MarshalPrivate(key)
	if err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	defer os.Remove(f.Name())
	if err := writeSynced(f, data); err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	if err := os.Link(f.Name(), path); err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	if err := syncDir(dir); err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	return nil
}

func writeSynced(f *os.File, data []byte) error {
	_, err := f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if closeErr := f.Close(); err == nil {
		err = closeErr
	}
	return err
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}
