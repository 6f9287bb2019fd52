package registryproxy

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
)

const (
	// userAgent is what the upstream sees, whoever the client is.
	userAgent = "touchmark-proxy"
	// fetchTimeout bounds one manifest, tags list or page of referrers, handshake included.
	fetchTimeout = 30 * time.Second
	// maxSessions bounds the memory of sessions: one per repository that was asked for; the oldest are made anew.
	maxSessions = 1024
)

// upstream talks to the one registry that is fronted, with requests made from scratch: no header, query or credential of
// a client is in them.
type upstream struct {
	scheme   string
	registry name.Registry
	keychain authn.Keychain
	guard    *guard
	door     http.RoundTripper // the guard, or answers before it
	answers  *answers          // nil without a cache, and where clients are passed through
	// passThrough has every request carry the credentials of the caller in its context, and the keychain unused.
	passThrough bool
	challenges  challenges

	mu       sync.Mutex
	sessions map[string]*session // by repository
	flights  flights[*session]   // one handshake at a time for each
}

// session is the outcome of the registry's handshake for pulling from one repository. It renews its token by itself.
type session struct {
	transport http.RoundTripper // a *transport.Wrapper: core/attach uses it without another handshake
	client    *http.Client
}

// call is one request to the upstream.
type call struct {
	method     string
	repository string
	path       string // below /v2/<repository>/
	query      url.Values
	accept     string
	byteRange  string
}

// do sends one request. The response's body is the upstream's, unbounded; it is closed by the caller.
func (u *upstream) do(ctx context.Context, c call) (*http.Response, error) {
	s, err := u.session(ctx, c.repository)
	if err != nil {
		return nil, err
	}
	target := url.URL{
		Scheme:   u.scheme,
		Host:     u.registry.RegistryStr(),
		Path:     "/v2/" + c.repository + "/" + c.path,
		RawQuery: c.query.Encode(),
	}
	req, err := http.NewRequestWithContext(ctx, c.method, target.String(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept-Encoding", "identity")
	if c.accept != "" {
		req.Header.Set("Accept", c.accept)
	}
	if c.byteRange != "" {
		req.Header.Set("Range", c.byteRange)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode == http.StatusUnauthorized && !u.passThrough {
		u.forget(c.repository, s)
	}
	if enc := resp.Header.Get("Content-Encoding"); enc != "" && enc != "identity" {
		resp.Body.Close()
		return nil, fmt.Errorf("%w: content encoding %.32q", errMalformed, enc)
	}
	return resp, nil
}

// errMalformed is wrapped by errors about an upstream that answered in a way that it must not.
var errMalformed = errors.New("malformed answer")

// read sends one GET and reads its body, up to limit bytes, within [fetchTimeout]. A status other than 200 is returned
// with no body.
func (u *upstream) read(ctx context.Context, c call, limit int64) (answer, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	c.method = http.MethodGet
	resp, err := u.do(ctx, c)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	a := answer{status: resp.StatusCode, header: resp.Header}
	if resp.StatusCode == http.StatusPreconditionFailed {
		a.body, err = io.ReadAll(io.LimitReader(resp.Body, maxRefusal))
		return a, err
	}
	if resp.StatusCode != http.StatusOK {
		return a, nil
	}
	a.contentType, _, _ = mime.ParseMediaType(resp.Header.Get("Content-Type")) // unreadable: empty, and matches nothing
	if resp.ContentLength > limit {
		return a, errTooLarge
	}
	if a.body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1)); err != nil {
		return a, err
	}
	if int64(len(a.body)) > limit {
		return a, errTooLarge
	}
	return a, nil
}

// errTooLarge says that a body is longer than what this proxy reads.
var errTooLarge = errors.New("body is too large")

type answer struct {
	status      int
	header      http.Header
	contentType string // without parameters
	body        []byte
}

// session returns the repository's session, after a handshake if there is none yet.
func (u *upstream) session(ctx context.Context, repository string) (*session, error) {
	if u.passThrough {
		return u.sessionAs(callerOf(ctx).authorization)
	}
	u.mu.Lock()
	s := u.sessions[repository]
	u.mu.Unlock()
	if s != nil {
		return s, nil
	}
	return u.flights.do(ctx, repository, func(ctx context.Context) (*session, error) {
		s, err := u.handshake(ctx, repository)
		if err != nil && u.answers != nil && u.answers.offline > 0 && isOutage(ctx, err) {
			return u.answers.session(u) // for this once
		}
		if err != nil {
			return nil, err
		}
		u.mu.Lock()
		defer u.mu.Unlock()
		if len(u.sessions) >= maxSessions {
			for old := range u.sessions { // any one: it costs a handshake
				delete(u.sessions, old)
				break
			}
		}
		u.sessions[repository] = s
		return s, nil
	})
}

func (u *upstream) forget(repository string, s *session) {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.sessions[repository] == s {
		delete(u.sessions, repository)
	}
}

func (u *upstream) handshake(ctx context.Context, repository string) (*session, error) {
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	repo := u.registry.Repo(repository)
	auth, err := authn.Resolve(ctx, u.keychain, repo)
	if err != nil {
		return nil, errCredentials
	}
	t, err := transport.NewWithContext(ctx, u.registry, auth, transport.NewUserAgent(u.door, userAgent), []string{repo.Scope(transport.PullScope)})
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errHandshake, err)
	}
	return &session{transport: t, client: &http.Client{Transport: t}}, nil
}

