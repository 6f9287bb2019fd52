package signin

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/oauth2"
)

// Device has a person sign in with a browser on any machine.
type Device struct {
	Issuer Issuer
	// Show tells the person where to go and which code to type there. complete, which may be "", is the address with the code in it.
	Show func(address, code, complete string) error
}

// Token asks the issuer, as often as it allows, whether the person has signed in. The error wraps [ErrDenied] if they declined.
func (d Device) Token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, patience, fmt.Errorf("nobody signed in within %s", patience))
	defer cancel()
	ctx, provider, config, err := d.Issuer.open(ctx)
	if err != nil {
		return "", err
	}
	if config.Endpoint.DeviceAuthURL == "" {
		return "", d.Issuer.failed(errors.New("it has no device flow"))
	}
	verifier := oauth2.GenerateVerifier()
	begun, err := config.DeviceAuth(ctx, oauth2.S256ChallengeOption(verifier))
	if err != nil {
		return "", d.Issuer.failed(err)
	}
	if err := d.Show(begun.VerificationURI, begun.UserCode, begun.VerificationURIComplete); err != nil {
		return "", fmt.Errorf("signing in: showing the address: %w", err)
	}
	answer, err := config.DeviceAccessToken(ctx, begun, oauth2.VerifierOption(verifier))
	if err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return "", d.Issuer.failed(err)
	}
	return d.Issuer.check(ctx, provider, answer, "")
}
