package signin

import (
	"context"

	"golang.org/x/oauth2/clientcredentials"
)

// Machine signs in as a client with a secret, as "touchmark client add" makes them: for build systems that have no tokens of their own.
type Machine struct {
	Issuer Issuer // with ClientID and ClientSecret
}

// Token asks the issuer.
func (m Machine) Token(ctx context.Context) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	ctx, provider, config, err := m.Issuer.open(ctx)
	if err != nil {
		return "", err
	}
	flow := clientcredentials.Config{ClientID: config.ClientID, ClientSecret: config.ClientSecret, TokenURL: config.Endpoint.TokenURL, Scopes: config.Scopes}
	answer, err := flow.Token(ctx)
	if err != nil {
		return "", m.Issuer.failed(err)
	}
	return m.Issuer.check(ctx, provider, answer, "")
}
