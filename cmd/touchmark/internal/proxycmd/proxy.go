// Package proxycmd has touchmark proxy, and the commands that print configuration for
// clients that pull through it (client-config containerd, podman, docker). The proxy
// itself is registry-proxy/service.
package proxycmd

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/imageref"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/trust/publicgood"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// proxyFlags are the proxy's configuration as it is typed.
type proxyFlags struct {
	config                  string
	systemd                 bool
	upstream, name, listen  string
	tokenHosts              []string
	rules                   rules.Flags // of which a proxy has policy and roots only
	registry                imageref.Flags
	tlsCert, tlsKey         string
	anonymous, insecureHTTP bool
}

// New makes touchmark proxy.
func New() *cobra.Command {
	var f proxyFlags
	cmd := &cobra.Command{
		Use:   "proxy",
		Short: "Serve a registry's images to every client, but only those that the policy admits",
		Long: `proxy stands in front of one registry, or of many, and speaks the registry
protocol, so docker, containerd, podman, skopeo, crane, oras and cosign pull through
it by another address. What the policy does not admit cannot be pulled: the answer is
403 DENIED with the reason. When it cannot decide (the registry is down), it answers
503 and never admits.

It is read-only: push and sign at the registry itself. An image signed there can
be pulled here a second later (a refusal is repeated for that long). Signatures,
attestations and SBOMs are readable before there is a verdict.

One registry can be given by flags. Several registries, logins for clients, metrics,
a cache and everything else stand in a file, which docs/proxy.md describes:

  touchmark proxy --config proxy.yaml

All files (configuration, policies, trusted roots, certificates, credentials, users)
are read again within seconds when they change, and no request is dropped; if they
can't be used, what was read before stays in force, and the log says why.

Policies name images as their users do. If clients say registry.example/app and
the proxy reaches it at another address, give --name registry.example.

Make it the only way to the registry: as location in registries.conf (podman,
skopeo) or as server in hosts.toml (containerd, docker). A mirror entry does not
enforce anything, because clients ask the registry itself when a mirror refuses.
"touchmark client-config" prints what clients need.

Given by flags, the proxy's credentials for the registry are those of "docker login"
for the account it runs under. One line of JSON per decision goes to standard error.

Exit status: 0 told to stop, 2 a flag or a file is wrong (which is named, with line
and field), 3 it cannot listen, or has never seen a trust root that it is to follow.`,
		Example: `  touchmark proxy --upstream https://registry.example --policy policy.yaml \
    --trusted-root trusted_root.json --listen 127.0.0.1:5000
  touchmark proxy --upstream https://registry-1.docker.io --policy policy.yaml --anonymous \
    --trusted-root private=trusted_root.json --listen :443 --tls-cert cert.pem --tls-key key.pem
  touchmark proxy --config /etc/touchmark/proxy.yaml
  touchmark proxy --config /etc/touchmark/proxy.yaml --systemd >/etc/systemd/system/touchmark-proxy.service
  skopeo inspect --tls-verify=false docker://127.0.0.1:5000/app:1`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return f.run(cmd) },
	}
	fl := cmd.Flags()
	fl.StringVar(&f.config, "config", "", "`file` with the whole configuration (docs/proxy.md), in the place of all other flags")
	fl.BoolVar(&f.systemd, "systemd", false, "with --config, print a systemd unit that runs this, and end")
	fl.StringVar(&f.upstream, "upstream", "", "`URL` of the registry, https://host[:port]")
	fl.StringVar(&f.name, "name", "", "the registry's `name` in policies (default: the upstream's host; docker.io for Docker Hub)")
	fl.StringVar(&f.listen, "listen", config.DefaultListen, "`address` to listen on; port 0 takes a free one")
	fl.StringVar(&f.rules.Policy, "policy", "", "`file` of policy documents, or a directory of them (docs/policy.md)")
	fl.BoolVar(&f.rules.IgnoreClusterMatch, "ignore-cluster-match", false, "ignore what only has a meaning in a Kubernetes cluster, instead of refusing it")
	fl.StringArrayVar(&f.tokenHosts, "token-host", nil, "`host[:port]` of the registry's token service, if it is another host than the registry's; may be repeated")
	fl.StringVar(&f.tlsCert, "tls-cert", "", "PEM `file` with the certificate to serve, and its chain; read again when it changes")
	fl.StringVar(&f.tlsKey, "tls-key", "", "PEM `file` with its key")
	fl.BoolVar(&f.anonymous, "anonymous", false, "let everybody read who reaches the address, where that is not only this machine")
	fl.BoolVar(&f.insecureHTTP, "insecure-http", false, "serve plain HTTP to others than this machine; something else has to encrypt it")
	f.rules.Roots.Register(cmd)
	f.registry.Register(cmd)
	cmd.AddCommand(newKey())
	return cmd
}

