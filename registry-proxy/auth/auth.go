// Package auth says who a client of the registry proxy is, and what it may read.
//
//	clients, err := auth.New(auth.Config{Htpasswd: "users", Anonymous: true, Access: []auth.Rule{
//		{Subjects: []string{"user:ci-*"}, Repositories: []string{"docker.io/library/*"}},
//	}})
//	caller, err := clients.Identify(request)
//	caller.MayRead("docker.io/library/alpine")
//
// A client proves a name in one of three ways, and the name says which:
//
//   - user:NAME, by a name and password of an htpasswd file (bcrypt alone);
//   - oidc:NAME, or oidc:ISSUER:NAME where issuers have names, by an ID token of a configured issuer for a configured audience. It comes as a bearer token, or as the
//     password of any user, because no stock client can send a bearer token that it was not given by a token service;
//   - cert:NAME, by a client certificate of the authority that the listener verifies: its first URI, e-mail address or DNS
//     name, else its common name.
//
// Credentials that are wrong are an error, also where anonymous clients are let in: whoever means to be somebody is told.
//
// Comparing a password takes a processor for as long as 100 ms, by intent. A few are compared at a time, addresses take turns, and
// few passwords of each may wait: whoever tries many keeps others neither from logging in nor from the processors.
package auth

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/steady"
)

// Config says whom to believe. The zero value lets nobody in.
type Config struct {
	// Htpasswd is a file of names and bcrypt hashes; empty for none.
	Htpasswd string
	// Issuers are those whose ID tokens are believed.
	Issuers []Issuer
	// Certificates says that client certificates count. The listener must have verified them.
	Certificates bool
	// Anonymous lets in those who give no credentials.
	Anonymous bool
	// AnonymousDetails shows even them the details of refusals, which say how the policy sees an image. It is for a proxy
	// that only its own machine can reach.
	AnonymousDetails bool
	// Access says who may read what. Without a rule, everybody who was let in may read everything.
	Access []Rule
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Rule lets subjects read repositories.
type Rule struct {
	// Subjects are globs over names such as "user:ci", "oidc:*@acme.example" ("oidc:staff:*" of the issuer with this name), "cert:spiffe://acme.example/**", or "anonymous".
	Subjects []string
	// Repositories are globs over logical names with the registry's, such as "docker.io/library/*" or "registry.example/**".
	Repositories []string
	// Page lets them see the page for people.
	Page bool
}

// Clients identifies clients. Its methods may be called at the same time.
type Clients struct {
	config   Config
	logins   *logins
	steady   *steady.Clock
	users    *users // nil without a file
	issuers  []*verifier
	rules    []rule
	nobody   Caller
	password bool // there is some login by name and password
}

// Caller is a client that was let in.
type Caller struct {
	// Who is the name that it proved, such as "user:ci"; empty for anybody.
	Who string
	// Details says that it may see the details of refusals.
	Details bool
	rules   []rule // that are about it
	all     bool   // it may read everything
}

// Trusted is the caller of a proxy that asks nobody who they are.
func Trusted() Caller { return Caller{Details: true, all: true} }

// Errors of Identify.
var (
	// ErrCredentials says that credentials are missing or wrong, and nothing about which of the two parts was.
	ErrCredentials = errors.New("credentials are missing or wrong")
	// ErrUnavailable says that it could not be found out whether they are right.
	ErrUnavailable = errors.New("credentials could not be checked")
	// ErrTooMany says that they were not looked at, because too many others from the same address are.
	ErrTooMany = errors.New("too many logins at once")
)

// Check says which field is wrong, such as "access[1].subjects[0]". It reads no file.
func (c Config) Check() (field string, err error) {
	if field, err := checkIssuers(c.Issuers); err != nil {
		return field, err
	}
	for i, r := range c.Access {
		_, field, err := compile(r)
		if err == nil {
			field, err = r.checkIssuers(c.Issuers)
		}
		if err != nil {
			return fmt.Sprintf("access[%d].%s", i, field), err
		}
	}
	return "", nil
}

// New reads the files and compiles the rules. Every error is one of configuration and names the file or the field. Issuers
// are asked for their keys when the first token comes, so that one that is down keeps no proxy from starting.
func New(c Config) (*Clients, error) { return Renew(nil, c) }

// Renew is [New] for a configuration, or files, that have changed since before was made; before may be nil. Who has proven a
// password need not wait for it to be compared again, if the line of the file is as it was. Passwords that wait go on waiting.
func Renew(before *Clients, c Config) (*Clients, error) {
	if field, err := c.Check(); err != nil {
		return nil, fmt.Errorf("%s: %w", field, err)
	}
	clients := &Clients{config: c, password: c.Htpasswd != "" || len(c.Issuers) > 0}
	if c.Now == nil {
		clients.config.Now = time.Now
	}
	if before != nil {
		clients.logins, clients.steady = before.logins, before.steady
	} else {
		clients.logins, clients.steady = newLogins(), steady.New(clients.config.Now)
	}
	if c.Htpasswd != "" {
		var err error
		if clients.users, err = loadUsers(c.Htpasswd, clients.logins); err != nil {
			return nil, err
		}
	}
	for i, issuer := range c.Issuers {
		v, err := newVerifier(issuer, clients.config.Now, clients.steady)
		if err != nil {
			return nil, fmt.Errorf("oidc[%d].ca: %w", i, err)
		}
		clients.issuers = append(clients.issuers, v)
	}
	for _, r := range c.Access {
		compiled, _, _ := compile(r) // was checked
		clients.rules = append(clients.rules, compiled)
	}
	clients.nobody = clients.caller("")
	return clients, nil
}

// Challenge is the WWW-Authenticate header of an answer to those who have to log in; empty if no password would help.
func (c *Clients) Challenge() string {
	if !c.password {
		return ""
	}
	return `Basic realm="touchmark proxy", charset="UTF-8"`
}

// Identify says who sent a request. Logins take turns by its RemoteAddr, so that this has to be the client's. The error wraps [ErrCredentials],
// [ErrUnavailable] or [ErrTooMany].
func (c *Clients) Identify(r *http.Request) (Caller, error) {
	if values := r.Header.Values("Authorization"); len(values) > 1 {
		return Caller{}, fmt.Errorf("%w: two Authorization headers", ErrCredentials)
	}
	if header := r.Header.Get("Authorization"); header != "" && !emptyHanded(r) {
		who, err := c.prove(r.Context(), r, header)
		if err != nil {
			return Caller{}, err
		}
		return c.caller(who), nil
	}
	if name := c.proveCertificate(r); name != "" {
		return c.caller(name), nil
	}
	if c.config.Anonymous {
		return c.nobody, nil
	}
	return Caller{}, ErrCredentials
}

// MustAsk reports whether a client that sends no credentials is to be asked for them when it first pings. Most clients send
// none unless they are; those that have none go on without, and are let in where anonymous ones are.
func (c *Clients) MustAsk(r *http.Request) bool {
	return c.password && r.Header.Get("Authorization") == "" && c.proveCertificate(r) == ""
}

// emptyHanded reports whether a client answers a challenge with an empty name and an empty password, as podman, skopeo and
// buildah (containers/image) do that have no credentials.
func emptyHanded(r *http.Request) bool {
	name, password, ok := r.BasicAuth()
	return ok && name == "" && password == ""
}

// proveCertificate is the name of the client's certificate; empty if it has none.
func (c *Clients) proveCertificate(r *http.Request) string {
	if !c.config.Certificates || r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return ""
	}
	name := certificateName(r.TLS.VerifiedChains[0][0])
	if name == "" {
		return ""
	}
	return "cert:" + name
}

