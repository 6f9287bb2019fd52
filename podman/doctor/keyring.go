package doctor

import (
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// trusted is one key that policy.json accepts signatures by.
type trusted struct {
	print string // fingerprint, in hexadecimal
	key   crypto.PublicKey
	name  string    // what it calls itself: all keys of one host say the same
	since time.Time // valid from
	file  string
}

// keysOf are the keys of a requirement.
func (s *snapshot) keysOf(r policyjson.Requirement) (out []trusted, err error) {
	files := r.KeyPaths
	if r.PKI != nil && r.PKI.CARootsPath != "" {
		files = append(slices.Clone(files), r.PKI.CARootsPath)
	}
	var problems []error
	for _, file := range files {
		path := s.At(file)
		if !s.Exists(path) {
			problems = append(problems, missingKeyring(file))
			continue
		}
		data, ok := s.Read(path)
		if !ok {
			problems = append(problems, fmt.Errorf("%s: cannot be read", file))
			continue
		}
		ring, err := parseKeys(data, r.Type)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: %w", file, err))
		}
		for _, k := range ring {
			k.file = path
			out = append(out, k)
		}
	}
	for _, data := range r.KeyDatas {
		ring, err := parseKeys(data, r.Type)
		if err != nil {
			problems = append(problems, fmt.Errorf("%s: keyData: %w", s.policy.path, err))
		}
		for _, k := range ring {
			k.file = s.policy.path
			out = append(out, k)
		}
	}
	return out, errors.Join(problems...)
}

// missingKeyring is the name of a file that is not there.
type missingKeyring string

func (m missingKeyring) Error() string { return string(m) + ": no such file" }

// parseKeys reads an OpenPGP keyring, or PEM with certificates and public keys.
func parseKeys(data []byte, requirement string) ([]trusted, error) {
	if requirement == policyjson.SignedBy {
		ring, err := openpgp.ReadKeyring(data)
		if err != nil {
			return nil, err
		}
		var out []trusted
		for _, e := range ring {
			k := trusted{print: fmt.Sprintf("%X", e.PrimaryKey.Fingerprint), key: e.PrimaryKey.PublicKey, since: e.PrimaryKey.CreationTime}
			k.name = strings.Join(slices.Sorted(maps.Keys(e.Identities)), ", ")
			out = append(out, k)
		}
		if len(out) == 0 {
			return nil, errors.New("it holds no key")
		}
		return out, nil
	}
	var out []trusted
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if cert, err := x509.ParseCertificate(block.Bytes); err == nil {
			out = append(out, trusted{
				print: fmt.Sprintf("%X", sha256.Sum256(cert.Raw)), key: cert.PublicKey, since: cert.NotBefore,
				name: cert.Subject.String(),
			})
		} else if key, err := x509.ParsePKIXPublicKey(block.Bytes); err == nil {
			out = append(out, trusted{print: fmt.Sprintf("%X", sha256.Sum256(block.Bytes)), key: key})
		}
	}
	if len(out) == 0 {
		return nil, errors.New("it holds no certificate and no public key")
	}
	return out, nil
}

// hostKey is the agent's own public key: the secret key's where that can be
// read, or else the first in the file with its public half, where a new key is
// put in front. Its key is nil if neither says.
func (s *snapshot) hostKey() trusted {
	ring := s.publicKeys()
	if s.Intent.SecretKey != "" && s.Exists(s.At(s.Intent.SecretKey)) {
		if secret, err := keys.Load(s.At(s.Intent.SecretKey)); err == nil {
			for _, k := range ring {
				if same(k.key, secret.Public()) {
					return k
				}
			}
			return trusted{key: secret.Public()}
		}
	}
	if len(ring) > 0 {
		return ring[0]
	}
	return trusted{}
}

// publicKeys are those in the file with the public half.
func (s *snapshot) publicKeys() []trusted {
	if s.Intent.Public == "" {
		return nil
	}
	data, ok := s.Read(s.At(s.Intent.Public))
	if !ok {
		return nil
	}
	kind := policyjson.SignedBy
	if s.Intent.Form == Sigstore {
		kind = policyjson.SigstoreSigned
	}
	ring, err := parseKeys(data, kind)
	if err != nil {
		return nil // checkFiles names it
	}
	return ring
}

// same reports whether two public keys are one.
func same(a, b crypto.PublicKey) bool {
	k, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(b)
}
