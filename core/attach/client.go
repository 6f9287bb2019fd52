package attach

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"golang.org/x/sync/errgroup"
)

// requestTimeout bounds one request with its retries and its body, so that a registry that trickles bytes can't hold a pull for ever.
const requestTimeout = 30 * time.Second

// concurrency is the number of requests that are open at a time: enough to hide latency, few enough not to be throttled.
const concurrency = 4

// maxErrorBody bounds what is read of an error's body; its first message is quoted to the user, cut at maxErrorText.
const (
	maxErrorBody = 64 << 10
	maxErrorText = 300
)

// client talks to one repository after one handshake. It is safe for concurrent use.
type client struct {
	repo      name.Repository
	tagPrefix string
	transport http.RoundTripper // authenticates, for the registry's own host only
	http      *http.Client

	mu      sync.Mutex
	lookups []Lookup // guarded by mu
}

// open makes the handshake: ping, and a token if the registry wants one. The scope is one of go-containerregistry's transport scopes;
// alsoPull are other repositories of the registry that the token is to cover.
func open(ctx context.Context, src Source, scope string, alsoPull ...name.Repository) (*client, error) {
	c := &client{repo: src.Repository, tagPrefix: src.TagPrefix}
	repeating := true
	if wrapped, ok := src.Transport.(*transport.Wrapper); ok {
		c.transport, repeating = wrapped, src.connected
	} else if err := c.handshake(ctx, src, scope, alsoPull); err != nil {
		return c, c.failed(cmp.Or(ctx.Err(), err))
	}
	carrier := c.transport
	if !repeating {
		carrier = &retrier{carrier}
	}
	c.http = &http.Client{Transport: carrier, CheckRedirect: func(_ *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects {
			return fmt.Errorf("more than %d redirects", maxRedirects)
		}
		return nil
	}}
	return c, nil
}

func (c *client) handshake(ctx context.Context, src Source, scope string, alsoPull []name.Repository) error {
	auth := authn.Anonymous
	if src.Keychain != nil {
		var err error
		if auth, err = authn.Resolve(ctx, src.Keychain, src.Repository); err != nil {
			return fmt.Errorf("finding credentials: %w", err)
		}
	}
	base := src.Transport
	if base == nil {
		base = remote.DefaultTransport
	}
	base = transport.NewUserAgent(&retrier{newGuard(base, src.Repository.Registry)}, src.UserAgent)
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	scopes := []string{src.Repository.Scope(scope)}
	for _, repo := range alsoPull {
		scopes = append(scopes, repo.Scope(transport.PullScope))
	}
	var err error
	c.transport, err = transport.NewWithContext(ctx, src.Repository.Registry, auth, base, scopes)
	return err
}

// failed records a handshake that did not work out. The URL is the one that failed, without the query.
func (c *client) failed(err error) error {
	u := url.URL{Scheme: c.repo.Registry.Scheme(), Host: c.repo.RegistryStr(), Path: "/v2/"}
	status := 0
	if te := (*transport.Error)(nil); errors.As(err, &te) {
		status = te.StatusCode
		if te.Request != nil {
			u = url.URL{Scheme: te.Request.URL.Scheme, Host: te.Request.URL.Host, Path: te.Request.URL.Path}
		}
	}
	return c.record(http.MethodGet, u.String(), status, fmt.Errorf("authenticating: %w", withoutURL(err)))
}

// record notes how a request ended; a nil error stays nil, any other becomes a *LookupError.
func (c *client) record(method, url string, status int, err error) error {
	l := Lookup{Method: method, URL: url, Status: status}
	if err != nil {
		l.Err = err.Error()
		err = &LookupError{URL: url, Status: status, Err: err}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lookups = append(c.lookups, l)
	return err
}

func (c *client) recorded() []Lookup {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.lookups)
}

// each makes n calls, some at a time, and returns the error of the first of them that has one; after an error no further ones begin. Each call gets
// a client of its own, so that requests are recorded in the order of the calls, whichever is answered first: equal answers make equal records.
func (c *client) each(n int, call func(c *client, i int) error) error {
	clients, errs := make([]*client, n), make([]error, n)
	var failed atomic.Bool
	var group errgroup.Group
	group.SetLimit(concurrency)
	for i := range n {
		clients[i] = &client{repo: c.repo, tagPrefix: c.tagPrefix, transport: c.transport, http: c.http}
		group.Go(func() error {
			if failed.Load() {
				return nil
			}
			// Nobody else can: what is read here may be an attacker's, and a panic of this goroutine would end the process.
			defer func() {
				if p := recover(); p != nil {
					errs[i] = &LookupError{URL: c.repo.Name(), Err: fmt.Errorf("internal error: %v", p)}
					failed.Store(true)
				}
			}()
			if errs[i] = call(clients[i], i); errs[i] != nil {
				failed.Store(true)
			}
			return nil
		})
	}
	group.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, own := range clients {
		c.lookups = append(c.lookups, own.lookups...)
	}
	return cmp.Or(errs...)
}

// response is an answer that was read to its end.
type response struct {
	url    string
	status int
	header http.Header
	body   []byte
}

