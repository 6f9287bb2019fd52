package page_test

import (
	"crypto/sha256"
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
	"github.com/touchmark/touchmark/registry-proxy/page"
)

var now = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

// refusal is what the gate says of an image that mallory signed.
func refusal(repository string) gate.Verdict {
	return gate.Verdict{
		Outcome: gate.OutcomeRefused, Code: gate.CodeNotAcceptable, Repository: repository, Digest: "sha256:" + strings.Repeat("ab", 32),
		Reason:   "policy release does not accept its signature: signed by mallory@evil.example",
		Policies: []gate.PolicyResult{{Name: "release", Mode: "enforce"}},
		Signatures: []gate.SignatureResult{{
			Where: "referrer", Manifest: "sha256:" + strings.Repeat("cd", 32), Format: "bundle",
			Attempts: []gate.Attempt{{Policy: "release", Authority: "alice", Code: "identity-mismatch", Root: "acme", Reason: "identity: signed by mallory", Checks: []verify.Check{
				{Name: "signature", Passed: true, Value: "ECDSA P-256"},
				{Name: "identity", Value: "mallory@evil.example", Want: "alice@acme.example"},
			}}},
		}},
		Advice: "apiVersion: policy.sigstore.dev/v1beta1",
	}
}

func serve(t *testing.T, verdicts ...gate.Verdict) (*decisions.Log, *httptest.Server) {
	t.Helper()
	l, err := decisions.Open(decisions.Config{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range verdicts {
		l.Record(decisions.Of(v))
	}
	s := httptest.NewServer(page.Handler(page.Config{Decisions: l, Title: "pull.example", Now: func() time.Time { return now }}))
	t.Cleanup(s.Close)
	return l, s
}

func get(t *testing.T, url string) (*http.Response, string) {
	t.Helper()
	r := httptest.NewRecorder()
	response, err := http.Get(url)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if _, err := r.Body.ReadFrom(response.Body); err != nil {
		t.Fatal(err)
	}
	return response, r.Body.String()
}

func TestListAndDecision(t *testing.T) {
	l, s := serve(t, refusal("registry.example/app"), gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Repository: "registry.example/good", Reason: "signed"})
	r, body := get(t, s.URL)
	for _, want := range []string{"registry.example/app", "registry.example/good", "1 admitted, 1 refused, 0 undecided", "just now"} {
		if !strings.Contains(body, want) {
			t.Errorf("the list lacks %q", want)
		}
	}
	style := regexp.MustCompile(`(?s)<style>(.*?)</style>`).FindStringSubmatch(body)
	digest := sha256.Sum256([]byte(style[1]))
	if policy := r.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "'sha256-"+base64.StdEncoding.EncodeToString(digest[:])+"'") || !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("policy %q does not let the page's own style in", policy)
	}
	kept := l.Recent(decisions.Query{Outcome: gate.OutcomeRefused, Limit: 1})[0]
	_, body = get(t, s.URL+"/decisions/"+kept.ID)
	for _, want := range []string{"mallory@evil.example", "wanted: alice@acme.example", gate.CodeNotAcceptable.Remedy()[:10], "apiVersion: policy.sigstore.dev", "trust root acme", "1 time"} {
		if !strings.Contains(body, want) {
			t.Errorf("the decision lacks %q:\n%s", want, body)
		}
	}
}

func TestSearch(t *testing.T) {
	_, s := serve(t, refusal("registry.example/app"), gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Repository: "registry.example/good"})
	for query, want := range map[string][2]bool{
		"?q=app": {true, false}, "?q=GOOD": {false, true}, "?outcome=refused": {true, false}, "?outcome=admitted": {false, true}, "?q=none": {false, false}, "?q=mallory": {true, false},
	} {
		_, body := get(t, s.URL+"/"+query)
		if got := [2]bool{strings.Contains(body, "example/app"), strings.Contains(body, "example/good")}; got != want {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	for path, want := range map[string]int{
		"/?outcome=maybe": http.StatusBadRequest, "/?q=" + strings.Repeat("x", 600): http.StatusBadRequest, "/decisions/none": http.StatusNotFound, "/other": http.StatusNotFound, "/": http.StatusOK,
	} {
		if r, _ := get(t, s.URL+path); r.StatusCode != want {
			t.Errorf("%.40s: %d, want %d", path, r.StatusCode, want)
		}
	}
	if r, err := http.Post(s.URL, "text/plain", nil); err != nil || r.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %v, %v", r.StatusCode, err)
	}
}

// PX-35: whatever registries, clients and signatures say is text.
func TestPX35_NothingFromOutsideIsMarkup(t *testing.T) {
	const evil = `"><script>alert(1)</script><img src=x onerror=alert(1)>'{{.}}`
	v := refusal("registry.example/" + evil)
	v.Reason, v.Advice, v.Digest = evil, "</pre>"+evil, evil
	v.Signatures[0].Attempts[0].Checks[1].Value = evil
	v.Signatures[0].Unreadable = evil
	v.Others = []gate.Other{{Name: evil, ArtifactType: evil}}
	l, s := serve(t, v)
	d := decisions.Of(v)
	d.Who, d.Tag, d.Signer, d.Address = evil, evil, evil, evil
	l.Record(d)
	paths := []string{"/"}
	for _, k := range l.Recent(decisions.Query{Limit: 9}) {
		paths = append(paths, "/decisions/"+k.ID)
	}
	for _, path := range paths {
		_, body := get(t, s.URL+path)
		if strings.Contains(body, "<script") || strings.Contains(body, "<img") {
			t.Errorf("%s: markup from outside:\n%s", path, body)
		}
	}
	_, body := get(t, s.URL+"/?q=%22%3E%3Cscript%3E")
	if strings.Contains(body, "<script") {
		t.Error("what was searched for is markup")
	}
}
