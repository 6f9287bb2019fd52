package registryproxy

import (
	"net/http"
	"strings"
	"testing"
	"time"
)

// PX-25: the clock jumps while images were decided before. Whatever is remembered until some time, nothing is admitted that was not, what was admitted is
// served while the registry answers, and an outage is never called unsigned.
func TestPX25_ClockJumps(t *testing.T) {
	const year = 365 * 24 * time.Hour
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			t.Parallel()
			l := newRealLab(t, referrers)
			good, bad := l.pushReal("app/web:good", 1), l.pushReal("app/web:bad", 2)
			l.sign("app/web", good, "", "alice@acme.example")
			goodPaths := []string{"manifests/good", "manifests/" + digestOf(t, good).String(), "blobs/" + layerDigests(t, good)[0].String()}
			badPaths := []string{"manifests/bad", "manifests/" + digestOf(t, bad).String(), "blobs/" + layerDigests(t, bad)[0].String()}
			lists := []string{"tags/list", "referrers/" + digestOf(t, good).String()}
			check := func(when string, outage bool) {
				t.Helper()
				for _, method := range []string{http.MethodGet, http.MethodHead} {
					for _, path := range badPaths {
						if r := l.do(method, "/v2/app/web/"+path); r.StatusCode < 400 {
							t.Errorf("%s: %s %s of what nobody signed: %d", when, method, path, r.StatusCode)
						}
					}
					for _, path := range append(lists, goodPaths...) {
						r := l.do(method, "/v2/app/web/"+path)
						switch {
						case !outage && r.StatusCode != http.StatusOK && !(method == http.MethodHead && strings.HasPrefix(path, "tags")):
							t.Errorf("%s: %s %s: %d %s", when, method, path, r.StatusCode, r.body)
						case r.StatusCode == http.StatusForbidden, r.StatusCode == http.StatusNotFound, strings.Contains(r.message(), "not signed"):
							t.Errorf("%s: an outage is taken for an answer: %s %s: %d %s", when, method, path, r.StatusCode, r.body)
						}
					}
				}
			}
			down := func(w http.ResponseWriter, _ *http.Request) bool {
				w.Header().Set("Retry-After", "3600")
				w.WriteHeader(http.StatusServiceUnavailable)
				return true
			}
			check("at first", false)
			for _, jump := range []time.Duration{-time.Hour, time.Hour, year, -year, 2 * time.Second, -2 * time.Second, year} {
				l.setLie(down)
				l.clock.Advance(jump)
				check("while the registry is down, after "+jump.String(), true)
				l.setLie(nil)
				l.clock.Advance(2 * outageFresh)
				check("after "+jump.String(), false)
			}
		})
	}
}
