package keys

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"syscall"

	"github.com/secure-systems-lab/go-securesystemslib/encrypted"
)

// maxFile bounds a key file, in bytes: an RSA key of 4096 bits has 3.3 KiB, so anything larger isn't a key.
const maxFile = 64 << 10

// ErrPassphrase is wrapped by the errors of [File.Load] for an encrypted key without a passphrase, or with a wrong one.
var ErrPassphrase = errors.New("password is missing or wrong")

// File is a private key file and how to open it.
type File struct {
	Path string
	// Passphrase opens an encrypted key; nil if there is none. A key that isn't encrypted ignores it.
	Passphrase []byte
	// InsecurePermissions accepts a file that others than its owner can read or write.
	InsecurePermissions bool
}

// Load reads an unencrypted private key from a file that only its owner can read.
func Load(path string) (crypto.Signer, error) { return File{Path: path}.Load() }

// Load reads the private key. It refuses symbolic links and anything else that isn't a regular file, files over 64 KiB, files that their group or others
// can read or write (unless InsecurePermissions), anything before or after the one PEM block, and keys that [Check] refuses.
func (f File) Load() (crypto.Signer, error) {
	data, err := readFile(f.Path, !f.InsecurePermissions)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	key, err := parsePrivate(data, f.Passphrase)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %s: %w", f.Path, err)
	}
	return key, nil
}

// LoadPublic reads a public key, PEM of a PKIX structure. The file may be readable by everybody, else the rules of [File.Load] hold.
func LoadPublic(path string) (crypto.PublicKey, error) {
	data, err := readFile(path, false)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w", err)
	}
	pub, err := ParsePublic(data)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %s: %w", path, err)
	}
	return pub, nil
}

// ParsePublic reads a public key from PEM: one block PUBLIC KEY, nothing around it but white space.
func ParsePublic(untrustedPEM []byte) (crypto.PublicKey, error) {
	block, err := onlyBlock(untrustedPEM)
	if err != nil {
		return nil, err
	}
	if block.Type != "PUBLIC KEY" {
		return nil, fmt.Errorf("PEM block is %q, want \"PUBLIC KEY\"", block.Type)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if err := Check(pub); err != nil {
		return nil, err
	}
	return pub, nil
}

func parsePrivate(untrustedPEM, passphrase []byte) (crypto.Signer, error) {
	block, err := onlyBlock(untrustedPEM)
	if err != nil {
		return nil, err
	}
	if block.Headers["DEK-Info"] != "" {
		return nil, errors.New("PEM encryption (DEK-Info) is not supported, convert the key to PKCS#8")
	}
	var key any
	switch block.Type {
	case "PRIVATE KEY":
		key, err = x509.ParsePKCS8PrivateKey(block.Bytes)
	case "EC PRIVATE KEY":
		key, err = x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		key, err = x509.ParsePKCS1PrivateKey(block.Bytes)
	case "ENCRYPTED SIGSTORE PRIVATE KEY", "ENCRYPTED COSIGN PRIVATE KEY":
		key, err = decryptCosign(block.Bytes, passphrase)
	default:
		return nil, fmt.Errorf("PEM block is %q, want a private key", block.Type)
	}
	if err != nil {
		return nil, err
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, fmt.Errorf("%T is not a signing key", key)
	}
	if err := Check(signer.Public()); err != nil {
		return nil, err
	}
	return signer, nil
}

// decryptCosign opens cosign's format: a JSON document with scrypt and secretbox parameters around a PKCS#8 key.
func decryptCosign(sealed, passphrase []byte) (any, error) {
	if passphrase == nil {
		return nil, fmt.Errorf("key is encrypted: %w", ErrPassphrase)
	}
	der, err := encrypted.Decrypt(sealed, passphrase)
	if err != nil {
		return nil, fmt.Errorf("key is encrypted: %w (%v)", ErrPassphrase, err)
	}
	return x509.ParsePKCS8PrivateKey(der)
}

// onlyBlock refuses text around the block: a second key, or a certificate, would silently be ignored.
func onlyBlock(untrustedPEM []byte) (*pem.Block, error) {
	text := strings.TrimSpace(string(untrustedPEM))
	if !strings.HasPrefix(text, "-----BEGIN ") {
		return nil, errors.New("not PEM")
	}
	block, rest := pem.Decode([]byte(text))
	if block == nil {
		return nil, errors.New("not PEM")
	}
	if len(rest) > 0 {
		return nil, errors.New("more than one PEM block, or text behind it")
	}
	return block, nil
}

// readFile opens first and then looks at what it has opened, so that the file cannot be exchanged in between. O_NOFOLLOW refuses a symbolic link at the last
// element, O_NONBLOCK keeps a fifo from blocking for ever.
func readFile(path string, private bool) ([]byte, error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0)
	if errors.Is(err, syscall.ELOOP) {
		return nil, fmt.Errorf("%s is a symbolic link", path)
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if private && info.Mode().Perm()&(fs.ModePerm&0o077) != 0 {
		return nil, fmt.Errorf("%s has mode %04o: others than its owner can use it, want 0600", path, info.Mode().Perm())
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFile {
		return nil, fmt.Errorf("%s is larger than %d bytes", path, maxFile)
	}
	return data, nil
}
