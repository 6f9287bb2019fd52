package attach_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

const (
	indexType    = "application/vnd.oci.image.index.v1+json"
	manifestType = "application/vnd.oci.image.manifest.v1+json"
)

var someDigest = v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("ab", 32)}

func source(t *testing.T, repository string) attach.Source {
	t.Helper()
	repo, err := name.NewRepository(repository)
	if err != nil {
		t.Fatal(err)
	}
	return attach.Source{Repository: repo}
}

func checkLookupError(t *testing.T, err error, status int, url string) {
	t.Helper()
	le := (*attach.LookupError)(nil)
	if !errors.As(err, &le) {
		t.Fatalf("error %v, want a *LookupError", err)
	}
	if le.Status != status || !strings.Contains(le.URL, url) {
		t.Errorf("error %v, want status %d and URL with %q", err, status, url)
	}
}

func TestFindRecordsLookups(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.intercept(nil)
	found := find(t, reg.src, subject.Digest)
	base := reg.URL + "/v2/team/app/"
	want := []attach.Lookup{
		{Method: "GET", URL: base + "referrers/" + subject.Digest.String(), Status: 200},
		{Method: "GET", URL: base + "manifests/sha256-" + subject.Digest.Hex + ".sig", Status: 404},
	}
	if diff := cmp.Diff(want, found.Lookups); diff != "" {
		t.Errorf("lookups (-want +got):\n%s", diff)
	}
	if got := reg.seen(); len(got) != 2 || len(found.Evidence) != 0 {
		t.Errorf("requests %q, evidence %v", got, found.Evidence)
	}
}

// Only what says "I don't have this API" is taken as that.
func TestFallbackWhenReferrersAPIIsAbsent(t *testing.T) {
	page := func(w http.ResponseWriter) { fmt.Fprint(w, "<html>welcome</html>") }
	for name, answer := range map[string]func(http.ResponseWriter){
		"404":                 func(w http.ResponseWriter) { w.WriteHeader(404) },
		"400":                 func(w http.ResponseWriter) { w.WriteHeader(400) },
		"405":                 func(w http.ResponseWriter) { w.WriteHeader(405) },
		"406":                 func(w http.ResponseWriter) { w.WriteHeader(406) },
		"200 with a web page": page,
	} {
		t.Run(name, func(t *testing.T) {
			reg := newRegistry(t, false)
			subject := reg.image(t)
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if strings.Contains(r.URL.Path, "/referrers/") {
					answer(w)
					return true
				}
				return false
			})
			reg.writeBundle(t, subject, 1)
			if got, errs := signatures(find(t, reg.src, subject.Digest)); got["signature 1"] != attach.ReferrersTag || errs != nil {
				t.Errorf("found %v, %v", got, errs)
			}
		})
	}
}