var (
	errHandshake   = errors.New("registry handshake")
	errCredentials = errors.New("the credential store could not be read")
)

// explain maps an error of the upstream to what the client is told and the log gets. It never repeats an error's text
// blindly: go-containerregistry quotes token answers, net/http quotes signed redirect URLs.
func explain(what string, err error) *failure {
	var refused *transport.Error
	var urlErr *url.Error
	switch {
	case errors.Is(err, errTooLarge):
		return &failure{status: http.StatusRequestEntityTooLarge, code: codeSizeInvalid, message: what + ": the upstream's answer is larger than this proxy reads"}
	case errors.Is(err, errMalformed):
		return badUpstream(codeUnknown, what+": the upstream registry sent a malformed answer", err)
	case errors.Is(err, errCredentials):
		return unavailable(what+": the proxy's credentials for the upstream registry could not be read", errCredentials)
	case errors.Is(err, errRefusedAddress):
		return badUpstream(codeUnknown, what+": the upstream registry points to an address that this proxy does not go to", addressCause(err))
	case errors.As(err, &refused):
		return statusFailure(what, refused.StatusCode)
	case errors.Is(err, errRate):
		return unavailable(what+": the upstream registry is not to be asked more often", errRate)
	case errors.Is(err, context.DeadlineExceeded):
		return unavailable(what+": the upstream registry did not answer in time", context.DeadlineExceeded)
	case errors.Is(err, context.Canceled):
		return unavailable(what+": the request was given up", context.Canceled)
	case errors.As(err, &urlErr):
		return unavailable(what+": the upstream registry cannot be reached", urlErr.Err)
	case errors.Is(err, errHandshake):
		return unavailable(what+": the upstream registry's authentication could not be understood", errHandshake)
	default:
		return unavailable(what+": the upstream registry's answer broke off", err)
	}
}

// addressCause keeps the guard's own words, and leaves the URL around them out.
func addressCause(err error) error {
	var urlErr *url.Error
	for errors.As(err, &urlErr) {
		err = urlErr.Err
	}
	if !errors.Is(err, errRefusedAddress) {
		return errRefusedAddress
	}
	return err
}

// statusFailure maps a status of the upstream that is neither success nor 404. What is the proxy's own trouble (401,
// 403) is never told to the client as its own, and an outage never as a refusal.
func statusFailure(what string, status int) *failure {
	cause := fmt.Errorf("upstream status %d", status)
	switch {
	case status == http.StatusUnauthorized || status == http.StatusForbidden:
		fail := badUpstream(codeUnknown, fmt.Sprintf("%s: the upstream registry does not let this proxy read it (HTTP %d); nothing was decided about any signature", what, status), cause)
		fail.upstream = status
		return fail
	case status == http.StatusTooManyRequests || status >= 500:
		return unavailable(fmt.Sprintf("%s: the upstream registry is not able to answer now (HTTP %d)", what, status), cause)
	default:
		return badUpstream(codeUnknown, fmt.Sprintf("%s: the upstream registry answered HTTP %d", what, status), cause)
	}
}

const (
	maxRefusal = 16 << 10 // the largest answer in which an upstream's own words are looked for, in bytes
	maxTold    = 400      // what is repeated of them
)

// foreignCode is an error code of an upstream's own, such as Harbor's PROJECTPOLICYVIOLATION.
var foreignCode = regexp.MustCompile(`\A[A-Z][A-Z_]{0,63}\z`)

// preconditionFailed passes on, with its own code and words, that a rule of the upstream's forbids to pull something: Harbor answers 412 for an image with too many
// vulnerabilities, or without a signature that it knows of. DENIED is for this proxy's own policy, and UNAUTHORIZED has clients log in.
func preconditionFailed(what string, untrusted []byte) *failure {
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	code, said := codeUnknown, "it does not say why"
	if json.Unmarshal(untrusted, &body) == nil && len(body.Errors) > 0 && body.Errors[0].Message != "" {
		if own := body.Errors[0].Code; own != codeDenied && own != codeUnauthorized && foreignCode.MatchString(own) {
			code = own
		}
		said = strings.Map(func(r rune) rune {
			if unicode.IsPrint(r) {
				return r
			}
			return -1
		}, body.Errors[0].Message)
		said = strings.ToValidUTF8(said[:min(len(said), maxTold)], "")
	}
	return &failure{
		status: http.StatusPreconditionFailed, code: code,
		message: what + ": a rule of the upstream registry itself forbids to pull it: " + said, cause: errors.New("upstream status 412"),
	}
}
