//go:build cgo

package countersign_test

import (
	"context"
	"crypto"
	"errors"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/keys/pkcs11"
)

// token opens keys on a PKCS#11 token.
type token struct {
	*pkcs11.Backend
	pin []byte
}

func (t token) Open(ctx context.Context, ref string) (crypto.Signer, error) {
	return t.Backend.Open(ctx, ref, t.pin)
}

func (t token) OpenPublic(ctx context.Context, ref string) (crypto.PublicKey, error) {
	return t.Public(ctx, ref, nil)
}

func TestKeysOnAToken(t *testing.T) {
	hsm := coretest.NewSoftHSM(t)
	hsm.Import(t, "host", "01", pool()[0])
	elliptic, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	hsm.Import(t, "authority", "02", elliptic)
	on := func(form countersign.Form, label string) countersign.Config {
		c := newConfig(t, form)
		c.Key = "pkcs11:token=touchmark%20test;object=" + label
		c.Keys.Remote = token{&pkcs11.Backend{Module: hsm.Module}, []byte(hsm.PIN)}
		return c
	}

	c := on(countersign.OpenPGP, "host")
	blob, err := newKey(t, c).Countersign(repository, digest, start)
	if err != nil {
		t.Fatal(err)
	}
	if err := verifyAt(t, c, blob, repository, digest, start); err != nil {
		t.Error(err)
	}
	if err := countersign.Rotate(t.Context(), c); err == nil || !strings.Contains(err.Error(), "is not a file") {
		t.Errorf("rotated on the token: %v", err)
	}
	// Rotation from a token to a file: the same keyring, and both are accepted.
	file := c
	file.Key = c.Public + ".key"
	place(t, file.Key, 1)
	if made, err := countersign.Generate(t.Context(), file); err != nil || !made.Public {
		t.Fatalf("%+v, %v", made, err)
	}
	if err := verifyAt(t, file, blob, repository, digest, start); err != nil {
		t.Errorf("after rotation: %v", err)
	}

	c = on(countersign.Sigstore, "authority")
	if _, err := newKey(t, c).Countersign(repository, digest, start); err != nil {
		t.Error(err)
	}
	c = on(countersign.OpenPGP, "authority")
	if _, err := countersign.Generate(t.Context(), c); err == nil || !strings.Contains(err.Error(), "needs RSA") {
		t.Errorf("an elliptic key for OpenPGP: %v", err)
	}
}

// away is a service that has gone away after its key was opened.
type away struct{ crypto.Signer }

func (away) Sign(io.Reader, []byte, crypto.SignerOpts) ([]byte, error) {
	return nil, errors.New("the service is away")
}

type service struct{ crypto.Signer }

func (s service) Open(context.Context, string) (crypto.Signer, error) { return s.Signer, nil }
func (s service) OpenPublic(context.Context, string) (crypto.PublicKey, error) {
	return s.Public(), nil
}

func TestServiceAway(t *testing.T) {
	c := newConfig(t, countersign.OpenPGP)
	newKey(t, c)
	c.Key, c.Keys.Remote = "awskms:///alias/host", service{away{pool()[0]}}
	key := open(t, c)
	if _, err := key.Countersign(repository, digest, start); err == nil || !strings.Contains(err.Error(), "the service is away") {
		t.Errorf("signed: %v", err)
	}
	if err := os.Remove(c.Public); err != nil {
		t.Fatal(err)
	}
	if _, err := countersign.Generate(t.Context(), c); err == nil || !strings.Contains(err.Error(), "the service is away") {
		t.Errorf("made: %v", err)
	}
}
