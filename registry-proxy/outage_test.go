package registryproxy

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

func TestPX25_NoOutageAdmitsOrReadsAsUnsigned(t *testing.T) {
	status := func(code int) func(w http.ResponseWriter) {
		return func(w http.ResponseWriter) { w.WriteHeader(code) }
	}
	reset := func(w http.ResponseWriter) { panic(http.ErrAbortHandler) }
	truncate := func(w http.ResponseWriter) {
		w.Header().Set("Content-Type", typeDockerManifest)
		w.Header().Set("Content-Length", "1000")
		io.WriteString(w, `{"schemaVersion":2,`)
		w.(http.Flusher).Flush()
		panic(http.ErrAbortHandler)
	}
	for _, c := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		status int
	}{
		{"500", status(500), 503},
		{"502", status(502), 503},
		{"503", status(503), 503},
		{"429", status(429), 503},
		{"401", status(401), 502},
		{"403", status(403), 502},
		{"412", status(412), 502},
		{"418", status(418), 502},
		{"204", status(204), 502},
		{"reset", reset, 503},
		{"truncated", truncate, 503},
	} {
		for _, part := range []string{"/v2/", "/manifests/", "/blobs/", "/tags/list", "/referrers/"} {
			l := newLab(t)
			img := l.pushImage("app:v1")
			l.admitter.sign(digestOf(t, img))
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if part == "/v2/" && r.URL.Path == "/v2/" || part != "/v2/" && strings.Contains(r.URL.Path, part) {
					c.answer(w)
					return true
				}
				return false
			})
			path := "/v2/app/manifests/v1"
			switch part {
			case "/blobs/":
				l.want(l.get(path), http.StatusOK, "")
				path = "/v2/app/blobs/" + layerDigests(t, img)[0].String()
			case "/tags/list":
				path = "/v2/app/tags/list"
			case "/referrers/":
				path = "/v2/app/referrers/" + digestOf(t, img).String()
			}
			r := l.get(path)
			want := c.status
			if c.name == "412" && part == "/manifests/" {
				want = http.StatusPreconditionFailed // a rule of the upstream's own, as it says
			}
			if part == "/v2/" && c.name == "401" || part == "/v2/" && c.name == "truncated" || part == "/blobs/" && c.name == "truncated" {
				continue // a challenge; a ping with a short body; a blob of the wrong length: other tests
			}
			if r.StatusCode != want || r.code() == codeDenied || strings.Contains(r.message(), "unsigned") || r.message() == "" {
				t.Errorf("%s on %s: got %d %s, want %d", c.name, part, r.StatusCode, r.body, want)
			}
			if host := strings.TrimPrefix(l.upstream.URL, "http://"); strings.Contains(string(r.body), host) {
				t.Errorf("%s on %s: the upstream's address is in %s", c.name, part, r.body)
			}
		}
	}
	// The upstream is gone, or is no registry, or its name does not resolve.
	for _, upstream := range []string{"http://127.0.0.1:1", "https://127.0.0.1:1", "http://registry.invalid"} {
		l := newLab(t, withConfig(func(c *Config) { c.Upstream = upstream }))
		l.want(l.get("/v2/app/manifests/v1"), http.StatusServiceUnavailable, codeUnavailable)
	}
	// A plain HTTP registry behind an https upstream.
	l := newLab(t, withConfig(func(c *Config) { c.Upstream = strings.Replace(c.Upstream, "http:", "https:", 1) }))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusServiceUnavailable, codeUnavailable)
}

func TestPX25_PX26_UndecidedIsNeverDenied(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	for _, v := range []gate.Verdict{
		{},
		{Outcome: "yes"},
		{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "asking registry: GET " + l.upstream.URL + "/v2/app/referrers/x: status 500"},
		{Outcome: gate.OutcomeUndecided, Code: gate.CodeInternal, Reason: "internal error"},
		{Outcome: gate.OutcomeUndecided, Code: gate.CodeAdmitted}, // contradicts itself
	} {
		l.admitter.answer(digestOf(t, img), v)
		r := l.want(l.get("/v2/app/manifests/v1"), http.StatusServiceUnavailable, codeUnavailable)
		if strings.Contains(string(r.body), "127.0.0.1") {
			t.Errorf("the upstream's address is in %s", r.body)
		}
	}
	l.admitter.answer(digestOf(t, img), gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNoPolicy, Reason: "no policy is about registry.acme.example/app"})
	r := l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
	if !strings.Contains(r.message(), "no policy") {
		t.Errorf("message is %q", r.message())
	}
}
