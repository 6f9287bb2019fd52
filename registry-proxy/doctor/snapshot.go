package doctor

import (
	"context"
	"crypto/x509"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// checks are all there are. Their order is that of the catalog.
var checks = []func(context.Context, *snapshot){
	checkFiles, checkSecrets, checkLogins, checkPolicies, checkRoots, checkFollowed, checkCertificate,
	checkExposure, checkUpstreams, checkStorage, checkPeers, checkRunning, checkClock,
}

// snapshot is the proxy as one examination sees it. Checks read from it and add
// findings to it.
type snapshot struct {
	Config
	doctor.Examination

	// authorities are those of the certificates of the running proxy; nil: the system's.
	authorities *x509.CertPool

	conf  *config.Config // nil if it cannot be used
	err   error          // that says why
	rules []*rules
}

// rules are what one or more registries demand.
type rules struct {
	section config.Registry // the first of them
	names   []string        // of all
	set     *policy.Set     // nil if they cannot be used
	roots   []*trust.Root
	err     error // that says why
	// rootsFail says that it is the trust roots that cannot be used.
	rootsFail bool
}

// take reads what several checks need. The error is about the arguments.
func take(ctx context.Context, c Config) (*snapshot, error) {
	s := &snapshot{Config: c, Examination: doctor.Examination{Client: "proxy", UID: c.UID, Catalog: Catalog()}}
	if c.CA != "" {
		var err error
		if s.authorities, err = service.Authorities(c.CA); err != nil {
			return nil, err
		}
	}
	if s.conf, s.err = config.Load(c.File); s.err != nil {
		s.conf = nil
		return s, nil
	}
	known := map[string]*rules{}
	for _, r := range s.conf.Registries {
		key := r.Rules()
		if known[key] == nil {
			loaded := &rules{section: r}
			if loaded.roots, loaded.err = service.Roots(r.Trust, s.cached); loaded.err != nil {
				loaded.rootsFail = true
			} else {
				loaded.set, loaded.roots, loaded.err = c.Load(ctx, r.Policy, loaded.roots)
			}
			known[key] = loaded
			s.rules = append(s.rules, loaded)
		}
		known[key].names = append(known[key].names, r.LogicalName())
	}
	return s, nil
}

// registries are the names of what is fronted.
func (s *snapshot) registries() (names []string) {
	if s.conf == nil {
		return nil
	}
	for _, r := range s.conf.Registries {
		names = append(names, r.LogicalName())
	}
	return names
}

// field is a place in proxy.yaml.
func (s *snapshot) field(name string) string { return s.File + ": " + name }

func checkClock(_ context.Context, s *snapshot) {
	if s.Clock == nil {
		return
	}
	if kept, err := s.Clock(); err != nil {
		s.Find("clock-unsynchronised", "the clock", "%v", err)
	} else if !kept {
		s.Find("clock-unsynchronised", "the clock", "nothing keeps it")
	}
}
