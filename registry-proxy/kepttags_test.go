package registryproxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tags reads a repository's tags page by page, as clients do.
func (l *lab) tags(path string) (all []string, offline bool) {
	l.t.Helper()
	for range 100 {
		r := l.want(l.get(path), http.StatusOK, "")
		var page tagList
		if err := json.Unmarshal(r.body, &page); err != nil {
			l.t.Fatalf("%v: %s", err, r.body)
		}
		all, offline = append(all, page.Tags...), r.Header.Get(headerOffline) != ""
		next, ok := nextLink(r.Header)
		if !ok {
			return all, offline
		}
		path = next
	}
	l.t.Fatal("the pages do not end")
	return nil, false
}

// paged gives tags in pages as registries do, four at most, which the good one behind the lab does not.
func paged(w http.ResponseWriter, r *http.Request) bool {
	repository, ok := strings.CutSuffix(strings.TrimPrefix(r.URL.Path, "/v2/"), "/tags/list")
	if !ok || repository == "never" {
		return false
	}
	n, err := strconv.Atoi(r.URL.Query().Get("n"))
	if err != nil || n > 4 {
		n = 4
	}
	page := tagList{Name: repository}
	for i := range 10 {
		if tag := fmt.Sprintf("v%d", i); tag > r.URL.Query().Get("last") && len(page.Tags) <= n {
			page.Tags = append(page.Tags, tag)
		}
	}
	if len(page.Tags) > n {
		page.Tags = page.Tags[:n]
		w.Header().Set("Link", fmt.Sprintf(`</v2/%s/tags/list?n=%d&last=%s>; rel="next"`, repository, n, page.Tags[n-1]))
	}
	_ = json.NewEncoder(w).Encode(page)
	return true
}

// Tags can be listed during an outage, in pages of any size, as long as what was admitted is served.
func TestOffline_Tags(t *testing.T) {
	for name, restart := range map[string]bool{"the same process": false, "restarted": true} {
		t.Run(name, func(t *testing.T) {
			dir, line := t.TempDir(), &line{}
			const limit = 48 * time.Hour
			l := newLab(t, withCache(t, dir, limit), withConfig(func(c *Config) { c.Transport = line }))
			var want []string
			for i := range 10 {
				want = append(want, fmt.Sprintf("v%d", i))
				l.pushImage("app:" + want[i])
				l.pushImage("half:" + want[i])
			}
			l.pushImage("never:v1")
			l.setLie(paged)
			for _, path := range []string{"/v2/app/tags/list?n=3", "/v2/app/tags/list"} {
				if got, offline := l.tags(path); offline || !slices.Equal(got, want) {
					t.Errorf("%s: %q", path, got)
				}
			}
			l.want(l.get("/v2/half/tags/list?n=3"), http.StatusOK, "")
			l.want(l.get("/v2/half/tags/list?n=3&last=v5"), http.StatusOK, "") // somebody else's second page

			line.cut.Store(true)
			if restart {
				l.restartWith(dir, limit, line)
			}
			for _, path := range []string{"/v2/app/tags/list", "/v2/app/tags/list?n=1", "/v2/app/tags/list?n=4", "/v2/app/tags/list?n=1000"} {
				if got, offline := l.tags(path); !offline || !slices.Equal(got, want) {
					t.Errorf("%s: offline %v, %q", path, offline, got)
				}
			}
			if got, _ := l.tags("/v2/app/tags/list?last=v4z"); !slices.Equal(got, want[5:]) {
				t.Errorf("after a tag that is no more: %q", got)
			}
			for _, path := range []string{"/v2/half/tags/list", "/v2/never/tags/list", "/v2/none/tags/list"} {
				l.want(l.get(path), http.StatusServiceUnavailable, codeUnavailable)
			}
			l.clock.Advance(limit + time.Second)
			l.want(l.get("/v2/app/tags/list"), http.StatusServiceUnavailable, codeUnavailable)
			line.cut.Store(false)
			l.clock.Advance(outageFresh)
			if got, offline := l.tags("/v2/app/tags/list"); offline || len(got) != 10 {
				t.Errorf("after the outage: offline %v, %q", offline, got)
			}
		})
	}
}

