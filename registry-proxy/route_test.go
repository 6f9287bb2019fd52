package registryproxy

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
)

const hex64 = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

func TestParseRequest(t *testing.T) {
	long := strings.Repeat("a", 255)
	for _, c := range []struct {
		path string
		want request
	}{
		{"/v2/", request{endpoint: endpointBase, pageSize: -1}},
		{"/v2/app/manifests/v1", request{endpoint: endpointManifest, repository: "app", tag: "v1", pageSize: -1}},
		{"/v2/a/b-c/d_e/f__g/h.i/manifests/_.-X", request{endpoint: endpointManifest, repository: "a/b-c/d_e/f__g/h.i", tag: "_.-X", pageSize: -1}},
		{"/v2/a/manifests/blobs/manifests/v1", request{endpoint: endpointManifest, repository: "a/manifests/blobs", tag: "v1", pageSize: -1}},
		{"/v2/app/manifests/sha256:" + hex64, request{endpoint: endpointManifest, repository: "app", digest: sha256Hash(hex64), pageSize: -1}},
		{"/v2/app/manifests/sha256-" + hex64 + ".sig", request{endpoint: endpointManifest, repository: "app", tag: "sha256-" + hex64 + ".sig", pageSize: -1}},
		{"/v2/app/blobs/sha256:" + hex64, request{endpoint: endpointBlob, repository: "app", digest: sha256Hash(hex64), pageSize: -1}},
		{"/v2/" + long + "/tags/list", request{endpoint: endpointTags, repository: long, pageSize: -1}},
		{"/v2/app/tags/list?n=5&last=v1", request{endpoint: endpointTags, repository: "app", pageSize: 5, last: "v1"}},
		{"/v2/app/tags/list?n=2147483647", request{endpoint: endpointTags, repository: "app", pageSize: maxTagsPage}},
		{"/v2/app/manifests/v1?ns=registry.acme.example", request{endpoint: endpointManifest, repository: "app", tag: "v1", namespace: "registry.acme.example", pageSize: -1}},
		{"/v2/app/referrers/sha256:" + hex64 + "?artifactType=application%2Fvnd.dev.sigstore.bundle.v0.3%2Bjson",
			request{endpoint: endpointReferrers, repository: "app", digest: sha256Hash(hex64), artifactType: "application/vnd.dev.sigstore.bundle.v0.3+json", pageSize: -1}},
	} {
		u, err := url.Parse(c.path)
		if err != nil {
			t.Fatal(err)
		}
		got, fail := parseRequest(u)
		c.want.visible = c.want.repository
		if fail != nil || got != c.want {
			t.Errorf("%s: got %+v, %v, want %+v", c.path, got, fail, c.want)
		}
	}
}

func TestPX18_PathsOutsideTheGrammarReachNobody(t *testing.T) {
	l := newLab(t)
	for _, path := range []string{
		"/v2/app%2fb/manifests/v1",
		"/v2/app%2Fb/manifests/v1",
		"/v2/%61pp/manifests/v1",
		"/v2/app/../b/manifests/v1",
		"/v2/../v2/app/manifests/v1",
		"/v2/./app/manifests/v1",
		"/v2/app/..;/manifests/v1",
		"/v2/app;x=1/manifests/v1",
		"/v2/app%00/manifests/v1",
		"/v2/app/manifests/v1%00",
		"/v2/app/manifests/v%0a1",
		"/v2/app/manifests/%2e%2e",
		"/v2/app/manifests/..",
		"/v2//app/manifests/v1",
		"/v2/app//manifests/v1",
		"/v2/App/manifests/v1",
		"/v2/app/B/manifests/v1",
		"/v2/app\\b/manifests/v1",
		"/v2/äpp/manifests/v1",
		"/v2/-app/manifests/v1",
		"/v2/app-/manifests/v1",
		"/v2/a___b/manifests/v1",
		"/v2/a..b/manifests/v1",
		"/v2/" + strings.Repeat("a", 256) + "/manifests/v1",
		"/v2/app/manifests/" + strings.Repeat("t", 129),
		"/v2/app/manifests/-v1",
		"/v2/app/manifests/",
		"/v2/app/manifests/v1:2",
		"/v2/" + strings.Repeat("a/", 10000) + "b/manifests/v1",
	} {
		l.wantRaw("GET", path, http.StatusBadRequest)
	}
	if n := l.seen(""); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	l.admitter.sign(digestOf(t, l.pushImage("app/b:v1")))
	l.want(l.get("/v2/app/b/manifests/v1"), 200, "") // the admitted twin
}

