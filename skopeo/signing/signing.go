// Package signing writes the parameter files with which stock skopeo and podman
// sign with a private Sigstore (--sign-by-sigstore FILE of "skopeo copy" and
// "podman push", see containers-sigstore-signing-params.yaml(5)). Both read the
// same format, which is containers/image's. buildah has no such flag.
//
// These clients get a certificate through Fulcio's API of version 1, enter the
// signature in a Rekor v1 log, and write it as cosign 2 does, at the tag
// sha256-<hex>.sig. They sign in in one of three ways, see [SignIn]. They write a
// signature to a registry only where registries.d says
// "use-sigstore-attachments: true".
package signing

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"time"

	"go.podman.io/image/v5/pkg/cli/sigstore/params"
	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

// SignIn is how the client gets its identity token.
type SignIn string

// The ways to sign in, by the names of the file format.
const (
	// Device shows an address and a code, for a browser anywhere.
	Device SignIn = SignIn(params.OIDCModeDeviceGrant)
	// Browser opens a browser on the same machine, or asks for a code to be pasted.
	Browser SignIn = SignIn(params.OIDCModeInteractive)
	// Token uses a token that is in the file: nobody has to be there. It can be used
	// as long as the token is valid, ten minutes from most issuers.
	Token SignIn = SignIn(params.OIDCModeStaticToken)
)

// Config says how to sign.
type Config struct {
	// Services are whom to ask: a certificate authority, a Rekor v1 log and, to sign
	// in, an issuer.
	Services *trust.SigningConfig
	SignIn   SignIn
	// Issuer is the URL of another issuer than Services', for Device and Browser.
	Issuer string
	// ClientID is whom the client is to the issuer, for Device and Browser;
	// ClientSecret may be empty.
	ClientID, ClientSecret string
	// IDToken is the token of Token.
	IDToken string
	// InsecureHTTP lets the token be sent to another machine without TLS.
	InsecureHTTP bool
	Now          time.Time // for the services' validity
}

// File is the content of the parameter file. With a token or a client's secret in
// it, nobody but its owner may read it.
func (c Config) File() ([]byte, error) {
	authority, err := pick("certificate authority", c.Services.CAs, c.Now)
	if err != nil {
		return nil, err
	}
	if err := token.CheckTLS(authority); err != nil && !c.InsecureHTTP {
		return nil, fmt.Errorf("certificate authority: %w", err)
	}
	log, err := pick("log (these clients know Rekor v1 alone)", c.Services.Logs, c.Now)
	if err != nil {
		return nil, err
	}
	fulcio := &params.SigningParameterFileFulcio{FulcioURL: authority, OIDCMode: params.OIDCMode(c.SignIn)}
	switch c.SignIn {
	case Token:
		if !token.Looks(c.IDToken) {
			return nil, errors.New("identity token: it is missing, or no token")
		}
		fulcio.OIDCIDToken = c.IDToken
	case Device, Browser:
		if fulcio.OIDCIssuerURL, err = c.issuer(); err != nil {
			return nil, err
		}
		fulcio.OIDCClientID, fulcio.OIDCClientSecret = c.ClientID, c.ClientSecret
	default:
		return nil, fmt.Errorf("way to sign in %q is not %s, %s or %s", c.SignIn, Device, Browser, Token)
	}
	var file bytes.Buffer
	file.WriteString("# How skopeo and podman sign: --sign-by-sigstore with this file.\n# See containers-sigstore-signing-params.yaml(5).\n")
	if err := yaml.NewEncoder(&file).Encode(params.SigningParameterFile{Fulcio: fulcio, RekorURL: log}); err != nil {
		return nil, err
	}
	return file.Bytes(), nil
}

// issuer is whom to sign in with.
func (c Config) issuer() (string, error) {
	if c.Issuer == "" {
		return pick("issuer", c.Services.OIDC, c.Now)
	}
	return checkURL("issuer", c.Issuer)
}

// pick chooses a service as Sigstore's clients do. Of each kind, these clients
// know version 1.
func pick(what string, services []trust.Service, now time.Time) (string, error) {
	s, err := trust.Pick(services, now, 1)
	if err != nil {
		return "", fmt.Errorf("choosing %s: %w", what, err)
	}
	return checkURL(what, s.URL)
}

func checkURL(what, text string) (string, error) {
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || (u.Scheme != "https" && u.Scheme != "http") {
		return "", fmt.Errorf("%s: %.200q is no http or https URL", what, text)
	}
	return text, nil
}
