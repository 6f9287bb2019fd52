package gate_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"log"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
)

// verifiers is how many images are asked about at once: a cluster that starts again.
const verifiers = 200

// crowd is that many images in one registry, and what is right to say of each.
type crowd struct {
	*world
	registry http.Handler
	answers  sync.Map // *httptest.ResponseRecorder by path: go-containerregistry's reads everything it has for each list of referrers
	images   []name.Digest
	want     []gate.Code
}

func newCrowd(t *testing.T, n int) *crowd {
	t.Helper()
	c := &crowd{world: newWorld(t, release)}
	c.registry = registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(c.registry)
	t.Cleanup(server.Close)
	c.host = strings.TrimPrefix(server.URL, "http://")
	for i := range n {
		image := c.push(t, fmt.Sprintf("v%d", i), coretest.Image(t, int64(i)))
		want := gate.CodeAdmitted
		switch i % 10 {
		case 0:
			want = gate.CodeUnsigned
		case 1:
			want = gate.CodeNotAcceptable
			c.signAs(t, image, mallory)
		case 2:
			c.attach(t, image, c.sign(t, image, coretest.SignOptions{Identity: alice, Content: coretest.SimpleSigning}))
		default:
			c.signAs(t, image, alice)
		}
		c.images, c.want = append(c.images, image), append(c.want, want)
	}
	return c
}

// throttle answers 429 to the given share of all requests, at random but the same in every run, and passes the others on.
func throttle(share float64, retryAfter string, next func(*http.Request) (*http.Response, error)) func(*http.Request) (*http.Response, error) {
	var mu sync.Mutex
	dice := rand.New(rand.NewPCG(1, 2))
	return func(req *http.Request) (*http.Response, error) {
		mu.Lock()
		refused := dice.Float64() < share
		mu.Unlock()
		if !refused {
			return next(req)
		}
		answer := httptest.NewRecorder()
		if retryAfter != "" {
			answer.Header().Set("Retry-After", retryAfter)
		}
		answer.WriteHeader(http.StatusTooManyRequests)
		resp := answer.Result()
		resp.Request = req
		return resp, nil
	}
}

// recorded gives the registry's answer to a GET, which it is asked for once.
func (c *crowd) recorded(req *http.Request) *httptest.ResponseRecorder {
	known, ok := c.answers.Load(req.URL.Path)
	if !ok {
		answer := httptest.NewRecorder()
		c.registry.ServeHTTP(answer, req.Clone(req.Context()))
		known, _ = c.answers.LoadOrStore(req.URL.Path, answer)
	}
	return known.(*httptest.ResponseRecorder)
}

// inProcess hands a request to the registry without a network, so that a test can have a clock of its own.
func (c *crowd) inProcess(req *http.Request) (*http.Response, error) {
	known := c.recorded(req)
	answer := httptest.NewRecorder()
	maps.Copy(answer.Header(), known.Header())
	answer.WriteHeader(known.Code)
	answer.Body = bytes.NewBuffer(known.Body.Bytes())
	resp := answer.Result()
	resp.Request = req
	return resp, nil
}

// ServeHTTP is the registry when it isn't written any more.
func (c *crowd) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	known := c.recorded(r)
	maps.Copy(w.Header(), known.Header())
	w.WriteHeader(known.Code)
	w.Write(known.Body.Bytes())
}

// withoutAPI is the same registry without a referrers API: the lists are at the fallback tags.
func (c *crowd) withoutAPI(req *http.Request) (*http.Response, error) {
	if strings.Contains(req.URL.Path, "/referrers/") {
		answer := httptest.NewRecorder()
		answer.WriteHeader(http.StatusNotFound)
		return answer.Result(), nil
	}
	if repository, digest, ok := strings.Cut(req.URL.Path, "/manifests/sha256-"); ok && !strings.HasSuffix(digest, ".sig") {
		req = req.Clone(req.Context())
		req.URL.Path = repository + "/referrers/sha256:" + digest
	}
	return c.inProcess(req)
}

// ask asks about every image at once, again about those that are undecided until the time is up, and gives the last verdicts and how many were undecided once.
func (c *crowd) ask(t *testing.T, limit time.Duration) (verdicts []gate.Verdict, undecided int) {
	t.Helper()
	verdicts, again := make([]gate.Verdict, len(c.images)), make([]bool, len(c.images))
	start := time.Now()
	var wg sync.WaitGroup
	for i, image := range c.images {
		req := c.request(t, image)
		wg.Go(func() {
			for {
				verdicts[i] = c.gate.Admit(context.Background(), req)
				if verdicts[i].Outcome != gate.OutcomeUndecided || time.Since(start) >= limit {
					return
				}
				again[i] = true
			}
		})
	}
	wg.Wait()
	for _, a := range again {
		if a {
			undecided++
		}
	}
	return verdicts, undecided
}

func (c *crowd) check(t *testing.T, verdicts []gate.Verdict) {
	t.Helper()
	for i, v := range verdicts {
		if v.Code != c.want[i] || v.Admitted() != (c.want[i] == gate.CodeAdmitted) {
			t.Errorf("image %d: %s, %s (%s); want %s", i, v.Outcome, v.Code, v.Reason, c.want[i])
		}
	}
}

