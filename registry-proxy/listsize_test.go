package registryproxy

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// TestPX32_ReferrersLargeInAll: whoever may push writes annotations, and gets one page after the other out of the registry. Of all pages
// together no more is held than of one.
func TestPX32_ReferrersLargeInAll(t *testing.T) {
	const pageSize = 1 << 20
	for _, c := range []struct{ name, path, fullPages, want string }{
		{"three pages of 1 MiB", "a", "3", ""},
		{"endless", "b", "100", codeUnknown},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			l := newLab(t)
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/referrers/") {
					return false
				}
				page, last := 1, 0
				_, _ = fmt.Sscan(r.URL.Query().Get("page"), &page) // 1 without
				_, _ = fmt.Sscan(c.fullPages, &last)
				w.Header().Set("Content-Type", typeOCIIndex)
				if page < last {
					w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, r.URL.Path, page+1))
				}
				fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":"sha256:%064x","size":1,"annotations":{"a":%q}}]}`,
					typeOCIIndex, typeOCIManifest, page, strings.Repeat("x", pageSize))
				return true
			})
			status := http.StatusOK
			if c.want != "" {
				status = http.StatusBadGateway
			}
			l.want(l.get("/v2/app/referrers/sha256:"+strings.Repeat(c.path, 64)), status, c.want)
			if pages := l.seen("/referrers/"); pages > maxList/pageSize {
				t.Errorf("%d pages were read", pages)
			}
		})
	}
}

// TestPX27_ListsTakeTurns: many clients who ask for large lists at once hold no more memory than a few, and manifests do not wait for them.
func TestPX27_ListsTakeTurns(t *testing.T) {
	t.Parallel()
	l := newLab(t)
	img := l.pushImage("app:v1")
	req := request{repository: "app", digest: digestOf(t, img), pageSize: -1}
	l.admitter.sign(req.digest)
	lists := map[string]func(context.Context) *failure{
		"/tags/list": func(ctx context.Context) *failure {
			_, _, fail := l.proxy.fetchTags(ctx, l.proxy.lists, req.repository, -1, "")
			return fail
		},
		"/referrers/": func(ctx context.Context) *failure {
			_, _, fail := l.proxy.fetchReferrers(ctx, req)
			return fail
		},
	}
	for path, list := range lists {
		l.seen("")
		if !l.proxy.lists.TryAcquire(maxLists) {
			t.Fatal("not all places are free")
		}
		short, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		fail := list(short)
		cancel()
		if asked := l.seen(path); fail == nil || fail.status != http.StatusServiceUnavailable || asked > 0 {
			t.Errorf("%s: %v, %d requests to the upstream, while all places are taken", path, fail, asked)
		}
		l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
		l.proxy.lists.Release(maxLists)
		if fail := list(t.Context()); fail != nil {
			t.Errorf("%s: %v", path, fail)
		}
	}
}
