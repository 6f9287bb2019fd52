package service

import (
	"context"
	"log/slog"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// openSigner opens the key that the proxy countersigns with; nil if there is none. A
// key file that is not there is made, and so is its authority's certificate.
func openSigner(ctx context.Context, c config.Countersign, options keys.Options, logger *slog.Logger) (*countersign.Key, error) {
	if c.Key == "" {
		return nil, nil
	}
	key := countersign.Config{Form: countersign.Sigstore, Key: c.Key, Public: c.Authority, Validity: c.Validity, Keys: options, Host: "touchmark proxy"}
	made, err := countersign.Generate(ctx, key)
	if err != nil {
		return nil, err
	}
	if made.Key || made.Public {
		logger.Info("a key to countersign with was made; clients need its authority", "authority", c.Authority)
	}
	return countersign.Open(ctx, key)
}

// clientNames are what clients put before a repository's path, besides the logical
// name: hosts of the registry's own, or the proxy's with the prefix, or the proxy's if
// there is no other registry. One that is addressed by ?ns= alone has no more names.
func clientNames(r config.Registry, alone bool, proxy []string) []string {
	switch {
	case len(r.Hosts) > 0:
		return r.Hosts
	case r.Prefix == "" && !alone:
		return nil
	}
	var names []string
	for _, name := range proxy {
		if r.Prefix != "" {
			name += "/" + r.Prefix
		}
		names = append(names, name)
	}
	return names
}
