package doctor_test

import (
	"bytes"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	core "github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/doctor"
)

// password is one that no report repeats.
const password = "correct-horse"

// Configurations with which nothing is wrong.
var good = map[string]func(*place){
	"least": func(*place) {},
	"reached from elsewhere": func(p *place) {
		p.elsewhere()
		p.about("hosts: [proxy.example]")
		p.write("users.pem", mustRead(p, "proxy.pem"))
		p.set("tls", "{cert: proxy.pem, key: proxy.key, clientCA: users.pem}")
		p.mode("proxy.pem", 0o644)
	},
	"cache, log and replicas": func(p *place) {
		p.peers()
		p.write("cache/.keep", "")
		p.mode("cache", 0o700)
		p.set("cache", "{dir: cache, size: 1GiB}")
		p.write("decisions.jsonl", "")
		p.set("decisions", "{file: decisions.jsonl}")
		p.config.Network = true
	},
	"upstream with credentials": func(p *place) {
		p.write("robot.secret", password)
		p.about("credentials: {username: robot, passwordFile: robot.secret}")
		p.config.Network = true
	},
	"anonymous where that is meant": func(p *place) {
		p.elsewhere()
		p.set("page", "true")
		p.set("auth", `{htpasswd: users, anonymous: true, access: [{subjects: [anonymous], repositories: [registry.acme.example/free]}, {subjects: ["user:*"], repositories: ["**"], page: true}]}`)
	},
	"clients passed through": func(p *place) {
		p.host = refusing(p.t, `Basic realm="registry"`)
		p.about("passThrough: true")
		p.config.Network = true
	},
	"behind a balancer, on this machine": func(p *place) {
		p.elsewhere()
		delete(p.lines, "listen")
		p.set("balancers", "[127.0.0.1]")
	},
	"a trust root that is followed": func(p *place) { p.follow() },
	"with TLS, on this machine":     func(p *place) { p.tls(1000 * time.Hour) },
}

func mustRead(p *place, name string) string {
	p.t.Helper()
	data, err := os.ReadFile(p.path(name))
	if err != nil {
		p.t.Fatal(err)
	}
	return string(data)
}

func TestGood(t *testing.T) {
	for name, prepare := range good {
		t.Run(name, func(t *testing.T) {
			p := newPlace(t)
			prepare(p)
			report := p.examine()
			for _, f := range report.Findings {
				t.Error(f)
			}
			if report.ExitStatus() != 0 || len(report.Scopes) != 1 || report.Scopes[0] != "registry.acme.example" {
				t.Errorf("%+v", report)
			}
		})
	}
}