// wantRaw sends a request line as it is, which net/http's client would clean.
func (l *lab) wantRaw(method, path string, status int) {
	l.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: proxy\r\nConnection: close\r\n\r\n", method, path)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		l.t.Fatalf("%s %.80q: %v", method, path, err)
	}
	resp.Body.Close()
	if resp.StatusCode != status {
		l.t.Errorf("%s %.80q: got %d, want %d", method, path, resp.StatusCode, status)
	}
}

func TestA132_DigestsOutsideTheGrammarReachNobody(t *testing.T) {
	l := newLab(t)
	for _, digest := range []string{
		"sha256:" + strings.ToUpper(hex64),
		"sha256:" + hex64[1:],
		"sha256:" + hex64 + "0",
		"sha256:" + strings.Repeat("g", 64),
		"sha256:",
		"SHA256:" + hex64,
		"md5:d41d8cd98f00b204e9800998ecf8427e",
		"sha512:" + hex64 + hex64,
		"sha256:../../" + hex64[6:],
		"sha256%3a" + hex64,
		"sha256:" + hex64[:63] + "%00",
		"uploads",
	} {
		for _, endpoint := range []string{"blobs", "referrers"} {
			if strings.Contains(digest, "/") {
				l.wantRaw("GET", "/v2/app/"+endpoint+"/"+digest, http.StatusBadRequest)
				continue
			}
			l.wantRaw("GET", "/v2/app/"+endpoint+"/"+digest, http.StatusBadRequest)
		}
	}
	if n := l.seen(""); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestPX19_A145_OnlyReading(t *testing.T) {
	l := newLab(t)
	for _, method := range []string{"PUT", "POST", "PATCH", "DELETE", "OPTIONS", "TRACE", "LINK", "get"} {
		for _, path := range []string{"/", "/v2/", "/v2/app/manifests/v1", "/v2/app/blobs/uploads/", "/v2/app/blobs/sha256:" + hex64, "/v2/app/tags/list", "/v2/_catalog", "/v2/App/x", "/nowhere"} {
			r := l.want(l.do(method, path, "X-HTTP-Method-Override", "GET"), http.StatusMethodNotAllowed, codeUnsupported)
			if r.Header.Get("Allow") != "GET, HEAD" {
				t.Errorf("%s %s: Allow is %q", method, path, r.Header.Get("Allow"))
			}
		}
	}
	l.want(l.get("/v2/app/blobs/uploads/0123"), http.StatusNotFound, codeUnsupported)
	l.want(l.get("/v2/_catalog"), http.StatusNotFound, codeUnsupported)
	l.want(l.get("/"), http.StatusNotFound, codeUnsupported)
	l.want(l.get("/v2"), http.StatusNotFound, codeUnsupported)
	l.want(l.get("/v2/"), http.StatusOK, "")
	if n := l.seen(""); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
}

func TestPX33_A151_UnknownQueryParametersAreRefused(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.seen("")
	many := strings.Repeat("a=1&", 10001)
	for _, path := range []string{
		"/v2/app/manifests/v1?x=1",
		"/v2/app/manifests/v1?n=1",
		"/v2/app/manifests/v1?last=v1",
		"/v2/app/manifests/v1?ns=other.example",
		"/v2/app/manifests/v1?ns=registry.acme.example&ns=registry.acme.example",
		"/v2/app/manifests/v1?ns=registry.acme.example;x",
		"/v2/app/manifests/v1?NS=registry.acme.example",
		"/v2/app/manifests/v1?" + many,
		"/v2/app/manifests/v1?%zz",
		"/v2/app/blobs/sha256:" + hex64 + "?mount=sha256:" + hex64 + "&from=b",
		"/v2/app/blobs/sha256:" + hex64 + "?digest=sha256:" + hex64,
		"/v2/app/tags/list?n=1&n=2",
		"/v2/app/tags/list?n=-1",
		"/v2/app/tags/list?n=4294967296",
		"/v2/app/tags/list?n=x",
		"/v2/app/tags/list?last=" + url.QueryEscape("a/../b"),
		"/v2/app/referrers/sha256:" + hex64 + "?artifactType=" + url.QueryEscape("a/b\r\nX: y"),
		"/v2/?from=x",
	} {
		l.want(l.get(path), http.StatusBadRequest, codeUnsupported)
	}
	if n := l.seen(""); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	r := l.want(l.get("/v2/app/manifests/v1?ns=registry.acme.example"), http.StatusOK, "")
	if r.Header.Get("OCI-Namespace") != "registry.acme.example" {
		t.Errorf("OCI-Namespace is %q", r.Header.Get("OCI-Namespace"))
	}
	if l.seen("ns=") != 0 {
		t.Error("the client's query was forwarded")
	}
}
