package containerd_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Tag, digest, both, an index and its platforms: what is judged is what is pulled (CTRD-06, CTRD-07).
func TestCTRD06_Names(t *testing.T) {
	s := newSite(t)
	signed, unsigned := s.push(t, "signed", alice), s.push(t, "unsigned", "")
	byDigest := func(image string) string { return strings.TrimSuffix(image, ":1") + "@" + digestOf(t, image) }
	index, children := s.Image(t, "index", 7), s.Image(t, "children", 17)
	s.sign(t, index, alice, "--recursive=false")
	for _, child := range lab.Platforms(t, children) {
		s.sign(t, child, alice)
	}
	h := s.host(t, "containerd: {standalone: false}").boot(t)
	h.admits(t, byDigest(signed), signed+"@"+digestOf(t, signed), index, byDigest(index))
	for _, child := range append(lab.Platforms(t, index), lab.Platforms(t, children)...) {
		if says := h.ctr(t, child, "--plain-http", "--skip-metadata", "--all-platforms"); says != "" {
			t.Errorf("%s: %s", child, says)
		}
	}
	for _, image := range []string{byDigest(unsigned), unsigned + "@" + digestOf(t, unsigned), children, byDigest(children)} {
		h.refuses(t, image, "blocked pull of "+image[:strings.LastIndex(image, "/")], "refused by touchmark: ", "is not signed") // CRI leaves the tag away where there is a digest
	}
	// The digest of another image in a signed one's repository is not there to be pulled; a name that disagrees with its digest reaches no verifier.
	h.refuses(t, signed+"@"+digestOf(t, unsigned), "not found")
	for _, hostile := range []string{"-name", "--plain-http=false/x:1", s.Registry + "/UPPER:1", s.Registry + "/" + strings.Repeat("a", 10<<10) + ":1"} {
		h.refuses(t, hostile)
	}
}

// What a registry moves while the verifier asks is not pulled: containerd fetches the digest that was judged.
func TestTagMoved(t *testing.T) {
	s := newSite(t)
	image := s.push(t, "app", alice)
	judged := digestOf(t, image)
	f := s.front(t)
	f.be(func(f *front) {
		var once sync.Once
		f.trouble = func(_ http.ResponseWriter, r *http.Request) bool {
			if evidence(r) {
				once.Do(func() { coretest.Push(t, image, lab.Busybox(t, "another")) })
			}
			return false
		}
	})
	h := s.host(t, "containerd: {standalone: false}")
	h.hosts(t, "server = \"http://"+f.Host+"\"\n")
	h.boot(t)
	if err := h.cri.Pull("registry.example/app:1"); err != nil {
		t.Fatal(err)
	}
	if digestOf(t, image) == judged {
		t.Fatal("the tag was not moved")
	}
	if r := h.Ctr(t, "images", "ls", "name==registry.example/app:1"); !strings.Contains(r.Stdout, judged) {
		t.Errorf("want %s:\n%s", judged, r.Output())
	}
	if err := h.cri.Pull("registry.example/app:1"); err == nil || !strings.Contains(err.Error(), "refused by touchmark: registry.example/app is not signed") {
		t.Errorf("pulling what the tag names now: %v", err)
	}
}

