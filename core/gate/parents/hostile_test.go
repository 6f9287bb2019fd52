package parents_test

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/types"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
)

// A search that the registry does not let finish is undecided, with the
// registry's reason; what the image's own evidence admits needs none.
func TestCTRD06_OutagesAreNotUnsigned(t *testing.T) {
	w := newWorld(t)
	signed, unsigned := w.pushIndex(t, "signed", 10), w.pushIndex(t, "unsigned", 20)
	own := w.push(t, "own", coretest.Image(t, 30))
	w.sign(t, signed.index, own)
	isList := func(r *http.Request) bool { return strings.HasSuffix(r.URL.Path, "/tags/list") }
	isPeek := func(r *http.Request) bool {
		return r.Method == http.MethodHead && !strings.Contains(r.URL.Path, "sha256")
	}
	isIndex := func(r *http.Request) bool {
		return r.Method == http.MethodGet && (strings.Contains(r.URL.Path, signed.index.Hex) || strings.Contains(r.URL.Path, unsigned.index.Hex))
	}
	for what, fails := range map[string]func(*http.Request) bool{"tags": isList, "heads": isPeek, "indexes": isIndex} {
		for status, code := range map[int]gate.Code{403: gate.CodeForbidden, 429: gate.CodeThrottled, 503: gate.CodeLookupFailed} {
			w.wire.set(func(r *http.Request) (*http.Response, error) {
				if fails(r) {
					return respond(r, status, "application/json", `{}`, "Retry-After", "60"), nil
				}
				return nil, nil
			})
			f := w.finder(t, "either")
			want(t, fmt.Sprint(what, " answer ", status), admit(f, w.request(t, unsigned.platforms[0])), code)
			want(t, fmt.Sprint(what, " answer ", status, ", signed index"), admit(f, w.request(t, signed.platforms[0])), code)
			want(t, fmt.Sprint(what, " answer ", status, ", own signature"), admit(f, w.request(t, own)), gate.CodeAdmitted)
			w.wire.set(nil)
			w.clock.Advance(time.Minute)
			want(t, what+" answer again", admit(f, w.request(t, signed.platforms[0])), gate.CodeAdmitted)
			want(t, what+" answer again", admit(f, w.request(t, unsigned.platforms[0])), gate.CodeUnsigned)
		}
	}
	// The reason names the way out, and what the image's own evidence says.
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if isList(r) {
			return respond(r, 429, "application/json", `{}`, "Retry-After", "60"), nil
		}
		return nil, nil
	})
	v := admit(w.finder(t, "either"), w.request(t, unsigned.platforms[0]))
	for _, part := range []string{"is not signed", "429", "registry proxy", "sign its platforms"} {
		if !strings.Contains(v.Reason, part) {
			t.Errorf("reason %q lacks %q", v.Reason, part)
		}
	}
}

