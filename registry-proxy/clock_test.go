package registryproxy

import (
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
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

// PX-25: the wall clock is set, and the monotonic one goes on: nothing that is remembered is believed for longer than by either, and what was
// remembered at the wrong time is asked for again when the clock is back.
func TestPX25_WallClockIsSet(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	for _, set := range []time.Duration{year, -day, 11 * time.Minute, -11 * time.Minute} {
		t.Run(set.String(), func(t *testing.T) {
			t.Parallel()
			l := newLab(t, withCache(t, t.TempDir(), 0))
			good, bad := l.pushImage("app:v1"), l.pushImage("app:bad")
			l.admitter.sign(digestOf(t, good))
			byTag, byDigest := "/v2/app/manifests/v1", "/v2/app/manifests/"+digestOf(t, good).String()
			layer := "/v2/app/blobs/" + layerDigests(t, good)[0].String()
			asked := func(what, path string, want int) {
				t.Helper()
				l.seen("")
				l.want(l.get(path), http.StatusOK, "")
				if n := l.seen(path); n != want {
					t.Errorf("%s: the upstream is asked %d times for %s, want %d", what, n, path, want)
				}
			}
			asked("at first", byTag, 1)
			asked("again", byTag, 0)
			asked("at first", byDigest, 1)
			asked("again", byDigest, 0)
			asked("at first", layer, 1)
			waitFor(t, func() bool { return l.proxy.cache.Has(layerDigests(t, good)[0], grantSize(t, good)) })
			asked("again", layer, 0)
			for _, what := range []string{"with the clock set", "with the clock back"} {
				l.clock.SetWall(set)
				set = -set
				asked(what, byTag, 1)
				asked(what+", again", byTag, 0)
				asked(what, byDigest, 1)
				asked(what+", again", byDigest, 0)
				asked(what, layer, 1) // whether it is still there
				asked(what+", again", layer, 0)
			}
			l.clock.SetWall(set)
			if err := remote.Write(l.ref("app:v1"), bad); err != nil { // the tag moves, and the clock does not
				t.Fatal(err)
			}
			l.want(l.get(byTag), http.StatusForbidden, codeDenied)
		})
	}
}

// What is remembered is asked for again at its time, however often it was asked for meanwhile.
func TestRememberedUntil(t *testing.T) {
	image := func(l *lab) v1.Image {
		img := l.pushImage("app:v1")
		l.admitter.sign(digestOf(t, img))
		return img
	}
	kept := func(l *lab) string {
		img := image(l)
		layer := layerDigests(t, img)[0]
		for _, path := range []string{"manifests/v1", "blobs/" + layer.String()} {
			l.want(l.get("/v2/app/"+path), http.StatusOK, "")
		}
		waitFor(t, func() bool { return l.proxy.cache.Has(layer, grantSize(t, img)) })
		l.clock.Advance(time.Hour)
		return "/v2/app/blobs/" + layer.String()
	}
	through := func() *lab {
		l := passedThrough(t)
		l.private(ownRealm)
		return l
	}
	for name, c := range map[string]struct {
		lab    func() *lab
		path   func(*lab) string
		status int
		limit  time.Duration
	}{
		"a tag":       {func() *lab { return newLab(t) }, func(l *lab) string { image(l); return "/v2/app/manifests/v1" }, http.StatusOK, time.Second},
		"a digest":    {func() *lab { return newLab(t) }, func(l *lab) string { return "/v2/app/manifests/" + digestOf(t, image(l)).String() }, http.StatusOK, 10 * time.Minute},
		"a kept blob": {func() *lab { return newLab(t, withCache(t, t.TempDir(), 0)) }, kept, http.StatusOK, 10 * time.Minute},
		"a challenge": {through, func(*lab) string { return "/v2/" }, http.StatusUnauthorized, 5 * time.Minute},
		"signatures":  {func() *lab { l, _ := countersigning(t); return l }, func(l *lab) string { return "/v2/app/manifests/sha256-" + digestOf(t, image(l)).Hex + ".sig" }, http.StatusOK, 10 * time.Second},
		"a dead uplink": {func() *lab {
			return newLab(t, withCache(t, t.TempDir(), time.Hour), withConfig(func(c *Config) { c.Transport = refusing{} }))
		}, func(*lab) string { return "/v2/app/manifests/v1" }, http.StatusServiceUnavailable, 5 * time.Second},
	} {
		t.Run(name, func(t *testing.T) {
			l := c.lab()
			path := c.path(l)
			asked := func(when string, want bool) {
				t.Helper()
				l.seen("")
				logged := strings.Count(l.logs.String(), "cannot be reached; what")
				if r := l.get(path); r.StatusCode != c.status {
					t.Fatalf("%s: %d %s", when, r.StatusCode, r.body)
				}
				if got := l.seen("/v2/") > 0 || strings.Count(l.logs.String(), "cannot be reached; what") > logged; got != want {
					t.Errorf("%s: the upstream is asked: %v", when, got)
				}
			}
			asked("at first", true)
			for range 4 {
				l.clock.Advance(c.limit/4 - time.Millisecond)
				asked("before its time", false)
			}
			l.clock.Advance(4 * time.Millisecond)
			asked("at its time", true)
		})
	}
}

// refusing is an upstream that does not listen.
type refusing struct{}

// RoundTrip implements http.RoundTripper.
func (refusing) RoundTrip(*http.Request) (*http.Response, error) {
	return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
}

// PX-15: so is the challenge with which clients are sent to a token service.
func TestPX15_WallClockIsSet(t *testing.T) {
	l := passedThrough(t)
	l.private(ownRealm)
	for i, set := range []time.Duration{0, time.Hour, -time.Hour, -time.Hour, time.Hour} {
		l.clock.SetWall(set)
		for range 2 {
			l.want(l.get("/v2/"), http.StatusUnauthorized, codeUnauthorized)
		}
		if n := l.seen("/v2/"); n != 1 {
			t.Errorf("step %d: the upstream was asked %d times", i, n)
		}
	}
}

// PX-25: what was kept for an outage is not given for longer because the wall clock was set back, nor by one that is ahead; and when the clock
// is back it is given as before.
func TestPX25_WallClockIsSetDuringAnOutage(t *testing.T) {
	const limit, day, year = 48 * time.Hour, 24 * time.Hour, 365 * 24 * time.Hour
	line := &line{}
	l := newLab(t, withCache(t, t.TempDir(), limit), withConfig(func(c *Config) { c.Transport = line }))
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	paths := []string{"/v2/app/manifests/v1", "/v2/app/blobs/" + layerDigests(t, img)[0].String(), "/v2/app/tags/list"}
	for _, path := range paths {
		l.want(l.get(path), http.StatusOK, "")
	}
	waitFor(t, func() bool { return l.proxy.cache.Has(layerDigests(t, img)[0], grantSize(t, img)) })
	line.cut.Store(true)
	given := func(what string, want bool) {
		t.Helper()
		for _, path := range paths {
			if r := l.get(path); (r.StatusCode == http.StatusOK) != want || !want && r.StatusCode != http.StatusServiceUnavailable {
				t.Errorf("%s: %s: %d %s", what, path, r.StatusCode, r.body)
			}
		}
	}
	l.clock.Advance(time.Hour)
	given("an hour later", true)
	l.clock.SetWall(year)
	given("a year ahead", false)
	l.clock.SetWall(-year)
	given("back again", true)
	l.clock.SetWall(-year)
	given("a year behind", false)
	l.clock.SetWall(year)
	given("back again", true)
	l.clock.SetWall(-day)
	given("a day behind", true)
	l.clock.Advance(limit - time.Hour + time.Minute)
	given("a day behind, at the end of its time", false)
	l.clock.SetWall(day)
	given("at the end of its time", false)
	line.cut.Store(false)
	l.clock.Advance(outageFresh)
	given("when the outage has ended", true)
}

// grantSize is the size of an image's first layer.
func grantSize(t *testing.T, img v1.Image) int64 {
	t.Helper()
	m, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers[0].Size
}

// A countersignature is good for ten minutes: nobody gets it after that, nor one that was dated by a clock that was wrong.
func TestWallClockIsSetWhileCountersigning(t *testing.T) {
	const day = 24 * time.Hour
	l, pool := countersigning(t)
	img := digestOf(t, l.pushImage("app:v1"))
	l.admitter.sign(img)
	at := "/v2/app/manifests/sha256-" + img.Hex + ".sig"
	first := l.want(l.get(at), http.StatusOK, "")
	own := "/v2/app/manifests/" + first.Header.Get("Docker-Content-Digest")
	l.want(l.get(own), http.StatusOK, "")
	for _, set := range []time.Duration{day, -day} { // there and back
		l.clock.SetWall(set)
		if names, _ := l.signatures("app", img, pool); len(names) != 2 {
			t.Errorf("with the clock set by %v: %q", set, names)
		}
	}
	l.clock.SetWall(day)
	l.want(l.get(own), http.StatusNotFound, codeManifestUnknown)
	l.clock.SetWall(-day)
	l.want(l.get(own), http.StatusOK, "")
	l.clock.Advance(10 * time.Minute)
	l.want(l.get(own), http.StatusNotFound, codeManifestUnknown)
}
