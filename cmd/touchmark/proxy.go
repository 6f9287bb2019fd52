package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"net/url"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/services/stack"
)

// proxyFlags are the proxy's configuration as it is typed.
type proxyFlags struct {
	upstream, name, listen string
	tokenHosts             []string
	rules                  ruleFlags // of which a proxy has policy and roots only
	registry               registryFlags
	tlsCert, tlsKey        string
}

func newProxy() *cobra.Command {
	var f proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve a registry's images to every client, but only those that the policy admits",
		Long: `proxy stands in front of one registry and speaks the registry protocol, so docker,
containerd, podman, skopeo, crane, oras and cosign pull through it by another
address. What the policy does not admit cannot be pulled: the answer is 403
DENIED with the reason. When it cannot decide (the registry is down), it answers
503 and never admits.

It is read-only: push and sign at the registry itself. An image signed there can
be pulled here a second later (a refusal is repeated for that long). Signatures,
attestations and SBOMs are readable before there is a verdict. Policy and trusted
roots are read again within seconds when they change; if they can't be, the last
good ones stay in force, and the log says so.

Policies name images as their users do. If clients say registry.example/app and
the proxy reaches it at another address, give --name registry.example.

Make it the only way to the registry: as location in registries.conf (podman,
skopeo) or as server in hosts.toml (containerd, docker). A mirror entry does not
enforce anything, because clients ask the registry itself when a mirror refuses.

The proxy's credentials for the registry are those of "docker login" for the
account it runs under. One line of JSON per decision goes to standard error.`,
		Example: `  touchmark proxy --upstream https://registry.example --policy policy.yaml \
    --trusted-root trusted_root.json --listen 127.0.0.1:5000
  touchmark proxy --upstream https://registry-1.docker.io --policy policy.yaml \
    --trusted-root private=trusted_root.json --listen :443 --tls-cert cert.pem --tls-key key.pem
  skopeo inspect --tls-verify=false docker://127.0.0.1:5000/app:1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.upstream, "upstream", "", "`URL` of the registry, https://host[:port]")
	fl.StringVar(&f.name, "name", "", "the registry's `name` in policies (default: the upstream's host; docker.io for Docker Hub)")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:5000", "`address` to listen on; port 0 takes a free one")
	fl.StringVar(&f.rules.policy, "policy", "", "`file` of policy documents, or a directory of them (docs/policy.md)")
	fl.BoolVar(&f.rules.ignoreClusterMatch, "ignore-cluster-match", false, "ignore what only has a meaning in a Kubernetes cluster, instead of refusing it")
	fl.StringArrayVar(&f.tokenHosts, "token-host", nil, "`host[:port]` of the registry's token service, if it is another host than the registry's; may be repeated")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "PEM `file` with the certificate to serve, and its chain; read again when it changes")
	fl.StringVar(&f.tlsKey, "tls-key", "", "PEM `file` with its key")
	f.rules.roots.register(cmd)
	f.registry.register(cmd)
	return cmd
}

// load reads policies and trust roots. Whoever keeps them for days is to learn at once of a chain that nothing can be verified with.
func (f proxyFlags) load(ctx context.Context) (*policy.Set, []*trust.Root, error) {
	set, roots, err := f.rules.load(ctx)
	if err != nil {
		return nil, nil, err
	}
	for _, root := range roots {
		if err := root.Check(); err != nil {
			return nil, nil, usageError(fmt.Errorf("--trusted-root: %w", err))
		}
	}
	return set, roots, nil
}

func (f proxyFlags) run(cmd *cobra.Command) error {
	if f.rules.policy == "" {
		return usageError(errors.New("--policy is missing"))
	}
	if err := f.checkUpstream(); err != nil {
		return usageError(err)
	}
	if f.tlsCert != "" || f.tlsKey != "" {
		if _, err := tls.LoadX509KeyPair(f.tlsCert, f.tlsKey); err != nil {
			return usageError(fmt.Errorf("--tls-cert %s, --tls-key %s: %w", f.tlsCert, f.tlsKey, err))
		}
	}
	seen := reload.Look(f.rules.files())
	set, roots, err := f.load(cmd.Context())
	if err != nil {
		return err
	}
	g, err := newGate(set, roots)
	if err != nil {
		return err
	}
	logger := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
	p, err := registryproxy.New(registryproxy.Config{
		Upstream: f.upstream, LogicalName: f.name, Admitter: g, Keychain: authn.DefaultKeychain, TokenHosts: f.tokenHosts, Logger: logger,
	})
	if err != nil {
		return usageError(fmt.Errorf("--upstream, --name: %w", err))
	}
	server, err := stack.Listen(stack.ServerConfig{Addr: f.listen, CertFile: f.tlsCert, KeyFile: f.tlsKey, Logger: logger})
	if err != nil {
		return undecided(err)
	}
	server.Use(p.Handler())
	go func() {
		_ = reload.New(reload.Config{
			Gate: g, Set: set, Files: f.rules.files(), Seen: seen, Load: f.load,
			Changed: func(s reload.Status) { logReload(logger, s) },
			Notice:  func(n policy.Notice) { logger.Warn(n.Text, "kind", n.Kind, "image", n.Image, "days", n.Days) },
		}).Run(cmd.Context()) // ends with the proxy
	}()
	logger.Info("proxy is ready", "url", server.URL(), "upstream", f.upstream, "registry", p.Registry(), "policy", f.rules.policy)
	if err := server.Serve(cmd.Context()); err != nil {
		return undecided(err)
	}
	return nil
}

// logReload says what came of a change of the policy or a trust root.
func logReload(logger *slog.Logger, s reload.Status) {
	if s.Err != nil {
		logger.Error("the changed policy or trust root cannot be used; the last good one stays in force", "error", s.Err, "enforced since", s.Enforced)
		return
	}
	logger.Info("policy and trust roots were read again", "policy digest", fmt.Sprintf("%x", s.Set.Digest))
}

// checkUpstream refuses plain HTTP by the same rule as everywhere: only on loopback, or where it was asked for.
func (f proxyFlags) checkUpstream() error {
	if f.upstream == "" {
		return errors.New("--upstream is missing")
	}
	u, err := url.Parse(f.upstream)
	if err != nil {
		return fmt.Errorf("--upstream %q is not a URL such as https://registry.example", f.upstream)
	}
	addr, err := netip.ParseAddr(u.Hostname())
	loopback := u.Hostname() == "localhost" || err == nil && addr.IsLoopback()
	if u.Scheme == "http" && !loopback && !f.registry.allowHTTP {
		return errors.New("--upstream is plain HTTP: anybody on the way could answer in the registry's place; give --allow-http-registry if that is meant")
	}
	return nil
}
