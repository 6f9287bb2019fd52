package lookaside_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

// A lookaside that was there before ours goes on being read, behind our own signatures.
func TestChainedLookaside(t *testing.T) {
	path := "acme/app@" + strings.Replace(digest, ":", "=", 1)
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, path), 0o755); err != nil {
		t.Fatal(err)
	}
	vendor := map[string]string{}
	for n := 1; n <= 2; n++ {
		file := fmt.Sprintf("%s/signature-%d", path, n)
		vendor["/sigs/"+file] = fmt.Sprintf("vendor's %d", n)
		if err := os.WriteFile(filepath.Join(dir, file), []byte(vendor["/sigs/"+file]), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	web := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, ok := vendor[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(body))
	}))
	defer web.Close()
	moved := httptest.NewServer(http.RedirectHandler(web.URL+"/sigs/"+path+"/signature-1", http.StatusFound))
	defer moved.Close()
	for name, base := range map[string]string{"http": web.URL + "/sigs", "http, slash": web.URL + "/sigs/", "file": "file://" + dir} {
		t.Run(name, func(t *testing.T) {
			v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
			c := config(v)
			c.Required = func(logical string) bool { return logical == repository }
			c.Chain = func(string) (string, bool) { return base, true }
			url := serve(t, c)
			if _, blob := get(t, url, repository, 1); verified(t, blob, repository) != nil {
				t.Errorf("signature-1: %q", blob)
			}
			for n, want := range []string{2: "vendor's 1", 3: "vendor's 2"} {
				if n < 2 {
					continue
				}
				if _, blob := get(t, url, repository, n); blob != want {
					t.Errorf("signature-%d: %q, want %q", n, blob, want)
				}
			}
			if status, _ := get(t, url, repository, 4); status != http.StatusNotFound {
				t.Errorf("signature-4: status %d", status)
			}
			// Where no rule demands ours, the vendor's are the first.
			c.Required = func(string) bool { return false }
			if _, blob := get(t, serve(t, c), repository, 1); blob != "vendor's 1" {
				t.Errorf("not required, signature-1: %q", blob)
			}
			// A refusal stands alone.
			v.set(repository, refused)
			if status, _ := get(t, url, repository, 1); status != http.StatusOK {
				t.Errorf("status %d", status)
			}
			if status, blob := get(t, url, repository, 2); status != http.StatusNotFound {
				t.Errorf("refused, signature-2: status %d, %q", status, blob)
			}
		})
	}
	fifo := filepath.Join(t.TempDir(), "sigs")
	if err := os.MkdirAll(filepath.Join(fifo, path, "signature-1"), 0o755); err != nil {
		t.Fatal(err)
	}
	large := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write(make([]byte, 5<<20)) }))
	defer large.Close()
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusBadGateway) }))
	defer broken.Close()
	away := httptest.NewServer(nil)
	away.Close()
	for name, tt := range map[string]struct{ base, want string }{
		"moved":           {moved.URL, ""},
		"broken":          {broken.URL, "status 502"},
		"away":            {away.URL, "connection refused"},
		"too large":       {large.URL, "more than 4194304 bytes"},
		"not a file":      {"file://" + fifo, "not a regular file"},
		"another scheme":  {"ftp://registry.example/", "want an http, https or file URL"},
		"with a password": {strings.Replace(away.URL, "http://", "http://user:secret@", 1), "user:xxxxx@"},
	} {
		t.Run(name, func(t *testing.T) {
			c := config(&verdicts{by: map[string]gate.Verdict{repository: admitted}})
			c.Chain = func(string) (string, bool) { return tt.base, true }
			status, blob := get(t, serve(t, c), repository, 2)
			switch {
			case status != http.StatusOK:
				t.Errorf("status %d: a failure reads as the end of the signatures", status)
			case tt.want == "" && blob != "vendor's 1":
				t.Errorf("%q", blob)
			case tt.want != "" && (!strings.HasPrefix(blob, "\x00touchmark cannot read the signatures that are kept elsewhere: ") || !strings.Contains(blob, tt.want) || strings.Contains(blob, "secret")):
				t.Errorf("%q, want %q", blob, tt.want)
			}
		})
	}
}

func TestChainThatLeadsBack(t *testing.T) {
	c := config(&verdicts{by: map[string]gate.Verdict{repository: admitted}})
	var own string
	c.Chain = func(string) (string, bool) { return own + "/lookaside/registry.example", true }
	own = serve(t, c)
	if _, blob := get(t, own, repository, 2); !strings.Contains(blob, "status 508") {
		t.Errorf("%q", blob)
	}
}

// Files that only root may read are no way past that for others.
func TestPOD13_ChainedFilesOfOthers(t *testing.T) {
	dir, err := os.MkdirTemp("", "touchmark-sigs-")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	there := filepath.Join(dir, "acme", "app@"+strings.Replace(digest, ":", "=", 1))
	if err := os.MkdirAll(there, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(there, "signature-1"), []byte("vendor's"), 0o644); err != nil {
		t.Fatal(err)
	}
	ask := func(uid int, repository string) string {
		c := config(&verdicts{})
		c.Required = func(string) bool { return false }
		c.Chain = func(string) (string, bool) { return "file://" + dir, true }
		c.Peer = func(netip.AddrPort, netip.AddrPort) (int, bool) { return uid, true }
		_, blob := get(t, serve(t, c), repository, 1)
		return strings.ReplaceAll(blob, repository, "REPOSITORY")
	}
	own, bob := os.Geteuid(), os.Geteuid()+4711
	for _, step := range []struct {
		name        string
		dir, file   os.FileMode
		bob, nobody string // what bob is told of this image, and of one that is not there
	}{
		{"everybody's", 0o755, 0o644, "vendor's", "no more signatures"},
		{"a closed file", 0o755, 0o600, "not every user", "no more signatures"}, // he sees that it is there himself
		{"a closed directory", 0o700, 0o644, "not every user", "not every user"},
	} {
		for path, mode := range map[string]os.FileMode{dir: step.dir, filepath.Join(there, "signature-1"): step.file} {
			if err := os.Chmod(path, mode); err != nil {
				t.Fatal(err)
			}
		}
		if got := ask(own, repository); got != "vendor's" {
			t.Errorf("%s: the agent's account is told %q", step.name, got)
		}
		if got := ask(bob, repository); !strings.Contains(got, step.bob) {
			t.Errorf("%s: bob is told %q, want %q", step.name, got, step.bob)
		}
		if got := ask(bob, "registry.example/acme/none"); !strings.Contains(got, step.nobody) {
			t.Errorf("%s: of what is not there, bob is told %q, want %q", step.name, got, step.nobody)
		}
	}
}
