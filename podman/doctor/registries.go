package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/BurntSushi/toml"

	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman/access"
)

// askTimeout bounds one question to a registry.
const askTimeout = 5 * time.Second

// access is how the host reaches registries; nil if registries.conf cannot be
// used, which checkRegistries names.
func (s *snapshot) access() *access.Access {
	if s.reach == nil && s.reachErr == nil {
		s.reach, s.reachErr = access.Load(s.Host)
	}
	return s.reach
}

func checkRegistries(_ context.Context, s *snapshot) {
	a := s.access()
	if a == nil {
		s.Find("registries-unparsable", s.Host.RegistriesConf(), "%s", s.Name(s.reachErr.Error()))
		return
	}
	for _, file := range append(s.Host.RegistriesConfs(), s.Host.RegistriesConfD()...) {
		if s.Exists(file) {
			s.CheckWritable("registries-writable", file)
		}
	}
	for _, scope := range s.Intent.Scopes {
		s.checkWays(a.Table(), scope)
	}
}

// checkWays looks at where images of a declared scope come from.
func (s *snapshot) checkWays(t *location.Table, scope string) {
	where := s.Host.RegistriesConf()
	places, err := t.Places(sample(scope))
	var blocked *location.BlockedError
	if errors.As(err, &blocked) {
		s.Find("registry-blocked", blocked.Rule.From, "%s is blocked", blocked.Rule.Prefix)
	}
	for _, p := range places {
		host, _, err := net.SplitHostPort(registryOf(p.Repository))
		if err != nil {
			host = registryOf(p.Repository)
		}
		if p.Insecure && !loopback(host) {
			s.Find("registry-insecure", where, "%s is asked without TLS, or without its certificate being verified", p.Repository)
		}
		var ambiguous *location.AmbiguousError
		if _, err := t.Logical(p.Repository); s.Intent.agent() && len(s.Intent.Proxies) == 0 && errors.As(err, &ambiguous) {
			s.Find("rewrite-ambiguous", ambiguous.Rule.From+": "+ambiguous.Rule.Prefix, "%s", s.Name(ambiguous.Error()))
		}
	}
	if s.leftToProxy(scope) {
		s.checkProxy(t, scope, places)
	}
}

// leftToProxy reports whether policy.json accepts what the proxy lets through.
func (s *snapshot) leftToProxy(scope string) bool {
	if len(s.Intent.Proxies) == 0 || s.policy.file == nil {
		return false
	}
	reqs, _ := s.policy.file.Effective("docker", scope)
	return s.demand(reqs) == accepts
}

// checkProxy looks for ways past the proxy: a mirror is one, since clients go
// on to the next place when one refuses.
func (s *snapshot) checkProxy(t *location.Table, scope string, places []location.Place) {
	where := s.Host.RegistriesConf()
	mirrored := false
	for _, p := range places {
		mirrored = mirrored || p.Mirror && s.atProxy(p.Repository)
	}
	for _, p := range places {
		switch {
		case s.atProxy(p.Repository):
		case mirrored:
			s.Find("proxy-as-mirror", where, "the proxy is a mirror of %s: where it refuses, clients go on to %s", scope, registryOf(p.Repository))
		default:
			s.Find("proxy-bypassed", where, "images of %s are fetched from %s", scope, registryOf(p.Repository))
		}
	}
	for _, r := range t.Rules() {
		if r.Prefix != scope && within(r.Prefix, scope) && !r.Blocked && !s.atProxy(r.Location) {
			s.Find("proxy-bypassed", r.From+": "+r.Prefix, "images of %s are fetched from %s", r.Prefix, r.Location)
		}
	}
}

// atProxy reports whether a place is the proxy.
func (s *snapshot) atProxy(repository string) bool {
	return slices.Contains(s.Intent.Proxies, registryOf(repository))
}

// judged reports whether something looks at images of a repository before they
// are used.
func (s *snapshot) judged(repository string) bool {
	reqs, _ := s.policy.file.Effective("docker", repository)
	if s.demand(reqs) != accepts {
		return true
	}
	if len(s.Intent.Proxies) == 0 || !s.Intent.declared(repository) {
		return false
	}
	places, err := s.access().Table().Places(repository)
	for _, p := range places {
		if !s.atProxy(p.Repository) {
			return false
		}
	}
	return err == nil
}

func checkShortNames(_ context.Context, s *snapshot) {
	a := s.access()
	if a == nil || s.policy.file == nil || s.Intent.OthersAccepted {
		return
	}
	names := a.ShortNames()
	s.checkAliases(s.Host.RegistriesConf()+" and its drop-ins", names.Aliases)
	for _, registry := range names.Search {
		if !s.judged(registry + "/" + samplePath) {
			s.Find("search-unjudged", s.Host.RegistriesConf()+": unqualified-search-registries", "short names are looked for in %s, which nothing judges", registry)
		}
	}
	s.checkRemembered()
}

// checkRemembered looks at the aliases that podman wrote down when somebody
// chose.
func (s *snapshot) checkRemembered() {
	file := s.At("/var/cache/containers/short-name-aliases.conf")
	if s.Host.User() {
		file = s.At(s.Host.Home + "/.cache/containers/short-name-aliases.conf")
	}
	data, ok := s.Read(file)
	if !ok {
		return
	}
	var conf struct {
		Aliases map[string]string `toml:"aliases"`
	}
	if _, err := toml.Decode(string(data), &conf); err != nil {
		s.Unreadable(file, err)
		return
	}
	s.checkAliases(file, conf.Aliases)
}

// checkAliases makes one finding of all aliases that stand in one place:
// distributions ship some ninety of them, and one rule that accepts makes
// unjudged ones of all.
func (s *snapshot) checkAliases(where string, aliases map[string]string) {
	unjudged := slices.Sorted(maps.Keys(aliases))
	unjudged = slices.DeleteFunc(unjudged, func(alias string) bool {
		target := aliases[alias]
		return !strings.Contains(target, "/") || s.judged(target)
	})
	if len(unjudged) == 0 {
		return
	}
	first, others := unjudged[0], ""
	if n := len(unjudged) - 1; n > 0 {
		others = fmt.Sprintf("; %d more do the same, up to %s", n, unjudged[n])
	}
	s.Find("alias-unjudged", where+": aliases["+first+"]", "%s means %s, which nothing judges%s", first, aliases[first], others)
}

// checkExtension asks the registries whether they keep signatures themselves:
// clients then ask them instead of the lookaside.
func checkExtension(ctx context.Context, s *snapshot) {
	a := s.access()
	if !s.Network || a == nil || !s.Intent.agent() {
		return
	}
	for _, scope := range s.Intent.Scopes {
		if strings.HasPrefix(scope, "*.") || scope == "" {
			continue
		}
		for _, p := range s.places(scope) {
			asked, cancel := context.WithTimeout(ctx, askTimeout)
			supports, err := a.SupportsSignatures(asked, p.Repository+"/"+samplePath)
			cancel()
			// A registry that cannot be reached says nothing about the host.
			if err == nil && supports {
				s.Find("signatures-extension", registryOf(p.Repository), "sends X-Registry-Supports-Signatures: signatures are not looked for at the agent")
			}
		}
	}
}
