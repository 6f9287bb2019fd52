package registryproxy

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// behind serves a front of mounts in the place of the lab's own proxy.
func (l *lab) behind(c FrontConfig) {
	l.t.Helper()
	c.Logger = l.proxy.logger
	f, err := NewFront(c)
	if err != nil {
		l.t.Fatal(err)
	}
	server := httptest.NewServer(f)
	l.t.Cleanup(server.Close)
	l.url = server.URL
}

// fronted is a lab whose proxy is known by a name.
func fronted(t *testing.T, name string) *lab {
	return newLab(t, withConfig(func(c *Config) { c.LogicalName = name }))
}

func TestPX21_PX33_ManyRegistries(t *testing.T) {
	hub, acme := fronted(t, "docker.io"), fronted(t, "registry.acme.example")
	// The same name at both, and only acme's is signed.
	hub.pushImage("library/app:v1")
	signed := acme.pushImage("library/app:v1")
	alpine := hub.pushImage("library/alpine:v1")
	acme.pushImage("hub/alpine:v1")
	acme.admitter.sign(digestOf(t, signed))
	hub.admitter.sign(digestOf(t, alpine))
	hub.behind(FrontConfig{Mounts: []*Mount{
		{Proxy: hub.proxy, Hosts: []string{"hub.example", "two.example:5443"}, Prefix: "hub"},
		{Proxy: acme.proxy, Hosts: []string{"acme.example", "two.example"}},
	}})
	for _, c := range []struct {
		name, host, path string
		status           int
		code             string
		digest           v1.Hash
	}{
		{"ns", "", "/v2/library/app/manifests/v1?ns=registry.acme.example", 200, "", digestOf(t, signed)},
		{"ns of the other", "", "/v2/library/app/manifests/v1?ns=docker.io", 403, codeDenied, v1.Hash{}},
		{"host", "acme.example", "/v2/library/app/manifests/v1", 200, "", digestOf(t, signed)},
		{"host of the other", "hub.example", "/v2/library/app/manifests/v1", 403, codeDenied, v1.Hash{}},
		{"host with its port", "hub.example:5443", "/v2/library/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"host in capitals", "HUB.example", "/v2/library/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"host with a port that is named", "two.example:5443", "/v2/library/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"the same, fully qualified, in upper case", "Two.Example.:5443", "/v2/library/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"host with another port", "two.example:1", "/v2/library/app/manifests/v1", 200, "", digestOf(t, signed)},
		{"host without that port", "two.example", "/v2/library/app/manifests/v1", 200, "", digestOf(t, signed)},
		{"part of a host", "example:5443", "/v2/library/alpine/manifests/v1", 404, codeNameUnknown, v1.Hash{}},
		{"short name", "hub.example", "/v2/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"prefix", "", "/v2/hub/library/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"prefix and short name", "", "/v2/hub/alpine/manifests/v1", 200, "", digestOf(t, alpine)},
		{"prefix at a host that is another registry", "acme.example", "/v2/hub/alpine/manifests/v1", 403, codeDenied, v1.Hash{}},
		{"prefix and ns agree", "", "/v2/hub/library/alpine/manifests/v1?ns=docker.io", 200, "", digestOf(t, alpine)},
		{"prefix and ns disagree", "", "/v2/hub/library/alpine/manifests/v1?ns=registry.acme.example", 400, codeUnsupported, v1.Hash{}},
		{"host and ns disagree", "acme.example", "/v2/library/app/manifests/v1?ns=docker.io", 400, codeUnsupported, v1.Hash{}},
		{"unknown ns", "", "/v2/library/app/manifests/v1?ns=evil.example", 400, codeUnsupported, v1.Hash{}},
		{"ns that is part of one", "", "/v2/library/app/manifests/v1?ns=acme.example", 400, codeUnsupported, v1.Hash{}},
		{"empty ns", "", "/v2/library/app/manifests/v1?ns=", 400, codeUnsupported, v1.Hash{}},
		{"nothing", "", "/v2/library/app/manifests/v1", 404, codeNameUnknown, v1.Hash{}},
		{"part of the prefix", "", "/v2/hubble/app/manifests/v1", 404, codeNameUnknown, v1.Hash{}},
		{"prefix alone", "", "/v2/hub/manifests/v1", 404, codeNameUnknown, v1.Hash{}},
		{"ping", "", "/v2/", 200, "", v1.Hash{}},
	} {
		r := hub.request(c.host, c.path)
		if r.StatusCode != c.status || r.code() != c.code {
			t.Errorf("%s: got %d %s, want %d %s", c.name, r.StatusCode, r.body, c.status, c.code)
		}
		if got := r.Header.Get("Docker-Content-Digest"); c.digest.Hex != "" && got != c.digest.String() {
			t.Errorf("%s: got %s, want %s", c.name, got, c.digest)
		}
		if c.status != 200 && strings.Contains(string(r.body), "schemaVersion") {
			t.Errorf("%s: a manifest is in %s", c.name, r.body)
		}
	}
	// What was admitted at one registry admits no blob at the other.
	layer := layerDigests(t, signed)[0].String()
	if r := hub.request("acme.example", "/v2/library/app/blobs/"+layer); r.StatusCode != 200 {
		t.Errorf("a layer of the signed image: %d %s", r.StatusCode, r.body)
	}
	if r := hub.request("hub.example", "/v2/library/app/blobs/"+layer); r.StatusCode == 200 {
		t.Error("a layer was served as another registry's")
	}
}