// What a registry or whoever may push there can do to a search ends it, and
// admits nothing.
func TestPX_HostileRegistries(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	other := w.pushIndex(t, "other", 20)
	platform := w.push(t, "single", coretest.Image(t, 30)) // in no index
	indexType := string(types.OCIImageIndex)
	lists := func(r *http.Request, body string, header ...string) (*http.Response, error) {
		return respond(r, http.StatusOK, "application/json", body, header...), nil
	}
	for _, c := range []struct {
		what   string
		answer func(r *http.Request) (*http.Response, error)
		code   gate.Code
	}{
		{"endless pages of new tags", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				return lists(r, fmt.Sprintf(`{"tags":["t%s"]}`, r.URL.Query().Get("x")+"1"), "Link", fmt.Sprintf(`</v2/acme/app/tags/list?x=%s>; rel="next"`, r.URL.Query().Get("x")+"1"))
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"the same page for ever", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				return lists(r, `{"tags":["v1"]}`, "Link", `</v2/acme/app/tags/list?n=1>; rel="next"`)
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"pages of another host", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				return lists(r, `{"tags":["v1"]}`, "Link", `<http://169.254.169.254/v2/acme/app/tags/list>; rel="next"`)
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"tags that are paths", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				return lists(r, `{"tags":["../../other/manifests/v1"]}`)
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"a web page", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/tags/list") {
				return respond(r, http.StatusOK, "text/html", "<html>"), nil
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"an index with another's bytes", func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, m.index.String()) {
				return respond(r, http.StatusOK, indexType, fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, indexType, types.OCIManifestSchema1, platform)), nil
			}
			return nil, nil
		}, gate.CodeParentUnknown},
		{"a header with a signed index's digest", func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/single") {
				return respond(r, http.StatusOK, indexType, "", "Docker-Content-Digest", m.index.String()), nil
			}
			return nil, nil
		}, gate.CodeUnsigned},
		{"a digest that is a path", func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/other") {
				return respond(r, http.StatusOK, indexType, "", "Docker-Content-Digest", "sha256:../../x"), nil
			}
			return nil, nil
		}, gate.CodeUnsigned},
		{"neither digest nor type in headers", func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodHead && !strings.Contains(r.URL.Path, "sha256") {
				return respond(r, http.StatusOK, "", ""), nil
			}
			return nil, nil
		}, gate.CodeUnsigned},
		{"no HEAD", func(r *http.Request) (*http.Response, error) {
			if r.Method == http.MethodHead && !strings.Contains(r.URL.Path, "sha256") {
				return respond(r, http.StatusMethodNotAllowed, "", ""), nil
			}
			return nil, nil
		}, gate.CodeUnsigned},
		{"a tag deleted after it was listed", func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/manifests/other") {
				return respond(r, http.StatusNotFound, "", ""), nil
			}
			return nil, nil
		}, gate.CodeUnsigned},
	} {
		t.Run(c.what, func(t *testing.T) {
			w.wire.set(c.answer)
			defer w.wire.set(nil)
			f := w.finder(t, "either")
			want(t, "an image in no index", admit(f, w.request(t, platform)), c.code)
			if c.code == gate.CodeUnsigned {
				want(t, "a signed index's", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
				want(t, "an unsigned index's", admit(w.finder(t, "either"), w.request(t, other.platforms[1])), gate.CodeUnsigned)
			}
			if n, _ := w.wire.count(); n > 2000 {
				t.Errorf("%d requests", n)
			}
		})
	}
}

// Indexes beyond what is read leave it open what they list.
func TestPX09_IndexesBeyondTheLimits(t *testing.T) {
	list := func(n int, mediaType types.MediaType) string {
		var all []string
		for i := range n {
			all = append(all, fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":1}`, mediaType, i+1))
		}
		return strings.Join(all, ",")
	}
	for _, c := range []struct {
		what string
		body string
		code gate.Code
	}{
		{"as many as are remembered", list(parents.MaxChildren, types.OCIManifestSchema1), gate.CodeUnsigned},
		{"one more", list(parents.MaxChildren+1, types.OCIManifestSchema1), gate.CodeParentUnknown},
		{"eight nested ones that are not there", list(8, types.OCIImageIndex), gate.CodeUnsigned},
		{"nine", list(9, types.OCIImageIndex), gate.CodeParentUnknown},
	} {
		w := newWorld(t)
		platform := w.push(t, "single", coretest.Image(t, 30))
		w.pushIndex(t, "v1", 10)
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, types.OCIImageIndex, c.body)
		w.wire.set(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/manifests/v1") {
				return respond(r, http.StatusOK, string(types.OCIImageIndex), body), nil // without its digest: it is read by its tag
			}
			return nil, nil
		})
		want(t, c.what, admit(w.finder(t, "either"), w.request(t, platform)), c.code)
	}
	// Four deep is one too many.
	w := newWorld(t)
	platform := w.push(t, "single", coretest.Image(t, 30))
	nested := v1.ImageIndex(mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: coretest.Image(t, 40)}))
	for depth, code := range []gate.Code{gate.CodeUnsigned, gate.CodeUnsigned, gate.CodeUnsigned, gate.CodeParentUnknown} {
		w.push(t, "nested", nested)
		want(t, fmt.Sprint("depth ", depth), admit(w.finder(t, "either"), w.request(t, platform)), code)
		nested = mutate.AppendManifests(mutate.IndexMediaType(empty.Index, types.OCIImageIndex), mutate.IndexAddendum{Add: nested})
	}
}

