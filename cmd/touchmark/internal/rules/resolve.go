package rules

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/keyopen"
	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/configfile"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/worker"
)

// PolicyOptions say how this command reads policies: predicates are judged in a process of their own, keys and programs may lie elsewhere.
func PolicyOptions(ignoreClusterMatch bool) policy.Options {
	program, _ := child.Find(worker.Name) // without it, a policy with a predicate is refused, by name
	return policy.Options{
		Evaluators: map[string]policy.Evaluator{
			"rego": worker.Evaluator("rego", program), "cue": worker.Evaluator("cue", program),
		},
		Resolve:            resolver{},
		IgnoreClusterMatch: ignoreClusterMatch,
	}
}

// resolver reads what a policy refers to.
type resolver struct{}

// PublicKey implements policy.Resolver.
func (resolver) PublicKey(ctx context.Context, ref string) (crypto.PublicKey, error) {
	return keys.OpenPublic(ctx, ref, keyopen.Public())
}

// maxRemote bounds a program or repository that a policy refers to, in bytes, and remoteTimeout the time to fetch it.
const (
	maxRemote     = 4 << 20
	remoteTimeout = 30 * time.Second
)

// Fetch implements policy.Resolver.
func (resolver) Fetch(ctx context.Context, ref string) ([]byte, error) {
	u, err := url.Parse(ref)
	if err != nil || u.Scheme == "" {
		return configfile.Read(ref, maxRemote)
	}
	if u.Scheme == "file" {
		return configfile.Read(strings.TrimPrefix(ref, "file://"), maxRemote)
	}
	if u.Scheme != "https" {
		return nil, fmt.Errorf("fetching %s: want https", u.Redacted())
	}
	ctx, cancel := context.WithTimeout(ctx, remoteTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, ref, nil)
	if err != nil {
		return nil, err
	}
	client := http.Client{CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if next.URL.Scheme != "https" || len(via) > 5 {
			return errors.New("redirected too often, or away from https")
		}
		return nil
	}}
	resp, err := client.Do(req)
	if err != nil {
		return nil, err // names the URL
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("fetching %s: %s", u.Redacted(), resp.Status)
	}
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxRemote+1))
	if err == nil && len(data) > maxRemote {
		err = fmt.Errorf("larger than %d bytes", maxRemote)
	}
	if err != nil {
		return nil, fmt.Errorf("fetching %s: %w", u.Redacted(), err)
	}
	return data, nil
}
