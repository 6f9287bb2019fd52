package tuf

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// TUF-11: no role's file is read beyond its limit, and a mirror that answers a byte a second is left after 30 seconds.
func TestTUF11_EndlessAndSlow(t *testing.T) {
	for _, file := range []string{"2.root.json", "timestamp.json", "2.snapshot.json", "2.targets.json", trustedRootTarget} {
		t.Run("endless "+file, func(t *testing.T) {
			w := newWorld(t)
			w.admits("first root")
			w.publishNew("second")
			read := int64(0)
			w.serve = func(request *http.Request) (*http.Response, error) {
				if !strings.HasSuffix(request.URL.Path, file) {
					return nil, nil
				}
				return answer(request, http.StatusOK, readerFunc(func(p []byte) (int, error) {
					read += int64(len(p))
					return len(p), nil
				})), nil
			}
			w.refuses(file, "")
			if read > 2*maxRoleSize {
				t.Errorf("%d bytes were read", read)
			}
		})
	}
	t.Run("slow", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld(t)
			w.serve = func(request *http.Request) (*http.Response, error) {
				return answer(request, http.StatusOK, readerFunc(func(p []byte) (int, error) {
					select {
					case <-request.Context().Done():
						return 0, request.Context().Err()
					case <-time.After(time.Second):
						p[0] = ' '
						return 1, nil
					}
				})), nil
			}
			begin := time.Now()
			w.refuses("slow", "deadline")
			if took := time.Since(begin); took > 31*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	})
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

// A116, TUF-12: names in metadata lead nowhere.
func TestA116_TUF12_NamesAreConfined(t *testing.T) {
	w := newWorld(t)
	outside := t.TempDir()
	w.client.CacheDir = filepath.Join(outside, "a", "cache")
	w.editTargets = func(targets *metadata.TargetsType) {
		for _, name := range []string{"../../x", "/etc/x", "a\x00b", "..%2f..%2fx", strings.Repeat("n", 300)} {
			targets.Targets[name] = targets.Targets[trustedRootTarget]
		}
		key := must(metadata.KeyFromPublicKey(newKey().Public()))
		targets.Delegations = &metadata.Delegations{Keys: map[string]*metadata.Key{must(key.ID()): key}}
		for _, name := range []string{"../../x", "?", "#", "/x"} {
			targets.Delegations.Roles = append(targets.Delegations.Roles, metadata.DelegatedRole{Name: name, KeyIDs: []string{must(key.ID())}, Threshold: 1, Paths: []string{"*"}})
		}
	}
	w.publish()
	w.admits("first root")
	var found []string
	must(0, filepath.WalkDir(outside, func(path string, entry os.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			found = append(found, must(filepath.Rel(w.client.CacheDir, path)))
		}
		return err
	}))
	if got, want := fmt.Sprint(found), "[signing_config.v0.2.json snapshot.json targets.json timestamp.json trusted_root.json]"; got != want {
		t.Errorf("files %v, want %v", got, want)
	}
	for _, request := range w.requests {
		if strings.Contains(request.URL.String(), "x") && strings.Contains(request.URL.Path, "..") {
			t.Errorf("asked for %s", request.URL)
		}
	}
}

// A108: nothing that a request carries says who asks.
func TestA108_NoCredentials(t *testing.T) {
	w := newWorld(t)
	moved := 0
	w.serve = func(request *http.Request) (*http.Response, error) {
		response := answer(request, http.StatusFound, strings.NewReader(""))
		response.Header.Set("Set-Cookie", "who=alice; Path=/")
		if request.URL.Host == "sigstore.acme.example" {
			moved++
			response.Header.Set("Location", "https://cdn.acme.example"+request.URL.Path)
			return response, nil
		}
		return nil, nil
	}
	w.admits("first root")
	if moved == 0 {
		t.Fatal("nothing was redirected")
	}
	for _, request := range w.requests {
		for _, header := range []string{"Authorization", "Cookie", "Proxy-Authorization"} {
			if value := request.Header.Get(header); value != "" {
				t.Errorf("%s: %s: %s", request.URL, header, value)
			}
		}
	}
	for name, location := range map[string]string{
		"credentials": "https://alice:secret@cdn.acme.example/", "plain HTTP": "http://cdn.acme.example/", "for ever": "", "file": "file:///etc/passwd",
	} {
		w.serve = func(request *http.Request) (*http.Response, error) {
			response := answer(request, http.StatusFound, strings.NewReader(""))
			response.Header.Set("Location", location+request.URL.Path)
			return response, nil
		}
		w.requests = nil
		w.refuses(name, "redirect")
		if name != "for ever" && len(w.requests) > 1 || len(w.requests) > maxRedirects+1 {
			t.Errorf("%s: %d requests", name, len(w.requests))
		}
	}
	for _, mirror := range []string{"https://alice:secret@sigstore.acme.example/tuf", "ftp://acme.example", "tuf", "", "https://acme.example/tuf?token=1"} {
		w.client.Mirror = mirror
		w.requests = nil
		if _, err := w.client.Refresh(context.Background()); err == nil || len(w.requests) > 0 || strings.Contains(err.Error(), "secret") {
			t.Errorf("mirror %q: %v, %d requests", mirror, err, len(w.requests))
		}
	}
}