// cases are the causes that files have, and how each comes about; before it there are no findings.
var cases = []struct {
	code string
	good string // the configuration to begin with; empty for the least
	ruin func(*place)
}{
	{"config-missing", "", func(p *place) { p.config.File = p.path("other.yaml") }},
	{"config-unusable", "", func(p *place) { p.set("nonsense", "1") }},
	{"config-writable", "", func(p *place) { p.mode("proxy.yaml", 0o666) }},
	{"policy-writable", "", func(p *place) { p.mode("policy.d", 0o777) }},
	{"policy-writable", "", func(p *place) { p.mode("policy.d/policy.yaml", 0o622) }},
	{"trust-writable", "", func(p *place) { p.mode("root.json", 0o602) }},
	{"tls-writable", "reached from elsewhere", func(p *place) { p.mode("proxy.pem", 0o646) }},
	{"login-writable", "reached from elsewhere", func(p *place) { p.mode("users", 0o602) }},
	{"login-writable", "reached from elsewhere", func(p *place) { p.mode("users.pem", 0o602) }},
	{"upstream-writable", "upstream with credentials", func(p *place) { p.mode("robot.secret", 0o602) }},
	{"logins-unusable", "reached from elsewhere", func(p *place) { p.write("users", "ci:secret\n") }},
	{"logins-unusable", "reached from elsewhere", func(p *place) { p.write("users.pem", "nonsense") }},
	{"unreadable", "", func(p *place) {
		p.tls(time.Hour * 1000)
		p.set("tls", "{cert: policy.d, key: proxy.key}")
	}},
	{"tls-key-readable", "reached from elsewhere", func(p *place) { p.mode("proxy.key", 0o644) }},
	{"peers-secret-readable", "cache, log and replicas", func(p *place) { p.mode("peers.secret", 0o640) }},
	{"countersign-key-readable", "", func(p *place) {
		p.write("countersign.key", "")
		p.mode("countersign.key", 0o640)
		p.set("countersign", "{key: countersign.key, authority: countersign.pem, names: [proxy.example]}")
	}},
	{"password-readable", "reached from elsewhere", func(p *place) { p.mode("users", 0o644) }},
	{"credentials-readable", "upstream with credentials", func(p *place) { p.mode("robot.secret", 0o644) }},
	{"registry-observes", "", func(p *place) { p.about("mode: observe") }},
	{"policy-observes", "", func(p *place) {
		p.edit("policy.d/policy.yaml", "spec:\n", "spec:\n  mode: warn\n")
	}},
	{"policy-observes", "", func(p *place) { p.site("mode: observe") }},
	{"unmatched-admitted", "", func(p *place) { p.site("unmatched: {action: insecureAdmit}") }},
	{"policy-passes", "", func(p *place) { p.edit("policy.d/policy.yaml", "example/free", "example/**") }},
	{"policies-missing", "", func(p *place) { p.set("policy", "nowhere") }},
	{"policies-missing", "", func(p *place) {
		p.write("policy.d/policy.yaml.off", "")
		if err := os.Remove(p.path("policy.d/policy.yaml")); err != nil {
			p.t.Fatal(err)
		}
	}},
	{"policies-unusable", "", func(p *place) { p.write("policy.d/policy.yaml", "kind: [") }},
	{"policies-unusable", "", func(p *place) { p.edit("policy.d/policy.yaml", "trustRootRef: acme", "trustRootRef: other") }},
	{"notice", "", func(p *place) {
		p.site(fmt.Sprintf("exceptions: [{image: \"sha256:%064d\", reason: r, by: b, expires: %s}]", 1, p.config.Now.Add(30*time.Hour).UTC().Format(time.RFC3339)))
	}},
	{"trust-unusable", "", func(p *place) { p.write("root.json", "{}") }},
	{"trust-ended", "", func(p *place) { p.rootUntil(-time.Hour) }},
	{"trust-ended", "a trust root that is followed", func(p *place) { p.config.Now = p.until }},
	{"trust-expired", "a trust root that is followed", func(p *place) { p.config.Now = p.until.Add(-time.Minute) }},
	{"trust-unseen", "a trust root that is followed", func(p *place) { p.set("state", "elsewhere") }},
	{"trust-unusable", "a trust root that is followed", func(p *place) { p.edit("proxy.yaml", "root: tuf.json", "root: other.json") }},
	{"trust-writable", "a trust root that is followed", func(p *place) { p.mode("tuf.json", 0o602) }},
	{"state-writable", "a trust root that is followed", func(p *place) { p.mode("state/tuf/"+p.only("state/tuf"), 0o777) }},
	{"trust-ends", "", func(p *place) { p.rootUntil(13 * 24 * time.Hour) }},
	{"tls-unusable", "reached from elsewhere", func(p *place) { p.write("proxy.pem", "nonsense") }},
	{"tls-unusable", "reached from elsewhere", func(p *place) { p.write("proxy.key", "nonsense") }},
	{"tls-mismatch", "reached from elsewhere", func(p *place) {
		cert, _ := certificate(p.t, p.config.Now.Add(1000*time.Hour), "proxy.example")
		p.write("proxy.pem", cert)
	}},
	{"tls-ended", "with TLS, on this machine", func(p *place) { p.tls(-time.Hour) }},
	{"tls-ends", "with TLS, on this machine", func(p *place) { p.tls(13 * 24 * time.Hour) }},
	{"tls-names", "reached from elsewhere", func(p *place) { p.registry = "  hosts: [other.example]\n"; p.configure() }},
	{"plain-http", "reached from elsewhere", func(p *place) { delete(p.lines, "tls"); p.set("insecureHTTP", "true") }},
	{"anonymous-reads", "reached from elsewhere", func(p *place) { p.set("auth", "{anonymous: true}") }},
	{"anonymous-reads", "behind a balancer, on this machine", func(p *place) { p.set("auth", "{anonymous: true}") }},
	{"anonymous-reads", "anonymous where that is meant", func(p *place) {
		p.set("auth", `{anonymous: true, access: [{subjects: [anonymous], repositories: ["**"]}]}`)
	}},
	{"page-anonymous", "anonymous where that is meant", func(p *place) { p.set("auth", `{anonymous: true, access: [{subjects: [anonymous], page: true}]}`) }},
	{"metrics-missing", "", func(p *place) { delete(p.lines, "metrics"); p.configure() }},
	{"metrics-exposed", "", func(p *place) { p.set("metrics", `{listen: ":9465"}`) }},
	{"upstream-http", "", func(p *place) { p.host = "registry.acme.example:5000"; p.about("allowHTTP: true") }},
	{"upstream-unreachable", "", func(p *place) { p.host = closed(p.t); p.configure(); p.config.Network = true }},
	{"upstream-unauthorized", "", func(p *place) { p.upstream(`Basic realm="registry"`) }},
	{"upstream-token-host", "", func(p *place) { p.upstream(`Bearer realm="https://tokens.acme.example/token",service="registry"`) }},
	{"cache-missing", "cache, log and replicas", func(p *place) { p.set("cache", "{dir: nowhere, size: 1GiB}") }},
	{"cache-unwritable", "cache, log and replicas", func(p *place) { p.set("cache", "{dir: root.json, size: 1GiB}") }},
	{"cache-writable", "cache, log and replicas", func(p *place) { p.mode("cache", 0o777) }},
	{"cache-full", "cache, log and replicas", func(p *place) { p.config.Free = func(string) (uint64, error) { return 5 << 20, nil } }},
	{"decisions-unwritable", "cache, log and replicas", func(p *place) { p.set("decisions", "{file: nowhere/decisions.jsonl}") }},
	{"decisions-readable", "cache, log and replicas", func(p *place) { p.mode("decisions.jsonl", 0o644) }},
	{"peers-secret-unusable", "cache, log and replicas", func(p *place) { p.write("peers.secret", "short") }},
	{"peers-http", "cache, log and replicas", func(p *place) {
		p.config.Network = false
		p.set("peers", `{dns: "proxies.acme.example:5444", secretFile: peers.secret}`)
	}},
	{"peers-silent", "cache, log and replicas", func(p *place) {
		p.set("peers", fmt.Sprintf("{urls: [%q], secretFile: peers.secret}", "http://"+closed(p.t)))
	}},
	{"peers-secret-differs", "cache, log and replicas", func(p *place) {
		p.set("peers", fmt.Sprintf("{urls: [%q, %q], secretFile: peers.secret}", "http://"+p.replica("s"), "http://"+p.replica("x")))
	}},
	{"peers-secret-differs", "cache, log and replicas", func(p *place) { // the running proxy's own
		p.config.Live, p.config.Network = true, false
		p.set("peers", fmt.Sprintf("{listen: %q, secretFile: peers.secret}", p.replica("x")))
	}},
	{"config-unusable", "cache, log and replicas", func(p *place) { p.set("peers", `{urls: ["http://proxies.acme.example"], secretFile: peers.secret}`) }},
	{"peers-closed", "cache, log and replicas", func(p *place) {
		p.config.Live = true
		p.set("peers", fmt.Sprintf("{listen: %q, secretFile: peers.secret}", closed(p.t)))
	}},
	{"clock-unsynchronised", "", func(p *place) { p.config.Clock = func() (bool, error) { return false, nil } }},
}