// The fallback tag belongs to whoever may push. At worst the image isn't admitted.
func TestA156_PoisonedFallbackTag(t *testing.T) {
	tests := []struct {
		name string
		body func(good string) (mediaType, body string)
		want string // in the error of a Located
	}{
		{"no index", func(string) (string, string) { return manifestType, `{}` }, "want an OCI index"},
		{"no JSON", func(string) (string, string) { return indexType + "; charset=utf-8", `nonsense` }, "tag sha256-"},
		{"null", func(string) (string, string) { return indexType, `null` }, "is no index"},
		{"no manifests", func(string) (string, string) { return indexType, `{"schemaVersion":2}` }, "is no index"},
		{"duplicate manifests", func(good string) (string, string) {
			return indexType + "; x=y", strings.Replace(good, `"manifests"`, `"manifests":[],"manifests"`, 1)
		}, "duplicate"},
		{"duplicate in other case", func(good string) (string, string) {
			return indexType + "; x=y", strings.Replace(good, `"manifests"`, `"Manifests":[],"manifests"`, 1)
		}, "duplicate"},
		{"bad digest", func(string) (string, string) {
			return indexType + "; x=y", `{"schemaVersion":2,"manifests":[{"digest":"sha256:../../etc","size":3}]}`
		}, "tag sha256-"},
		{"sha512 digest", func(string) (string, string) {
			return indexType + "; x=y", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":"sha512:%s","size":3}]}`, strings.Repeat("ab", 64))
		}, "is not sha256"},
		{"missing manifest", func(string) (string, string) {
			return indexType + "; x=y", fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"size":3}]}`, someDigest)
		}, "the registry does not have it"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := newRegistry(t, false)
			subject := reg.image(t)
			reg.writeBundle(t, subject, 1)
			reg.writeLegacy(t, subject, 2)
			tag := "sha256-" + subject.Digest.Hex
			mediaType, body := tt.body(string(reg.read(t, "manifests/"+tag)))
			reg.put(t, tag, mediaType, body)
			got, errs := signatures(find(t, reg.src, subject.Digest))
			if diff := cmp.Diff(map[string]attach.Where{"signature 2": attach.SigTag}, got); diff != "" {
				t.Errorf("found (-want +got):\n%s", diff)
			}
			if len(errs) != 1 || !strings.Contains(errs[0].Error(), tt.want) {
				t.Errorf("errors %v, want one with %q", errs, tt.want)
			}
		})
	}
	t.Run("signature of another image", func(t *testing.T) {
		reg := newRegistry(t, false)
		signed := reg.image(t)
		reg.writeBundle(t, signed, 1)
		victim := reg.image(t)
		reg.put(t, "sha256-"+victim.Digest.Hex, indexType, string(reg.read(t, "manifests/sha256-"+signed.Digest.Hex)))
		got, errs := signatures(find(t, reg.src, victim.Digest))
		if len(got) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "its subject is not") {
			t.Errorf("found %v, %v", got, errs)
		}
	})
	t.Run("1,000 entries", func(t *testing.T) {
		reg := newRegistry(t, false)
		subject := reg.image(t)
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodGet && strings.HasSuffix(r.URL.Path, "/manifests/sha256-"+subject.Digest.Hex) {
				writeIndex(w, 1000, 0)
				return true
			}
			return false
		})
		_, err := attach.Find(t.Context(), reg.src, subject.Digest)
		if checkLookupError(t, err, 0, "@sha256:"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n > 4 {
			t.Errorf("made %d requests", n)
		}
	})
}

// writeIndex answers with n entries, numbered from first, that may be signatures.
func writeIndex(w http.ResponseWriter, n, first int) {
	w.Header().Set("Content-Type", indexType)
	fmt.Fprint(w, `{"schemaVersion":2,"manifests":[`)
	for i := range n {
		if i > 0 {
			fmt.Fprint(w, ",")
		}
		fmt.Fprintf(w, `{"mediaType":%q,"digest":"sha256:%064x","size":500,"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"}`, manifestType, first+i)
	}
	fmt.Fprint(w, "]}")
}

func TestPX32_Pagination(t *testing.T) {
	list := func(t *testing.T, page func(w http.ResponseWriter, r *http.Request)) (*testRegistry, attach.Found, error) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.writeBundle(t, subject, 1)
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") || r.Header.Get("X-Inner") != "" {
				return false
			}
			page(w, r)
			return true
		})
		found, err := attach.Find(t.Context(), reg.src, subject.Digest)
		return reg, found, err
	}
	t.Run("endless", func(t *testing.T) {
		reg, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<?last=x>; rel="next"`)
			writeIndex(w, 0, 0)
		})
		if checkLookupError(t, err, 200, "/referrers/"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n != attach.MaxReferrerPages+1 { // and .sig
			t.Errorf("made %d requests, want %d pages and one", n, attach.MaxReferrerPages)
		}
	})
	t.Run("10,000 referrers", func(t *testing.T) {
		reg, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", `<?last=x>; rel="next"`)
			writeIndex(w, 100, 0)
		})
		if checkLookupError(t, err, 200, "/referrers/"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n > 12 {
			t.Errorf("made %d requests", n)
		}
	})
	t.Run("few referrers, but pages of a megabyte", func(t *testing.T) {
		reg, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", indexType)
			w.Header().Set("Link", `<?last=x>; rel="next"`)
			fmt.Fprintf(w, `{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":5,"artifactType":%q}]}`, manifestType, someDigest, strings.Repeat("x", 1<<20))
		})
		if checkLookupError(t, err, 200, "/referrers/"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n > 10 {
			t.Errorf("made %d requests", n)
		}
	})
	t.Run("a page that names itself", func(t *testing.T) {
		reg, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Link", "<"+r.URL.RequestURI()+`>; rel="next"`)
			writeIndex(w, 1, 0)
		})
		if checkLookupError(t, err, 200, "/referrers/"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n > attach.MaxReferrerPages+1 {
			t.Errorf("made %d requests", n)
		}
	})
	for name, link := range map[string]string{
		"other host": `<http://evil.example/v2/team/app/referrers/x>; rel="next"`,
		"other port": `<http://127.0.0.1:1/v2/team/app/referrers/x>; rel="next"`,
		"metadata":   `<http://169.254.169.254/latest/meta-data>; rel="next"`,
		"a file":     `<file:///etc/passwd>; rel="next"`,
		"up":         `<../../other/app/referrers/x>; rel="next"`,
		"encoded":    `<%2e%2e/x>; rel="next"`,
		"no URL":     "<http://[::1>; rel=\"next\"",
		"other path": `</v2/_catalog>; rel="next"`,
		"userinfo":   `<//a:b@127.0.0.1/x>; rel="next"`,
	} {
		t.Run(name, func(t *testing.T) {
			_, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Link", link)
				writeIndex(w, 0, 0)
			})
			checkLookupError(t, err, 200, "/referrers/")
		})
	}
	t.Run("second page missing", func(t *testing.T) {
		_, _, err := list(t, func(w http.ResponseWriter, r *http.Request) {
			if r.URL.RawQuery != "" {
				w.WriteHeader(404)
				return
			}
			w.Header().Set("Link", `<?last=x>; rel="next"`)
			writeIndex(w, 0, 0)
		})
		checkLookupError(t, err, 404, "last=x")
	})
	t.Run("admitted twin: the signature is on the third page", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.writeBundle(t, subject, 1)
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			next := map[string]string{"": "2", "p=2": "3"}[r.URL.RawQuery]
			if !strings.Contains(r.URL.Path, "/referrers/") || next == "" {
				return false
			}
			w.Header().Set("Link", `<https://`+r.Host+r.URL.Path+`?p=`+next+`>; foo=bar; rel="next"`)
			writeIndex(w, 0, 0)
			return true
		})
		if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
			t.Errorf("found %v, %v", got, errs)
		}
	})
}

