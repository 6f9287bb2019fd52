package service

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/dirlock"
	"github.com/touchmark/touchmark/core/keys"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/cache"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/peers"
	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// kept is what belongs to the process and outlives every reload: its directories, and
// the talk with the other replicas. All of it is nil where it is not configured.
type kept struct {
	cache  *cache.Cache
	peers  *peers.Client
	answer *server // where other replicas ask
	signer *countersign.Key
	tracer *tracing.Tracer
	// state is the lock of stateDir, from when a trust root is followed on.
	state    *dirlock.Lock
	stateDir string
}

// spansTimeout is how long the collector may take for the last spans.
const spansTimeout = 5 * time.Second

// openKept opens what the configuration names. known says what this replica tells others.
func openKept(ctx context.Context, conf *config.Config, options keys.Options, known peers.HoldersFunc, logger *slog.Logger) (_ *kept, err error) {
	k := &kept{}
	if conf.Cache.Dir != "" {
		if k.cache, err = cache.Open(cache.Config{Dir: conf.Cache.Dir, MaxBytes: conf.Cache.Size, Logger: logger}); err != nil {
			return nil, fmt.Errorf("cache: %w", err)
		}
	}
	if conf.Tracing != "" {
		if k.tracer, err = tracing.New(ctx, tracing.Config{Endpoint: conf.Tracing, Logger: logger}); err != nil {
			return nil, errors.Join(fmt.Errorf("tracing: %w", err), k.close())
		}
	}
	if k.signer, err = openSigner(ctx, conf, options, logger); err != nil {
		return nil, errors.Join(fmt.Errorf("countersign: %w", err), k.close())
	}
	if err := k.meet(conf.Peers, known, logger); err != nil {
		return nil, errors.Join(fmt.Errorf("peers: %w", err), k.close())
	}
	if err := k.own(conf); err != nil {
		return nil, errors.Join(err, k.close())
	}
	return k, nil
}

// meet prepares to ask the other replicas, and to answer them.
func (k *kept) meet(c config.Peers, known peers.HoldersFunc, logger *slog.Logger) error {
	if c.SecretFile == "" {
		return nil
	}
	secret, err := peers.ReadSecret(c.SecretFile)
	if err != nil {
		return err
	}
	if len(c.URLs) > 0 || c.DNS != "" {
		ask := peers.Config{URLs: c.URLs, Secret: secret, Logger: logger}
		if c.DNS != "" {
			ask.DNS = "http://" + c.DNS
		}
		if k.peers, err = peers.New(ask); err != nil {
			return err
		}
	}
	if c.Listen == "" {
		return nil
	}
	handler, err := peers.Handler(secret, nil, known)
	if err != nil {
		return err
	}
	k.answer, err = listen(c.Listen, config.TLS{}, handler, logger)
	return err
}

// names are those of a registry that its images are countersigned for.
func (k *kept) names(section config.Registry, conf *config.Config) []string {
	if k.signer == nil {
		return nil
	}
	return clientNames(section, len(conf.Registries) == 1, conf.Countersign.Names)
}

// configure gives a registry's proxy its part.
func (k *kept) configure(c *registryproxy.Config, names []string, conf *config.Config) {
	if k.signer != nil { // no interface that holds nil, here and below
		c.Countersigner, c.CountersignNames = k.signer, names
	}
	c.Cache, c.Tracer = k.cache, k.tracer
	if k.peers != nil {
		c.Peers = k.peers
	}
	if !c.PassThrough { // nobody could say what a client may read
		c.Offline = conf.Offline
	}
}

// serve answers the other replicas until ctx ends.
func (k *kept) serve(ctx context.Context) error {
	if k.answer == nil {
		return nil
	}
	return k.answer.Serve(ctx, nil)
}

func (k *kept) close() error {
	if k.answer != nil {
		_ = k.answer.Close() // closed already, if it has served
	}
	ctx, cancel := context.WithTimeout(context.Background(), spansTimeout)
	defer cancel()
	err := k.tracer.Close(ctx)
	if k.cache != nil {
		err = errors.Join(err, k.cache.Close())
	}
	if k.state != nil {
		err = errors.Join(err, k.state.Release())
	}
	return err
}

// holders is what this replica tells others: that of the registry in the repository's name.
func (s *Service) holders(repository string, digest v1.Hash) []v1.Hash {
	w := s.world.Load()
	if w == nil {
		return nil // a replica that is starting
	}
	for _, m := range w.proxies {
		if all := m.proxy.Holders(repository, digest); len(all) > 0 {
			return all
		}
	}
	return nil
}