func (c *Clients) prove(ctx context.Context, r *http.Request, header string) (string, error) {
	if scheme, token, ok := strings.Cut(header, " "); ok && strings.EqualFold(scheme, "Bearer") {
		return c.proveToken(ctx, strings.TrimSpace(token))
	}
	name, password, ok := r.BasicAuth()
	if !ok {
		return "", fmt.Errorf("%w: neither Basic nor Bearer", ErrCredentials)
	}
	if len(c.issuers) > 0 && looksLikeToken(password) {
		return c.proveToken(ctx, password)
	}
	if c.users == nil {
		return "", ErrCredentials
	}
	if err := c.users.check(ctx, origin(r.RemoteAddr), name, password); err != nil {
		return "", err
	}
	return "user:" + name, nil
}

func (c *Clients) proveToken(ctx context.Context, token string) (string, error) {
	err := ErrCredentials
	for _, v := range whoMay(c.issuers, token) {
		who, failed := v.verify(ctx, token)
		if failed == nil {
			return who, nil
		}
		if errors.Is(failed, ErrUnavailable) {
			err = failed
		}
	}
	return "", err
}

// caller is what a name may do.
func (c *Clients) caller(who string) Caller {
	out := Caller{Who: who, Details: who != "" || c.config.AnonymousDetails, all: len(c.rules) == 0}
	for _, r := range c.rules {
		if r.about(who) {
			out.rules = append(out.rules, r)
		}
	}
	return out
}

// MayRead reports whether the caller may read a repository, which is a logical name with the registry's.
func (c Caller) MayRead(repository string) bool {
	return c.all || slices.ContainsFunc(c.rules, func(r rule) bool { return matchesAny(r.repositories, repository) })
}

// MaySeePage reports whether the caller may see the page for people. Without rules that is everybody who has a name, and
// those who may see details.
func (c Caller) MaySeePage() bool {
	return c.all && c.Details || slices.ContainsFunc(c.rules, func(r rule) bool { return r.page })
}

// PassedThrough is a client that the upstream registry identifies: what it may read there it may read here. Its name here is
// that of its certificate, if it has one.
func (c *Clients) PassedThrough(r *http.Request) Caller {
	out := Caller{all: true, Details: c.config.AnonymousDetails}
	if name := c.proveCertificate(r); name != "" {
		out.Who, out.Details = name, true
	}
	return out
}
