package proxyfailures_test

import (
	"bytes"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	// hostileShare is how many requests make test sends; HOSTILE_REQUESTS says another number.
	hostileShare = 3000
	clients      = 48
)

// siege is a proxy's process in front of a liar.
type siege struct {
	t         *testing.T
	liar      *liar
	proxy     *lab.Process
	good, bad []artifact
	admitted  map[string]bool // digests of manifests that are signed, or are in an index that is
	keeps     bool            // it has a cache
	flipping  int             // how many tags move: each is believed to be where it was for a second

	requests, complete, refused, undecided, cut atomic.Int64
}

func newSiege(t *testing.T, keeps bool) *siege {
	t.Helper()
	s := coretest.New(t)
	m := newImages(t, s, true)
	g := &siege{t: t, keeps: keeps, admitted: map[string]bool{}, liar: &liar{good: m.handler, right: map[string][]byte{}}}
	for i, size := range []int{100, 5000, 64<<10 - 4, 64<<10 + 1, 300_000} {
		good, bad := m.push(t, "app", fmt.Sprint("good", i), "fine", size), m.push(t, "app", fmt.Sprint("bad", i), canary, size)
		m.sign(t, "app", good.index, coretest.DSSE)
		g.good, g.bad = append(g.good, good), append(g.bad, bad)
		g.admitted[good.index], g.admitted[good.manifest] = true, true
	}
	g.liar.wrong, g.liar.tags = g.bad, append(append([]artifact{}, g.good...), g.bad...)
	url := g.liar.serve(t)
	dir := t.TempDir()
	text := "listen: 127.0.0.1:0\npolicy: policy.yaml\ntrust: [{name: test, file: root.json}]\nregistries:\n- {name: registry.acme.example, upstream: \"" + url + "\"}\n"
	if keeps {
		text += keeping(filepath.Join(dir, "cache"))
	}
	for name, content := range map[string]string{"proxy.yaml": text, "policy.yaml": policyFor("app", ""), "root.json": string(s.TrustedRootJSON(t))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	g.proxy = lab.Start(t, "/v2/", "proxy", "--config", filepath.Join(dir, "proxy.yaml"))
	return g
}

// attack sends one request, and fails the test if something leaves that must not.
func (g *siege) attack(client *http.Client) {
	all := g.good
	if rand.IntN(3) == 0 {
		all = g.bad
	}
	a := all[rand.IntN(len(all))]
	method := http.MethodGet
	if rand.IntN(10) == 0 {
		method = http.MethodHead
	}
	var path, want string
	content := map[string][]byte{a.index: a.indexBody, a.manifest: a.child, a.config: a.configBody, a.layer: a.layerBody}
	switch rand.IntN(12) {
	case 0, 1, 2, 3, 4:
		path = fmt.Sprintf("/v2/app/manifests/flip-%d", rand.IntN(g.flipping))
	case 5:
		path, want = "/v2/app/manifests/"+a.index, a.index
	case 6:
		path, want = "/v2/app/manifests/"+a.manifest, a.manifest
	case 7:
		path, want = "/v2/app/blobs/"+a.config, a.config
	case 8:
		path = []string{"/v2/app/tags/list", "/v2/app/referrers/" + a.index}[rand.IntN(2)]
	default:
		path, want = "/v2/app/blobs/"+a.layer, a.layer
	}
	req, err := http.NewRequestWithContext(g.t.Context(), method, g.proxy.URL+path, nil)
	if err != nil {
		g.t.Error(err)
		return
	}
	from := 0
	if rand.IntN(5) == 0 {
		from = 1 + rand.IntN(60)
		req.Header.Set("Range", fmt.Sprintf("bytes=%d-", from))
	}
	g.requests.Add(1)
	resp, err := client.Do(req)
	if err != nil {
		g.cut.Add(1)
		return
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	what := func() string {
		return fmt.Sprintf("%s %s %s: %d", method, path, req.Header.Get("Range"), resp.StatusCode)
	}
	// Of a wrong blob a part may leave while it is hashed, and never its last 64 KiB: so it is not complete.
	head := err != nil && strings.Contains(path, "/blobs/") && len(body) <= len(content[want])-64<<10
	if bytes.Contains(body, []byte(canary)) && !head || strings.Contains(fmt.Sprint(resp.Header), canary) {
		g.t.Errorf("%s: the canary is out: %s %v", what(), around(body), resp.Header)
	}
	switch {
	case err != nil:
		g.cut.Add(1)
	case resp.StatusCode == http.StatusForbidden:
		g.refused.Add(1)
	case resp.StatusCode >= 500:
		g.undecided.Add(1)
	}
	if err != nil || method == http.MethodHead || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusPartialContent {
		return
	}
	got := digestOf(body)
	switch {
	case strings.Contains(path, "/manifests/"):
		if !g.admitted[got] || want != "" && want != got {
			g.t.Errorf("%s: a manifest that is not admitted, or not the one: %.200q", what(), body)
		}
	case resp.StatusCode == http.StatusPartialContent:
		if g.keeps && !bytes.Equal(body, content[want][from:]) {
			g.t.Errorf("%s: a wrong part", what())
		}
	case strings.Contains(path, "/blobs/"):
		if got != want {
			g.t.Errorf("%s: a complete wrong blob of %d bytes", what(), len(body))
		}
	}
	g.complete.Add(1)
}

// pull has a stock client pull a tag that moves. What it gets must be an image that is signed.
func (g *siege) pull(t *testing.T, i int, command lab.Command, args func(image, dir string) []string) (pulled bool) {
	dir := filepath.Join(t.TempDir(), "image")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Error(err)
		return false
	}
	image := strings.TrimPrefix(g.proxy.URL, "http://") + fmt.Sprintf("/app:flip-%d", i)
	r := command.Run(t, args(image, dir)...)
	if strings.Contains(r.Output(), canary) {
		t.Errorf("the canary is out: %s", r.Output())
	}
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		content, err := os.ReadFile(path)
		if bytes.Contains(content, []byte(canary)) {
			t.Errorf("%s: the canary is in %s", command.Program, filepath.Base(path))
		}
		return err
	})
	if err != nil {
		t.Error(err)
	}
	return r.Status == 0
}

