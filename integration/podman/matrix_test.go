package podman_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
	"github.com/touchmark/touchmark/podman/lookaside"
	registryproxy "github.com/touchmark/touchmark/registry-proxy"
)

// route is a way on which clients meet Touchmark, with their configuration for all situations at once: the sites differ by repository.
type route struct {
	name  string // as an enforcement point of the matrix
	files map[string]string
	fewer int // clients are asked about one in so many of the images that they would be asked about
}

// Files of a route, by their places on a host.
const (
	policyFile     = "/etc/containers/policy.json"
	registriesConf = "/etc/containers/registries.conf"
	lookasides     = "/etc/containers/registries.d/touchmark.yaml"
	keyring        = "/etc/touchmark/podman/countersign.gpg"
)

// byLookaside is the agent's lookaside, one for each site.
func byLookaside(t *testing.T, w *situations.World) route {
	t.Helper()
	c := countersign.Config{Key: filepath.Join(t.TempDir(), "countersign.key"), Public: filepath.Join(t.TempDir(), "countersign.gpg")}
	if _, err := countersign.Generate(t.Context(), c); err != nil {
		t.Fatal(err)
	}
	key, err := countersign.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	public, err := os.ReadFile(c.Public)
	if err != nil {
		t.Fatal(err)
	}
	urls := make(map[*situations.Site]string)
	for _, site := range w.Sites {
		index := site.Set(t).Enforcement.Index
		finder := parents.New(parents.Config{Admitter: site.Gate(t), Rule: func() policy.IndexRule { return index }})
		t.Cleanup(func() { finder.Close() })
		handler, err := lookaside.New(lookaside.Config{
			Admitter: finder, Key: key,
			Logical: func(physical string) ([]string, error) { return []string{physical}, nil },
			Source: func(physical string, _ bool) (attach.Source, error) {
				repo, err := name.NewRepository(physical)
				return attach.Source{Repository: repo}, err
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(handler)
		t.Cleanup(server.Close)
		urls[site] = server.URL
	}
	namespaces := "docker:\n"
	for _, i := range w.Images {
		namespaces += fmt.Sprintf("  %s:\n    lookaside: %s/lookaside/%s\n", i.Repository, urls[i.Site], w.Registry)
	}
	return route{fewer: 1, name: "lookaside", files: map[string]string{
		policyFile: fmt.Sprintf(`{"default": [{"type": "reject"}], "transports": {"docker": {%q: [
			{"type": "signedBy", "keyType": "GPGKeys", "keyPath": %q, "signedIdentity": {"type": "matchRepository"}}]}}}`, w.Registry, keyring),
		registriesConf: fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", w.Registry),
		lookasides:     namespaces,
		keyring:        string(public),
	}}
}

// byProxy is the registry proxy, one for each site, in the place of the registry. integration/proxy asks its process about all situations.
func byProxy(t *testing.T, w *situations.World) route {
	t.Helper()
	hosts := make(map[*situations.Site]string)
	for _, site := range w.Sites {
		p, err := registryproxy.New(registryproxy.Config{Upstream: "http://" + w.Registry, Admitter: site.Gate(t)})
		if err != nil {
			t.Fatal(err)
		}
		server := httptest.NewServer(p.Handler())
		t.Cleanup(server.Close)
		hosts[site] = strings.TrimPrefix(server.URL, "http://")
	}
	var conf string
	for _, i := range w.Images {
		path := strings.TrimPrefix(i.Repository, w.Registry)
		conf += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", i.Repository, hosts[i.Site]+path)
	}
	return route{fewer: 4, name: "proxy", files: map[string]string{
		policyFile:     `{"default": [{"type": "insecureAcceptAnything"}]}`,
		registriesConf: conf,
		lookasides:     "docker: {}\n",
	}}
}

// words are how clients tell the outcomes apart, by route. The proxy's 503 is shown without the words that came with it.
var words = map[string]map[gate.Outcome]string{
	"lookaside": {gate.OutcomeRefused: "refused by touchmark: ", gate.OutcomeUndecided: "touchmark cannot decide: "},
	"proxy":     {gate.OutcomeRefused: "denied: ", gate.OutcomeUndecided: "503 Service Unavailable"},
}

// check holds what a client said against the matrix. wrong is empty if it admitted the image.
func (r route) check(i *situations.Image, wrong string) error {
	want, _ := i.At(r.name)
	if admitted := want.Outcome == gate.OutcomeAdmitted; admitted || wrong == "" {
		if admitted != (wrong == "") {
			return fmt.Errorf("want %q, %s; the client says %q", want.Outcome, want.Code, wrong)
		}
		return nil
	}
	if want.Outcome == "" {
		return nil // it may fail in whatever way
	}
	said := strings.ReplaceAll(wrong, `\"`, `"`)
	for outcome, text := range words[r.name] {
		if strings.Contains(said, text) != (outcome == want.Outcome) {
			return fmt.Errorf("want %q, %s; the client says %q", want.Outcome, want.Code, wrong)
		}
	}
	if shown := r.name == "lookaside" || want.Outcome == gate.OutcomeRefused; shown && !strings.Contains(said, want.Says) {
		return fmt.Errorf("the client says %q, want it to say %q", wrong, want.Says)
	}
	return nil
}

// judge asks policyjudge about images, and returns what was wrong with each.
func (r route) judge(t *testing.T, images []*situations.Image) []string {
	t.Helper()
	dir := t.TempDir()
	for path, text := range r.files {
		path = filepath.Join(dir, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(text, keyring, filepath.Join(dir, keyring))), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var questions bytes.Buffer
	enc := json.NewEncoder(&questions)
	for _, i := range images {
		if err := enc.Encode(map[string]string{"reference": i.Reference()}); err != nil {
			t.Fatal(err)
		}
	}
	c := lab.Command{Program: policyjudge, Stdin: questions.Bytes()}
	out := c.Run(t, "-policy", filepath.Join(dir, policyFile), "-registries.d", filepath.Dir(filepath.Join(dir, lookasides)), "-registries.conf", filepath.Join(dir, registriesConf))
	if out.Status != 0 {
		t.Fatal(out.Output())
	}
	var wrong []string
	dec := json.NewDecoder(strings.NewReader(out.Stdout))
	for _, i := range images {
		var answer struct {
			Reference, Error string
			Allowed          bool
		}
		if err := dec.Decode(&answer); err != nil || answer.Reference != i.Reference() || answer.Allowed != (answer.Error == "") {
			t.Fatalf("the answer about %s is %+v, %v", i.Reference(), answer, err)
		}
		wrong = append(wrong, answer.Error)
	}
	return wrong
}

// everything is the value of TOUCHMARK_MATRIX with which clients that answer soon are asked about all situations, not about a sample.
const everything = "all"

// sample is n images, evenly spread over the matrix.
func sample(images []*situations.Image, n int) []*situations.Image {
	var some []*situations.Image
	for k := range n {
		some = append(some, images[k*len(images)/n])
	}
	return some
}

// ask asks a client of a host about images, some at once, and returns what was wrong with each.
func (r route) ask(t *testing.T, h *lab.Host, command string, images []*situations.Image) []string {
	t.Helper()
	for path, text := range r.files {
		h.Write(t, path, text)
	}
	wrong := make([]string, len(images))
	slots := make(chan struct{}, 4)
	var wait sync.WaitGroup
	for k, i := range images {
		slots <- struct{}{}
		wait.Go(func() {
			defer func() { <-slots }()
			args := strings.Fields(strings.NewReplacer("IMAGE", i.Reference(), "DIR", fmt.Sprintf("/root/%d", k)).Replace(command))
			if got := h.Root().Run(t, args...); got.Status != 0 {
				wrong[k] = got.Output()
			}
		})
	}
	wait.Wait()
	return wrong
}

// Every client gives the verdict that was written by hand, on every route.
func TestSituations(t *testing.T) {
	w := situations.Build(t)
	const skopeo = "skopeo copy -q docker://IMAGE dir:DIR"
	for _, r := range []route{byLookaside(t, w), byProxy(t, w)} {
		t.Run(r.name, func(t *testing.T) {
			hold := func(t *testing.T, images []*situations.Image, wrong []string) {
				for k, i := range images {
					if err := r.check(i, wrong[k]); err != nil {
						t.Errorf("%s: %v", i.Name, err)
					}
				}
			}
			t.Run("containers-image 5.42.0", func(t *testing.T) { hold(t, w.Images, r.judge(t, w.Images)) })
			for _, client := range []struct {
				system  lab.System
				command string
				n       int
				slow    bool // it tries again for seconds whatever goes wrong with a registry
			}{
				{lab.Debian12, skopeo, 40, false}, {lab.Debian12, "podman pull -q IMAGE", 8, true}, {lab.Debian12, "buildah pull -q IMAGE", 5, true},
				{lab.Debian13, skopeo, 40, false}, {lab.Debian13, "podman pull -q --retry 0 IMAGE", 15, false}, {lab.Debian13, "buildah pull -q --retry 0 IMAGE", 8, false},
			} {
				t.Run(string(client.system)+" "+strings.Fields(client.command)[0], func(t *testing.T) {
					images := w.Images
					if client.slow || os.Getenv("TOUCHMARK_MATRIX") != everything {
						images = sample(images, max(client.n/r.fewer, 2))
					}
					hold(t, images, r.ask(t, lab.NewHost(t, client.system), client.command, images))
				})
			}
		})
	}
}