// request asks with a Host header.
func (l *lab) request(host, path string, headers ...string) reply {
	l.t.Helper()
	req, err := http.NewRequestWithContext(l.t.Context(), http.MethodGet, l.url+path, nil)
	if err != nil {
		l.t.Fatal(err)
	}
	req.Host = host
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Add(headers[i], headers[i+1])
	}
	resp, err := http.DefaultTransport.RoundTrip(req)
	if err != nil {
		return reply{err: err, Response: &http.Response{Header: http.Header{}}}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	return reply{resp, body, err}
}

// Lists name repositories as the client did, so that the next page is the same registry's.
func TestPX31_PrefixInLists(t *testing.T) {
	l := fronted(t, "docker.io")
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/library/app/tags/list" {
			return false
		}
		w.Header().Set("Link", `</v2/library/app/tags/list?last=b&n=2>; rel="next"`)
		io.WriteString(w, `{"name":"library/app","tags":["a","b"]}`)
		return true
	})
	l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy, Prefix: "hub"}}})
	r := l.want(l.get("/v2/hub/app/tags/list?n=2"), 200, "")
	var list tagList
	if err := json.Unmarshal(r.body, &list); err != nil || list.Name != "hub/app" || len(list.Tags) != 2 {
		t.Errorf("got %s", r.body)
	}
	if link := r.Header.Get("Link"); link != `</v2/hub/app/tags/list?last=b&n=2>; rel="next"` {
		t.Errorf("the next page is %s", link)
	}
}

func TestFrontIsUnambiguous(t *testing.T) {
	mount := func(name string, edit func(*Mount)) *Mount {
		m := &Mount{Proxy: fronted(t, name).proxy}
		if edit != nil {
			edit(m)
		}
		return m
	}
	for _, c := range []struct {
		name   string
		mounts []*Mount
		want   string // empty: good
	}{
		{"none", nil, "registries: is empty"},
		{"one", []*Mount{mount("a.example", nil)}, ""},
		{"two", []*Mount{mount("a.example", nil), mount("b.example", nil)}, ""},
		{"one name twice", []*Mount{mount("a.example", nil), mount("a.example", nil)}, "registries[1]: name a.example stands twice"},
		{"one host twice", []*Mount{mount("a.example", func(m *Mount) { m.Hosts = []string{"x"} }), mount("b.example", func(m *Mount) { m.Hosts = []string{"x"} })}, "registries[1]: host x stands twice"},
		{"one prefix twice", []*Mount{mount("a.example", func(m *Mount) { m.Prefix = "x" }), mount("b.example", func(m *Mount) { m.Prefix = "x" })}, "registries[1]: prefix x stands twice"},
		{"a prefix in another", []*Mount{mount("a.example", func(m *Mount) { m.Prefix = "x" }), mount("b.example", func(m *Mount) { m.Prefix = "x/y" })}, ""},
		{"prefix that is none", []*Mount{mount("a.example", func(m *Mount) { m.Prefix = "/x" })}, "registries[0].prefix"},
		{"host that is none", []*Mount{mount("a.example", func(m *Mount) { m.Hosts = []string{"https://x"} })}, "registries[0].hosts"},
		{"another's name as host", []*Mount{mount("a.example", nil), mount("b.example", func(m *Mount) { m.Hosts = []string{"a.example"} })}, "registries[1].hosts: a.example is another registry's name"},
		{"passed through without a host", []*Mount{mount("a.example", nil), mount("b.example", func(m *Mount) { m.upstream.passThrough = true })}, "registries[1].hosts: is missing"},
	} {
		_, err := NewFront(FrontConfig{Mounts: c.mounts})
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", c.name, err, c.want)
		}
	}
}

