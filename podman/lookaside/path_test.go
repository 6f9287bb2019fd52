package lookaside

import (
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const hex64 = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

func TestPX18_Paths(t *testing.T) {
	at := "@sha256=" + hex64 + "/signature-1"
	for path, want := range map[string]question{
		"/lookaside/registry.example/acme/app" + at:                                              {"registry.example/acme/app", "sha256:" + hex64, 1},
		"/lookaside/127.0.0.1:5000/a" + at:                                                       {"127.0.0.1:5000/a", "sha256:" + hex64, 1},
		"/lookaside/localhost/a__b/c-d--e/f.g" + at:                                              {"localhost/a__b/c-d--e/f.g", "sha256:" + hex64, 1},
		"/lookaside/%5B::1%5D:5000/a" + at:                                                       {"[::1]:5000/a", "sha256:" + hex64, 1},
		"/lookaside/[::1]/a" + at:                                                                {"[::1]/a", "sha256:" + hex64, 1},
		"/lookaside/docker.io/library/busybox@sha256=" + hex64 + "/signature-128":                {"docker.io/library/busybox", "sha256:" + hex64, 128},
		"/lookaside/registry.example/" + strings.Repeat("a", 255) + at:                           {"registry.example/" + strings.Repeat("a", 255), "sha256:" + hex64, 1},
		"/lookaside/registry.example/" + strings.Repeat("a/", 127) + "a" + at:                    {"registry.example/" + strings.Repeat("a/", 127) + "a", "sha256:" + hex64, 1},
		"/lookaside/registry.example:65535/acme/app@sha256=" + hex64[:63] + "0" + "/signature-9": {"registry.example:65535/acme/app", "sha256:" + hex64[:63] + "0", 9},
	} {
		if got, err := parsePath(path); err != nil || !cmp.Equal(got, want) {
			t.Errorf("%s: %+v, %v", path, got, err)
		}
	}
	for _, path := range []string{
		"", "/", "*", "/lookaside", "/lookaside/", "/lookaside/registry.example/acme/app", "http://127.0.0.1/lookaside/registry.example/a" + at,
		"/lookaside/registry.example" + at, "/lookaside//a" + at, "/lookaside/registry.example//a" + at, "/lookaside/registry.example/a/" + at,
		"//lookaside/registry.example/a" + at, "/x/../lookaside/registry.example/a" + at,
		"/lookaside/registry.example/../../etc/passwd" + at, "/lookaside/registry.example/./a" + at, "/lookaside/../a" + at, "/lookaside/./a" + at,
		"/lookaside/registry.example/a/..;/b" + at, "/lookaside/registry.example/a;b" + at,
		"/lookaside/registry.example/a%2fb" + at, "/lookaside/registry.example%2Fa/b" + at, "/lookaside/registry.example/%61" + at, "/lookaside/registry.example/a%00" + at,
		"/lookaside/registry.example/a\x00" + at, "/lookaside/registry.example/a b" + at, "/lookaside/registry.example/a\nb" + at, "/lookaside/registry.example/a" + at + "\n",
		"/lookaside/registry.example/a" + at + "?n=1", "/lookaside/registry.example/a" + at + "?", "/lookaside/registry.example/a" + at + "#x", "/lookaside/registry.example/a?x=" + at,
		"/lookaside/Registry.example/a" + at, "/lookaside/registry.example/A" + at, "/lookaside/registry.example/ä" + at, "/lookaside/registrу.example/a" + at, // Cyrillic у
		"/lookaside/registry.example/" + strings.Repeat("a", 256) + at, "/lookaside/" + strings.Repeat("a", 262) + "/a" + at,
		"/lookaside/registry..example/a" + at, "/lookaside/.example/a" + at, "/lookaside/-a.example/a" + at, "/lookaside/a_b.example/a" + at, "/lookaside/registry.example./a" + at,
		"/lookaside/registry.example:/a" + at, "/lookaside/registry.example:0/a" + at, "/lookaside/registry.example:123456/a" + at, "/lookaside/user@registry.example/a" + at,
		"/lookaside/[::1%25eth0]/a" + at, "/lookaside/%5b::1%5d/a" + at, "/lookaside/[::1]%5D/a" + at, "/lookaside/%5B::1]/a" + at + "/", "/lookaside/[::1/a" + at,
		"/lookaside/registry.example/-a" + at, "/lookaside/registry.example/a_" + at, "/lookaside/registry.example/a..b" + at, "/lookaside/registry.example/a___b" + at,
		"/lookaside/registry.example/a:tag" + at, "/lookaside/registry.example/a@b" + at,
		"/lookaside/registry.example/a@sha256:" + hex64 + "/signature-1", "/lookaside/registry.example/a@sha512=" + hex64 + hex64 + "/signature-1",
		"/lookaside/registry.example/a@sha256=" + hex64[1:] + "/signature-1", "/lookaside/registry.example/a@sha256=" + strings.ToUpper(hex64) + "/signature-1",
		"/lookaside/registry.example/a@sha256=" + hex64 + "/signature-0", "/lookaside/registry.example/a@sha256=" + hex64 + "/signature-01",
		"/lookaside/registry.example/a@sha256=" + hex64 + "/signature-129", "/lookaside/registry.example/a@sha256=" + hex64 + "/signature-99999999999999999999",
		"/lookaside/registry.example/a@sha256=" + hex64 + "/signature--1", "/lookaside/registry.example/a@sha256=" + hex64 + "/signature-+1", "/lookaside/registry.example/a@sha256=" + hex64 + "/signature-",
		"/lookaside/registry.example/a@sha256=" + hex64 + "/signature-1/", "/lookaside/registry.example/a@sha256=" + hex64 + "/x/../signature-1",
		"/lookaside/" + strings.Repeat("a/", 600) + at,
	} {
		if q, err := parsePath(path); err == nil {
			t.Errorf("%q is taken for %+v", path, q)
		}
		if strings.HasPrefix(path, "/") {
			// Nothing is asked for it: the handler has nobody to ask, and would panic.
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.RequestURI = path
			w := httptest.NewRecorder()
			(&Handler{}).ServeHTTP(w, r)
			if w.Code != http.StatusBadRequest {
				t.Errorf("%q: status %d", path, w.Code)
			}
		}
	}
}

func FuzzParsePath(f *testing.F) {
	for _, s := range []string{
		"/lookaside/registry.example/acme/app@sha256=" + hex64 + "/signature-1", "/lookaside/%5B::1%5D:5000/a@sha256=" + hex64 + "/signature-128",
		"/lookaside/registry.example/../x@sha256=" + hex64 + "/signature-1", "/lookaside/r/%2e%2e/x@sha256=" + hex64 + "/signature-1",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		q, err := parsePath(path)
		if err != nil {
			return
		}
		// What is read is exactly what was sent.
		if got := q.String(); got != strings.NewReplacer("%5B", "[", "%5D", "]").Replace(path) {
			t.Fatalf("%q was read as %q", path, got)
		}
		if strings.Contains(q.Physical, "..") || strings.Contains(q.Physical, "//") || strings.ContainsAny(q.Physical, "%@?#\\ ;") {
			t.Fatalf("%q: %+v", path, q)
		}
	})
}

// String is the path that a question was read from, with the brackets of IPv6 addresses as they are.
func (q question) String() string {
	return "/lookaside/" + q.Physical + "@" + strings.Replace(q.Digest, ":", "=", 1) + "/signature-" + strconv.Itoa(q.N)
}