// only is the only name in a directory.
func (p *place) only(dir string) string {
	p.t.Helper()
	names, err := os.ReadDir(p.path(dir))
	if err != nil || len(names) != 1 {
		p.t.Fatalf("%s: %v, %v", dir, names, err)
	}
	return names[0].Name()
}

// site adds an Enforcement document with one field.
func (p *place) site(field string) {
	p.t.Helper()
	p.write("policy.d/site.yaml", "apiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata: {name: site}\nspec:\n  "+field+"\n")
}

// rootUntil has a trust root whose logs end after some time.
func (p *place) rootUntil(ends time.Duration) {
	p.t.Helper()
	root := coretest.New(p.t).Root()
	for i := range root.Logs {
		root.Logs[i].Window = trust.Window{Start: coretest.Start.Add(-time.Hour), End: p.config.Now.Add(ends)}
	}
	p.write("root.json", string(coretest.FormatRoot(p.t, root)))
}

// refusing is a registry that lets nobody in.
func refusing(t *testing.T, challenge string) (host string) {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("WWW-Authenticate", challenge)
		w.WriteHeader(http.StatusUnauthorized)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// upstream has such a registry, and credentials for it.
func (p *place) upstream(challenge string) {
	p.t.Helper()
	p.host = refusing(p.t, challenge)
	p.write("robot.secret", password)
	p.about("credentials: {username: robot, passwordFile: robot.secret}")
	p.config.Network = true
}

// PX: each cause has a twin without it; what is fixable is gone afterwards.
func TestCauses(t *testing.T) {
	shown := map[string]bool{}
	for _, c := range live {
		shown[c.code] = true
	}
	for _, c := range cases {
		shown[c.code] = true
		t.Run(c.code, func(t *testing.T) {
			p := newPlace(t)
			if c.good != "" {
				good[c.good](p)
			}
			if report := p.examine(); len(report.Findings) > 0 {
				t.Fatalf("before: %v", report.Findings)
			}
			c.ruin(p)
			report := p.examine()
			hold(t, report, c.code)
			if !doctor.Catalog().Cause(c.code).Fixable {
				return
			}
			steps, err := doctor.Fix(p.config, report)
			if err != nil || len(steps) == 0 || steps[0].Undo == "" {
				t.Errorf("fixing: %v, %v", steps, err)
			}
			if report := p.examine(); report.Has(c.code) {
				t.Errorf("after it was fixed: %v", report.Findings)
			}
		})
	}
	for _, subject := range doctor.Catalog() {
		for _, c := range subject.Causes {
			if !shown[c.Code] && !strings.HasPrefix(c.Code, "probe-") { // which TestProbe shows
				t.Errorf("no test shows %s", c.Code)
			}
		}
	}
}

// hold checks that a report has a finding, and says no more of it than it must.
func hold(t *testing.T, report *core.Report, code string) {
	t.Helper()
	if !report.Has(code) {
		t.Fatalf("not found in %v", report.Findings)
	}
	if status := report.ExitStatus(); doctor.Catalog().Cause(code).Severity == core.Open && status != 1 || doctor.Catalog().Cause(code).Severity == core.Broken && status == 0 {
		t.Errorf("exit status %d", status)
	}
	var text bytes.Buffer
	if err := report.Text(&text); err != nil || strings.Contains(text.String(), password) {
		t.Errorf("%v\n%s", err, text.String())
	}
	var metrics bytes.Buffer
	if err := report.Prometheus(&metrics); err != nil || !strings.Contains(metrics.String(), `touchmark_doctor_findings{client="proxy",code="`+code+`"`) {
		t.Errorf("%v\n%s", err, metrics.String())
	}
}
