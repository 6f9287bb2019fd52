package stack

import (
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/services/ca"
	"github.com/touchmark/touchmark/services/issuer/accounts"
)

// ParseIssuer reads an outside issuer as it is written on a command line: URL, or URL=AUDIENCE, then for an issuer that speaks of no people
// ",type=KIND" and ",domain=DOMAIN", see [ca.Kind]. The audience of "" is "sigstore".
func ParseIssuer(text string) (ca.Issuer, error) {
	first, rest, hasMore := strings.Cut(text, ",")
	url, audience, isGiven := strings.Cut(first, "=")
	if isGiven && audience == "" {
		return ca.Issuer{}, fmt.Errorf("%q: the audience after = is missing", text)
	}
	if err := ca.CheckIssuerURL(url); err != nil {
		return ca.Issuer{}, fmt.Errorf("%q: the URL %w", url, err)
	}
	parsed := ca.Issuer{URL: url, Audience: audience}
	for hasMore {
		var option string
		option, rest, hasMore = strings.Cut(rest, ",")
		name, value, _ := strings.Cut(option, "=")
		switch {
		case name == "type" && parsed.Kind == "":
			kind, err := ca.ParseKind(value)
			if err != nil {
				return ca.Issuer{}, fmt.Errorf("%q: %w", text, err)
			}
			parsed.Kind = kind
		case name == "domain" && parsed.Domain == "" && value != "":
			parsed.Domain = value
		default:
			return ca.Issuer{}, fmt.Errorf("%q: %q is not type=... or domain=..., or given twice", text, option)
		}
	}
	if err := parsed.CheckKind(); err != nil {
		return ca.Issuer{}, fmt.Errorf("%q: %w", text, err)
	}
	return parsed, nil
}

// checkIssuers refuses what the certificate authority would refuse too, before anything is made.
func checkIssuers(publicURL string, issuers []ca.Issuer) error {
	seen := map[string]bool{publicURL: true}
	for _, outside := range issuers {
		if outside.URL == publicURL {
			return fmt.Errorf("issuer %s is the stack's own: its tokens are always accepted", outside.URL)
		}
		if seen[outside.URL] {
			return fmt.Errorf("issuer %s occurs twice", outside.URL)
		}
		seen[outside.URL] = true
	}
	return nil
}

// signIn is where clients are told to fetch tokens, the best first. Clients take the one that became valid last, so each is a second older than the one
// before it.
func (s *Stack) signIn() []trust.Service {
	start := s.directory.state.Created
	var services []trust.Service
	add := func(url, operator string) {
		services = append(services, trust.Service{
			URL: url, MajorAPIVersion: 1, Operator: operator, Window: trust.Window{Start: start.Add(-time.Duration(len(services)) * time.Second)},
		})
	}
	for _, outside := range s.outside {
		if outside.Kind != "" && outside.Kind != ca.Email {
			continue // nobody can sign in there
		}
		add(outside.URL, hostname(outside.URL))
	}
	add(s.url, hostname(s.url))
	return services
}

// OpenAccounts opens the accounts of a data directory, of which a stack may be running or not, for those who administer them. What is changed counts at once.
func OpenAccounts(dir string) (*accounts.Store, error) {
	recorded, err := RecordedURL(dir)
	if err != nil {
		return nil, err
	}
	if recorded == "" {
		return nil, fmt.Errorf("opening accounts: %s is not a data directory yet: start \"touchmark up\" with it first", dir)
	}
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, fmt.Errorf("opening accounts: %w", err)
	}
	// What root would write, the stack's own user could not read.
	if err := checkDirectory(path); err != nil {
		return nil, err
	}
	return accounts.Open(filepath.Join(path, accounts.FileName), recorded)
}