// TestThrottledRegistry: 200 verifiers ask a registry that answers 429 to a third of all requests. Everything that is signed is admitted, nothing else is, and what
// is not signed is refused as that. It runs by a clock of its own, and so needs the time that the verifiers wait for and no more.
func TestThrottledRegistry(t *testing.T) {
	c := newCrowd(t, verifiers)
	for _, tt := range []struct {
		name       string
		registry   func(*http.Request) (*http.Response, error)
		retryAfter string
		limit      time.Duration // 0: nobody may be undecided the first time
	}{
		{"referrers API", c.inProcess, "", 0},
		{"referrers API, come back at once", c.inProcess, "0", 0},
		{"referrers API, wait a second", c.inProcess, "1", time.Minute},
		{"no referrers API", c.withoutAPI, "", 0},
		{"no referrers API, wait a second", c.withoutAPI, "1", time.Minute},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				c.gate = c.newGate(t, release)
				c.wire.set(throttle(1.0/3, tt.retryAfter, tt.registry))
				start := time.Now()
				verdicts, undecided := c.ask(t, tt.limit)
				c.check(t, verdicts)
				took := time.Since(start)
				t.Logf("took %v, %d of %d were undecided at first", took, undecided, verifiers)
				if took > time.Minute {
					t.Error("want a minute at most")
				}
			})
		})
	}
	// The same through a network and by the real clock. A machine that is busy may leave some undecided the first time.
	t.Run("network", func(t *testing.T) {
		server := httptest.NewServer(c)
		defer server.Close()
		c.host = strings.TrimPrefix(server.URL, "http://")
		c.gate = c.newGate(t, release)
		c.wire.set(throttle(1.0/3, "", func(*http.Request) (*http.Response, error) { return nil, nil }))
		verdicts, undecided := c.ask(t, time.Minute)
		c.check(t, verdicts)
		t.Logf("%d of %d were undecided at first", undecided, verifiers)
	})
}

// TestA073_SlowImages: a registry that never answers about every other image holds up nobody who asks about the rest.
func TestA073_SlowImages(t *testing.T) {
	c := newCrowd(t, 40)
	slow := map[string]bool{}
	for i, image := range c.images {
		if i%2 == 0 {
			slow[strings.TrimPrefix(image.DigestStr(), "sha256:")] = true
		}
	}
	synctest.Test(t, func(t *testing.T) {
		c.gate = c.newGate(t, release)
		c.wire.set(func(req *http.Request) (*http.Response, error) {
			for digest := range slow {
				if strings.Contains(req.URL.Path, digest) {
					<-req.Context().Done()
					return nil, req.Context().Err()
				}
			}
			return c.inProcess(req)
		})
		start := time.Now()
		var wg sync.WaitGroup
		for i, image := range c.images {
			req := c.request(t, image)
			wg.Go(func() {
				v := c.gate.Admit(context.Background(), req)
				took := time.Since(start)
				switch {
				case i%2 == 0 && (v.Outcome != gate.OutcomeUndecided || took > 10*time.Second):
					t.Errorf("image %d, slow: %s, %s after %v (%s)", i, v.Outcome, v.Code, took, v.Reason)
				case i%2 == 1 && (v.Code != c.want[i] || took > time.Second):
					t.Errorf("image %d: %s, %s after %v (%s); want %s at once", i, v.Outcome, v.Code, took, v.Reason, c.want[i])
				}
			})
		}
		wg.Wait()
	})
}

// TestOutageOfThrottledRegistry: a registry that answers nothing but 429, or nothing at all, leaves everything undecided, and nobody hears that an image is not signed.
func TestOutageOfThrottledRegistry(t *testing.T) {
	silent := func(req *http.Request) (*http.Response, error) {
		<-req.Context().Done()
		return nil, req.Context().Err()
	}
	for _, tt := range []struct {
		name   string
		answer func(c *crowd) func(*http.Request) (*http.Response, error)
		code   gate.Code // "" for any
		says   string
	}{
		{"429", func(*crowd) func(*http.Request) (*http.Response, error) { return throttle(1, "", nil) }, gate.CodeThrottled, "429"},
		{"429, wait a second", func(*crowd) func(*http.Request) (*http.Response, error) { return throttle(1, "1", nil) }, gate.CodeThrottled, "429"},
		{"429, wait an hour", func(*crowd) func(*http.Request) (*http.Response, error) { return throttle(1, "3600", nil) }, gate.CodeThrottled, "429"},
		{"429 after the ping", func(c *crowd) func(*http.Request) (*http.Response, error) {
			refuse := throttle(1, "", nil)
			return func(req *http.Request) (*http.Response, error) {
				if req.URL.Path == "/v2/" {
					return c.inProcess(req)
				}
				return refuse(req)
			}
		}, gate.CodeThrottled, "429"},
		{"silence", func(*crowd) func(*http.Request) (*http.Response, error) { return silent }, "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := &crowd{world: newWorld(t, release)}
			c.registry = registry.New(registry.Logger(log.New(io.Discard, "", 0)))
			for i := range verifiers {
				c.images = append(c.images, c.image.Context().Digest(fmt.Sprintf("sha256:%064x", i)))
			}
			synctest.Test(t, func(t *testing.T) {
				c.gate = c.newGate(t, release)
				c.wire.set(tt.answer(c))
				verdicts, _ := c.ask(t, 0)
				for i, v := range verdicts {
					if v.Outcome != gate.OutcomeUndecided || tt.code != "" && v.Code != tt.code || !strings.Contains(v.Reason, tt.says) || strings.Contains(v.Reason, "not signed") {
						t.Errorf("image %d: %s, %s (%s)", i, v.Outcome, v.Code, v.Reason)
					}
				}
			})
		})
	}
}