// clients makes logins for alice (everything), bob (nothing) and, if anonymous, for everybody (public).
func clients(t *testing.T, anonymous bool) *auth.Clients {
	t.Helper()
	file := filepath.Join(t.TempDir(), "users")
	var lines string
	for _, name := range []string{"alice", "bob"} {
		hash, err := bcrypt.GenerateFromPassword([]byte(name), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		lines += name + ":" + string(hash) + "\n"
	}
	if err := os.WriteFile(file, []byte(lines), 0o600); err != nil {
		t.Fatal(err)
	}
	c, err := auth.New(auth.Config{Htpasswd: file, Anonymous: anonymous, Access: []auth.Rule{
		{Subjects: []string{"user:alice"}, Repositories: []string{"**"}, Page: true},
		{Subjects: []string{"anonymous", "user:bob"}, Repositories: []string{"registry.acme.example/public/**"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func basic(name string) []string {
	req := http.Request{Header: http.Header{}}
	req.SetBasicAuth(name, name)
	return []string{"Authorization", req.Header.Get("Authorization")}
}

func TestClientsReadWhatTheyMay(t *testing.T) {
	for _, anonymous := range []bool{true, false} {
		l := newLab(t)
		private, public := l.pushImage("private/app:v1"), l.pushImage("public/app:v1")
		refused := l.pushImage("public/app:bad")
		l.admitter.sign(digestOf(t, private), digestOf(t, public))
		page := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "decisions") })
		l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy}}, Clients: clients(t, anonymous), Page: page})
		nobody := 401
		if anonymous {
			nobody = 200
		}
		for _, c := range []struct {
			who, path string
			status    int
		}{
			{"alice", "/v2/", 200},
			{"", "/v2/", 401}, // or clients would not log in
			{"mallory", "/v2/", 401},
			{"alice", "/v2/private/app/manifests/v1", 200},
			{"alice", "/v2/private/app/tags/list", 200},
			{"bob", "/v2/private/app/manifests/v1", 403},
			{"bob", "/v2/private/app/tags/list", 403},
			{"bob", "/v2/private/app/referrers/" + digestOf(t, private).String(), 403},
			{"bob", "/v2/private/app/blobs/" + layerDigests(t, private)[0].String(), 403},
			{"bob", "/v2/nowhere/app/manifests/v1", 403},
			{"bob", "/v2/public/app/manifests/v1", 200},
			{"mallory", "/v2/public/app/manifests/v1", 401},
			{"", "/v2/private/app/manifests/v1", 401},
			{"", "/v2/nowhere/app/manifests/v1", 401},
			{"", "/v2/public/app/manifests/v1", nobody},
			{"", "/v2/public/app/blobs/" + layerDigests(t, public)[0].String(), nobody},
			{"alice", "/", 200},
			{"bob", "/", 403},
			{"", "/", 401},
			{"", "/metrics", 401},
		} {
			var headers []string
			if c.who != "" {
				headers = basic(c.who)
			}
			r := l.get(c.path, headers...)
			if r.StatusCode != c.status {
				t.Errorf("anonymous %v: %s %s: got %d %s, want %d", anonymous, c.who, c.path, r.StatusCode, r.body, c.status)
			}
			if challenge := r.Header.Get("WWW-Authenticate"); (challenge != "") != (c.status == 401) || c.status == 401 && r.code() != codeUnauthorized {
				t.Errorf("anonymous %v: %s %s: challenge %q, code %s", anonymous, c.who, c.path, challenge, r.code())
			}
		}
		// Why, is for those who have a name; that it was refused, for everybody.
		bad := "/v2/public/app/manifests/" + digestOf(t, refused).String()
		if r := l.want(l.get(bad, basic("alice")...), 403, codeDenied); !strings.Contains(string(r.body), `"detail"`) || !strings.Contains(string(r.body), "manifestRequests") {
			t.Errorf("alice is told %s", r.body)
		}
		if !anonymous {
			continue
		}
		if r := l.want(l.get(bad), 403, codeDenied); strings.Contains(string(r.body), "manifestRequests") || !strings.Contains(string(r.body), "unsigned") {
			t.Errorf("everybody is told %s", r.body)
		}
		if log := l.logs.String(); strings.Contains(log, basic("alice")[1]) || !strings.Contains(log, `"who":"user:alice"`) {
			t.Error("the log has a password, or not who asked")
		}
	}
}

