package kubelet_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/containerd/kubelet"
)

// node is a node with a credential provider, and a clock.
type node struct {
	dir string
	now time.Time
}

func newNode(t *testing.T) *node {
	t.Helper()
	n := &node{dir: t.TempDir(), now: time.Date(2026, 11, 23, 0, 0, 0, 0, time.UTC)}
	build := exec.CommandContext(t.Context(), "go", "build", "-o", filepath.Join(n.dir, "bin", "provider"), "./testdata/provider")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Setenv("PROVIDER_LOG", filepath.Join(n.dir, "log"))
	return n
}

// open makes a configuration of one provider, which gives an answer.
func (n *node) open(t *testing.T, answer, match, further string) *kubelet.Providers {
	t.Helper()
	return n.load(t, fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1
kind: CredentialProviderConfig
providers:
- name: provider
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  defaultCacheDuration: 1h
  matchImages: [%q]
  args: [%q]
  env: [{name: PROVIDER_ENV, value: of the file}]
%s`, match, answer, further))
}

func (n *node) load(t *testing.T, text string) *kubelet.Providers {
	t.Helper()
	p, err := n.try(t, text)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func (n *node) try(t *testing.T, text string) (*kubelet.Providers, error) {
	t.Helper()
	file := filepath.Join(n.dir, "config.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return kubelet.Open(kubelet.Config{File: file, Bin: filepath.Join(n.dir, "bin"), Now: func() time.Time { return n.now }})
}

// asked are the questions since the last time.
func (n *node) asked(t *testing.T) []string {
	t.Helper()
	file := filepath.Join(n.dir, "log")
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		t.Fatal(err)
	}
	_ = os.Remove(file) // it may not be there
	return strings.FieldsFunc(string(text), func(r rune) bool { return r == '\n' })
}

const head = `{"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "kind": "CredentialProviderResponse", `

// response is an answer by which every image of a host has a user.
func response(cache, key, user string) string {
	return head + cache + fmt.Sprintf(`, "auth": {%q: {"username": %q, "password": "p"}}}`, key, user)
}

func get(t *testing.T, p *kubelet.Providers, repository string) authn.AuthConfig {
	t.Helper()
	found, err := p.Get(t.Context(), repository)
	if err != nil {
		t.Fatalf("%s: %v", repository, err)
	}
	return found
}

func TestGet(t *testing.T) {
	n := newNode(t)
	p := n.open(t, response(`"cacheKeyType": "Image"`, "123.dkr.ecr.eu-west-1.amazonaws.com", "AWS"), "*.dkr.ecr.*.amazonaws.com", "")
	for repository, want := range map[string]string{
		"123.dkr.ecr.eu-west-1.amazonaws.com/app": "AWS", "9.dkr.ecr.eu-west-1.amazonaws.com/app": "", "registry.example/app": "",
	} {
		if got := get(t, p, repository).Username; got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
	asked := n.asked(t)
	want := `{"apiVersion":"credentialprovider.kubelet.k8s.io/v1","kind":"CredentialProviderRequest","image":"123.dkr.ecr.eu-west-1.amazonaws.com/app"} of the file`
	if len(asked) != 2 || asked[0] != want && asked[1] != want {
		t.Errorf("%q", asked)
	}
}

// What is longer, and what has no wildcard, is nearer to the image.
func TestTheNearestKeyCounts(t *testing.T) {
	n := newNode(t)
	p := n.open(t, head+`"cacheKeyType": "Global", "auth": {"*.example": {"username": "any"}, "r.example": {"username": "host"},
		"r.example/team": {"username": "team"}, "r.example:5000": {"username": "port"}}}`, "*.example", "")
	for repository, want := range map[string]string{"q.example/app": "any", "r.example/app": "host", "r.example/team/app": "team"} {
		if got := get(t, p, repository).Username; got != want {
			t.Errorf("%s: %q, want %q", repository, got, want)
		}
	}
}

func TestMatchImages(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		pattern, repository string
		want                bool
	}{
		{"*.azurecr.io", "acme.azurecr.io/app", true},
		{"*.azurecr.io", "a.b.azurecr.io/app", false},
		{"*.azurecr.io", "azurecr.io/app", false},
		{"*.azurecr.io", "acme.azurecr.io:5000/app", false},
		{"app*.k8s.io", "app1.k8s.io/x", true},
		{"r.example:5000/team", "r.example:5000/team/app", true},
		{"r.example:5000/team", "r.example:5000/other", false},
		{"r.example:5000", "r.example/app", false},
		{"docker.io", "docker.io/library/busybox", true},
		{"*.*.*", "evil.example/a.b.c", false},
	} {
		p := n.open(t, response(`"cacheKeyType": "Image"`, c.pattern, "u"), c.pattern, "")
		if got := get(t, p, c.repository) != (authn.AuthConfig{}); got != c.want {
			t.Errorf("%s about %s: %v", c.pattern, c.repository, got)
		}
	}
}

// An answer is kept for what it says, as long as it says.
func TestCache(t *testing.T) {
	n := newNode(t)
	for _, c := range []struct {
		cache      string
		repository string
		after      time.Duration
		again      bool
	}{
		{`"cacheKeyType": "Image"`, "a.example/x", 59 * time.Minute, false}, // defaultCacheDuration
		{`"cacheKeyType": "Image"`, "a.example/x", time.Hour, true},
		{`"cacheKeyType": "Image"`, "a.example/y", 0, true},
		{`"cacheKeyType": "Image", "cacheDuration": "0s"`, "a.example/x", 0, true},
		{`"cacheKeyType": "Image", "cacheDuration": "10s"`, "a.example/x", 9 * time.Second, false},
		{`"cacheKeyType": "Image", "cacheDuration": "10s"`, "a.example/x", 10 * time.Second, true},
		{`"cacheKeyType": "Image", "cacheDuration": null`, "a.example/x", time.Minute, false},
		{`"cacheKeyType": "Registry"`, "a.example/y", 0, false},
		{`"cacheKeyType": "Registry"`, "b.example/x", 0, true},
		{`"cacheKeyType": "Global"`, "b.example/x", 0, false},
	} {
		p := n.open(t, response(c.cache, "*.example", "u"), "*.example", "")
		get(t, p, "a.example/x")
		n.asked(t)
		n.now = n.now.Add(c.after)
		get(t, p, c.repository)
		if again := len(n.asked(t)) == 1; again != c.again {
			t.Errorf("%s, then %s after %s: asked again: %v", c.cache, c.repository, c.after, again)
		}
	}
}

// 200 pulls at once run one program.
func TestOneAtATime(t *testing.T) {
	n := newNode(t)
	p := n.open(t, response(`"cacheKeyType": "Registry"`, "*.example", "u"), "*.example", "")
	var wg sync.WaitGroup
	for i := range 200 {
		wg.Go(func() {
			if found, err := p.Get(t.Context(), fmt.Sprintf("a.example/%d", i)); err != nil || found.Username != "u" {
				t.Errorf("%v, %v", found, err)
			}
		})
	}
	wg.Wait()
	if asked := n.asked(t); len(asked) != 1 {
		t.Errorf("%d programs ran", len(asked))
	}
}

// Who names an image that the program does not come to an end with keeps others
// neither from what is known nor from other registries.
func TestOneThatHangsIsAlone(t *testing.T) {
	n := newNode(t)
	p := n.open(t, response(`"cacheKeyType": "Image"`, "*.example", "u"), "*.example", "")
	get(t, p, "a.example/known")
	n.asked(t)
	hanging, stop := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := p.Get(hanging, "a.example/hang"); !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
	})
	for { // until it runs
		if text, err := os.ReadFile(filepath.Join(n.dir, "log")); err == nil && len(text) > 0 || t.Context().Err() != nil {
			break
		}
		runtime.Gosched()
	}
	get(t, p, "a.example/known")
	get(t, p, "b.example/other")
	waiting, end := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer end()
	if _, err := p.Get(waiting, "a.example/other"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
	stop()
	wg.Wait()
	get(t, p, "a.example/other")
}

// Whoever may see a pod's events does not see what a provider that fails says: the log has it.
func TestComplaintsAreLogged(t *testing.T) {
	n := newNode(t)
	n.open(t, "fail", "r.example", "")
	var told []string
	p, err := kubelet.Open(kubelet.Config{File: filepath.Join(n.dir, "config.yaml"), Bin: filepath.Join(n.dir, "bin"), Complain: func(provider, said string) {
		told = append(told, provider+": "+said)
	}})
	if err != nil {
		t.Fatal(err)
	}
	_, err = p.Get(t.Context(), "r.example/app")
	if err == nil || strings.Contains(err.Error(), "no role") || !strings.Contains(err.Error(), "exit status 1; what it said is in the agent's log") {
		t.Error(err)
	}
	if diff := cmp.Diff([]string{"provider: no role is attached to this node"}, told); diff != "" {
		t.Error(diff)
	}
}

// What goes wrong names the program, and no secret.
func TestErrors(t *testing.T) {
	n := newNode(t)
	for answer, says := range map[string]string{
		"fail":                             "exit status 1; run it by hand",
		"flood":                            "wrote more than",
		"s3cret":                           "no CredentialProviderResponse",
		`{"auth": "s3cret"}`:               "no CredentialProviderResponse",
		"":                                 "no CredentialProviderResponse",
		head + `"auth": {}}`:               "cacheKeyType",
		head + `"cacheKeyType": "s3cret"}`: "cacheKeyType",
		response(`"cacheKeyType": "Image", "cacheDuration": "s3cret"`, "r.example", "u"):        "cacheDuration",
		strings.Replace(response(`"cacheKeyType": "Image"`, "r.example", "u"), "/v1", "/v2", 1): "not of the version",
	} {
		_, err := n.open(t, answer, "r.example", "").Get(t.Context(), "r.example/app")
		if err == nil || !strings.Contains(err.Error(), says) || !strings.Contains(err.Error(), "provider") || strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%.40s: %v, want it to say %q", answer, err, says)
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := n.open(t, "hang", "r.example", "").Get(ctx, "r.example/app"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

// One that fails is an error only if no other has credentials.
func TestTheNextProvider(t *testing.T) {
	n := newNode(t)
	provider := func(name, arg string) string {
		if err := os.Symlink("provider", filepath.Join(n.dir, "bin", name)); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("- {name: %s, apiVersion: credentialprovider.kubelet.k8s.io/v1, defaultCacheDuration: 0s, matchImages: [r.example], args: [%q]}\n", name, arg)
	}
	p := n.open(t, "fail", "r.example", provider("empty", head+`"cacheKeyType": "Image", "auth": null}`)+provider("good", response(`"cacheKeyType": "Image"`, "r.example", "u")))
	if diff := cmp.Diff(authn.AuthConfig{Username: "u", Password: "p"}, get(t, p, "r.example/app")); diff != "" {
		t.Error(diff)
	}
}

func TestOpen(t *testing.T) {
	n := newNode(t)
	good := `{"apiVersion": "kubelet.config.k8s.io/v1", "kind": "CredentialProviderConfig", "providers": [{"name": "provider",
"apiVersion": "credentialprovider.kubelet.k8s.io/v1", "matchImages": ["*.example"], "defaultCacheDuration": "1h", "novel": 1}]}`
	for what, c := range map[string]struct{ from, to, says string }{
		"good":            {"", "", ""},
		"no kind":         {"CredentialProviderConfig", "Pod", "kind"},
		"a path":          {`"provider"`, `"../provider"`, "providers[0].name"},
		"a version":       {"credentialprovider.kubelet.k8s.io/v1", "v9", "providers[0].apiVersion"},
		"no images":       {`["*.example"]`, "[]", "providers[0].matchImages"},
		"a pattern":       {`*.example`, "[.example", "providers[0].matchImages"},
		"a duration":      {`"1h"`, `"-1h"`, "providers[0].defaultCacheDuration"},
		"no JSON or YAML": {`"1h"`, `s3cret: [`, "is no CredentialProviderConfig"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if c.from == "" {
			text = good
		}
		_, err := n.try(t, text)
		if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || !strings.Contains(err.Error(), "config.yaml") || strings.Contains(err.Error(), "s3cret")) {
			t.Errorf("%s: %v, want it to say %q", what, err, c.says)
		}
	}
	if _, err := kubelet.Open(kubelet.Config{File: filepath.Join(n.dir, "none")}); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%v", err)
	}
	// A directory of them, sorted; one that needs a pod is not asked.
	dir := filepath.Join(n.dir, "conf.d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	needs := strings.NewReplacer(`"provider"`, `"pods"`, `"novel": 1`, `"tokenAttributes": {"requireServiceAccount": true}`).Replace(good)
	for name, text := range map[string]string{"10.json": needs, "20.json": good, "README": "x"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p, err := kubelet.Open(kubelet.Config{File: dir, Bin: filepath.Join(n.dir, "bin")})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := p.Get(t.Context(), "a.example/x"); err == nil || strings.Contains(err.Error(), "pods") {
		t.Errorf("%v", err) // provider has no argument, and panics
	}
}
