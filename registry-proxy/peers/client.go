package peers

import (
	"cmp"
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxPeers bounds how many are asked.
	maxPeers = 16
	// askTimeout is how long one may take: a client waits, and what it knows is in its memory.
	askTimeout = time.Second
	// failedFor is how long one that did not answer is left out.
	failedFor = 5 * time.Second
	// namesFresh is how long what the DNS said is used.
	namesFresh = 5 * time.Second
)

// Config says who the other replicas are.
type Config struct {
	// URLs are the replicas' addresses, http or https://host:port, without a path. This replica may be among them.
	URLs []string
	// DNS is one such URL whose host has an address for each replica, as a headless service in Kubernetes.
	DNS string
	// Secret is what all replicas know.
	Secret []byte
	// RootCAs are the authorities of https addresses; nil is the system's.
	RootCAs *x509.CertPool
	// Lookup resolves the host of DNS; nil is the system's resolver.
	Lookup func(ctx context.Context, host string) ([]string, error)
	// Logger hears of replicas that do not answer; nil discards that.
	Logger *slog.Logger
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// Client asks the other replicas. Its methods may be called at the same time.
type Client struct {
	urls   []*url.URL
	dns    *url.URL // nil if there is none
	secret []byte
	lookup func(ctx context.Context, host string) ([]string, error)
	http   *http.Client
	logger *slog.Logger
	now    func() time.Time

	mu      sync.Mutex
	names   []peer // what the DNS said
	namesAt time.Time
	failed  map[peer]time.Time // until when it is left out
}

// peer is where one replica listens.
type peer struct {
	url     string
	address string // host:port to connect to; empty: the URL's
}

// New checks the configuration and contacts nobody.
func New(c Config) (*Client, error) {
	if err := checkSecret(c.Secret); err != nil {
		return nil, err
	}
	if len(c.URLs) == 0 && c.DNS == "" {
		return nil, errors.New("no replica is named")
	}
	if len(c.URLs) > maxPeers {
		return nil, fmt.Errorf("%d replicas are named, at most %d are asked", len(c.URLs), maxPeers)
	}
	client := &Client{secret: c.Secret, lookup: c.Lookup, logger: c.Logger, now: c.Now, failed: map[peer]time.Time{}}
	for _, raw := range c.URLs {
		u, err := parse(raw)
		if err != nil {
			return nil, err
		}
		client.urls = append(client.urls, u)
	}
	if c.DNS != "" {
		var err error
		if client.dns, err = parse(c.DNS); err != nil {
			return nil, err
		}
	}
	if client.lookup == nil {
		client.lookup = net.DefaultResolver.LookupHost
	}
	if client.logger == nil {
		client.logger = slog.New(slog.DiscardHandler)
	}
	if client.now == nil {
		client.now = time.Now
	}
	dialer := &net.Dialer{Timeout: askTimeout}
	client.http = &http.Client{
		Transport: &http.Transport{
			DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
				if own, ok := ctx.Value(addressKey{}).(string); ok && own != "" {
					address = own
				}
				return dialer.DialContext(ctx, network, address)
			},
			TLSClientConfig:        &tls.Config{RootCAs: c.RootCAs, MinVersion: tls.VersionTLS12},
			DisableKeepAlives:      true, // connections would be shared between the addresses of one name
			MaxResponseHeaderBytes: maxAnswer,
		},
		CheckRedirect: func(*http.Request, []*http.Request) error { return errors.New("a replica redirects") },
	}
	return client, nil
}

// addressKey carries the address to connect to.
type addressKey struct{}

func parse(raw string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Port() == "" || u.Hostname() == "" || u.User != nil || u.Path != "" && u.Path != "/" || u.RawQuery != "" || u.Fragment != "" {
		return nil, fmt.Errorf("replica %q is not of the form http://host:port or https://host:port", raw)
	}
	return u, nil
}

// Holders asks all replicas that answered lately, and returns what they know, each manifest once.
func (c *Client) Holders(ctx context.Context, repository string, digest v1.Hash) []v1.Hash {
	ctx, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	var mu sync.Mutex
	var all []v1.Hash
	var group sync.WaitGroup
	for _, p := range c.peers(ctx) {
		group.Go(func() {
			known, err := c.ask(ctx, p, repository, digest)
			if err != nil {
				c.fail(p, err)
				return
			}
			mu.Lock()
			defer mu.Unlock()
			for _, h := range known {
				if !slices.Contains(all, h) {
					all = append(all, h)
				}
			}
		})
	}
	group.Wait()
	return all
}

