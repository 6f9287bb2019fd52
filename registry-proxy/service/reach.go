package service

import (
	"context"
	"fmt"

	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// Reach asks a registry's upstream whether it lets a proxy in that is configured like
// this. The errors are those of [registryproxy.Reach], and those about files.
func Reach(ctx context.Context, section config.Registry) (err error) {
	c := registryproxy.Config{Upstream: section.Upstream, TokenHosts: section.TokenHosts, PassThrough: section.PassThrough}
	if c.Keychain, err = keychain(section.Credentials); err != nil {
		return fmt.Errorf("credentials: %w", err)
	}
	if section.CA != "" {
		if c.RootCAs, err = Authorities(section.CA); err != nil {
			return fmt.Errorf("ca: %w", err)
		}
	}
	return registryproxy.Reach(ctx, c)
}
