package main

import (
	"context"
	"errors"
	"os"

	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

// sign signs a file, or the statement in it, and writes the bundle.
func (o options) sign(ctx context.Context, root *trust.Root) error {
	if o.identityToken == "" || o.signingConfig == "" {
		return errors.New("--identity-token and --signing-config are required")
	}
	signing, err := trust.LoadSigningConfig(o.signingConfig)
	if err != nil {
		return err
	}
	content, err := read(o.input, maxFile)
	if err != nil {
		return err
	}
	make := sign.Blob
	if o.inToto {
		make = sign.Statement
	}
	bundleJSON, err := make(ctx, sign.Config{Signing: signing, Root: root, Token: token.Given(o.identityToken)}, content)
	if err != nil {
		return err
	}
	return os.WriteFile(o.bundle, bundleJSON, 0o644) // nothing in a bundle is secret
}