// PX-27: who tries passwords is told to wait, in the registry's form.
func TestPX27_TooManyLogins(t *testing.T) {
	l := newLab(t)
	hash, err := bcrypt.GenerateFromPassword([]byte("right"), 6) // some 4 ms: more come than can be compared meanwhile
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "users")
	if err := os.WriteFile(file, []byte("alice:"+string(hash)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	clients, err := auth.New(auth.Config{Htpasswd: file})
	if err != nil {
		t.Fatal(err)
	}
	l.behind(FrontConfig{Mounts: []*Mount{{Proxy: l.proxy}}, Clients: clients})
	login := func(password string) reply {
		req := http.Request{Header: http.Header{}}
		req.SetBasicAuth("alice", password)
		return l.get("/v2/", "Authorization", req.Header.Get("Authorization"))
	}
	l.want(login("right"), http.StatusOK, "")
	var group sync.WaitGroup
	statuses := make([]int, 200)
	for i := range statuses {
		group.Go(func() {
			r := login(fmt.Sprint("wrong", i))
			statuses[i] = r.StatusCode
			if r.StatusCode == http.StatusTooManyRequests && (r.code() != codeTooMany || r.Header.Get("Retry-After") == "") {
				t.Errorf("got %v %s", r.Header, r.body)
			}
		})
	}
	l.want(login("right"), http.StatusOK, "")
	group.Wait()
	count := map[int]int{}
	for _, status := range statuses {
		count[status]++
	}
	if count[http.StatusTooManyRequests] == 0 || count[http.StatusUnauthorized] == 0 || len(count) != 2 {
		t.Errorf("got %v", count)
	}
}

// PX-20, PX-27: what could be read in two ways is refused before anything is asked of the upstream.
func TestPX20_Smuggling(t *testing.T) {
	l := newLab(t)
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	l.seen("")
	const get = "GET /v2/app/manifests/v1 HTTP/1.1\r\n"
	for name, raw := range map[string]string{
		"CL and TE":                 get + "Host: p\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /v2/x/manifests/y HTTP/1.1\r\nHost: p\r\n\r\n",
		"a body":                    get + "Host: p\r\nContent-Length: 4\r\n\r\nGET ",
		"two lengths":               get + "Host: p\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
		"a length that is none":     get + "Host: p\r\nContent-Length: +1\r\n\r\na",
		"TE that is none":           get + "Host: p\r\nTransfer-Encoding: xchunked\r\n\r\n",
		"TE twice":                  get + "Host: p\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
		"space before the colon":    get + "Host: p\r\nTransfer-Encoding : chunked\r\n\r\n",
		"folded header":             get + " folded: x\r\nHost: p\r\n\r\n",
		"two hosts":                 get + "Host: a\r\nHost: b\r\n\r\n",
		"no host":                   get + "\r\n",
		"NUL in a header":           get + "Host: p\r\nX: a\x00b\r\n\r\n",
		"a line break in a header":  get + "Host: p\r\nX: a\rb\r\n\r\n",
		"header without a name":     get + "Host: p\r\n: x\r\n\r\n",
		"a request line of its own": "GET /v2/app/manifests/v1 x HTTP/1.1\r\nHost: p\r\n\r\n",
		"another protocol":          "GET /v2/app/manifests/v1 HTTP/9.9\r\nHost: p\r\n\r\n",
		"HTTP/2 without TLS":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
	} {
		answer := l.raw(raw)
		if !strings.HasPrefix(answer, "HTTP/1.1 4") && !strings.HasPrefix(answer, "HTTP/1.1 5") || strings.Contains(answer, "schemaVersion") || strings.Count(answer, "HTTP/1.1 ") > 1 {
			t.Errorf("%s: got %.300q", name, answer)
		}
	}
	if n := l.seen(""); n != 0 {
		t.Errorf("the upstream got %d requests", n)
	}
	for name, raw := range map[string]string{
		"as it should be": get + "Host: p\r\nConnection: close\r\n\r\n",
		"absolute form":   "GET http://elsewhere.example/v2/app/manifests/v1 HTTP/1.1\r\nHost: p\r\nConnection: close\r\n\r\n",
		"empty body":      get + "Host: p\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
	} {
		if answer := l.raw(raw); !strings.HasPrefix(answer, "HTTP/1.1 200 ") || strings.Count(answer, "HTTP/1.1 ") > 1 {
			t.Errorf("%s: got %.300q", name, answer)
		}
	}
}

// raw sends bytes as they are, and returns all that comes back.
func (l *lab) raw(request string) string {
	l.t.Helper()
	conn, err := net.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		l.t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, request); err != nil {
		l.t.Fatal(err)
	}
	_ = conn.SetReadDeadline(time.Now().Add(30 * time.Second)) // every one of these ends the connection
	answer, _ := io.ReadAll(bufio.NewReader(conn))             // what came before a reset counts
	return string(answer)
}

