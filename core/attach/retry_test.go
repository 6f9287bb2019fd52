package attach_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net/http"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/touchmark/touchmark/core/attach"
)

// flaky answers as told, one answer for each request but the pings, the last one for ever, and remembers when.
type flaky struct {
	answers []func(*http.Request) (*http.Response, error)
	at      []time.Time
}

func (f *flaky) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.URL.Path == "/v2/" {
		return answer(r, 200, nil, ""), nil
	}
	f.at = append(f.at, time.Now())
	if len(f.answers) > 1 {
		defer func() { f.answers = f.answers[1:] }()
	}
	return f.answers[0](r)
}

func says(status int, retryAfter string) func(*http.Request) (*http.Response, error) {
	return func(r *http.Request) (*http.Response, error) {
		header := http.Header{}
		if retryAfter != "" {
			header.Set("Retry-After", retryAfter)
		}
		return answer(r, status, header, ""), nil
	}
}

func drops(err error) func(*http.Request) (*http.Response, error) {
	return func(*http.Request) (*http.Response, error) { return nil, err }
}

func TestRetries(t *testing.T) {
	type answers = []func(*http.Request) (*http.Response, error)
	tests := []struct {
		name     string
		answers  answers
		requests int
		min, max time.Duration // of waiting
		status   int           // of the error; 404 is none, for the image isn't there
	}{
		{"404 at once", answers{says(404, "")}, 1, 0, 0, 404},
		{"throttled once", answers{says(429, ""), says(404, "")}, 2, 100 * time.Millisecond, 125 * time.Millisecond, 404},
		{"throttled ten times", append(times(10, says(429, "")), says(404, "")), 11, 4200 * time.Millisecond, 5250 * time.Millisecond, 404},
		{"throttled for ever", answers{says(429, "")}, 16, 6700 * time.Millisecond, 8375 * time.Millisecond, 429},
		{"throttled, wait a second", answers{says(429, "1"), says(404, "")}, 2, time.Second, 1250 * time.Millisecond, 404},
		{"throttled, always wait a second", answers{says(429, "1")}, 11, 10 * time.Second, 12500 * time.Millisecond, 429},
		{"throttled, wait an hour", answers{says(429, "3600")}, 1, 0, 0, 429},
		{"throttled, wait until a date", answers{says(429, "Sun, 22 Nov 2026 12:00:00 GMT"), says(404, "")}, 2, 100 * time.Millisecond, 125 * time.Millisecond, 404},
		{"throttled, nonsense", answers{says(429, "-1"), says(404, "")}, 2, 100 * time.Millisecond, 125 * time.Millisecond, 404},
		{"500 once", answers{says(500, ""), says(404, "")}, 2, 150 * time.Millisecond, 188 * time.Millisecond, 404},
		{"503 for ever", answers{says(503, "")}, 4, 1950 * time.Millisecond, 2438 * time.Millisecond, 503},
		{"503 for ever, wait two seconds", answers{says(503, "2")}, 4, 6 * time.Second, 7500 * time.Millisecond, 503},
		{"a failure and throttled", answers{says(502, ""), says(429, ""), says(504, ""), says(404, "")}, 4, 700 * time.Millisecond, 875 * time.Millisecond, 404},
		{"dropped once", answers{drops(io.EOF), says(404, "")}, 2, 150 * time.Millisecond, 188 * time.Millisecond, 404},
		{"reset for ever", answers{drops(syscall.ECONNRESET)}, 4, 1950 * time.Millisecond, 2438 * time.Millisecond, 0},
		{"refused", answers{drops(syscall.ECONNREFUSED)}, 1, 0, 0, 0},
		{"TLS", answers{drops(errors.New("tls: bad certificate"))}, 1, 0, 0, 0},
		{"401", answers{says(401, "")}, 1, 0, 0, 401},
		{"403", answers{says(403, "")}, 1, 0, 0, 403},
		{"501", answers{says(501, "")}, 1, 0, 0, 501},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := source(t, "registry.example/team/app")
				network := &flaky{answers: tt.answers}
				src.Transport = network
				begin := time.Now()
				_, _, err := attach.Resolve(t.Context(), src, src.Repository.Tag("latest"))
				checkLookupError(t, err, tt.status, "/manifests/latest")
				if took := time.Since(begin); took < tt.min || took > tt.max || len(network.at) != tt.requests {
					t.Errorf("%d requests in %v, want %d in %v to %v", len(network.at), took, tt.requests, tt.min, tt.max)
				}
			})
		})
	}
}

func times(n int, f func(*http.Request) (*http.Response, error)) (list []func(*http.Request) (*http.Response, error)) {
	for range n {
		list = append(list, f)
	}
	return list
}

// Who has no time left gets the registry's answer, not "deadline exceeded".
func TestRetriesEndBeforeTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := source(t, "registry.example/team/app")
		src.Transport = &flaky{answers: times(1, says(429, "2"))}
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		begin := time.Now()
		_, _, err := attach.Resolve(ctx, src, src.Repository.Tag("latest"))
		checkLookupError(t, err, 429, "/manifests/latest")
		if took := time.Since(begin); took > 5*time.Second || ctx.Err() != nil {
			t.Errorf("took %v, %v", took, ctx.Err())
		}
	})
}

// A transport that somebody else authenticated, as registry-proxy does, gets the same retries; one of ours is not given them twice.
func TestRetriesOfAuthenticatedTransports(t *testing.T) {
	for _, whose := range []string{"ours", "another's"} {
		t.Run(whose, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				src := source(t, "registry.example/team/app")
				network := &flaky{answers: times(1, says(429, ""))}
				src.Transport = network
				var err error
				if whose == "ours" {
					src, err = attach.Connect(t.Context(), src, transport.PullScope)
				} else {
					src.Transport, err = transport.NewWithContext(t.Context(), src.Repository.Registry, authn.Anonymous, network, nil)
				}
				if err != nil {
					t.Fatal(err)
				}
				_, _, err = attach.Resolve(t.Context(), src, src.Repository.Tag("latest"))
				checkLookupError(t, err, 429, "/manifests/latest")
				if len(network.at) != 16 {
					t.Errorf("%d requests, want 16", len(network.at))
				}
			})
		})
	}
}

// A throttled upload is begun again with its whole content; a failed one isn't, but by who began it.
func TestThrottledWrites(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	seen := map[string]int{}
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		body, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
		key := r.Method + r.URL.Path
		if seen[key]++; seen[key]%2 == 0 {
			return false
		}
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	reg.writeBundle(t, subject, 1)
	reg.writeLegacy(t, subject, 2)
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 2 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
}

// trickle gives a byte a second, until the request is given up.
type trickle struct{ *http.Request }

func (b trickle) Read(p []byte) (int, error) {
	select {
	case <-b.Context().Done():
		return 0, b.Context().Err()
	case <-time.After(time.Second):
		p[0] = ' '
		return 1, nil
	}
}

// A registry that trickles its answer holds nobody up for ever.
func TestA073_TricklingRegistry(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		src := source(t, "registry.example/team/app")
		src.Transport = &flaky{answers: times(1, func(r *http.Request) (*http.Response, error) {
			resp := answer(r, 200, http.Header{"Content-Type": {manifestType}}, "")
			resp.Body = io.NopCloser(trickle{r})
			return resp, nil
		})}
		begin := time.Now()
		_, _, err := attach.Resolve(t.Context(), src, src.Repository.Tag("latest"))
		checkLookupError(t, err, 200, "/manifests/latest")
		if took := time.Since(begin); took > time.Minute {
			t.Errorf("took %v", took)
		}
	})
}
