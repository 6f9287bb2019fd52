package attach_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/touchmark/touchmark/core/attach"
)

// Every place, every status that isn't an answer: an error that names URL and status, never "none".
func TestA156_OutageIsNeverNone(t *testing.T) {
	for _, place := range []string{"/v2/", "/referrers/", "/manifests/sha256-%s", "/manifests/sha256-%s.sig", "/manifests/sha256-%s.att", "bundle", "manifest"} {
		for _, status := range []int{401, 403, 407, 418, 429, 500, 501, 502, 503, 504, 302} {
			t.Run(fmt.Sprintf("%s %d", place, status), func(t *testing.T) {
				t.Parallel()
				reg := newRegistry(t, !strings.HasSuffix(place, "%s"))
				subject := reg.image(t)
				manifest := reg.writeBundle(t, subject, 1)
				suffix := place
				switch place {
				case "bundle":
					suffix = "/blobs/"
				case "manifest":
					suffix = "/manifests/" + manifest.String()
				default:
					if strings.Contains(place, "%s") {
						suffix = fmt.Sprintf(place, subject.Digest.Hex)
					}
				}
				reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.HasSuffix(r.URL.Path, suffix) && (strings.HasPrefix(suffix, "/manifests/") || suffix == "/v2/" || !strings.Contains(r.URL.Path, suffix)) {
						return false
					}
					w.Header().Set("Retry-After", "3600") // so that nothing is tried again
					w.WriteHeader(status)
					return true
				})
				found, err := attach.FindWithAttestations(t.Context(), reg.src, subject.Digest)
				if status == 302 || place == "/v2/" && status == 401 {
					if err == nil && place != "/v2/" {
						t.Fatalf("no error, found %v", found.Evidence)
					}
					return
				}
				checkLookupError(t, err, status, suffix)
				if !slices.ContainsFunc(found.Lookups, func(l attach.Lookup) bool { return l.Status == status && l.Err != "" }) {
					t.Errorf("lookups %+v", found.Lookups)
				}
			})
		}
	}
}

// What is no list at all is not a list of nothing, as registries write it: that of the last page, too.
func TestA156_AnswerWithoutAListIsNotNone(t *testing.T) {
	for _, tt := range []struct {
		body string
		bad  bool
	}{
		{`null`, true}, {`{}`, true}, {`{"schemaVersion":2}`, true}, {`[]`, true}, {`{"schemaVersion":2,"manifests":{}}`, true}, {``, true},
		{`{"schemaVersion":2,"manifests":null}`, false}, {`{"schemaVersion":2,"manifests":[]}`, false}, {`{"schemaVersion":2,"Manifests":[]}`, false},
	} {
		for _, pages := range []int{1, 2} {
			t.Run(fmt.Sprintf("%s on page %d", tt.body, pages), func(t *testing.T) {
				reg := newRegistry(t, true)
				subject := reg.image(t)
				reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
					if !strings.Contains(r.URL.Path, "/referrers/") {
						return false
					}
					w.Header().Set("Content-Type", indexType)
					if pages == 2 && r.URL.RawQuery == "" {
						w.Header().Set("Link", "<"+r.URL.Path+`?last=1>; rel="next"`)
						fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
					} else {
						fmt.Fprint(w, tt.body)
					}
					return true
				})
				found, err := attach.Find(t.Context(), reg.src, subject.Digest)
				if tt.bad {
					checkLookupError(t, err, http.StatusOK, "/referrers/")
				} else if err != nil || len(found.Evidence) > 0 {
					t.Errorf("found %v, %v", found.Evidence, err)
				}
			})
		}
	}
}

func TestThrottledRegistry(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	for n := range 3 {
		reg.writeBundle(t, subject, n)
	}
	var count, throttled atomic.Int32
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if count.Add(1)%3 != 0 {
			return false
		}
		throttled.Add(1)
		w.Header().Set("Retry-After", "0")
		w.WriteHeader(http.StatusTooManyRequests)
		return true
	})
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 3 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
	if throttled.Load() == 0 {
		t.Error("nothing was throttled")
	}
}

func TestUnavailableRegistry(t *testing.T) {
	reg := newRegistry(t, true)
	var count atomic.Int32
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		count.Add(1)
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := attach.Find(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, http.StatusServiceUnavailable, reg.URL+"/v2/")
	if n := count.Load(); n != 4 {
		t.Errorf("asked %d times, want 4", n)
	}
	reg.Close()
	_, err = attach.Find(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, 0, reg.URL+"/v2/")
}

func TestFindStopsWhenCancelled(t *testing.T) {
	reg := newRegistry(t, true)
	ctx, cancel := context.WithCancel(t.Context())
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		cancel()
		w.WriteHeader(http.StatusServiceUnavailable)
		return true
	})
	_, err := attach.Find(ctx, reg.src, someDigest)
	if checkLookupError(t, err, 0, "/v2/"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want context.Canceled", err)
	}
}

// A pull waits for this: everything that one Find asks goes over two connections, one for the tag that is asked for meanwhile, 404s included.
func TestConnectionIsReused(t *testing.T) {
	reg := newRegistry(t, false)
	subject := reg.image(t)
	var connections sync.Map
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v2/" {
			connections.Store(r.RemoteAddr, true)
		}
		return false
	})
	if found := find(t, reg.src, subject.Digest); len(found.Evidence) != 0 || len(reg.seen()) != 3 {
		t.Errorf("found %v, requests %q", found.Evidence, reg.seen())
	}
	n := 0
	connections.Range(func(any, any) bool { n++; return true })
	if n > 2 {
		t.Errorf("%d connections, want two at most", n)
	}
}

// TestA075_PanicIsAnError: what panics while evidence is read, in goroutines that the caller does not have, is an error and ends no process.
func TestA075_PanicIsAnError(t *testing.T) {
	for _, place := range []string{"/referrers/", ".sig", "/manifests/sha256:", "/blobs/"} {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.writeBundle(t, subject, 1)
		var armed atomic.Bool
		reg.src.Transport = wholeTransport(func(r *http.Request) (*http.Response, error) {
			if armed.Load() && strings.Contains(r.URL.Path, place) {
				panic("nobody thought of this")
			}
			return http.DefaultTransport.RoundTrip(r)
		})
		if found, err := attach.Find(t.Context(), reg.src, subject.Digest); err != nil || len(found.Evidence) != 1 {
			t.Errorf("%s: without a panic: %v, %v", place, found.Evidence, err)
		}
		armed.Store(true)
		_, err := attach.Find(t.Context(), reg.src, subject.Digest)
		if le := (*attach.LookupError)(nil); !errors.As(err, &le) || !strings.Contains(err.Error(), "internal error: nobody thought of this") {
			t.Errorf("%s: error %v", place, err)
		}
	}
}
