package clients

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// oras pulls and copies through the proxy what the policy admits, finds the signature beside it, and shows why it gets nothing else.
func TestOras(t *testing.T) {
	start(t)
	oras := client{Command: lab.Command{Program: lab.Tool(t, "oras-v1.3.6"), Env: offline}, name: "oras 1.3.6", shown: "oras"}
	for _, withReferrers := range []bool{true, false} {
		t.Run(map[bool]string{true: "referrers", false: "fallback tag"}[withReferrers], func(t *testing.T) {
			w := newWorld(t, withReferrers)
			proxy := lab.Start(t, "/v2/", "proxy", "--upstream", "http://"+w.Registry, "--listen", "127.0.0.1:0", "--policy", w.Policy(t), "--trusted-root", w.Root)
			host := w.call(strings.TrimPrefix(proxy.URL, "http://"), "$PROXY")
			for i, who := range []string{alice, mallory, ""} {
				repository := map[string]string{alice: "acme/app", mallory: "acme/other", "": "acme/unsigned"}[who]
				image := w.Image(t, repository, int64(i+1))
				if who != "" {
					lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", who, "--trusted-root", w.Root, image)
				}
			}
			image := func(repository string) string { return host + "/" + repository + ":1" }
			w.does(t, oras, "fetches a manifest", nil, "manifest", "fetch", "--plain-http", image("acme/app"))
			w.does(t, oras, "copies an image", nil, "cp", "--from-plain-http", "--to-oci-layout", image("acme/app"), w.path("layout")+":1")
			found := w.does(t, oras, "finds signatures", nil, "discover", "--plain-http", image("acme/app"))
			if n := strings.Count(found.Stdout, "sha256:"); n != 2 {
				t.Errorf("oras discover shows %d digests, want the image's and the signature's:\n%s", n, found.Stdout)
			}
			w.refuses(t, oras, "fetches a manifest", "of somebody else's image", mallory, nil, "manifest", "fetch", "--plain-http", image("acme/other"))
			w.refuses(t, oras, "copies an image", "that nobody signed", "is not signed", nil, "cp", "--from-plain-http", "--to-oci-layout", image("acme/unsigned"), w.path("layout")+":2")
		})
	}
}
