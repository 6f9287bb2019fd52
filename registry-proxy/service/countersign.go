package service

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

// openSigner opens the key that the proxy countersigns with; nil if there is none. A
// key file that is not there is made, and so is its authority's certificate, but for
// replicas: with a key each, clients would accept the countersignatures of one alone.
func openSigner(ctx context.Context, conf *config.Config, options keys.Options, logger *slog.Logger) (*countersign.Key, error) {
	if conf.Countersign.Key == "" {
		return nil, nil
	}
	key := conf.Countersign.Of(options)
	if conf.Peers.SecretFile != "" {
		signer, err := countersign.Open(ctx, key)
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w; replicas have one key in common: make it once with \"touchmark proxy key make --config %s\", and give key and authority to all of them", err, conf.File)
		}
		return signer, err
	}
	made, err := countersign.Generate(ctx, key)
	if err != nil {
		return nil, err
	}
	if made.Key || made.Public {
		logger.Info("a key to countersign with was made; clients need its authority", "authority", conf.Countersign.Authority)
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
