package keys

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"os"
	"strings"
)

// Options say how [Open] and [OpenPublic] reach what a reference names. The zero value opens key files that are not encrypted.
type Options struct {
	// Password is asked for the password of an encrypted key; what names the key for people. An error ends the opening. nil: an encrypted key is an
	// error that wraps [ErrPassphrase].
	Password func(ctx context.Context, what string) ([]byte, error)
	// Remote opens keys that are not files, see core/keys/worker; nil: they are refused by name.
	Remote Remote
}

// Remote opens keys that never leave a service or a device. What it returns is checked by [Check] before anybody sees it.
type Remote interface {
	// Open returns a signer whose every signature asks the service or device. It may be used by many goroutines, and until ctx is done.
	Open(ctx context.Context, ref string) (crypto.Signer, error)
	// OpenPublic returns the public half alone.
	OpenPublic(ctx context.Context, ref string) (crypto.PublicKey, error)
}

// remoteSchemes are the references that [Options.Remote] opens, by how they begin.
var remoteSchemes = []string{"awskms://", "azurekms://", "gcpkms://", "hashivault://", "openbao://", "pkcs11:"}

// envScheme is a reference to an environment variable that holds a key's PEM, as cosign spells it: the way of CI systems that keep secrets there.
const envScheme = "env://"

// Open opens the private key that a reference names:
//
//	release.key                      a file, under the rules of [File.Load]
//	env://RELEASE_KEY                an environment variable with what would be in the file
//	awskms:///alias/release          AWS KMS
//	azurekms://acme.vault.azure.net/release
//	gcpkms://projects/P/locations/L/keyRings/R/cryptoKeys/K/cryptoKeyVersions/V
//	hashivault://release             HashiCorp Vault's transit engine, or openbao://release
//	pkcs11:token=acme;object=release a PKCS#11 token (RFC 7512)
//
// docs/keys.md describes them all. An error names the reference, without a PIN that may be in it.
func Open(ctx context.Context, ref string, o Options) (crypto.Signer, error) {
	if IsRemote(ref) {
		if o.Remote == nil {
			return nil, errNoRemote(ref)
		}
		key, err := o.Remote.Open(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("opening key %s: %w", Redact(ref), err)
		}
		if err := Check(key.Public()); err != nil {
			return nil, fmt.Errorf("opening key %s: %w", Redact(ref), err)
		}
		return key, nil
	}
	data, where, err := readRef(ref, true)
	if err != nil {
		return nil, fmt.Errorf("reading private key: %w", err)
	}
	key, err := parsePrivate(data, nil)
	if errors.Is(err, ErrPassphrase) && o.Password != nil {
		var password []byte
		if password, err = o.Password(ctx, where); err != nil {
			return nil, fmt.Errorf("reading private key: %s: %w", where, err)
		}
		if password == nil {
			password = []byte{} // cosign's keys without a password are encrypted with the empty one
		}
		key, err = parsePrivate(data, password)
	}
	if err != nil {
		return nil, fmt.Errorf("reading private key: %s: %w", where, err)
	}
	return key, nil
}

// OpenPublic opens the public key that a reference names: as [Open], but files and variables hold the public key, see [LoadPublic].
func OpenPublic(ctx context.Context, ref string, o Options) (crypto.PublicKey, error) {
	if IsRemote(ref) {
		if o.Remote == nil {
			return nil, errNoRemote(ref)
		}
		pub, err := o.Remote.OpenPublic(ctx, ref)
		if err != nil {
			return nil, fmt.Errorf("opening key %s: %w", Redact(ref), err)
		}
		if err := Check(pub); err != nil {
			return nil, fmt.Errorf("opening key %s: %w", Redact(ref), err)
		}
		return pub, nil
	}
	data, where, err := readRef(ref, false)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %w", err)
	}
	pub, err := ParsePublic(data)
	if err != nil {
		return nil, fmt.Errorf("reading public key: %s: %w", where, err)
	}
	return pub, nil
}

// IsRemote reports whether a reference names a key in a service or on a device.
func IsRemote(ref string) bool {
	for _, s := range remoteSchemes {
		if strings.HasPrefix(ref, s) {
			return true
		}
	}
	return false
}

// Redact returns a reference for people: a PIN in it (pin-value of RFC 7512) is left out.
func Redact(ref string) string {
	const attribute = "pin-value="
	start := strings.Index(ref, attribute)
	if !strings.HasPrefix(ref, "pkcs11:") || start < 0 {
		return ref
	}
	start += len(attribute)
	rest := ref[start:]
	if end := strings.IndexAny(rest, "&;"); end >= 0 {
		return ref[:start] + "..." + Redact("pkcs11:" + rest[end:])[len("pkcs11:"):]
	}
	return ref[:start] + "..."
}

func errNoRemote(ref string) error {
	return fmt.Errorf("opening key %s: keys in a KMS or on a PKCS#11 token can't be used here", Redact(ref))
}

// readRef reads a file, or the environment variable of an env:// reference. where names it in errors.
func readRef(ref string, private bool) (data []byte, where string, err error) {
	if name, ok := strings.CutPrefix(ref, envScheme); ok {
		value, ok := os.LookupEnv(name)
		if !ok || value == "" {
			return nil, "", fmt.Errorf("environment variable %s is not set", name)
		}
		if len(value) > maxFile {
			return nil, "", fmt.Errorf("environment variable %s is larger than %d bytes", name, maxFile)
		}
		return []byte(value), "environment variable " + name, nil
	}
	if scheme, _, ok := strings.Cut(ref, "://"); ok {
		return nil, "", fmt.Errorf("%s: references of %s:// are not supported", ref, scheme)
	}
	data, err = readFile(ref, private)
	return data, ref, err
}
