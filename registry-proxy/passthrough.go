package registryproxy

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/steady"
)

// Where clients are passed through, the upstream's own rights hold: the proxy has no credentials, tells clients where to
// get theirs (the upstream's challenge), and sends the Authorization header that a client sent, and nothing else of it, to
// the upstream, and to nobody else. Nothing that was read for one caller is given to another: every request asks the
// upstream with the credentials of the one who asks.

// sessionAs is the session of one caller. It is made for each request, because it costs nothing: there is no handshake.
func (u *upstream) sessionAs(authorization string) (*session, error) {
	own := transport.NewUserAgent(&bearing{next: u.guard, host: u.guard.host, authorization: authorization}, userAgent)
	t, err := transport.FromToken(u.registry, authn.Anonymous, own, &transport.Challenge{}, nil) // wrapped, as "authenticated"
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return &session{transport: t, client: &http.Client{Transport: t}}, nil
}

// bearing puts a caller's Authorization on requests to the upstream, and takes it off all others.
type bearing struct {
	next                http.RoundTripper
	host, authorization string
}

// RoundTrip implements http.RoundTripper.
func (b *bearing) RoundTrip(req *http.Request) (*http.Response, error) {
	req = req.Clone(req.Context())
	req.Header.Del("Authorization")
	if b.authorization != "" && req.URL.Host == b.host {
		req.Header.Set("Authorization", b.authorization)
	}
	return b.next.RoundTrip(req)
}

// challengeAge is how long an upstream's challenge is repeated without asking for it again.
const challengeAge = 5 * time.Minute

// challenges remembers the upstream's challenge.
type challenges struct {
	mu   sync.Mutex
	at   time.Time
	last string
}

// errNoChallenge says that the upstream asks for credentials in a way that clients cannot be told.
var errNoChallenge = errors.New("the upstream registry's challenge names no token service that this proxy allows")

// challenge is what the upstream says to those without credentials, written anew; empty if it asks for none. The token
// service must be one that the proxy itself would go to: clients send it their passwords.
func (u *upstream) challenge(ctx context.Context, now time.Time) (string, error) {
	u.challenges.mu.Lock()
	at, last := u.challenges.at, u.challenges.last
	u.challenges.mu.Unlock()
	if steady.Age(at, now) < challengeAge && last != "" {
		return last, nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	asked, err := transport.Ping(ctx, u.registry, u.guard)
	if err != nil {
		return "", err
	}
	said, err := u.rewrite(asked)
	if err != nil {
		return "", err
	}
	u.challenges.mu.Lock()
	defer u.challenges.mu.Unlock()
	u.challenges.at, u.challenges.last = now, said
	return said, nil
}

func (u *upstream) rewrite(asked *transport.Challenge) (string, error) {
	switch strings.ToLower(asked.Scheme) {
	case "basic":
		return `Basic realm="registry"`, nil
	case "bearer":
	default:
		return "", nil
	}
	realm, err := url.Parse(asked.Parameters["realm"])
	if err != nil || realm.User != nil || realm.RawQuery != "" || realm.Fragment != "" {
		return "", errNoChallenge
	}
	own := realm.Host == u.guard.host && realm.Scheme == u.scheme
	if !own && !(realm.Scheme == "https" && u.guard.tokenHosts[realm.Host]) {
		return "", errNoChallenge
	}
	// Google's Artifact Registry names no service. Clients that then take the name of the host they ask would take this proxy's.
	service := cmp.Or(asked.Parameters["service"], u.guard.host)
	if strings.ContainsFunc(service, func(r rune) bool { return r < ' ' || r > '~' || r == '"' || r == '\\' }) {
		return "", errNoChallenge
	}
	return fmt.Sprintf(`Bearer realm=%q,service=%q`, realm.String(), service), nil
}

// ping answers a client's /v2/: the challenge to those without credentials, and the upstream's own answer to the others.
func (p *Proxy) ping(ctx context.Context) *failure {
	const what = "login"
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	if callerOf(ctx).authorization == "" {
		challenge, err := p.upstream.challenge(ctx, p.now())
		switch {
		case err != nil:
			return explain(what, err)
		case challenge == "":
			return nil
		}
		return unauthorized(challenge)
	}
	s, err := p.upstream.sessionAs(callerOf(ctx).authorization)
	if err != nil {
		return explain(what, err)
	}
	target := url.URL{Scheme: p.upstream.scheme, Host: p.upstream.registry.RegistryStr(), Path: "/v2/"}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target.String(), nil)
	if err != nil {
		return explain(what, err)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return explain(what, err)
	}
	resp.Body.Close()
	if resp.StatusCode == http.StatusOK {
		return nil
	}
	return p.asTold(ctx, request{}, statusFailure(what, resp.StatusCode))
}

// asTold gives the upstream's own 401 and 403 to a client that is passed through: they are about its credentials.
func (p *Proxy) asTold(ctx context.Context, req request, fail *failure) *failure {
	if !p.upstream.passThrough || fail == nil {
		return fail
	}
	switch fail.upstream {
	case http.StatusForbidden:
		return &failure{status: http.StatusForbidden, code: codeDenied, message: "the upstream registry does not let you read this; nothing was decided about any signature", cause: fail.cause}
	case http.StatusUnauthorized:
		challenge, err := p.upstream.challenge(ctx, p.now())
		if err != nil {
			return explain("login", err)
		}
		if req.repository != "" && strings.HasPrefix(challenge, "Bearer ") {
			challenge += `,scope="repository:` + req.repository + `:pull"` // the grammar knows no quotes
		}
		return unauthorized(challenge)
	}
	return fail
}

func unauthorized(challenge string) *failure {
	return &failure{status: http.StatusUnauthorized, code: codeUnauthorized, message: "credentials are missing or wrong: log in to this address", challenge: challenge}
}
