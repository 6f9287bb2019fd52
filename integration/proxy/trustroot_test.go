package proxy_test

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// The proxy follows the TUF repository of "touchmark up": an image that is signed there can be pulled here, and still
// can after both were killed and the Sigstore did not come back; a proxy that never saw it says so, and does not start.
func TestFollowsTrustRoot(t *testing.T) {
	w := lab.New(t, true)
	image := w.Image(t, "acme/app", 1)
	w.Image(t, "acme/unsigned", 2)
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", "--trusted-root", w.Root, image)
	root := filepath.Join(w.Dir, "root.json")
	first, err := os.ReadFile(w.Trust("root.json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(root, first, 0o600); err != nil {
		t.Fatal(err)
	}
	start := func(state string) []string {
		file := filepath.Join(w.Dir, state+".yaml")
		text := fmt.Sprintf("listen: 127.0.0.1:0\npolicy: %q\nstate: %q\ntrust: [{name: acme, mirror: %q, root: root.json}]\nregistries:\n- {name: %q, upstream: %q}\n",
			w.Policy(t), filepath.Join(w.Dir, state), w.Stack.URL+"/tuf", w.Registry, "http://"+w.Registry)
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return []string{"proxy", "--config", file}
	}
	pulls := func(proxy *lab.Process) {
		t.Helper()
		for path, want := range map[string]int{"app": http.StatusOK, "unsigned": http.StatusForbidden} {
			resp, err := http.Get(proxy.URL + "/v2/acme/" + path + "/manifests/1")
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != want {
				t.Errorf("%s: HTTP %d, want %d: %s", path, resp.StatusCode, want, proxy.Log())
			}
		}
	}
	proxy := lab.Start(t, "/v2/", start("state")...)
	pulls(proxy)
	proxy.Kill()
	w.Stack.Kill()
	pulls(lab.Start(t, "/v2/", start("state")...))
	if out := lab.Touchmark(t, 3, start("elsewhere")...).Output(); !strings.Contains(out, "was never seen") {
		t.Errorf("it says %s", out)
	}
}
