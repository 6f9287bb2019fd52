package attach_test

import (
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
)

// tagServer answers each request for tags with what the function says.
func tagServer(t *testing.T, answer func(w http.ResponseWriter, r *http.Request)) (attach.Source, *int) {
	t.Helper()
	requests := 0
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		requests++
		answer(w, r)
	}))
	t.Cleanup(server.Close)
	repo, err := name.NewRepository(strings.TrimPrefix(server.URL, "http://") + "/team/app")
	if err != nil {
		t.Fatal(err)
	}
	return attach.Source{Repository: repo}, &requests
}

func list(tags ...string) string { return fmt.Sprintf(`{"tags":["%s"]}`, strings.Join(tags, `","`)) }

func numbered(n int) []string {
	tags := make([]string, n)
	for i := range tags {
		tags[i] = fmt.Sprintf("t%05d", i)
	}
	return tags
}

func TestTags(t *testing.T) {
	all := numbered(2500)
	pages := func(link bool) func(w http.ResponseWriter, r *http.Request) {
		return func(w http.ResponseWriter, r *http.Request) {
			from := 0
			if last := r.URL.Query().Get("last"); last != "" {
				from = slices.Index(all, last) + 1
			}
			to := min(from+1000, len(all))
			if link && to < len(all) {
				w.Header().Set("Link", fmt.Sprintf(`</v2/team/app/tags/list?n=1000&last=%s>; rel="next"`, all[to-1]))
			}
			fmt.Fprint(w, list(all[from:to]...))
		}
	}
	const next = `</v2/team/app/tags/list?page=2>; rel="next"`
	for _, c := range []struct {
		what     string
		limit    int
		answer   func(w http.ResponseWriter, r *http.Request)
		tags     int
		requests int
		status   int // of the error; -1: there is none
		tooMany  bool
	}{
		{"one page", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list("b", "a")) }, 2, 1, -1, false},
		{"no tags", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tags":null}`) }, 0, 1, -1, false},
		{"pages with links", 10_000, pages(true), 2500, 3, -1, false},
		{"pages without links", 10_000, pages(false), 2500, 3, -1, false},
		{"as many as the limit", 2500, pages(true), 2500, 3, -1, false},
		{"one more", 2499, pages(true), 2499, 3, 200, true},
		{"everything each time", 10_000, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list(all...)) }, 2500, 2, -1, false},
		{"the same page for ever", 10, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", next)
			fmt.Fprint(w, list("a"))
		}, 1, 2, 200, false},
		{"endless pages", 10_000, func() func(w http.ResponseWriter, _ *http.Request) {
			n := 0
			return func(w http.ResponseWriter, _ *http.Request) {
				n++
				w.Header().Set("Link", fmt.Sprintf(`</v2/team/app/tags/list?page=%d>; rel="next"`, n))
				fmt.Fprint(w, list(fmt.Sprint("t", n)))
			}
		}(), 250, 250, 200, true},
		{"another host's page", 10, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `<http://127.0.0.1:1/v2/team/app/tags/list>; rel="next"`)
			fmt.Fprint(w, list("a"))
		}, 1, 1, 200, false},
		{"another list's page", 10, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", `</v2/other/tags/list>; rel="next"`)
			fmt.Fprint(w, list("a"))
		}, 1, 1, 200, false},
		{"a path", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list("a", "../b")) }, 1, 1, 200, false},
		{"an empty tag", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, list("")) }, 0, 1, 200, false},
		{"a web page", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "<html>") }, 0, 1, 200, false},
		{"two lists", 10, func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, `{"tags":["a"],"Tags":["b"]}`) }, 0, 1, 200, false},
		{"no repository", 10, http.NotFound, 0, 1, 404, false},
		{"forbidden", 10, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(403) }, 0, 1, 403, false},
	} {
		t.Run(c.what, func(t *testing.T) {
			src, requests := tagServer(t, c.answer)
			tags, err := attach.Tags(t.Context(), src, c.limit)
			status := -1
			if lookup := (*attach.LookupError)(nil); errors.As(err, &lookup) {
				status = lookup.Status
			} else if err != nil {
				t.Errorf("error %v is no LookupError", err)
			}
			if len(tags) != c.tags || *requests != c.requests || status != c.status || errors.Is(err, attach.ErrTooMany) != c.tooMany {
				t.Errorf("%d tags, %d requests, error %v; want %d, %d, status %d", len(tags), *requests, err, c.tags, c.requests, c.status)
			}
		})
	}
}

// Peek repeats what headers say, and takes nothing for a digest that is none.
func TestPeek(t *testing.T) {
	host := coretest.NewRegistry(t, true)
	ref := coretest.Push(t, host+"/team/app:1", coretest.Index(t, 1))
	src := attach.Source{Repository: ref.Context()}
	digest, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		t.Fatal(err)
	}
	for _, identifier := range []string{"1", ref.DigestStr()} {
		claim, err := attach.Peek(t.Context(), src, identifier)
		if diff := cmp.Diff(attach.Claim{Digest: digest, MediaType: types.OCIImageIndex}, claim); err != nil || diff != "" {
			t.Errorf("%s: %v %s", identifier, err, diff)
		}
	}
	var lookup *attach.LookupError
	if _, err := attach.Peek(t.Context(), src, "none"); !errors.As(err, &lookup) || lookup.Status != http.StatusNotFound {
		t.Errorf("a tag that is not there: %v", err)
	}
	for _, identifier := range []string{"", "../x", "a/b", "sha256:../x", "sha512:" + strings.Repeat("0", 128), strings.Repeat("a", 129)} {
		if _, err := attach.Peek(t.Context(), src, identifier); !errors.As(err, &lookup) || lookup.Status != 0 {
			t.Errorf("%q: %v", identifier, err)
		}
	}
	for header, want := range map[string]attach.Claim{
		"":                         {MediaType: "a/b"},
		"sha256:../../x":           {MediaType: "a/b"},
		"SHA256:" + digest.Hex:     {MediaType: "a/b"},
		"sha256:" + digest.Hex[1:]: {MediaType: "a/b"},
		digest.String():            {Digest: digest, MediaType: "a/b"},
	} {
		src, _ := tagServer(t, func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "a/b; c=d")
			w.Header().Set("Docker-Content-Digest", header)
		})
		claim, err := attach.Peek(t.Context(), src, "1")
		if diff := cmp.Diff(want, claim); err != nil || diff != "" {
			t.Errorf("header %q: %v %s", header, err, diff)
		}
	}
}
