package stack

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/tsp"
)

// Every service answers on the one URL, and what it makes verifies under the trusted root that is published beside it.
func TestServicesAgreeWithTrustedRoot(t *testing.T) {
	s := start(t, testConfig(t))
	url := serve(t, s)
	root, err := trust.Parse("test", s.TrustedRoot())
	if err != nil {
		t.Fatal(err)
	}

	leaf, err := issueOver(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if who := must(identity.FromCertificate(leaf)); who.SAN.Value != alice || who.Issuer != testURL {
		t.Errorf("identity %+v", who)
	}
	if err := leaf.CheckSignatureFrom(root.CertificateAuthorities[0].Intermediates[0]); err != nil {
		t.Error(err)
	}
	timestamps := must(sct.FromCertificate(leaf))
	if len(timestamps) != 1 || root.FindCTLog(timestamps[0].LogID) == nil {
		t.Errorf("timestamps %v are not of the trusted root's log", timestamps)
	}

	message := []byte("message")
	response, err := http.Post(url+"/api/v1/timestamp", "application/timestamp-query", bytes.NewReader(must(tsp.NewRequest(message, tsp.RequestOptions{}))))
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var reply bytes.Buffer
	must(reply.ReadFrom(response.Body))
	if err := must(tsp.Parse(reply.Bytes())).Verify(message, root.TimestampAuthorities[0].Authority); err != nil {
		t.Error(err)
	}

	for _, path := range []string{
		"/healthz", "/trusted_root.json", "/signing_config.v0.2.json", "/signing_config_rekor_v2.v0.2.json", "/api/v1/log", "/api/v1/log/publicKey", "/api/v2/trustBundle", "/api/v2/configuration",
		"/api/v1/rootCert", "/api/v1/timestamp/certchain", "/.well-known/openid-configuration", "/issuer/keys", "/ct/checkpoint", "/ct/v1/get-roots",
		"/checkpoint", "/api/v2/checkpoint",
	} {
		if status, body := get(t, url+path); status != http.StatusOK {
			t.Errorf("%s: status %d: %s", path, status, body)
		}
	}
	config := must(trust.ParseSigningConfig(s.SigningConfig()))
	if config.CAs[0].URL != testURL || config.Logs[0].MajorAPIVersion != 1 || config.TSAs[0].URL != testURL+"/api/v1/timestamp" || len(config.Logs) != 1 {
		t.Errorf("signing config %+v", config)
	}
	if len(root.Logs) != 2 {
		t.Errorf("%d logs in the trusted root, want those of both trees", len(root.Logs))
	}
}

// The second signing config differs in the log's version only, and the log of that version is in the trusted root: with Ed25519, under
// the ID that signed notes give it.
func TestRekorV2IsPublished(t *testing.T) {
	config := testConfig(t)
	s := start(t, config)
	path := filepath.Join(config.Dir, "trust", "signing_config_rekor_v2.v0.2.json")
	v1, v2 := must(trust.ParseSigningConfig(s.SigningConfig())), must(trust.ParseSigningConfig(must(os.ReadFile(path))))
	if len(v2.Logs) != 1 || v2.Logs[0].MajorAPIVersion != 2 {
		t.Errorf("logs %+v", v2.Logs)
	}
	v2.Logs[0].MajorAPIVersion = 1
	if diff := cmp.Diff(v1, v2); diff != "" {
		t.Errorf("more than the log's version differs:\n%s", diff)
	}
	found := false
	for _, log := range must(trust.Parse("own", s.TrustedRoot())).Logs {
		key, ok := log.Key.(ed25519.PublicKey)
		if !ok {
			continue
		}
		found = true
		hostname := must(url.Parse(testURL)).Hostname()
		if id := sha256.Sum256(append([]byte(hostname+"\n\x01"), key...)); log.ID != id || log.BaseURL != testURL {
			t.Errorf("log %x at %s, want %x", log.ID, log.BaseURL, id)
		}
	}
	if !found {
		t.Error("no Ed25519 log in the trusted root")
	}

	// A directory from before the file existed.
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	before := must(os.ReadFile(path))
	for _, old := range []string{path, filepath.Join(config.Dir, "siglog", "index-v2.sqlite")} {
		if err := os.Remove(old); err != nil {
			t.Fatal(err)
		}
	}
	again := start(t, config)
	if !bytes.Equal(before, must(os.ReadFile(path))) || !slices.Contains(again.ClientFiles(), path) {
		t.Errorf("the next start left %s in another form, or does not name it", path)
	}
}

func TestSecondStartFindsEverything(t *testing.T) {
	config := testConfig(t)
	first := start(t, config)
	if created := first.Created(); len(created) < 14 || !slices.Contains(created, filepath.Join(config.Dir, "state.json")) {
		t.Errorf("created %v", created)
	}
	before := first.TrustedRoot()
	leaf, err := issueOver(t.Context(), serve(t, first))
	if err != nil {
		t.Fatal(err)
	}
	if err := first.Close(); err != nil {
		t.Fatal(err)
	}
	if err := first.Healthy(); err == nil {
		t.Error("a stack that is closed says that it is healthy")
	}
	// The roots' keys are taken away, as the manual says they may be.
	for _, name := range []string{"ca-root", "tsa-root"} {
		if err := os.Remove(filepath.Join(config.Dir, "keys", name+".pem")); err != nil {
			t.Fatal(err)
		}
	}
	second := start(t, config)
	if len(second.Created()) != 0 {
		t.Errorf("a second start created %v", second.Created())
	}
	if !bytes.Equal(before, second.TrustedRoot()) {
		t.Error("the trusted root changed")
	}
	url := serve(t, second)
	again, err := issueOver(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	if err := again.CheckSignatureFrom(second.authorityCertificate()); err != nil {
		t.Error(err)
	}
	if err := leaf.CheckSignatureFrom(second.authorityCertificate()); err != nil {
		t.Errorf("a certificate of before: %v", err)
	}
}

func TestRefusesOtherStart(t *testing.T) {
	config := testConfig(t)
	s := start(t, config)

	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "in use by another process") || !strings.Contains(err.Error(), config.Dir) {
		t.Errorf("second writer: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}

	other := config
	other.PublicURL = "http://127.0.0.1:7466"
	if _, err := New(t.Context(), other); err == nil || !strings.Contains(err.Error(), testURL) || !strings.Contains(err.Error(), other.PublicURL) {
		t.Errorf("other URL: %v", err)
	}

	state := filepath.Join(config.Dir, "state.json")
	good := must(os.ReadFile(state))
	for name, test := range map[string]struct{ content, want string }{
		"newer schema":  {`{"schema":2,"publicURL":"` + testURL + `","created":"2026-01-01T00:00:00Z","new":1}`, "schema 2"},
		"no schema":     {`{"publicURL":"` + testURL + `","created":"2026-01-01T00:00:00Z"}`, "schema is missing"},
		"unknown field": {`{"schema":1,"publicURL":"` + testURL + `","created":"2026-01-01T00:00:00Z","new":1}`, "unknown field"},
		"no URL":        {`{"schema":1,"created":"2026-01-01T00:00:00Z"}`, "publicURL"},
		"not JSON":      {"x", state},
		"empty":         {"", state},
	} {
		if err := os.WriteFile(state, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", name, err, test.want)
		}
	}
	if err := os.WriteFile(state, good, 0o600); err != nil {
		t.Fatal(err)
	}

	// What was lost is not made anew.
	for _, path := range []string{"keys/ctlog.pem", "keys/issuer.pem", "certs/tsa.pem", "certs/ca-root.pem", "ctlog", "siglog", "state.json"} {
		path = filepath.Join(config.Dir, path)
		aside := config.Dir + ".aside"
		if err := os.Rename(path, aside); err != nil {
			t.Fatal(err)
		}
		if _, err := New(t.Context(), config); err == nil {
			t.Errorf("%s is missing: the stack started", path)
		} else if !strings.Contains(err.Error(), filepath.Base(path)) {
			t.Errorf("%s is missing: %v", path, err)
		}
		if _, err := os.Stat(path); err == nil {
			if err := os.RemoveAll(path); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Rename(aside, path); err != nil {
			t.Fatal(err)
		}
	}
	start(t, config)
}

func TestRefusesConfiguration(t *testing.T) {
	for name, change := range map[string]func(*Config){
		"no directory":            func(c *Config) { c.Dir = "" },
		"no URL":                  func(c *Config) { c.PublicURL = "" },
		"URL with a path":         func(c *Config) { c.PublicURL = "https://acme.example/sigstore" },
		"URL with a slash":        func(c *Config) { c.PublicURL = "https://acme.example/" },
		"URL in upper case":       func(c *Config) { c.PublicURL = "https://ACME.example" },
		"URL of no host":          func(c *Config) { c.PublicURL = "http://0.0.0.0:7465" },
		"dev issuer, public URL":  func(c *Config) { c.PublicURL = "https://sigstore.acme.example" },
		"dev issuer, public port": func(c *Config) { c.Listen = "0.0.0.0:7465" },
		"dev issuer, any address": func(c *Config) { c.Listen = ":7465" },
	} {
		config := testConfig(t)
		change(&config)
		if s, err := New(t.Context(), config); err == nil {
			t.Errorf("%s: the stack started", name)
			_ = s.Close()
		}
	}
	config := testConfig(t)
	config.PublicURL, config.InsecureDevIssuer, config.Listen = "https://sigstore.acme.example", false, "0.0.0.0:7465"
	s := start(t, config)
	if status, _ := get(t, serve(t, s)+"/dev/token?sub="+alice); status != http.StatusNotFound {
		t.Errorf("/dev/token without the development issuer: status %d", status)
	}
	if _, err := s.Token(alice); err == nil {
		t.Error("Token without the development issuer gave one")
	}
}

// A directory that holds something else is left alone.
func TestForeignDirectory(t *testing.T) {
	config := testConfig(t)
	if err := os.Mkdir(config.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	mine := filepath.Join(config.Dir, "thesis.txt")
	if err := os.WriteFile(mine, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := New(t.Context(), config); err == nil || !strings.Contains(err.Error(), "thesis.txt") {
		t.Errorf("foreign directory: %v", err)
	}
	if err := os.Remove(mine); err != nil {
		t.Fatal(err)
	}
	start(t, config)
	if info := must(os.Stat(config.Dir)); info.Mode().Perm() != 0o700 {
		t.Errorf("mode %v", info.Mode())
	}
}

// Nothing that is secret is written to the log, whatever happens.
func TestOPS03_LogHoldsNoSecrets(t *testing.T) {
	var lines lockedBuffer
	config := testConfig(t)
	config.Logger = slog.New(slog.NewJSONHandler(&lines, &slog.HandlerOptions{Level: slog.LevelDebug}))
	s := start(t, config)
	url := serve(t, s)
	identity := must(s.Token(alice))
	if _, err := issueOver(t.Context(), url); err != nil {
		t.Fatal(err)
	}
	request := must(http.NewRequest(http.MethodPost, url+"/api/v2/signingCert", strings.NewReader(`{}`)))
	request.Header.Set("Authorization", "Bearer "+identity)
	_ = must(http.DefaultClient.Do(request)).Body.Close()
	if text := lines.String(); !strings.Contains(text, "certificate issued") {
		t.Errorf("log lacks the certificate:\n%s", text)
	}
	for _, secret := range []string{"PRIVATE KEY", "eyJ", strings.Split(identity, ".")[2]} {
		if strings.Contains(lines.String(), secret) {
			t.Errorf("log holds %q:\n%s", secret, lines.String())
		}
	}
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// A start that fails gives the directory back.
func TestFailedStartUnlocks(t *testing.T) {
	config := testConfig(t)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if s, err := New(ctx, config); err == nil {
		_ = s.Close()
	} else if !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	start(t, config)
}

// BenchmarkUp measures a first start, from nothing to ready.
func BenchmarkUp(b *testing.B) {
	dir := b.TempDir()
	for i := 0; b.Loop(); i++ {
		config := testConfig(b)
		config.Dir = filepath.Join(dir, time.Duration(i).String())
		s, err := New(b.Context(), config)
		if err != nil {
			b.Fatal(err)
		}
		b.StopTimer()
		if err := s.Close(); err != nil {
			b.Fatal(err)
		}
		b.StartTimer()
	}
}

// BenchmarkIssue measures certificates over HTTP, token and log on disk included.
func BenchmarkIssue(b *testing.B) {
	url := serve(b, start(b, testConfig(b)))
	b.SetParallelism(16)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			if _, err := issueOver(b.Context(), url); err != nil {
				b.Error(err)
				return
			}
		}
	})
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certificates/s")
}
