package registryproxy

import (
	"io"
	"net/http"
	"strings"
	"testing"
)

// A web page whose name resolves to this machine is another host's, whatever it asks for.
func TestPX16_DNSRebinding(t *testing.T) {
	l := fronted(t, "registry.acme.example")
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "decisions") })
	mounts := []*Mount{{Proxy: l.proxy, Hosts: []string{"acme.example", "acme.example:5443"}, Prefix: "acme"}}
	l.behind(FrontConfig{Mounts: mounts, OnlyNames: true, Names: []string{"proxy.example", "other.example:5443"}, Page: page})
	ask := func(host string, status int) {
		t.Helper()
		paths := []string{"/v2/", "/v2/acme/app/manifests/v1", "/v2/app/tags/list?ns=registry.acme.example", "/", "/index.html"}
		if strings.HasPrefix(host, "acme.example") {
			paths[1] = "/v2/app/manifests/v1"
		}
		for _, path := range paths {
			r := l.request(host, path)
			if r.StatusCode != status {
				t.Errorf("%s at %s: %d %s", path, host, r.StatusCode, r.body)
			}
			if status == http.StatusMisdirectedRequest && (r.code() != codeUnsupported || !strings.Contains(string(r.body), "names in proxy.yaml")) {
				t.Errorf("%s at %s is told %s", path, host, r.body)
			}
		}
	}
	for _, host := range []string{
		"", "127.0.0.1", "127.0.0.1:5000", "[::1]:5000", "[::1]", "10.0.0.1:5000", "localhost", "LOCALHOST:5000", "localhost.:5000", "hub.localhost:5000",
		"acme.example", "acme.example:5443", "proxy.example", "Proxy.Example:5000", "other.example", "other.example:1",
	} {
		ask(host, http.StatusOK)
	}
	for _, host := range []string{
		"evil.example", "evil.example:5000", "localhost.evil.example", "127.0.0.1.evil.example:5000", "notlocalhost", "proxy.example.evil.example", "registry.acme.example", "0x7f000001.", "[evil.example]",
	} {
		ask(host, http.StatusMisdirectedRequest)
	}
	if answer := l.raw("GET http://evil.example/v2/acme/app/manifests/v1 HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"); !strings.HasPrefix(answer, "HTTP/1.1 421 ") {
		t.Errorf("absolute form: %.300q", answer)
	}
	// Where clients have names of their own the Host header says only which registry is meant.
	l.behind(FrontConfig{Mounts: mounts, Page: page})
	ask("anything.example", http.StatusOK)
}