// PX-01..03, PX-07, PX-10, PX-12, PX-16: an upstream that lies on every level, in front of which the real process stands, while raw clients and stock
// ones pull in parallel.
func TestHostileUpstreamOverTCP(t *testing.T) {
	t.Parallel()
	requests := hostileShare
	if n, err := strconv.Atoi(os.Getenv("HOSTILE_REQUESTS")); err == nil {
		requests = n
	}
	for _, keeps := range []bool{false, true} {
		count := int64(requests)
		if keeps {
			count /= 2
		}
		t.Run(fmt.Sprintf("cache %v", keeps), func(t *testing.T) {
			t.Parallel()
			g := newSiege(t, keeps)
			g.flipping = min(max(200, requests/50), 20_000)
			transport := &http.Transport{MaxIdleConnsPerHost: clients, DisableCompression: true}
			defer transport.CloseIdleConnections()
			client := &http.Client{Transport: transport, Timeout: time.Minute}
			crane := lab.Command{Program: lab.Tool(t, "crane-v0.22.1")}
			skopeo := lab.Command{Program: coretest.RequireTool(t, "skopeo")}
			var begun, pulls, pulled atomic.Int64
			var wg sync.WaitGroup
			for range clients {
				wg.Go(func() {
					for begun.Add(1) <= count && !t.Failed() {
						g.attack(client)
					}
				})
			}
			for i := range 2 {
				wg.Go(func() {
					for (begun.Load() <= count || pulls.Load() < 6) && !t.Failed() {
						n := rand.IntN(g.flipping)
						ok := false
						if i == 0 {
							ok = g.pull(t, n, crane, func(image, dir string) []string {
								return []string{"pull", "--insecure", "--platform", "linux/amd64", image, filepath.Join(dir, "image.tar")}
							})
						} else {
							ok = g.pull(t, n, skopeo, func(image, dir string) []string {
								return []string{"--insecure-policy", "copy", "--src-tls-verify=false", "docker://" + image, "dir:" + dir}
							})
						}
						if pulls.Add(1); ok {
							pulled.Add(1)
						}
					}
				})
			}
			wg.Wait()
			t.Logf("%d requests and %d pulls by crane and skopeo, %d flips of a tag, %d lies: %d complete answers, %d refused, %d undecided, %d cut off, %d pulled",
				g.requests.Load(), pulls.Load(), g.liar.flips, g.liar.told(), g.complete.Load(), g.refused.Load(), g.undecided.Load(), g.cut.Load(), pulled.Load())
			floor := count / 50 // a short run is over before most tags are asked for again
			if count > 20_000 {
				floor = count / 10
			}
			if int64(g.liar.flips) < floor {
				t.Errorf("%d flips only", g.liar.flips)
			}
			if g.complete.Load() < count/20 || g.refused.Load() < count/50 {
				t.Error("hardly anything was served, or refused: the test tests nothing")
			}
			for _, lie := range lies {
				if count >= 1000 && !keeps && g.liar.lies[lie.name] == 0 {
					t.Errorf("%s was not tried", lie.name)
				}
			}
		})
	}
}

// around is the part of a text in which the canary is.
func around(body []byte) string {
	i := max(0, bytes.Index(body, []byte(canary)))
	return fmt.Sprintf("...%q...", body[max(0, i-250):min(len(body), i+50)])
}