// PX-27: headers have a limit, and the answer the registry's form.
func TestPX27_LargeHeaders(t *testing.T) {
	l := newLab(t)
	l.admitter.sign(digestOf(t, l.pushImage("app:v1")))
	l.want(l.get("/v2/app/manifests/v1", "X-Large", strings.Repeat("a", maxHeaderBytes+1)), http.StatusRequestHeaderFieldsTooLarge, codeUnsupported)
	var many []string
	for i := range 400 {
		many = append(many, fmt.Sprintf("X-%d", i), strings.Repeat("a", 64))
	}
	l.want(l.get("/v2/app/manifests/v1", many...), http.StatusRequestHeaderFieldsTooLarge, codeUnsupported)
	l.want(l.get("/v2/app/manifests/v1", "Authorization", "Bearer "+strings.Repeat("a", 16<<10)), 200, "") // the twin
}

// PX-17: credentials for this proxy get to no upstream that clients are passed through to, however it is named.
func TestPX17_OtherCredentialsAreNotPassedThrough(t *testing.T) {
	own := fronted(t, "registry.acme.example")
	through := newLab(t, withConfig(func(c *Config) { c.LogicalName, c.PassThrough = "through.example", true }))
	img := through.pushImage("app:v1")
	through.admitter.sign(digestOf(t, img))
	own.behind(FrontConfig{Mounts: []*Mount{{Proxy: own.proxy, Prefix: "acme", Hosts: []string{"own.pull.example:5443"}}, {Proxy: through.proxy, Hosts: []string{"through.pull.example", "own.pull.example"}, Prefix: "through"}}})
	through.seen("")
	secret := []string{"Authorization", "Basic cHJveHk6c2VjcmV0"}
	for _, c := range []struct{ host, path string }{
		{"", "/v2/app/manifests/v1?ns=through.example"}, {"pull.example", "/v2/through/app/manifests/v1"}, {"", "/v2/?ns=through.example"},
		{"through.pull.example.evil:1", "/v2/app/tags/list?ns=through.example"}, {"own.pull.example:5443", "/v2/app/tags/list?ns=through.example"},
	} {
		if r := own.request(c.host, c.path, secret...); r.StatusCode != http.StatusBadRequest {
			t.Errorf("%s%s: %d %s", c.host, c.path, r.StatusCode, r.body)
		}
	}
	if n := through.seen(""); n > 0 {
		t.Errorf("%d requests reached the upstream", n)
	}
	for _, path := range []string{"/v2/app/manifests/v1", "/v2/app/manifests/v1?ns=through.example"} {
		if r := own.request("through.pull.example", path, secret...); r.StatusCode != http.StatusOK {
			t.Errorf("%s at its own host: %d %s", path, r.StatusCode, r.body)
		}
	}
}