// What containerd would never send, the program refuses in one line, whoever starts it (CTRD-02, CTRD-03, CTRD-07).
func TestCTRD02_HostileQuestions(t *testing.T) {
	s := newSite(t)
	signed := s.push(t, "signed", alice)
	digest := digestOf(t, signed)
	h := s.host(t, "containerd: {standalone: false}")
	h.serve(t)
	const manifest, descriptor = "application/vnd.oci.image.manifest.v1+json", "application/vnd.oci.descriptor.v1+json"
	good := fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":348}`, manifest, digest)
	for what, c := range map[string]struct {
		name, digest, stdin string
		says                string // "" is admitted
	}{
		"as it should be":        {signed, digest, good, ""},
		"another digest":         {signed, digest, strings.ReplaceAll(good, digest, "sha256:"+strings.Repeat("b", 64)), "-digest about"},
		"no descriptor":          {signed, digest, "", "the descriptor on standard input: is missing"},
		"garbage":                {signed, digest, "\x00\x01garbage", "the descriptor on standard input"},
		"a NUL":                  {signed, digest, strings.Replace(good, "image.manifest", "image\\u0000manifest", 1), "which is not an image's"},
		"1 MiB":                  {signed, digest, strings.Replace(good, "{", `{"annotations":{"a":"`+strings.Repeat("a", 1<<20)+`"},`, 1), "larger than 65536 bytes"},
		"a media type":           {signed, digest, strings.Replace(good, "manifest.v1", "layer.v1", 1), "which is not an image's"},
		"a leading dash":         {"-rf/x:1", digest, good, "does not begin with a registry"},
		"10 KiB":                 {s.Registry + "/" + strings.Repeat("a", 10<<10) + ":1", digest, good, "at most 512 are an image's name"},
		"upper case":             {s.Registry + "/Signed:1", digest, good, "is not an image's name"},
		"no domain":              {"signed:1", digest, good, "does not begin with a registry"},
		"a digest that is none":  {signed, "sha256:1234", good, "is not a SHA-256 digest"},
		"a line break":           {s.Registry + "/signed\n:1", digest, good, "is not an image's name"},
		"a name that disagrees":  {s.Registry + "/signed@sha256:" + strings.Repeat("b", 64), digest, good, "disagree"},
		"a digest that is a dir": {signed, "../../etc/passwd", good, "is not a SHA-256 digest"},
	} {
		c2 := lab.Command{Program: verifier, Stdin: []byte(c.stdin), Env: []string{"TOUCHMARK_CONFIG=" + h.outside(t)}}
		r := c2.Run(t, "-name", c.name, "-digest", c.digest, "-stdin-media-type", descriptor)
		switch {
		case c.says == "":
			if r.Status != 0 || r.Output() != "" {
				t.Errorf("%s: status %d: %s", what, r.Status, r.Output())
			}
		case r.Status != 1, !strings.HasPrefix(r.Stdout, "refused by touchmark: "), !strings.Contains(r.Stdout, c.says), strings.Count(r.Stdout, "\n") != 1, len(r.Stdout) > 1024:
			t.Errorf("%s: status %d, %q; want a line that says %q", what, r.Status, r.Output(), c.says)
		}
	}
}

// Two hundred pulls at once: every verdict is right, no process is left, and the agent asks the registry once about each of ten images, but for refusals, which it
// believes for a second (CTRD-11).
func TestCTRD11_AtOnce(t *testing.T) {
	s := newSite(t)
	const kinds, pulls = 10, 200
	f := s.front(t)
	digests := make([]string, kinds)
	for i := range kinds {
		signer := alice
		if i%2 == 1 {
			signer = ""
		}
		image := s.push(t, fmt.Sprintf("app%d", i), signer)
		digests[i] = digestOf(t, image)
	}
	h := s.host(t, "containerd: {standalone: false}")
	h.hosts(t, "server = \"http://"+f.Host+"\"\n")
	h.boot(t)
	start := time.Now()
	took := make([]time.Duration, pulls)
	var wait sync.WaitGroup
	for i := range pulls {
		wait.Go(func() {
			at := time.Now()
			image := fmt.Sprintf("registry.example/app%d:1", i%kinds)
			err := h.cri.Pull(image)
			took[i] = time.Since(at)
			switch {
			case i%2 == 0 && err != nil:
				t.Errorf("%s: %v", image, err)
			case i%2 == 1 && (err == nil || !strings.Contains(err.Error(), "is not signed")):
				t.Errorf("%s: want it refused: %v", image, err)
			}
		})
	}
	wait.Wait()
	most := time.Duration(0)
	for _, d := range took {
		most = max(most, d)
	}
	asked := make(map[string]int)
	for _, r := range f.requests() {
		if strings.Contains(r, "/referrers/") {
			asked[r]++
		}
	}
	total := time.Since(start)
	t.Logf("%d pulls in %s, the longest %s", pulls, total.Round(time.Millisecond), most.Round(time.Millisecond))
	if len(asked) != kinds {
		t.Errorf("the registry was asked for the evidence of %d images, want %d", len(asked), kinds)
	}
	for i, digest := range digests {
		limit := 1
		if i%2 == 1 { // a refusal is believed for a second
			limit += int(total.Seconds()) + 1
		}
		for r, n := range asked {
			if strings.Contains(r, digest) && n > limit {
				t.Errorf("asked %d times, want at most %d: %s", n, limit, r)
			}
		}
	}
	running, err := filepath.Glob(h.Path("/proc/[0-9]*/exe"))
	if err != nil {
		t.Fatal(err)
	}
	for _, exe := range running {
		if program, err := os.Readlink(exe); err == nil && strings.HasSuffix(program, "/touchmark-containerd") {
			t.Errorf("%s is left behind", program)
		}
	}
}

// outside is the host's configuration for a verifier that runs outside of it.
func (h *host) outside(t testing.TB) string {
	t.Helper()
	file := "/etc/touchmark/outside.yaml"
	h.Write(t, file, fmt.Sprintf("agent: {socket: %q}\ncontainerd: {standalone: false}\n", h.Path("/run/touchmark/agent.sock")))
	return h.Path(file)
}
