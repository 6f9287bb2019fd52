package service

import (
	"context"
	"crypto/x509"
	"fmt"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
	"github.com/touchmark/touchmark/registry-proxy/auth"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/page"
)

// titleNames is how many registries the page's title names.
const titleNames = 3

// maxCA bounds a file of authorities, in bytes: all public ones have 250 KiB.
const maxCA = 2 << 20

// world is everything that is made from the files as they were at one time.
type world struct {
	conf    *config.Config
	files   []string
	seen    reload.State // how they were before they were read
	rules   map[string]*rules
	proxies map[string]*mounted // by the place in the configuration that names them
	// followed are the trust roots that are followed, by name.
	followed map[string]*followed
	names    []string
	clients  *auth.Clients
	front    http.Handler
}

// rules are one policy with its trust roots, for all registries that have the same.
type rules struct {
	policy string
	set    *policy.Set
	roots  []*trust.Root
	gate   *gate.Gate
}

// mounted is one registry's proxy, and what it was made from.
type mounted struct {
	section config.Registry
	seen    reload.State // of the section's files
	rules   string
	names   []string // of the registry for clients, which other sections have a say in
	proxy   *registryproxy.Proxy
}

// build makes a world. It takes what has not changed from the one before, and changes
// nothing there.
func (s *Service) build(ctx context.Context, conf *config.Config, before *world) (*world, error) {
	w := &world{conf: conf, files: conf.Files(), rules: map[string]*rules{}, proxies: map[string]*mounted{}, followed: map[string]*followed{}}
	w.seen = reload.Look(w.files)
	var mounts []*registryproxy.Mount
	for i, section := range conf.Registries {
		key, err := w.demand(ctx, s, section, before)
		if err != nil {
			return nil, fmt.Errorf("registries[%d]: %w", i, err)
		}
		proxy, err := s.proxy(w, section, key, before)
		if err != nil {
			return nil, fmt.Errorf("registries[%d]: %w", i, err)
		}
		w.names = append(w.names, proxy.Registry())
		mounts = append(mounts, &registryproxy.Mount{Proxy: proxy, Hosts: section.Hosts, Prefix: section.Prefix})
	}
	var known *auth.Clients
	if before != nil {
		known = before.clients
	}
	var err error
	if w.clients, err = auth.Renew(known, conf.Auth); err != nil {
		return nil, fmt.Errorf("auth.%w", err)
	}
	front := registryproxy.FrontConfig{Mounts: mounts, Clients: w.clients, Balancers: conf.Balancers, Metrics: s.metrics, Tracer: s.kept.tracer, Logger: s.logger}
	front.Names, front.OnlyNames = conf.OwnNames()
	if conf.Page {
		front.Page = page.Handler(page.Config{Decisions: s.decisions, Title: strings.Join(w.names[:min(len(w.names), titleNames)], ", ")})
	}
	if w.front, err = registryproxy.NewFront(front); err != nil {
		return nil, err
	}
	return w, nil
}

// demand loads the policy and trust roots of a registry, once for all that have the
// same. A gate that exists gets them later, by enforce.
func (w *world) demand(ctx context.Context, s *Service, section config.Registry, before *world) (key string, err error) {
	key = section.Rules()
	if w.rules[key] != nil {
		return key, nil
	}
	r := &rules{policy: section.Policy}
	roots, err := Roots(section.Trust, func(root config.Root) (*trust.Root, error) { return w.follow(ctx, root, before) })
	if err != nil {
		return "", err
	}
	if r.set, r.roots, err = s.config.Load(ctx, section.Policy, roots); err != nil {
		return "", err
	}
	if r.gate, err = gate.New(gate.Config{Policy: r.set, Roots: r.roots}); err != nil {
		return "", fmt.Errorf("policy %s: %w", section.Policy, err)
	}
	if before != nil && before.rules[key] != nil {
		r.gate = before.rules[key].gate // which remembers what it may
	}
	w.rules[key] = r
	return key, nil
}

// enforce gives the gates that already exist their new rules.
func (w *world) enforce() error {
	for _, r := range w.rules {
		if err := r.gate.Reload(r.set, r.roots); err != nil {
			return fmt.Errorf("policy %s: %w", r.policy, err) // a new gate took them
		}
	}
	return nil
}

// proxy makes the proxy of a registry, or takes the one that was made from the same.
func (s *Service) proxy(w *world, section config.Registry, rules string, before *world) (*registryproxy.Proxy, error) {
	seen, names := reload.Look(section.Files()), s.kept.names(section, w.conf)
	id := section.Upstream + " " + section.Name
	if before != nil {
		if m := before.proxies[id]; m != nil && m.seen == seen && m.rules == rules && slices.Equal(m.names, names) && reflect.DeepEqual(m.section, section) {
			w.proxies[id] = m
			return m.proxy, nil
		}
	}
	c := registryproxy.Config{
		Upstream: section.Upstream, LogicalName: section.Name, Admitter: w.rules[rules].gate, TokenHosts: section.TokenHosts,
		PassThrough: section.PassThrough, Observe: section.Observe, Fetches: section.Limits.Fetches, Rate: section.Limits.Rate,
		Decisions: s.decisions, Metrics: s.metrics, Held: s.held, Logger: s.logger,
	}
	s.kept.configure(&c, names, w.conf)
	var err error
	if c.Keychain, err = keychain(section.Credentials); err != nil {
		return nil, fmt.Errorf("credentials: %w", err)
	}
	if section.CA != "" {
		if c.RootCAs, err = Authorities(section.CA); err != nil {
			return nil, fmt.Errorf("ca: %w", err)
		}
	}
	p, err := registryproxy.New(c)
	if err != nil {
		return nil, err
	}
	w.proxies[id] = &mounted{section: section, seen: seen, rules: rules, names: names, proxy: p}
	return p, nil
}

// Authorities are the system's, and those of a file.
func Authorities(file string) (*x509.CertPool, error) {
	pem, err := configfile.Read(file, maxCA)
	if err != nil {
		return nil, err
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool() // a system without any
	}
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: holds no PEM certificate", file)
	}
	return pool, nil
}