// mediaType of the answer, without parameters.
func (r *response) mediaType() string {
	mt, _, err := mime.ParseMediaType(r.header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mt
}

// byTag reads what lies at a tag; 404 is an answer, too. A web page is none: whoever may push can put anything at a tag but that, so something else answered, such
// as a page where one has to log in.
func (c *client) byTag(ctx context.Context, tag string, accept []string) (*response, error) {
	u := c.url("manifests/" + tag)
	r, err := c.get(ctx, u, accept, MaxManifest, http.StatusNotFound)
	if err == nil && r.status == http.StatusOK && r.mediaType() == "text/html" {
		return nil, &LookupError{URL: u, Status: r.status, Err: errors.New("a web page (text/html) came in the place of a manifest")}
	}
	return r, err
}

// errTooLarge marks a body over its limit: the answer is complete nonsense rather than an outage.
var errTooLarge = errors.New("larger than what is read")

// url of something in this repository, like "manifests/<tag>".
func (c *client) url(path string) string {
	u := url.URL{Scheme: c.repo.Registry.Scheme(), Host: c.repo.RegistryStr(), Path: "/v2/" + c.repo.RepositoryStr() + "/" + path}
	return u.String()
}

// do makes one request. A status that is neither 200, 201, nor one of those that the caller knows what to do with, is a *LookupError.
// The body of 200 is read up to the limit (bytes), that of other statuses isn't returned.
func (c *client) do(ctx context.Context, method, url string, header http.Header, body []byte, limit int64, known ...int) (*response, error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	var content io.Reader
	if body != nil {
		content = bytes.NewReader(body)
	}
	req, err := http.NewRequestWithContext(ctx, method, url, content)
	if err != nil {
		return nil, c.record(method, url, 0, err)
	}
	req.Header = header
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.record(method, url, 0, withoutURL(err))
	}
	defer resp.Body.Close()
	r := &response{url: url, status: resp.StatusCode, header: resp.Header}
	switch {
	case resp.StatusCode == http.StatusOK:
		r.body, err = io.ReadAll(io.LimitReader(resp.Body, limit+1))
		if err == nil && int64(len(r.body)) > limit {
			err = fmt.Errorf("body: %w: limit %d bytes", errTooLarge, limit)
		}
	case resp.StatusCode == http.StatusCreated, slices.Contains(known, resp.StatusCode):
		io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // so that the connection can be used again
	default:
		err = errors.New(errorText(resp))
	}
	return r, c.record(method, url, resp.StatusCode, err)
}

func (c *client) get(ctx context.Context, url string, accept []string, limit int64, known ...int) (*response, error) {
	header := http.Header{}
	if len(accept) > 0 {
		header.Set("Accept", strings.Join(accept, ", "))
	}
	return c.do(ctx, http.MethodGet, url, header, nil, limit, known...)
}

// errMismatch marks content that is not what its descriptor says.
var errMismatch = errors.New("not what its descriptor says")

// fetch reads a manifest or blob by digest. It has to have the descriptor's size, unless that is 0, and its digest.
// An error that isn't a *LookupError is about the content.
func (c *client) fetch(ctx context.Context, kind string, desc v1.Descriptor, accept []string, limit int64) (*response, error) {
	if err := checkDigest(desc.Digest); err != nil {
		return nil, err
	}
	if desc.Size < 0 || desc.Size > limit {
		return nil, fmt.Errorf("%s: size %d: %w: limit %d bytes", desc.Digest, desc.Size, errTooLarge, limit)
	}
	if desc.Size > 0 {
		limit = desc.Size
	}
	u := c.url(kind + "/" + desc.Digest.String())
	r, err := c.get(ctx, u, accept, limit, http.StatusNotFound)
	switch {
	case errors.Is(err, errTooLarge):
		return nil, fmt.Errorf("%s: %w: longer than %d bytes", desc.Digest, errMismatch, limit)
	case err != nil:
		return nil, err
	case r.status != http.StatusOK:
		return nil, fmt.Errorf("%s: the registry does not have it (status %d)", desc.Digest, r.status)
	case desc.Size > 0 && int64(len(r.body)) != desc.Size:
		return nil, fmt.Errorf("%s: %w: has %d bytes, want %d", desc.Digest, errMismatch, len(r.body), desc.Size)
	}
	if got := hash(r.body); got != desc.Digest {
		return nil, fmt.Errorf("%s: %w: content has digest %s", desc.Digest, errMismatch, got)
	}
	return r, nil
}

func hash(b []byte) v1.Hash {
	sum := sha256.Sum256(b)
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum[:])}
}

// checkDigest refuses what isn't plainly sha256 in lower case, before it gets into a URL or a tag (CVE-2024-3727).
func checkDigest(d v1.Hash) error {
	if raw, err := hex.DecodeString(d.Hex); d.Algorithm != "sha256" || err != nil || len(raw) != sha256.Size || strings.ToLower(d.Hex) != d.Hex {
		return fmt.Errorf("digest %q is not sha256 with 64 lower-case hexadecimal digits", d.Algorithm+":"+d.Hex)
	}
	return nil
}

// withoutURL drops the URL that net/http puts in front of errors: after a redirect it may hold a signed query.
func withoutURL(err error) error {
	if ue, ok := err.(*url.Error); ok {
		return ue.Err
	}
	return err
}

// errorText is the first error of a distribution-spec error body, quoted and cut, or the status's own text.
func errorText(resp *http.Response) string {
	text := strings.ToLower(http.StatusText(resp.StatusCode))
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxErrorBody))
	var body struct {
		Errors []struct {
			Code    string `json:"code"`
			Message string `json:"message"`
		} `json:"errors"`
	}
	if err != nil || json.Unmarshal(data, &body) != nil || len(body.Errors) == 0 {
		return text
	}
	said := body.Errors[0].Code + ": " + body.Errors[0].Message
	if len(said) > maxErrorText {
		said = said[:maxErrorText]
	}
	return fmt.Sprintf("%s, the registry says %q", text, said)
}
