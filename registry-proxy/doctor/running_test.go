package doctor_test

import (
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/doctor"
)

// live are the causes that a running proxy shows; before it there are no findings.
var live = []struct {
	code string
	ruin func(*place)
}{
	{"proxy-down", func(p *place) { p.config.URL = "http://" + closed(p.t) }},
	{"proxy-down", func(p *place) { p.config.Metrics = "http://" + closed(p.t) }},
	{"proxy-foreign", func(p *place) { p.config.URL = p.instead(p.config.Metrics, "", "") }},
	{"proxy-foreign", func(p *place) {
		p.config.URL = "https://" + strings.TrimPrefix(p.instead(p.config.URL, "", ""), "http://")
	}},
	{"proxy-foreign", func(p *place) { p.config.URL = "https://" + p.greeting("SSH-2.0-OpenSSH_10.0\r\n") }},
	{"proxy-foreign", func(p *place) { p.config.Metrics = "https://" + strings.TrimPrefix(p.config.Metrics, "http://") }},
	{"proxy-foreign", func(p *place) { p.config.Metrics = p.instead(p.config.Metrics, "touchmark_reload_failed", "other") }},
	{"proxy-not-ready", func(p *place) { p.config.Metrics = p.instead(p.config.Metrics, "ready\n", "stopping\n") }},
	{"decisions-dropped", func(p *place) {
		p.config.Metrics = p.instead(p.config.Metrics, "touchmark_proxy_decisions_dropped_total 0", "touchmark_proxy_decisions_dropped_total 7")
	}},
	{"proxy-reload-failed", func(p *place) {
		p.set("nonsense", "1")
		p.await("touchmark_reload_failed 1")
		delete(p.lines, "nonsense")
		p.set("page", "true") // which is good, and not read yet
	}},
	{"proxy-outdated", func(p *place) { p.set("page", "true") }},
	{"proxy-outdated", func(p *place) { p.edit("policy.d/policy.yaml", "release@", "releases@") }},
	{"proxy-outdated", func(p *place) { p.rootUntil(1000 * time.Hour) }},
	{"trust-refresh-failing", func(p *place) {
		p.await(`touchmark_trust_root_refreshed_timestamp\{name="acme"\} [1-9]`)
		p.config.Now = p.config.Now.Add(4 * time.Hour)
	}},
	{"proxy-authority-unknown", func(p *place) {
		target, err := url.Parse(p.config.URL)
		if err != nil {
			p.t.Fatal(err)
		}
		front := httptest.NewUnstartedServer(httputil.NewSingleHostReverseProxy(target))
		front.Config.ErrorLog = log.New(io.Discard, "", 0) // which says that it was not believed
		front.StartTLS()
		p.t.Cleanup(front.Close)
		p.config.URL = front.URL
		p.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: front.Certificate().Raw})))
		p.config.CA = p.path("ca.pem")
		if report := p.examine(); len(report.Findings) > 0 {
			p.t.Errorf("by an authority that is named: %v", report.Findings)
		}
		p.config.CA = ""
	}},
	{"proxy-certificate-old", func(p *place) {
		other := httptest.NewTLSServer(http.NotFoundHandler())
		p.t.Cleanup(other.Close)
		p.config.URL = other.URL
	}},
}

// instead is another proxy's address, which says something in the place of what a good one says.
func (p *place) instead(url, before, after string) string {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		resp, err := http.Get(url + r.URL.Path)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadGateway)
			return
		}
		if before == "ready\n" && r.URL.Path == "/readyz" {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = io.WriteString(w, strings.ReplaceAll(string(body), before, after)) // who went away does not need it
	}))
	p.t.Cleanup(server.Close)
	return server.URL
}

// greeting is the address of a server that says something, and hears nothing.
func (p *place) greeting(text string) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		p.t.Fatal(err)
	}
	p.t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(conn, text)
			_, _ = io.Copy(io.Discard, conn) // until the other side has read it
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// await waits until the running proxy's metrics say something, a regular expression for the beginning of a line.
func (p *place) await(line string) {
	p.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(30 * time.Second); ; {
		resp, err := http.Get(p.config.Metrics + "/metrics")
		if err != nil {
			p.t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil {
			p.t.Fatal(err)
		}
		if regexp.MustCompile("(?m)^" + line).Match(body) {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("the metrics never had %s", line)
		case <-tick.C:
		}
	}
}

// What runs is asked, and not only what is written.
func TestRunning(t *testing.T) {
	for _, c := range live {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			p := newPlace(t)
			switch c.code {
			case "proxy-certificate-old":
				p.tls(1000 * time.Hour)
			case "trust-refresh-failing":
				p.follow()
			}
			p.run()
			if report := p.examine(); len(report.Findings) > 0 {
				t.Fatalf("before: %v", report.Findings)
			}
			c.ruin(p)
			hold(t, p.examine(), c.code)
		})
	}
}

