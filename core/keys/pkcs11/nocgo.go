//go:build !cgo

package pkcs11

import (
	"crypto"
	"errors"
)

type modules struct{}

var errNoCgo = errors.New("this program was built without cgo, which PKCS#11 tokens need")

func (b *Backend) public(*URI, []byte) (crypto.PublicKey, error) { return nil, errNoCgo }

func (b *Backend) open(*URI, []byte) (crypto.Signer, error) { return nil, errNoCgo }