// What is no outage is the upstream's answer; a repository that it has removed is not brought back by an outage, and
// where clients are passed through, or nothing is to be served offline, nobody is told anybody's tags.
func TestOffline_TagsAreForOutagesOnly(t *testing.T) {
	status := 0
	lie := func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/tags/list") && status != 0 {
			w.WriteHeader(status)
			return true
		}
		return false
	}
	l := newLab(t, withCache(t, t.TempDir(), time.Hour))
	l.pushImage("app:v1")
	l.setLie(lie)
	for _, step := range []struct{ says, want int }{
		{0, 200}, {500, 200}, {503, 200}, {401, 502}, {403, 502}, {429, 503}, {503, 200}, {404, 404}, {503, 503}, {0, 200}, {503, 200},
	} {
		status = step.says
		if r := l.get("/v2/app/tags/list"); r.StatusCode != step.want || (r.Header.Get(headerOffline) != "") != (step.want == 200 && step.says != 0) {
			t.Errorf("the upstream says %d: got %d %s", step.says, r.StatusCode, r.body)
		}
	}
	for name, option := range map[string]labOption{
		"online only":    withCache(t, t.TempDir(), 0),
		"passed through": func(l *lab, c *Config) { withCache(t, t.TempDir(), 0)(l, c); c.PassThrough = true },
		"no cache":       withConfig(func(*Config) {}),
	} {
		status = 0
		l := newLab(t, option)
		l.pushImage("app:v1")
		l.setLie(lie)
		l.want(l.get("/v2/app/tags/list"), http.StatusOK, "")
		if status = 503; l.get("/v2/app/tags/list").StatusCode == http.StatusOK {
			t.Errorf("%s: the tags are told", name)
		}
	}
}

// The signatures of an admitted image are listed during an outage, too.
func TestOffline_Referrers(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			line := &line{}
			l := newRealLab(t, referrers, withCache(t, t.TempDir(), time.Hour), withConfig(func(c *Config) { c.Transport = line }))
			img, never := l.pushReal("app/web:good", 1), l.pushReal("app/web:never", 2)
			l.sign("app/web", img, "", "alice@acme.example")
			l.want(l.get("/v2/app/web/manifests/good"), http.StatusOK, "")
			list := "/v2/app/web/referrers/" + digestOf(t, img).String()
			before := l.want(l.get(list), http.StatusOK, "")
			line.cut.Store(true)
			l.clock.Advance(time.Minute)
			r := l.want(l.get(list), http.StatusOK, "")
			if diff := cmp.Diff(string(before.body), string(r.body)); diff != "" || r.Header.Get(headerOffline) == "" {
				t.Errorf("header %q, %s", r.Header.Get(headerOffline), diff)
			}
			l.want(l.get("/v2/app/web/referrers/"+digestOf(t, never).String()), http.StatusServiceUnavailable, codeUnavailable)
		})
	}
}

// A search of the tags that were kept is not complete: an image may have come since whose layer it is, so that nothing is denied by it.
func TestOffline_SearchOfKeptTags(t *testing.T) {
	line := &line{}
	l := newLab(t, withCache(t, t.TempDir(), time.Hour), withConfig(func(c *Config) { c.Transport = line }))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.want(l.get("/v2/app/tags/list"), http.StatusOK, "")
	blob := "/v2/app/blobs/" + layerDigests(t, img)[0].String()
	l.want(l.get(blob), http.StatusOK, "")
	l.admitter.revoke(digestOf(t, img))
	l.want(l.get(blob), http.StatusForbidden, codeDenied)
	line.cut.Store(true)
	l.clock.Advance(2 * walkFresh)
	l.want(l.get(blob), http.StatusServiceUnavailable, codeUnavailable)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
	l.admitter.sign(digestOf(t, img))
	l.want(l.get(blob), http.StatusOK, "")
}

func TestListings(t *testing.T) {
	var l listings
	now := time.Now()
	many := make([]string, 1000)
	for i := range many {
		many[i] = fmt.Sprintf("v%04d", i)
	}
	for i := range 1000 { // nobody reads on
		if whole, ok := l.page(fmt.Sprint("r", i), "", many, true, now); ok || whole.tags != nil {
			t.Fatal("complete")
		}
		total := 0
		for _, b := range l.begun {
			total += len(b.tags)
		}
		if total != l.size || l.size > maxListed {
			t.Fatalf("%d tags, said to be %d", total, l.size)
		}
	}
	before := len(l.begun)
	for i := range 1000 { // ?n=0
		l.page(fmt.Sprint("none", i), "", nil, true, now)
	}
	if len(l.begun) != before {
		t.Fatalf("%d beginnings without a tag are held", len(l.begun)-before)
	}
	for i := range 2*maxListed/len(many) + 2 { // a repository that does not end
		last := ""
		if i > 0 {
			last = many[len(many)-1]
		}
		if l.page("huge", last, many, true, now); l.size > maxListed {
			t.Fatalf("%d tags", l.size)
		}
	}
	if _, ok := l.page("r", "", many[:0], false, now); !ok {
		t.Error("a list without tags is complete")
	}
	l.page("old", "", []string{"a"}, true, now)
	if whole, ok := l.page("old", "a", []string{"b"}, false, now.Add(time.Hour)); !ok || !whole.at.Equal(now) || !slices.Equal(whole.tags, []string{"a", "b"}) {
		t.Errorf("a list is as old as its first page: %v, %v", whole, ok)
	}
}
