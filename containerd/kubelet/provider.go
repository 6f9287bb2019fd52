package kubelet

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/jsonguard"
)

const (
	// timeout is how long a program may take. A verifier has ten seconds for all.
	timeout = 5 * time.Second
	// maxAnswer bounds what it says, in bytes. A cloud's token has 4 KiB.
	maxAnswer = 1 << 20
	// maxKept bounds the answers that are kept: one for each repository at worst.
	maxKept = 1024
)

// protocols are the versions of request and response, which agree on what is sent
// and read here.
var protocols = []string{
	"credentialprovider.kubelet.k8s.io/v1", "credentialprovider.kubelet.k8s.io/v1beta1", "credentialprovider.kubelet.k8s.io/v1alpha1",
}

// provider is one program.
type provider struct {
	name, path string
	args, env  []string
	match      []pattern
	protocol   string
	keep       time.Duration
	now        func() time.Time
	complain   func(provider, said string)

	turns *turns
	mu    sync.Mutex
	kept  map[string]answer // by cacheKey; guarded by mu
}

// answer is what a program said.
type answer struct {
	keys  []string // longest first
	auths map[string]authn.AuthConfig
	until time.Time
}

// request is a CredentialProviderRequest.
type request struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Image      string `json:"image"`
}

// response is a CredentialProviderResponse.
type response struct {
	APIVersion    string  `json:"apiVersion"`
	Kind          string  `json:"kind"`
	CacheKeyType  string  `json:"cacheKeyType"`
	CacheDuration *string `json:"cacheDuration"`
	Auth          map[string]struct {
		Username string `json:"username"`
		Password string `json:"password"`
	} `json:"auth"`
}

// get asks the program, unless it has said.
func (p *provider) get(ctx context.Context, repository string) (authn.AuthConfig, error) {
	// What is known waits for nobody: whoever names an image that the program takes
	// long over does not keep others from their credentials.
	if a, ok := p.known(repository); ok {
		return a.find(repository), nil
	}
	registry, _, _ := strings.Cut(repository, "/")
	giveBack, err := p.turns.take(ctx, registry)
	if err != nil {
		return authn.AuthConfig{}, p.fail(repository, fmt.Errorf("waiting for its answer to another question: %w", err))
	}
	defer giveBack()
	if a, ok := p.known(repository); ok {
		return a.find(repository), nil
	}
	body, err := json.Marshal(request{APIVersion: p.protocol, Kind: "CredentialProviderRequest", Image: repository})
	if err != nil {
		return authn.AuthConfig{}, p.fail(repository, err)
	}
	program := child.Program{Path: p.path, Args: p.args, Env: p.env, TimeLimit: timeout, MaxAnswer: maxAnswer}
	said, err := program.Run(ctx, body)
	if err != nil {
		return authn.AuthConfig{}, p.fail(repository, p.unquoted(err))
	}
	r, keep, err := p.parse(said)
	if err != nil {
		return authn.AuthConfig{}, p.fail(repository, err)
	}
	a := answer{auths: make(map[string]authn.AuthConfig), until: p.now().Add(keep)}
	for key, auth := range r.Auth {
		a.auths[key] = authn.AuthConfig{Username: auth.Username, Password: auth.Password}
	}
	// As the kubelet: longer keys before shorter ones, names before wildcards.
	a.keys = slices.Sorted(maps.Keys(a.auths))
	slices.Reverse(a.keys)
	if keep > 0 {
		p.remember(cacheKey(r.CacheKeyType, repository), a)
	}
	return a.find(repository), nil
}

// known is what the program said of a repository, if that is still good.
func (p *provider) known(repository string) (answer, bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, kind := range []string{"Image", "Registry", "Global"} {
		if a, ok := p.kept[cacheKey(kind, repository)]; ok && p.now().Before(a.until) {
			return a, true
		}
	}
	return answer{}, false
}

// remember keeps an answer.
func (p *provider) remember(key string, a answer) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.kept) >= maxKept {
		clear(p.kept)
	}
	p.kept[key] = a
}

// fail names the program in an error.
func (p *provider) fail(repository string, err error) error {
	return fmt.Errorf("asking the credential provider %s about %s: %w", p.name, repository, err)
}

// unquoted is an error of a run without the program's own words, which go to where
// they are logged.
func (p *provider) unquoted(err error) error {
	var failure *child.Failure
	if !errors.As(err, &failure) {
		return err
	}
	if failure.Said == "" {
		return failure
	}
	if p.complain == nil {
		return fmt.Errorf("running %s: %w; run it by hand to see what it says", failure.Path, failure.Err)
	}
	p.complain(p.name, jsonguard.Excerpt(failure.Said))
	return fmt.Errorf("running %s: %w; what it said is in the agent's log", failure.Path, failure.Err)
}

// errAnswer says no more, since an answer is a secret.
var errAnswer = errors.New("its answer is no CredentialProviderResponse")

// parse reads an answer, and how long it is kept.
func (p *provider) parse(data []byte) (*response, time.Duration, error) {
	var r response
	if jsonguard.CheckOpen(data) != nil || json.Unmarshal(data, &r) != nil {
		return nil, 0, errAnswer
	}
	switch {
	case r.Kind != "CredentialProviderResponse":
		return nil, 0, errAnswer
	case r.APIVersion != p.protocol:
		return nil, 0, fmt.Errorf("its answer is not of the version %s", p.protocol)
	case r.CacheKeyType != "Image" && r.CacheKeyType != "Registry" && r.CacheKeyType != "Global":
		return nil, 0, errors.New("its answer's cacheKeyType is not Image, Registry or Global")
	case r.CacheDuration == nil:
		return &r, p.keep, nil
	}
	keep, err := time.ParseDuration(*r.CacheDuration)
	if err != nil {
		return nil, 0, errors.New("its answer's cacheDuration is not a time")
	}
	return &r, keep, nil
}

// cacheKey is what an answer is kept under.
func cacheKey(kind, repository string) string {
	switch kind {
	case "Global":
		return kind
	case "Registry":
		registry, _, _ := strings.Cut(repository, "/")
		return kind + " " + registry
	}
	return kind + " " + repository
}

// find is what an answer has for a repository.
func (a answer) find(repository string) authn.AuthConfig {
	for _, key := range a.keys {
		if p, err := parsePattern(key); err == nil && p.matches(repository) {
			return a.auths[key]
		}
	}
	return authn.AuthConfig{}
}