// ErrSecret is wrapped by the error about a replica that has another secret, or a clock that is more than a minute off.
var ErrSecret = errors.New("it does not have the same secret, or another time")

// Check asks every replica, those that failed lately too, whether it would answer this one. It returns what is wrong, for each replica with which
// something is.
func (c *Client) Check(ctx context.Context) (wrong []error) {
	nothing := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", sha256.Size*2)} // which no manifest lists
	if c.dns != nil && len(c.resolve(ctx)) == 0 {
		wrong = append(wrong, fmt.Errorf("%s: the name has no address", c.dns.Host))
	}
	for _, p := range c.all(ctx) {
		own, cancel := context.WithTimeout(ctx, askTimeout)
		_, err := c.ask(own, p, "", nothing)
		cancel()
		if err != nil {
			wrong = append(wrong, fmt.Errorf("%s: %w", cmp.Or(p.address, p.url), err))
		}
	}
	return wrong
}

// peers lists the replicas that are not left out.
func (c *Client) peers(ctx context.Context) []peer {
	all := c.all(ctx)
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.now()
	all = slices.DeleteFunc(all, func(p peer) bool { return now.Before(c.failed[p]) })
	return all[:min(len(all), maxPeers)]
}

// all lists the replicas.
func (c *Client) all(ctx context.Context) (all []peer) {
	for _, u := range c.urls {
		all = append(all, peer{url: u.Scheme + "://" + u.Host})
	}
	if c.dns != nil {
		all = append(all, c.resolve(ctx)...)
	}
	return all
}

// resolve asks the DNS, if it was not asked a moment ago.
func (c *Client) resolve(ctx context.Context) []peer {
	c.mu.Lock()
	names, fresh := c.names, c.now().Sub(c.namesAt) < namesFresh
	c.mu.Unlock()
	if fresh {
		return names
	}
	addresses, err := c.lookup(ctx, c.dns.Hostname())
	if err != nil {
		c.logger.Warn("the replicas' name cannot be resolved", "name", c.dns.Hostname(), "error", err)
		addresses = nil
	}
	names = nil
	for _, a := range addresses[:min(len(addresses), maxPeers)] {
		names = append(names, peer{url: c.dns.Scheme + "://" + c.dns.Host, address: net.JoinHostPort(a, c.dns.Port())})
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.names, c.namesAt = names, c.now()
	return names
}

// fail leaves a replica out for a while.
func (c *Client) fail(p peer, err error) {
	if errors.Is(err, context.Canceled) {
		return // whoever asked has gone
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.failed) > 4*maxPeers {
		clear(c.failed) // addresses of replicas that are no more
	}
	c.failed[p] = c.now().Add(failedFor)
	c.logger.Warn("a replica does not answer", "url", p.url, "address", p.address, "error", err)
}

// ask puts the question to one replica.
func (c *Client) ask(ctx context.Context, p peer, repository string, digest v1.Hash) ([]v1.Hash, error) {
	nonce := newNonce()
	query := url.Values{"repository": {repository}, "digest": {digest.String()}}
	req, err := http.NewRequestWithContext(context.WithValue(ctx, addressKey{}, p.address), http.MethodGet, p.url+path+"?"+query.Encode(), nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", authorize(c.secret, c.now(), nonce, repository, digest.String()))
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode == http.StatusUnauthorized {
		return nil, ErrSecret
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("it answers HTTP %d", resp.StatusCode)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, err
	case len(body) > maxAnswer:
		return nil, errors.New("its answer is too long")
	case !hmac.Equal([]byte(resp.Header.Get(headerMAC)), []byte(mac(c.secret, "answer", nonce, repository, digest.String(), string(body)))):
		return nil, fmt.Errorf("its answer is not one of a replica of this proxy: %w", ErrSecret)
	}
	var a answer
	if err := json.Unmarshal(body, &a); err != nil {
		return nil, fmt.Errorf("its answer cannot be read: %w", err)
	}
	var known []v1.Hash
	for _, h := range a.Holders[:min(len(a.Holders), MaxHolders)] {
		hash, err := v1.NewHash(h)
		if err != nil || hash.Algorithm != "sha256" {
			return nil, fmt.Errorf("its answer holds %.80q, which is no digest", h)
		}
		known = append(known, hash)
	}
	return known, nil
}

// newNonce makes a question unlike any other.
func newNonce() string {
	var b [nonceBytes]byte
	rand.Read(b[:]) // never fails
	return base64.RawURLEncoding.EncodeToString(b[:])
}