// The running proxy is asked for images; only DENIED is a refusal, and only 200 an admission.
func TestProbe(t *testing.T) {
	for _, c := range []struct {
		name    string
		prepare func(*place)
		probe   doctor.Probe
		want    string // the code; empty for none
		failed  string // of the error; empty for none
	}{
		{"as it ought to be", nil, doctor.Probe{Unsigned: "registry.acme.example/app:v1", Good: "registry.acme.example/free:v1"}, "", ""},
		{"with TLS", func(p *place) { p.tls(1000 * time.Hour) }, doctor.Probe{Unsigned: "registry.acme.example/app:v1", Good: "registry.acme.example/free:v1"}, "", ""},
		{"observed", func(p *place) { p.about("mode: observe") }, doctor.Probe{Unsigned: "registry.acme.example/app:v1"}, "probe-admitted", ""},
		{"pinned", func(p *place) {
			digest, err := coretest.Image(p.t, 1).Digest()
			if err != nil {
				p.t.Fatal(err)
			}
			p.site(fmt.Sprintf("pins: [{image: %q, reason: r, by: b, review: 2099-01-01}]", digest))
		}, doctor.Probe{Unsigned: "registry.acme.example/app:v1"}, "probe-admitted", ""},
		{"mixed up", nil, doctor.Probe{Good: "registry.acme.example/app:v1"}, "probe-refused", ""},
		{"no such image", nil, doctor.Probe{Unsigned: "registry.acme.example/app:v2"}, "probe-failed", ""},
		{"no login", func(p *place) { p.elsewhere(); p.set("listen", "127.0.0.1:0") }, doctor.Probe{Unsigned: "registry.acme.example/app:v1"}, "probe-failed", ""},
		{"login", func(p *place) { p.elsewhere(); p.set("listen", "127.0.0.1:0") }, doctor.Probe{Unsigned: "registry.acme.example/app:v1", Good: "registry.acme.example/free:v1", Username: "ci", Password: "secret"}, "", ""},
		{"may not read", func(p *place) {
			p.elsewhere()
			p.set("listen", "127.0.0.1:0")
			p.set("auth", `{htpasswd: users, access: [{subjects: ["user:ci"], repositories: [registry.acme.example/free]}]}`)
		}, doctor.Probe{Unsigned: "registry.acme.example/app:v1", Username: "ci", Password: "secret"}, "probe-failed", ""},
		{"another registry", nil, doctor.Probe{Unsigned: "alpine:3"}, "", "no registry docker.io"},
		{"no name", nil, doctor.Probe{Good: "no/Name"}, "", "probing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPlace(t)
			if c.prepare != nil {
				c.prepare(p)
			}
			p.run()
			report := p.examine()
			if c.name != "observed" && len(report.Findings) > 0 {
				t.Errorf("before: %v", report.Findings)
			}
			err := c.probe.Run(t.Context(), p.config, report)
			if (err != nil) != (c.failed != "") || err != nil && !strings.Contains(err.Error(), c.failed) {
				t.Fatal(err)
			}
			if c.name == "pinned" && (len(report.Findings) != 1 || !strings.Contains(report.Findings[0].Remedy, "a pin or an exception")) {
				t.Errorf("nobody thinks of the pin: %v", report.Findings)
			}
			for _, code := range []string{"probe-admitted", "probe-refused", "probe-failed"} {
				if report.Has(code) != (code == c.want) {
					t.Errorf("%s: %v %v", code, fmt.Sprint(report.Tried), report.Findings)
				}
			}
		})
	}
}

// A file of authorities that cannot be read is an error of whoever named it, and no finding.
func TestAuthoritiesUnreadable(t *testing.T) {
	p := newPlace(t)
	p.config.CA = p.path("nowhere.pem")
	if report, err := doctor.Examine(t.Context(), p.config); err == nil || !strings.Contains(err.Error(), "nowhere.pem") {
		t.Errorf("%v, %v", report, err)
	}
}
