package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
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

// MarshalEncrypted encodes a private key as cosign does: PEM ("ENCRYPTED SIGSTORE PRIVATE KEY") of PKCS#8 that is encrypted with a password. An empty
// password is allowed, as it is by cosign; it protects nothing.
func MarshalEncrypted(key crypto.Signer, password []byte) ([]byte, error) {
	if err := Check(key.Public()); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		return nil, fmt.Errorf("encoding private key: %w", err)
	}
	if password == nil {
		password = []byte{}
	}
	sealed, err := encrypted.Encrypt(der, password)
	if err != nil {
		return nil, fmt.Errorf("encrypting private key: %w", err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "ENCRYPTED SIGSTORE PRIVATE KEY", Bytes: sealed}), nil
}

// WritePrivate writes a private key to a new file with mode 0600. It never overwrites: a file that exists is an error that satisfies errors.Is(err, fs.ErrExist).
// The file appears whole or not at all, even if the machine stops in between: it is written and synced under another name in the same directory and
// then linked to its own, which fails where the name is taken.
func WritePrivate(path string, key crypto.Signer) error {
	data, err := MarshalPrivate(key)
	if err == nil {
		err = writeNew(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	return nil
}

// WriteEncrypted writes a private key as [MarshalEncrypted] encodes it, under the rules of [WritePrivate].
func WriteEncrypted(path string, key crypto.Signer, password []byte) error {
	data, err := MarshalEncrypted(key, password)
	if err == nil {
		err = writeNew(path, data, 0o600)
	}
	if err != nil {
		return fmt.Errorf("writing private key: %w", err)
	}
	return nil
}

// WritePublic writes a public key to a new file that everybody may read, mode 0644. It never overwrites, as [WritePrivate].
func WritePublic(path string, pub crypto.PublicKey) error {
	data, err := MarshalPublic(pub)
	if err == nil {
		err = writeNew(path, data, 0o644)
	}
	if err != nil {
		return fmt.Errorf("writing public key: %w", err)
	}
	return nil
}

func writeNew(path string, data []byte, mode fs.FileMode) error {
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	if err := f.Chmod(mode); err != nil {
		_ = f.Close()
		return err
	}
	if err := writeSynced(f, data); err != nil {
		return err
	}
	if err := os.Link(f.Name(), path); err != nil {
		return err
	}
	return syncDir(dir)
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
