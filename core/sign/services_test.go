package sign_test

import (
	"bytes"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"testing"

	"github.com/touchmark/touchmark/core/sign"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// Every way in which a service can fail or lie: a typed error, and nothing is written.
func TestServicesThatFail(t *testing.T) {
	w := newWorld(t)
	other := newWorld(t)
	replace := func(old, new string) func([]byte) []byte {
		return func(b []byte) []byte { return bytes.Replace(b, []byte(old), []byte(new), 1) }
	}
	const ca, entries, tsa = "/api/v2/signingCert", "/api/v1/log/entries", "/api/v1/timestamp"
	var earlier []byte // an answer of the CA to another request
	var mu sync.Mutex
	var stamp []byte // an answer of the TSA to another request; guarded by mu
	tests := []struct {
		name, path string
		status     int                 // instead of the answer, if not 0
		change     func([]byte) []byte // of the answer
		want       string
	}{
		{name: "CA refuses", path: ca, status: 400, want: "status 400"},
		{name: "CA is down", path: ca, status: 503, want: "status 503"},
		{name: "CA says 201", path: ca, status: 201, want: "status 201"},
		{name: "CA redirects", path: ca, status: 307, want: "status 307"},
		{name: "CA answers without a chain", path: ca, change: func([]byte) []byte { return []byte(`{}`) }, want: "no signedCertificateEmbeddedSct"},
		{name: "CA answers nonsense", path: ca, change: func([]byte) []byte { return []byte(`<html>`) }, want: "can't be used"},
		{name: "CA answers for another key", path: ca, change: func(b []byte) []byte {
			if earlier == nil {
				earlier = b
			}
			return earlier
		}, want: "another key"},
		{name: "log is down", path: entries, status: 500, want: "status 500"},
		{name: "log says 200", path: entries, status: 200, want: "status 200"},
		{name: "log has no proof", path: entries, change: replace(`"inclusionProof"`, `"x"`), want: "no inclusion proof"},
		{name: "log has no promise", path: entries, change: replace(`"signedEntryTimestamp"`, `"x"`), want: "no signed entry timestamp"},
		{name: "log has another body", path: entries, change: replace(`"body":"`, `"body":"AAAA`), want: "not that of the entry"},
		{name: "log answers with two entries", path: entries, change: replace(`{"`, `{"00":{},"`), want: "2 entries"},
		{name: "log answers about another entry", path: entries, change: func(b []byte) []byte { return append([]byte(`{"`+strings.Repeat("0", 80)), b[82:]...) }, want: "is not the one that was sent"},
		{name: "log moved the index", path: entries, change: replace(`"logIndex":`, `"logIndex":1`), want: "checking the bundle before writing it"},
		{name: "TSA is down", path: tsa, status: 502, want: "status 502"},
		{name: "TSA answers nonsense", path: tsa, change: func([]byte) []byte { return []byte("no DER") }, want: "can't be used"},
		{name: "TSA repeats an answer", path: tsa, change: func(b []byte) []byte {
			mu.Lock()
			defer mu.Unlock()
			if stamp == nil {
				stamp = b
			}
			return stamp
		}, want: "checking timestamp nonce"},
		{name: "endless answer", path: tsa, change: func([]byte) []byte { return make([]byte, 2<<20) }, want: "larger than"},
		{name: "admitted twin", path: "/none"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			front, signing := behind(t, w, tt.path, tt.status, tt.change)
			ref, digests := pushIndex(t, true)
			config := w.asAlice()
			config.Signing = signing
			if tt.name == "CA answers for another key" { // whose key is then not ours
				_, _ = sign.Image(t.Context(), config, ref, source(ref), sign.Options{SkipLegacy: true, SkipPlatforms: true})
				ref, digests = pushIndex(t, true)
			}
			_, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want one with %q", err, tt.want)
			}
			se := (*sign.ServiceError)(nil)
			if errors.As(err, &se); !strings.Contains(tt.want, "checking") && (se == nil || !strings.HasPrefix(se.URL, front+tt.path) || tt.status != 0 && se.Status != tt.status) {
				t.Errorf("error %#v, want a *ServiceError with URL and status", err)
			}
			for _, d := range digests {
				checkSigned(t, ref, d, w.root, keyless(t, alice, w.url), 0)
			}
		})
	}
	t.Run("another trust root", func(t *testing.T) {
		ref, digests := pushIndex(t, true)
		config := w.asAlice()
		config.Root = other.root
		_, err := sign.Image(t.Context(), config, ref, source(ref), sign.Options{})
		if ve := (*verify.Error)(nil); !errors.As(err, &ve) {
			t.Errorf("error %v, want a *verify.Error", err)
		}
		checkSigned(t, ref, digests[2], w.root, keyless(t, alice, w.url), 0)
	})
}

// behind puts a proxy before the stack that answers one path differently, and a signing config that names it.
func behind(t *testing.T, w world, path string, status int, change func([]byte) []byte) (string, *trust.SigningConfig) {
	t.Helper()
	target, err := url.Parse(w.url)
	if err != nil {
		t.Fatal(err)
	}
	proxy := httputil.NewSingleHostReverseProxy(target)
	proxy.ErrorLog = log.New(io.Discard, "", 0) // when one platform fails, requests for the others are cancelled
	proxy.ModifyResponse = func(r *http.Response) error {
		if change == nil || !strings.HasPrefix(r.Request.URL.Path, path) {
			return nil
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			return err
		}
		body = change(body)
		r.Body, r.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
		r.Header.Del("Content-Length")
		return nil
	}
	server := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if status != 0 && strings.HasPrefix(r.URL.Path, path) {
			rw.Header().Set("Location", w.url+r.URL.Path)
			rw.WriteHeader(status)
			return
		}
		r.Host = target.Host
		proxy.ServeHTTP(rw, r)
	}))
	t.Cleanup(server.Close)
	moved := *w.signing
	for _, list := range []*[]trust.Service{&moved.CAs, &moved.Logs, &moved.TSAs} {
		services := append([]trust.Service(nil), *list...)
		for i := range services {
			services[i].URL = strings.Replace(services[i].URL, w.url, server.URL, 1)
		}
		*list = services
	}
	return server.URL, &moved
}