// A search that takes longer than a pull may wait goes on, and the retry finds
// what it found.
func TestRetryFindsWhatWasSearched(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	single := w.push(t, "single", coretest.Image(t, 30))
	slow := make(chan struct{})
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if r.Method == http.MethodHead && strings.HasSuffix(r.URL.Path, "/v1") {
			<-slow
		}
		return nil, nil
	})
	f := w.finder(t, "either", func(c *parents.Config) { c.Patience = 2 * time.Second })
	var group sync.WaitGroup
	for _, d := range []v1.Hash{m.platforms[0], single} {
		group.Go(func() {
			v := admit(f, w.request(t, d))
			want(t, "first", v, gate.CodeParentUnknown)
			if !strings.Contains(v.Reason, "try again") {
				t.Errorf("the reason is %q", v.Reason)
			}
		})
	}
	group.Wait()
	w.clock.Advance(30 * time.Second) // as long as the search seems to take
	close(slow)
	for deadline := time.Now().Add(time.Minute); ; {
		if v := admit(f, w.request(t, m.platforms[0])); v.Admitted() {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the retry never admits")
		}
	}
	// No index was found for the other one, which the retry says without another
	// search: but for a list of tags.
	w.wire.count()
	want(t, "retry", admit(f, w.request(t, single)), gate.CodeUnsigned)
	for _, r := range w.wire.requests {
		if strings.HasPrefix(r, "HEAD") && strings.HasSuffix(r, "/v1") {
			t.Error("the retry searched again")
		}
	}
}

// Whoever has searches made that take for ever keeps only themselves from
// searching.
func TestSearchesOfOthers(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	f := w.finder(t, "either", func(c *parents.Config) { c.Patience = time.Second })
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") && strings.Contains(r.URL.Path, "/slow") {
			<-r.Context().Done()
			return nil, r.Context().Err()
		}
		return nil, nil
	})
	var group sync.WaitGroup
	for i := range 6 {
		image := hash(t, coretest.Push(t, fmt.Sprintf("%s/slow%d:1", w.host, i), coretest.Image(t, 50)).DigestStr())
		group.Go(func() {
			req := w.request(t, image)
			req.Source.Repository, req.Source.As = req.Source.Repository.Registry.Repo(fmt.Sprint("slow", i)), "mallory"
			want(t, "a search without end", admit(f, req), gate.CodeParentUnknown)
		})
	}
	group.Wait()
	mallory := w.request(t, m.platforms[0])
	mallory.Source.As = "mallory"
	want(t, "mallory's next question", admit(f, mallory), gate.CodeParentUnknown)
	want(t, "everybody else's", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
}

// A caller that goes away gets no admission, and ends nobody's search.
func TestCallerGoesAway(t *testing.T) {
	w := newWorld(t)
	m := w.pushIndex(t, "v1", 10)
	w.sign(t, m.index)
	f := w.finder(t, "either")
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w.wire.set(func(r *http.Request) (*http.Response, error) {
		if strings.HasSuffix(r.URL.Path, "/tags/list") {
			cancel()
		}
		return nil, nil
	})
	if v := f.Admit(ctx, w.request(t, m.platforms[0])); v.Admitted() {
		t.Errorf("%s: %s", v.Code, v.Reason)
	}
	w.wire.set(nil)
	w.clock.Advance(time.Minute)
	want(t, "the next one", admit(f, w.request(t, m.platforms[0])), gate.CodeAdmitted)
}