// A listed manifest of another subject is reported, whatever the registry says.
func TestReferrerOfAnotherSubject(t *testing.T) {
	reg := newRegistry(t, true)
	signed, victim := reg.image(t), reg.image(t)
	reg.writeBundle(t, signed, 1)
	list := reg.read(t, "referrers/"+signed.Digest.String())
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/referrers/"+victim.Digest.String()) {
			return false
		}
		w.Header().Set("Content-Type", indexType)
		w.Write(list)
		return true
	})
	got, errs := signatures(find(t, reg.src, victim.Digest))
	if len(got) != 0 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "its subject is not") {
		t.Errorf("found %v, %v", got, errs)
	}
}

func TestA071_ManySignatures(t *testing.T) {
	sigImage := func(t *testing.T, bad int) (*testRegistry, v1.Descriptor) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		good := reg.blob(t, payload(1))
		junk := reg.blob(t, []byte("junk"))
		var layers []string
		for range bad {
			layers = append(layers, fmt.Sprintf(`{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":4}`, junk))
		}
		layers = append(layers, fmt.Sprintf(`{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":%d,"annotations":{"dev.cosignproject.cosign/signature":%q}}`,
			good, len(payload(1)), annotations(1)["dev.cosignproject.cosign/signature"]))
		reg.put(t, "sha256-"+subject.Digest.Hex+".sig", manifestType, `{"schemaVersion":2,"layers":[`+strings.Join(layers, ",")+`]}`)
		reg.intercept(nil)
		return reg, subject
	}
	t.Run("127 bad and 1 good", func(t *testing.T) {
		reg, subject := sigImage(t, 127)
		if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || len(errs) != 127 {
			t.Errorf("found %v, and %d errors", got, len(errs))
		}
	})
	t.Run("1,000 bad and 1 good", func(t *testing.T) {
		reg, subject := sigImage(t, 1000)
		_, err := attach.Find(t.Context(), reg.src, subject.Digest)
		if checkLookupError(t, err, 0, "@sha256:"); !errors.Is(err, attach.ErrTooMany) {
			t.Errorf("error %v, want ErrTooMany", err)
		}
		if n := len(reg.seen()); n != 2 {
			t.Errorf("made %d requests, want 2: nothing is downloaded", n)
		}
	})
}
