package doctor

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"slices"

	"github.com/touchmark/touchmark/core/loopback"
	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// checkExposure looks at who reaches the proxy, and what they may do.
func checkExposure(_ context.Context, s *snapshot) {
	if s.conf == nil {
		return
	}
	c := s.conf
	here := onlyHere(c.Listen)
	if !here && c.TLS.Cert == "" {
		s.Find("plain-http", s.field("listen"), "%s is reached from elsewhere, without TLS", c.Listen)
	}
	if c.Auth.Anonymous && (!here || len(c.Balancers) > 0) { // which bring others here
		s.checkAnonymous()
	}
	switch {
	case c.Metrics == "":
		s.Find("metrics-missing", s.field("metrics"), "is not set")
	case !onlyHere(c.Metrics):
		s.Find("metrics-exposed", s.field("metrics.listen"), "%s is reached from elsewhere", c.Metrics)
	}
}

// checkAnonymous looks at what those may do who have no name.
func (s *snapshot) checkAnonymous() {
	c := s.conf.Auth
	if len(c.Access) == 0 {
		s.Find("anonymous-reads", s.field("auth.anonymous"), "everybody who reaches %s reads everything", s.conf.Listen)
		return
	}
	for i, r := range c.Access {
		if !slices.Contains(r.Subjects, "anonymous") {
			continue
		}
		field := s.field(fmt.Sprintf("auth.access[%d]", i))
		if all(r, s.registries()) {
			s.Find("anonymous-reads", field, "everybody who reaches %s reads everything", s.conf.Listen)
		}
		if r.Page && s.conf.Page {
			s.Find("page-anonymous", field, "everybody who reaches %s sees the decisions", s.conf.Listen)
		}
	}
}

// all reports whether a rule is about everything of one of the registries.
func all(r auth.Rule, registries []string) bool {
	if slices.Contains(r.Repositories, "**") {
		return true
	}
	return slices.ContainsFunc(registries, func(name string) bool { return slices.Contains(r.Repositories, name+"/**") })
}

// onlyHere reports whether only this machine reaches an address.
func onlyHere(address string) bool {
	host, _, err := net.SplitHostPort(address)
	return err == nil && loopback.Host(host)
}

// plain reports whether a URL leads to another machine by plain HTTP.
func plain(raw string) bool {
	u, err := url.Parse(raw)
	return err == nil && u.Scheme == "http" && !loopback.Host(u.Hostname())
}
