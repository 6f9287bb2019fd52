package parents

import (
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice = "alice@acme.example"

// counter is a registry that counts the lists of tags that it is asked for.
type counter struct {
	http.Handler
	lists atomic.Int32
}

func (c *counter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.HasSuffix(r.URL.Path, "/tags/list") {
		c.lists.Add(1)
	}
	c.Handler.ServeHTTP(w, r)
}

func newCounter(t *testing.T) (*counter, string) {
	t.Helper()
	c := &counter{Handler: registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))}
	server := httptest.NewServer(c)
	t.Cleanup(server.Close)
	return c, strings.TrimPrefix(server.URL, "http://")
}

// TestCTRD06_PlatformOfASignedIndex: podman asks the lookaside about the platform's manifest alone. The agent finds the index among the tags, once, and
// remembers it over its own death.
func TestCTRD06_PlatformOfASignedIndex(t *testing.T) {
	for system, rules := range map[lab.System][]string{lab.Debian12: {"either", "both"}, lab.Debian13: {"index", "platform"}} {
		for _, rule := range rules {
			t.Run(fmt.Sprint(system, " ", rule), func(t *testing.T) {
				t.Parallel()
				w := lab.New(t, true)
				requests, address := newCounter(t)
				w.Registry = address
				index, both, unsigned := w.Image(t, "team/app", 10), w.Image(t, "team/both", 20), w.Image(t, "team/unsigned", 30)
				for _, image := range []string{index, both, unsigned} {
					fill(t, image, 100)
				}
				for image, recursive := range map[string]string{index: "--recursive=false", both: "--recursive"} {
					lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, recursive, image)
				}
				root, serve := install(t, w, system, rule)
				agent := serve()
				byIndex := map[string]bool{"either": true, "index": true}[rule]
				pull := func(arch, image string, admitted bool, says string) {
					t.Helper()
					r := root.Run(t, "podman", "pull", "--quiet", "--arch", arch, image)
					if (r.Status == 0) != admitted || !strings.Contains(r.Stderr, says) {
						t.Errorf("pulling %s for %s: status %d, want admitted: %v and %q\n%s", image, arch, r.Status, admitted, says, r.Output())
					}
				}
				refusal := "refused by touchmark"
				if byIndex {
					refusal = ""
				}
				pull("amd64", both, true, "")
				pull("amd64", index, byIndex, refusal)
				pull("amd64", unsigned, false, "is not signed")
				if n := requests.lists.Load(); (n > 0) != (rule != "platform") {
					t.Errorf("tags were listed %d times", n)
				}
				agent.Kill()
				serve()
				requests.lists.Store(0)
				pull("arm64", both, true, "")
				if byIndex {
					pull("arm64", index, true, "")
				}
				if n := requests.lists.Load(); n != 0 {
					t.Errorf("after a restart tags were listed %d times", n)
				}
			})
		}
	}
}

// install puts Touchmark in force on a host. It returns its administrator, and what starts the agent.
func install(t *testing.T, w *lab.World, system lab.System, rule string) (lab.Account, func() *lab.Process) {
	t.Helper()
	host := lab.NewHost(t, system)
	host.Write(t, "/etc/containers/registries.conf", "[[registry]]\nlocation = \""+w.Registry+"\"\ninsecure = true\n")
	host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	policy := w.Policy(t)
	text, err := os.ReadFile(policy)
	if err != nil {
		t.Fatal(err)
	}
	site := "---\napiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata: {name: site}\nspec: {index: " + rule + "}\n"
	if err := os.WriteFile(policy, append(text, site...), 0o600); err != nil {
		t.Fatal(err)
	}
	listen := lab.FreeAddress(t)
	root := host.Root()
	root.Must(t, 0, lab.Program(), "install", "podman", "--yes", "--keep-default", "--policy", policy, "--trusted-root", "private="+w.Root, "--listen", listen)
	return root, func() *lab.Process {
		return root.Serve(t, "http://"+listen+"/healthz", "agent")
	}
}

// fill gives an image's repository as many other tags, each an index of its own.
func fill(t *testing.T, image string, n int) {
	t.Helper()
	ref, err := name.ParseReference(image)
	if err != nil {
		t.Fatal(err)
	}
	shared := coretest.Index(t, 1000)
	for i := range n {
		tag := ref.Context().Tag(fmt.Sprint("v", i))
		other := mutate.Annotations(shared, map[string]string{"n": tag.TagStr()}).(v1.ImageIndex)
		if i == 0 {
			err = remote.WriteIndex(tag, other)
		} else {
			err = remote.Put(tag, other)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}