func (f proxyFlags) run(cmd *cobra.Command) error {
	read, err := f.reader(cmd)
	if err != nil {
		return exit.Usage(err)
	}
	if f.systemd {
		return f.printUnit(cmd, read)
	}
	logger := slog.New(slog.NewJSONHandler(cmd.ErrOrStderr(), nil))
	s, err := service.New(cmd.Context(), service.Config{Read: read, Load: LoadPolicy(f.rules.IgnoreClusterMatch), Keys: keyopen.Public(), Logger: logger, Ready: func() { tellSystemd(logger, daemon.SdNotifyReady) }})
	switch {
	case errors.Is(err, service.ErrListen), errors.Is(err, follow.ErrUnseen):
		return exit.Undecided(err)
	case err != nil:
		return exit.Usage(err)
	}
	for _, registry := range s.Registries() {
		logger.Info("proxy is ready", "url", s.URL(), "registry", registry, "metrics", s.MetricsURL())
	}
	err = s.Run(cmd.Context())
	tellSystemd(logger, daemon.SdNotifyStopping)
	if err != nil {
		return exit.Undecided(err)
	}
	return nil
}

// tellSystemd tells the service manager, if it started us.
func tellSystemd(logger *slog.Logger, state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		logger.Warn("the service manager could not be told", "state", state, "error", err)
	}
}

// reader returns what reads the configuration: the file, or the flags.
func (f proxyFlags) reader(cmd *cobra.Command) (func() (*config.Config, error), error) {
	if f.config == "" {
		if f.systemd {
			return nil, errors.New("--systemd goes with --config: the unit names the file")
		}
		_, err := f.settings()
		return f.settings, err
	}
	for _, flag := range []string{"upstream", "name", "listen", "policy", "token-host", "tls-cert", "tls-key", "anonymous", "insecure-http", "trusted-root", "allow-http-registry"} {
		if cmd.Flags().Changed(flag) {
			return nil, fmt.Errorf("--%s does not go with --config: the file says it", flag)
		}
	}
	return func() (*config.Config, error) { return config.Load(f.config) }, nil
}

// settings are the configuration that the flags stand for.
func (f proxyFlags) settings() (*config.Config, error) {
	if f.rules.Policy == "" {
		return nil, errors.New("--policy is missing, and there is no --config either, a file that says it all")
	}
	if err := f.checkUpstream(); err != nil {
		return nil, err
	}
	if (f.tlsCert == "") != (f.tlsKey == "") {
		return nil, errors.New("--tls-cert and --tls-key go together")
	}
	if err := f.checkListen(); err != nil {
		return nil, err
	}
	c := &config.Config{
		Listen: f.listen, TLS: config.TLS{Cert: f.tlsCert, Key: f.tlsKey}, InsecureHTTP: f.insecureHTTP,
		Registries: []config.Registry{{
			Name: f.name, Upstream: f.upstream, AllowHTTP: f.registry.AllowHTTP, Credentials: config.Credentials{Account: true},
			TokenHosts: f.tokenHosts, Policy: f.rules.Policy, Trust: f.trust(),
		}},
	}
	c.Auth.Anonymous = f.anonymous
	return c, c.Check()
}

// trust are the trust roots.
func (f proxyFlags) trust() []config.Root {
	var roots []config.Root
	for _, r := range f.rules.Roots.Named() {
		if r.File == publicgood.Name {
			r.File = "" // what is built in
		}
		roots = append(roots, config.Root{Name: r.Name, File: r.File})
	}
	return roots
}

// LoadPolicy returns what reads a proxy's policy, for which there are these trust roots.
func LoadPolicy(ignoreClusterMatch bool) func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
	return func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
		set, err := policy.Load(ctx, file, rules.PolicyOptions(ignoreClusterMatch))
		if err != nil {
			return nil, nil, err
		}
		roots, err = rules.WithPublicGood(roots, set)
		return set, roots, err
	}
}

// checkUpstream refuses plain HTTP by the same rule as everywhere: only on loopback, or where it was asked for.
func (f proxyFlags) checkUpstream() error {
	if f.upstream == "" {
		return errors.New("--upstream is missing; or give --config")
	}
	u, err := url.Parse(f.upstream)
	if err != nil || u.Host == "" {
		return errors.New("--upstream is not a URL such as https://registry.example")
	}
	if u.Scheme == "http" && !loopback.Host(u.Hostname()) && !f.registry.AllowHTTP {
		return errors.New("--upstream is plain HTTP: anybody on the way could answer in the registry's place; give --allow-http-registry if that is meant")
	}
	return nil
}

// checkListen wants it said that others than this machine may read, and that nobody reads along.
func (f proxyFlags) checkListen() error {
	host, _, err := net.SplitHostPort(f.listen)
	switch {
	case err != nil || loopback.Host(host):
		return nil // what is no address, the configuration says
	case !f.anonymous:
		return fmt.Errorf("--listen %s: others than this machine reach it; give --anonymous to let them all read, or --config with logins for clients", f.listen)
	case f.tlsCert == "" && !f.insecureHTTP:
		return fmt.Errorf("--listen %s: others than this machine reach it; give --tls-cert and --tls-key, or --insecure-http if something else encrypts it", f.listen)
	}
	return nil
}
