package countersign

import (
	"bytes"
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/keys"
)

// Limits of the file with the public halves.
const (
	maxPublic   = 256 << 10 // bytes; a key has two kilobytes
	maxPrevious = 3         // previous keys that are kept beside the current one
)

// entry is one public half in [Config.Public].
type entry struct {
	raw  []byte // as it is written
	key  any    // the public key
	cert *x509.Certificate
	name string // the fingerprint
}

func (e entry) is(pub crypto.PublicKey) bool {
	k, ok := e.key.(interface{ Equal(crypto.PublicKey) bool })
	return ok && k.Equal(pub)
}

// Made says what [Generate] made.
type Made struct {
	Key    bool // the private key
	Public bool // its public half, in [Config.Public]
}

// Generate makes what is missing: the private key, if [Config.Key] is a file that is not there, and its public half in [Config.Public], in front of
// those that are in it already. It changes nothing that is there, and can be repeated after it was interrupted.
func Generate(ctx context.Context, c Config) (Made, error) {
	c, err := c.checked()
	if err != nil {
		return Made{}, err
	}
	var made Made
	if _, err := os.Lstat(c.Key); !keys.IsRemote(c.Key) && errors.Is(err, fs.ErrNotExist) {
		if err := c.newKey(c.Key); err != nil {
			return Made{}, err
		}
		made.Key = true
	}
	signer, err := c.openKey(ctx, c.Key)
	if err != nil {
		return made, err
	}
	made.Public, err = c.addPublic(signer)
	return made, err
}

// Rotate makes a new key in the place of the one in the file [Config.Key]. The previous public halves stay in [Config.Public], the last three at
// most: an agent that still has the previous key may go on signing until it is started again. It can be repeated after it
// was interrupted. A key in a service is rotated there: name the new one in [Config.Key], and call [Generate].
func Rotate(ctx context.Context, c Config) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	if keys.IsRemote(c.Key) {
		return fmt.Errorf("rotating countersigning key: %s is not a file: make another key in its service, and name that one in the configuration", keys.Redact(c.Key))
	}
	next := c.Key + ".next"
	if _, err := os.Lstat(next); errors.Is(err, fs.ErrNotExist) {
		if err := c.newKey(next); err != nil {
			return err
		}
	}
	signer, err := c.openKey(ctx, next)
	if err != nil {
		return err
	}
	// Clients learn of the new key before anything is signed with it.
	if _, err := c.addPublic(signer); err != nil {
		return err
	}
	if err := os.Rename(next, c.Key); err != nil {
		return fmt.Errorf("rotating countersigning key: %w", err)
	}
	return nil
}

// Retire takes the previous keys' public halves out of [Config.Public]: from then on, clients accept the current key's signatures only. It may be called [MaxValidity]
// after the agent was started with the current key.
func Retire(ctx context.Context, c Config) error {
	c, err := c.checked()
	if err != nil {
		return err
	}
	signer, err := c.openKey(ctx, c.Key)
	if err != nil {
		return err
	}
	entries, err := c.readPublic()
	if err != nil {
		return err
	}
	for _, e := range entries {
		if e.is(signer.Public()) {
			return c.writePublic([]entry{e})
		}
	}
	return fmt.Errorf("retiring countersigning keys: %s does not hold the public half of %s", c.Public, keys.Redact(c.Key))
}

// Fingerprints names the keys whose signatures clients accept, in the order of [Config.Public]: OpenPGP fingerprints, or the SHA-256 of certificates, in hexadecimal.
func Fingerprints(c Config) ([]string, error) {
	c, err := c.checked()
	if err != nil {
		return nil, err
	}
	entries, err := c.readPublic()
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.name)
	}
	return names, nil
}

// newKey makes a private key in a new file.
func (c Config) newKey(path string) error {
	algorithm := keys.RSA3072
	if c.Form == Sigstore {
		algorithm = keys.P256
	}
	key, err := keys.Generate(algorithm)
	if err != nil {
		return fmt.Errorf("making countersigning key: %w", err)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { // the public half usually lies beside it, for everybody
		return fmt.Errorf("making countersigning key: %w", err)
	}
	if err := keys.WritePrivate(path, key); err != nil && !errors.Is(err, fs.ErrExist) { // made by another process meanwhile: that one holds
		return fmt.Errorf("making countersigning key: %w", err)
	}
	return nil
}

// openKey opens the private key. A file must belong to the account that uses it or to root: whoever owns it can read it and change its mode.
func (c Config) openKey(ctx context.Context, ref string) (crypto.Signer, error) {
	if info, err := os.Lstat(ref); err == nil && !keys.IsRemote(ref) {
		if st, ok := info.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Geteuid() {
			return nil, fmt.Errorf("opening countersigning key: %s belongs to the user with ID %d, not to %d, who uses it: change its owner, or remove it and run touchmark install podman",
				ref, st.Uid, os.Geteuid())
		}
	}
	signer, err := keys.Open(ctx, ref, c.Keys)
	if err != nil {
		return nil, fmt.Errorf("opening countersigning key: %w", err)
	}
	return signer, nil
}

// addPublic puts a key's public half in front of those in the file, if it is not there.
func (c Config) addPublic(signer crypto.Signer) (added bool, err error) {
	entries, err := c.readPublic()
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return false, err
	}
	for _, e := range entries {
		if e.is(signer.Public()) {
			return false, nil
		}
	}
	var raw []byte
	if c.Form == Sigstore {
		raw, err = newAuthority(signer, c.Host, c.Now())
	} else {
		raw, err = newPGPPublic(signer, c.Host)
	}
	if err != nil {
		return false, err
	}
	entries = entries[:min(len(entries), maxPrevious)]
	return true, c.writePublic(append([]entry{{raw: raw}}, entries...))
}

func (c Config) readPublic() ([]entry, error) {
	data, err := configfile.Read(c.Public, maxPublic)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading public half of countersigning key: %w", err)
	}
	var entries []entry
	if err == nil {
		parse := parsePGPPublic
		if c.Form == Sigstore {
			parse = parseAuthorities
		}
		entries, err = parse(data)
	}
	if err != nil {
		return nil, fmt.Errorf("reading public half of countersigning key: %s: %w", c.Public, err)
	}
	return entries, nil
}

// writePublic replaces the file, whole or not at all: a policy.json whose keys can't be read stops every pull.
func (c Config) writePublic(entries []entry) error {
	var data bytes.Buffer
	for _, e := range entries {
		data.Write(e.raw)
	}
	if err := replace(c.Public, data.Bytes()); err != nil {
		return fmt.Errorf("writing public half of countersigning key: %w", err)
	}
	return nil
}

func replace(path string, data []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o755); err != nil { // every user's client reads it
		return err
	}
	f, err := os.CreateTemp(dir, "."+filepath.Base(path)+".new-*")
	if err != nil {
		return err
	}
	defer os.Remove(f.Name())
	_, err = f.Write(data)
	err = errors.Join(err, f.Chmod(0o644), f.Sync(), f.Close())
	if err != nil {
		return err
	}
	return os.Rename(f.Name(), path)
}
