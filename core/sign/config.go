package sign

import (
	"context"
	"fmt"
	"net/http"

	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

// FetchSigningConfig asks a Touchmark server (base URL) for its signing config. That grants no trust: it says whom to ask for signatures, and what they are worth is
// decided by the verifiers' trust root. But the identity token is sent where it says, so it isn't fetched without TLS from another machine unless insecureHTTP.
func FetchSigningConfig(ctx context.Context, client *http.Client, server string, insecureHTTP bool) (*trust.SigningConfig, error) {
	s := newService("server", client)
	u := join(server, "/signing_config.v0.2.json")
	if err := token.CheckTLS(server); err != nil && !insecureHTTP {
		return nil, s.failed(u, 0, fmt.Errorf("fetching signing config: %w", err))
	}
	a, err := s.request(ctx, http.MethodGet, u, "", nil, http.StatusOK)
	if err != nil {
		return nil, err
	}
	config, err := trust.ParseSigningConfig(a.body)
	if err != nil {
		return nil, s.unusable(a, "%w", err)
	}
	return config, nil
}
