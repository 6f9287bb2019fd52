package lookaside_test

import (
	"context"
	"crypto/rand"
	"crypto/rsa"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/podman/lookaside"
)

const (
	repository = "registry.example/acme/app"
	digest     = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
)

// hostKey is a host's key that tests share, and the configuration that opens it.
var hostKey = sync.OnceValues(func() (*countersign.Key, countersign.Config) {
	dir, err := os.MkdirTemp("", "touchmark-key-")
	if err != nil {
		panic(err)
	}
	if err := os.Chmod(dir, 0o755); err != nil { // every user's client reads the keyring
		panic(err)
	}
	c := countersign.Config{Key: filepath.Join(dir, "countersign.key"), Public: filepath.Join(dir, "countersign.gpg"), Host: "node-1.example"}
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err == nil {
		err = keys.WritePrivate(c.Key, private)
	}
	if err == nil {
		_, err = countersign.Generate(context.Background(), c)
	}
	if err != nil {
		panic(err)
	}
	key, err := countersign.Open(context.Background(), c)
	if err != nil {
		panic(err)
	}
	return key, c
})

func TestMain(m *testing.M) {
	code := m.Run()
	_, c := hostKey()
	os.RemoveAll(filepath.Dir(c.Key))
	os.Exit(code)
}

// verdicts answers by repository, and remembers what it was asked.
type verdicts struct {
	mu     sync.Mutex
	by     map[string]gate.Verdict
	asked  []gate.Request
	askers []gate.Asker
}

func (v *verdicts) Admit(ctx context.Context, req gate.Request) gate.Verdict {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.asked = append(v.asked, req)
	v.askers = append(v.askers, gate.AskerFrom(ctx))
	got, ok := v.by[req.Repository]
	if !ok {
		return gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: req.Repository + " is not signed", Repository: req.Repository, Digest: req.Digest.String()}
	}
	got.Repository, got.Digest = req.Repository, req.Digest.String()
	return got
}

func (v *verdicts) set(repository string, verdict gate.Verdict) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.by[repository] = verdict
}

func (v *verdicts) count() int {
	v.mu.Lock()
	defer v.mu.Unlock()
	return len(v.asked)
}

var (
	admitted = gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Reason: "signed by alice"}
	refused  = gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNotAcceptable, Reason: `signed by "mallory@evil.example", policy release wants alice@acme.example`}
	outage   = gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "asking registry: https://registry.example/v2/: connection refused"}
)

// config is a handler's configuration, with names that are physical and logical at once.
func config(v *verdicts) lookaside.Config {
	key, _ := hostKey()
	return lookaside.Config{
		Admitter: v, Key: key,
		Logical: func(physical string) ([]string, error) { return []string{physical}, nil },
		Source: func(physical string, withCredentials bool) (attach.Source, error) {
			repo, err := name.NewRepository(physical)
			source := attach.Source{Repository: repo}
			if withCredentials {
				source.As = "agent"
			}
			return source, err
		},
	}
}

func serve(t testing.TB, c lookaside.Config) string {
	t.Helper()
	h, err := lookaside.New(c)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(h)
	t.Cleanup(server.Close)
	return server.URL
}

// get asks for a signature of an image at a physical repository.
func get(t testing.TB, url, physical string, n int) (status int, body string) {
	t.Helper()
	res, err := http.Get(signatureURL(url, physical, n))
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return res.StatusCode, string(text)
}

func signatureURL(url, physical string, n int) string {
	return fmt.Sprintf("%s/lookaside/%s@%s/signature-%d", url, physical, strings.Replace(digest, ":", "=", 1), n)
}

// verified says whether a blob is a countersignature of an image under a name.
func verified(t testing.TB, blob, repository string) error {
	t.Helper()
	_, c := hostKey()
	ring, err := os.ReadFile(c.Public)
	if err != nil {
		t.Fatal(err)
	}
	_, err = openpgp.Verify(&bundle.Evidence{Form: bundle.FormOpenPGP, Payload: &bundle.Payload{Text: []byte(blob)}}, repository, digest, ring, "host", time.Now(), time.Time{})
	return err
}

func TestAnswers(t *testing.T) {
	why := "; for more: touchmark why " + repository + "@" + digest
	for _, tt := range []struct {
		name    string
		verdict gate.Verdict
		reason  string // empty: countersigned
	}{
		{"admitted", admitted, ""},
		{"observed", gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeObserved, Reason: "would be refused"}, ""},
		{"by exception", gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeException}, ""},
		{"refused", refused, "refused by touchmark: signed by 'mallory@evil.example', policy release wants alice@acme.example" + why},
		{"unsigned", gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "it is not signed"}, "refused by touchmark: it is not signed" + why},
		{"an outage reads as an outage", outage, "touchmark cannot decide: asking registry: https://registry.example/v2/: connection refused" + why},
		{"agent away", gate.Verdict{Outcome: gate.OutcomeUndecided, Code: "agent-unavailable", Reason: "no agent"}, "touchmark cannot decide: no agent" + why},
		{"nothing was decided", gate.Verdict{}, "touchmark cannot decide: " + why},
	} {
		t.Run(tt.name, func(t *testing.T) {
			url := serve(t, config(&verdicts{by: map[string]gate.Verdict{repository: tt.verdict}}))
			status, blob := get(t, url, repository, 1)
			switch {
			case status != http.StatusOK:
				t.Errorf("status %d, %q", status, blob)
			case tt.reason == "":
				if err := verified(t, blob, repository); err != nil {
					t.Error(err)
				}
			case blob != "\x00"+strings.Join(strings.Fields(tt.reason), " ")+"\n":
				t.Errorf("%q, want %q", blob, tt.reason)
			}
			if status, body := get(t, url, repository, 2); status != http.StatusNotFound {
				t.Errorf("signature-2: status %d, %q", status, body)
			}
		})
	}
}

