package clients

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// A legacy signature gets an RFC 3161 timestamp if it is asked for, and all read it. (Bundles get one from the signing config.)
func TestTimestamps(t *testing.T) {
	start(t)
	m := mode{legacy: true}
	w := newWorld(t, true)
	stamp := []string{"--timestamp-server-url", w.Stack.URL + "/api/v1/timestamp"}
	for i, c := range cosigns(t) {
		for _, stamped := range []bool{true, false} {
			image := w.call(w.Image(t, "acme/app", int64(i)), "$IMAGE")
			what, options := "signs an image, "+m.String(), []string(nil)
			if stamped {
				what, options = what+", timestamped", stamp
				image = w.call(w.Image(t, "acme/stamped", int64(i)), "$IMAGE")
			}
			w.does(t, c.client, what, nil, args([]string{"sign", "--yes"}, w.sign(t, c, m, alice), options, []string{image})...)
			explained := lab.Touchmark(t, 0, args([]string{"explain", "--trusted-root", w.Root}, w.signer(m, alice), []string{image})...).Stdout
			if strings.Contains(explained, "/api/v1/timestamp") != stamped {
				t.Errorf("%s, timestamped: %v, but touchmark explain says\n%s", c.name, stamped, explained)
			}
			for _, c := range cosigns(t) {
				if r := w.run(t, c.client, nil, args([]string{"verify"}, c.form(m), []string{"--trusted-root", w.Root, "--use-signed-timestamps"}, w.signer(m, alice), []string{image})...); r.Status != 0 {
					t.Errorf("%s: %s", c.name, r.Output())
				}
			}
		}
	}
}

// An index is signed alone, unless it is asked for its platforms: clients that see only a platform's digest need those.
func TestPlatforms(t *testing.T) {
	start(t)
	m := mode{}
	for i, c := range cosigns(t) {
		w := newWorld(t, i == 0)
		for _, recursive := range []bool{true, false} {
			image := w.call(w.Image(t, "acme/alone", int64(i)), "$IMAGE")
			what, options := "signs an image, "+m.String(), []string(nil)
			if recursive {
				what, options = what+", with its platforms", []string{"--recursive"}
				image = w.call(w.Image(t, "acme/recursive", int64(i)), "$IMAGE")
			}
			w.does(t, c.client, what, nil, args([]string{"sign", "--yes"}, options, w.sign(t, c, m, alice), []string{image})...)
			for _, ref := range append(lab.Platforms(t, image), image) {
				status := 0
				if !recursive && ref != image {
					status = 1
				}
				lab.Touchmark(t, status, args([]string{"verify", "--trusted-root", w.Root}, w.signer(m, alice), []string{ref})...)
				r := w.run(t, c.client, nil, args([]string{"verify"}, c.form(m), []string{"--trusted-root", w.Root}, w.signer(m, alice), []string{ref})...)
				if (r.Status == 0) != (status == 0) {
					t.Errorf("%s, recursive: %v, verifying %s: status %d\n%s", c.name, recursive, ref, r.Status, r.Output())
				}
			}
		}
	}
}
