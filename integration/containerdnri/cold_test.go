package containerdnri

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// counter is a registry that counts the requests for each repository.
type counter struct {
	*httptest.Server
	mu       sync.Mutex
	requests map[string]int // by repository
}

// newCounter stands in front of a registry, and keeps its names.
func newCounter(t testing.TB, registry string) *counter {
	t.Helper()
	c := &counter{requests: make(map[string]int)}
	to := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	c.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		for _, kind := range []string{"/manifests/", "/referrers/", "/blobs/", "/tags/"} {
			if repository, _, ok := strings.Cut(strings.TrimPrefix(r.URL.Path, "/v2/"), kind); ok {
				c.mu.Lock()
				c.requests[repository]++
				c.mu.Unlock()
			}
		}
		time.Sleep(5 * time.Millisecond) // the registry is elsewhere: questions meet
		to.ServeHTTP(w, r)
	}))
	t.Cleanup(c.Close)
	return c
}

// take returns the counts, and begins anew.
func (c *counter) take() map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counted := c.requests
	c.requests = make(map[string]int)
	return counted
}

// TestCTRD11_ColdNode: 200 pods of 50 images on a node that knows nothing ask their registry once for each image's evidence.
func TestCTRD11_ColdNode(t *testing.T) {
	const images, pods = 50, 200
	w := lab.New(t, true)
	registry := newCounter(t, w.Registry)
	host := strings.TrimPrefix(registry.URL, "http://")
	h := lab.NewHost(t, lab.Debian13)
	address := lab.FreeAddress(t)
	policy, err := os.ReadFile(w.Policy(t))
	if err != nil {
		t.Fatal(err)
	}
	root, err := os.ReadFile(w.Root)
	if err != nil {
		t.Fatal(err)
	}
	h.Write(t, "/etc/touchmark/policy.d/release.yaml", strings.ReplaceAll(string(policy), w.Registry, host))
	h.Write(t, "/etc/touchmark/trust/private.json", string(root))
	h.Write(t, "/etc/touchmark/config.yaml", fmt.Sprintf("agent: {listen: %q}\n", address))

	ask, sign := make([]gate.Request, images+1), []string{"sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root}
	for i := range ask {
		image := fmt.Sprintf("%s/team/app%d:1", host, i)
		pushed := coretest.Push(t, image, coretest.Image(t, int64(i)))
		sign = append(sign, image)
		repo, err := name.NewRepository(fmt.Sprintf("%s/team/app%d", host, i))
		if err != nil {
			t.Fatal(err)
		}
		digest, err := v1.NewHash(pushed.DigestStr())
		if err != nil {
			t.Fatal(err)
		}
		ask[i] = gate.Request{Repository: attach.LogicalName(repo), Digest: digest, ParentsKnown: true, Source: attach.Source{Repository: repo}}
	}
	lab.Touchmark(t, 0, sign...)
	h.Agent(t, address)
	client := remote.Dial(h.Path("/run/touchmark/agent.sock"))
	client.Name = "containerd"

	registry.take()
	if v := client.Admit(t.Context(), ask[images]); !v.Admitted() {
		t.Fatal(v.Reason)
	}
	one := registry.take()[fmt.Sprintf("team/app%d", images)]
	if one == 0 {
		t.Fatal("a judgement asks nothing")
	}
	var group sync.WaitGroup
	begin, start := make(chan struct{}), time.Now()
	for pod := range pods {
		group.Go(func() {
			<-begin
			if v := client.Admit(t.Context(), ask[pod%images]); !v.Admitted() {
				t.Error(v.Reason)
			}
		})
	}
	close(begin)
	group.Wait()
	t.Logf("%d questions about %d images: %s; %d requests for each", pods, images, time.Since(start).Round(time.Millisecond), one)
	want := make(map[string]int)
	for i := range images {
		want[fmt.Sprintf("team/app%d", i)] = one
	}
	if diff := cmp.Diff(want, registry.take()); diff != "" {
		t.Errorf("requests by repository: %s", diff)
	}
}