func TestLongReasonsKeepTheCommand(t *testing.T) {
	long := refused
	long.Reason = strings.Repeat("very ", 500)
	_, blob := get(t, serve(t, config(&verdicts{by: map[string]gate.Verdict{repository: long}})), repository, 1)
	if len(blob) > countersign.MaxReason+2 || !strings.HasSuffix(blob, "...; for more: touchmark why "+repository+"@"+digest+"\n") {
		t.Errorf("%d bytes: %q", len(blob), blob)
	}
}

func TestPOD11_EachNameIsJudgedForItself(t *testing.T) {
	v := &verdicts{by: map[string]gate.Verdict{"registry.example/good": admitted, "docker.io/library/good": admitted}}
	c := config(v)
	c.Logical = func(physical string) ([]string, error) {
		switch physical {
		case "mirror.example:5000/ambiguous":
			return nil, errors.New("rule *.example of registries.conf leads there from any number of names")
		case "mirror.example:5000/nobody":
			return nil, nil
		case "mirror.example:5000/bad":
			return []string{"registry.example/bad", "docker.io/library/bad"}, nil
		}
		return []string{"registry.example/bad", "registry.example:443/good", "docker.io/library/good"}, nil
	}
	url := serve(t, c)
	for n, signed := range []string{"registry.example/good", "docker.io/library/good"} {
		status, blob := get(t, url, "mirror.example:5000/x", n+1)
		if err := verified(t, blob, signed); status != http.StatusOK || err != nil {
			t.Errorf("signature-%d of %s: status %d, %v", n+1, signed, status, err)
		}
		if err := verified(t, blob, "registry.example/bad"); err == nil {
			t.Errorf("signature-%d admits a name that is refused", n+1)
		}
	}
	if status, _ := get(t, url, "mirror.example:5000/x", 3); status != http.StatusNotFound {
		t.Errorf("signature-3: status %d", status)
	}
	for _, req := range v.asked {
		if req.Source.Repository.Name() != "mirror.example:5000/x" {
			t.Errorf("evidence of %s is looked for at %s", req.Repository, req.Source.Repository)
		}
	}
	for physical, want := range map[string]string{
		"mirror.example:5000/ambiguous": "cannot decide: rule *.example of registries.conf",
		"mirror.example:5000/nobody":    "no image is pulled from mirror.example:5000/nobody",
		"mirror.example:5000/bad":       "as registry.example/bad: refused by touchmark: registry.example/bad is not signed; as docker.io/library/bad: refused",
	} {
		if status, blob := get(t, url, physical, 1); status != http.StatusOK || !strings.HasPrefix(blob, "\x00") || !strings.Contains(blob, want) {
			t.Errorf("%s: status %d, %q, want %q", physical, status, blob, want)
		}
	}
}

func TestNothingIsSignedWhereNoRuleDemandsIt(t *testing.T) {
	v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
	c := config(v)
	c.Required = func(logical string) bool { return logical == repository }
	url := serve(t, c)
	if status, blob := get(t, url, "registry.example/other", 1); status != http.StatusNotFound || v.count() != 0 {
		t.Errorf("status %d, %q, %d verdicts", status, blob, v.count())
	}
	if status, blob := get(t, url, repository, 1); status != http.StatusOK || verified(t, blob, repository) != nil {
		t.Errorf("status %d, %q", status, blob)
	}
}

func TestNumbersOfOnePull(t *testing.T) {
	v := &verdicts{by: map[string]gate.Verdict{repository: admitted}}
	c := config(v)
	now := time.Now()
	c.Now = func() time.Time { return now }
	c.Chain = func(string) (string, bool) { return "file:///nonexistent", true }
	url := serve(t, c)
	get(t, url, repository, 1)
	v.set(repository, refused) // while the client goes on
	if status, _ := get(t, url, repository, 2); status != http.StatusNotFound || v.count() != 1 {
		t.Errorf("signature-2: status %d after %d verdicts", status, v.count())
	}
	if _, blob := get(t, url, repository, 1); !strings.HasPrefix(blob, "\x00refused") || v.count() != 2 {
		t.Errorf("the next pull: %q", blob)
	}
	now = now.Add(time.Minute)
	if get(t, url, repository, 2); v.count() != 3 {
		t.Errorf("signature-2, long after: %d verdicts", v.count())
	}
}

func TestFailuresToSign(t *testing.T) {
	c := config(&verdicts{by: map[string]gate.Verdict{repository: admitted}})
	c.Key = failingKey{}
	if status, blob := get(t, serve(t, c), repository, 1); status != http.StatusOK || !strings.HasPrefix(blob, "\x00touchmark admits the image, and cannot countersign it: the service is away") {
		t.Errorf("status %d, %q", status, blob)
	}
	c = config(&verdicts{by: map[string]gate.Verdict{repository: admitted}})
	c.Source = func(string, bool) (attach.Source, error) { return attach.Source{}, errors.New("auth.json: line 3") }
	if _, blob := get(t, serve(t, c), repository, 1); !strings.HasPrefix(blob, "\x00touchmark cannot decide: auth.json: line 3") {
		t.Errorf("%q", blob)
	}
}

type failingKey struct{}

func (failingKey) Countersign(string, string, time.Time) ([]byte, error) {
	return nil, errors.New("the service is away")
}
