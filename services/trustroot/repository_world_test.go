package trustroot

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/trust/tuf"
)

func newKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// repositoryWorld is a repository whose clock is turned by hand.
type repositoryWorld struct {
	t      *testing.T
	now    time.Time
	log    bytes.Buffer
	config RepositoryConfig
	*Repository
	client tuf.Client
}

func newRepositoryWorld(t *testing.T, change ...func(*RepositoryConfig)) *repositoryWorld {
	w := &repositoryWorld{t: t, now: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)}
	w.config = RepositoryConfig{
		Dir: t.TempDir(), Keys: RepositoryKeys{Root: []crypto.Signer{newKey()}, Targets: newKey(), Online: newKey()},
		Targets: map[string][]byte{TrustedRootFile: []byte("first root"), SigningConfigFile: []byte("first config")},
		Clock:   func() time.Time { return w.now }, Logger: slog.New(slog.NewTextHandler(&w.log, nil)),
	}
	for _, c := range change {
		c(&w.config)
	}
	w.use(CreateRepository(w.config))
	w.client = tuf.Client{
		Mirror: "https://sigstore.acme.example/tuf", Root: w.Root(), CacheDir: t.TempDir(), Transport: direct{w}, Now: w.config.Clock,
	}
	return w
}

func (w *repositoryWorld) use(r *Repository, err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
	w.Repository = r
	w.t.Cleanup(func() { _ = r.Close() })
}

// reopen is a start with this configuration.
func (w *repositoryWorld) reopen() {
	w.t.Helper()
	_ = w.Close()
	w.use(OpenRepository(w.config))
}

// follows demands that a strict client gets this trusted root.
func (w *repositoryWorld) follows(want string) *tuf.Result {
	w.t.Helper()
	result, err := w.client.Refresh(context.Background())
	if err != nil {
		w.t.Fatalf("%v later: %v", w.now, err)
	}
	if string(result.TrustedRoot) != want || len(result.Warnings) > 0 {
		w.t.Fatalf("got %q, want %q; warnings %v", result.TrustedRoot, want, result.Warnings)
	}
	return result
}

// direct is a network without wires to whatever the world's repository is.
type direct struct{ w *repositoryWorld }

func (d direct) RoundTrip(request *http.Request) (*http.Response, error) {
	recorder := httptest.NewRecorder()
	http.StripPrefix("/tuf", d.w.Handler()).ServeHTTP(recorder, request)
	response := recorder.Result()
	response.Request = request
	return response, nil
}
