// Package pkcs11 uses keys on PKCS#11 tokens: hardware security modules, smart cards, SoftHSM. Keys are named by URIs, see [URI]; ECDSA (P-256, P-384,
// P-521) and RSA keys (PKCS #1 v1.5) can sign.
//
// [Backend] is what core/keys/worker serves. A token's driver is C code in this process, which is why touchmark uses it in the process of touchmark-keys only.
// Built without cgo, everything is refused by name.
//
// The PIN is the URI's pin-value or what is in the file of pin-source (mode 0600), else it is asked for; it is never in an error.
package pkcs11

import (
	"context"
	"crypto"
	"errors"

	"github.com/touchmark/touchmark/core/keys/worker"
)

// Backend keeps keys on tokens. It may be used by many goroutines.
type Backend struct {
	// Module is the path of the driver for URIs that have no module-path.
	Module string

	modules modules
}

// Public returns a key's public half. It asks for a PIN only if the token doesn't show that half to everybody.
func (b *Backend) Public(_ context.Context, ref string, pin []byte) (crypto.PublicKey, error) {
	u, err := b.uri(ref)
	if err != nil {
		return nil, err
	}
	return b.public(u, pin)
}

// Open returns a signer of digests. Every signature has a session of its own.
func (b *Backend) Open(_ context.Context, ref string, pin []byte) (crypto.Signer, error) {
	u, err := b.uri(ref)
	if err != nil {
		return nil, err
	}
	if pin, err = u.pin(pin); err != nil {
		return nil, err
	}
	if pin == nil {
		return nil, worker.NeedsPIN(u.tokenName())
	}
	return b.open(u, pin)
}

// Create is refused: tokens differ in what a new key should be, and their own tools know.
func (b *Backend) Create(context.Context, string) (crypto.PublicKey, error) {
	return nil, errors.New("make the key with the token's own tools, for instance pkcs11-tool --keypairgen --key-type EC:prime256v1")
}

func (b *Backend) uri(ref string) (*URI, error) {
	u, err := ParseURI(ref)
	if err != nil {
		return nil, err
	}
	if u.ModulePath == "" {
		u.ModulePath = b.Module
	}
	if u.ModulePath == "" {
		return nil, errors.New("say where the token's driver is: with module-path= in the URI, or in TOUCHMARK_PKCS11_MODULE_PATH")
	}
	return u, nil
}
