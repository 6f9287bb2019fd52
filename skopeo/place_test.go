package skopeo_test

import (
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/skopeo"
)

func parsePlatform(tb testing.TB, s string) *v1.Platform {
	tb.Helper()
	p, err := v1.ParsePlatform(s)
	if err != nil {
		tb.Fatal(err)
	}
	return p
}

func TestParsePlace(t *testing.T) {
	digest := "sha256:" + strings.Repeat("ab", 32)
	for s, want := range map[string]string{
		"registry.example/app":              "docker|registry.example/app||",
		"registry.example/app:1":            "docker|registry.example/app||1",
		"docker://registry.example/app:1":   "docker|registry.example/app||1",
		"registry.example:5000/app:1":       "docker|registry.example:5000/app||1",
		"registry.example/app@" + digest:    "docker|registry.example/app||@" + digest,
		"oci:dir":                           "oci||dir|",
		"oci:/a/dir:1.0":                    "oci||/a/dir|1.0",
		"oci:dir:registry.example/app:1":    "oci||dir|registry.example/app:1",
		"oci:dir@" + digest:                 "oci||dir|@" + digest,
		"oci-archive:/media/usb/app.tar":    "oci-archive||/media/usb/app.tar|",
		"oci-archive:/media/usb/app.tar:v1": "oci-archive||/media/usb/app.tar|v1",
	} {
		p := place(t, s)
		repo := ""
		if p.Kind == skopeo.Registry {
			repo = p.Source.Repository.Name()
		}
		got := string(p.Kind) + "|" + repo + "|" + p.Path + "|" + p.Name
		if p.Digest != (v1.Hash{}) {
			got += "@" + p.Digest.String()
		}
		if got != want {
			t.Errorf("%s is %s, want %s", s, got, want)
		}
	}
	for s, says := range map[string]string{
		"docker-archive:app.tar":           "digests change",
		"docker-daemon:app:1":              "docker-daemon",
		"dir:x":                            "dir",
		"containers-storage:app":           "unpacked",
		"oci:":                             "no path",
		"oci::1":                           "no path",
		"oci:dir:":                         "not a name",
		"oci:dir:a b":                      "not a name",
		"oci:dir:1@" + digest:              "a name or a digest",
		"oci:dir@sha256:12":                "not a SHA-256",
		"registry.example/app@sha512:12":   "",
		"registry.example/App:1":           "",
		"":                                 "",
		"registry.example/../app:1 --evil": "",
	} {
		_, err := skopeo.ParsePlace(s)
		if !isUsage(err) {
			t.Errorf("%q: error %v is none of usage", s, err)
		}
		wantError(t, err, says)
	}
}
