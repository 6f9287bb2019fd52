package attach_test

import (
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
)

// What one registry has is carried to another one unchanged, and listed there, with one handshake at each.
func TestManifestIsCarried(t *testing.T) {
	for _, api := range []bool{true, false} {
		from, to := newRegistry(t, true), newRegistry(t, api)
		subject := from.image(t)
		bundle := from.writeBundle(t, subject, 1)
		src, err := attach.Connect(t.Context(), from.src, transport.PullScope)
		if err != nil {
			t.Fatal(err)
		}
		dst, err := attach.Connect(t.Context(), to.src, transport.PushScope)
		if err != nil {
			t.Fatal(err)
		}
		list, where, err := attach.ListReferrers(t.Context(), src, subject.Digest)
		if err != nil || len(list) != 1 || list[0].Digest != bundle || where != attach.Referrers {
			t.Fatalf("referrers %v in %s, %v", list, where, err)
		}
		m, err := attach.Read(t.Context(), src, bundle.String())
		if err != nil {
			t.Fatal(err)
		}
		if there, err := attach.Has(t.Context(), dst, bundle); there || err != nil {
			t.Errorf("before: %v, %v", there, err)
		}
		for range 2 { // the second time changes nothing
			if err := attach.WriteManifest(t.Context(), dst, m, ""); err != nil {
				t.Fatal(err)
			}
			if err := attach.EnsureListed(t.Context(), dst, m); err != nil {
				t.Fatal(err)
			}
		}
		if there, err := attach.Has(t.Context(), dst, bundle); !there || err != nil {
			t.Errorf("after: %v, %v", there, err)
		}
		if list, _, err := attach.ListReferrers(t.Context(), dst, subject.Digest); err != nil || len(list) != 1 {
			t.Errorf("listed %v, %v", list, err)
		}
		again, err := attach.Read(t.Context(), dst, bundle.String())
		if err != nil || cmp.Diff(m, again) != "" {
			t.Errorf("carried: %v, %s", err, cmp.Diff(m, again))
		}
		m.Subject = nil
		if err := attach.EnsureListed(t.Context(), dst, m); err == nil {
			t.Error("listed without a subject")
		}
	}
}

func TestReadAbsent(t *testing.T) {
	reg := newRegistry(t, true)
	reg.image(t)
	_, err := attach.Read(t.Context(), reg.src, "no-such-tag")
	checkLookupError(t, err, http.StatusNotFound, "/manifests/no-such-tag")
}

// Whoever reads a blob until io.EOF has the right bytes, or an error.
func TestOpenBlob(t *testing.T) {
	reg := newRegistry(t, true)
	reg.image(t)
	content := []byte("a blob")
	right := v1.Descriptor{Digest: reg.blob(t, content), Size: int64(len(content)), MediaType: types.OCILayer}
	if there, err := attach.HasBlob(t.Context(), reg.src, right.Digest); !there || err != nil {
		t.Errorf("%v, %v", there, err)
	}
	for what, c := range map[string]struct {
		size   int64
		answer string // in the place of the registry's
		want   string
	}{
		"right":                 {right.Size, "", ""},
		"longer":                {right.Size - 1, "", "longer than 5"},
		"shorter":               {right.Size + 1, "", "ends after 6 of 7"},
		"of another digest":     {right.Size, "A blob", "content has digest"},
		"of a size below zero":  {-1, "", "size -1"},
		"empty, and so it says": {0, "x", "longer than 0"},
	} {
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if c.answer == "" || !strings.Contains(r.URL.Path, "/blobs/") {
				return false
			}
			io.WriteString(w, c.answer)
			return true
		})
		desc := right
		desc.Size = c.size
		got, err := readBlob(t, reg.src, desc)
		if c.want == "" && (err != nil || got != string(content)) || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s: read %q, %v", what, got, err)
		}
	}
	reg.intercept(nil)
	desc := right
	desc.Digest = someDigest
	_, err := readBlob(t, reg.src, desc)
	checkLookupError(t, err, http.StatusNotFound, "/blobs/"+someDigest.String())
	desc.Digest.Algorithm = "sha512"
	if _, err := readBlob(t, reg.src, desc); err == nil {
		t.Error("another algorithm is taken")
	}
}

func readBlob(t *testing.T, src attach.Source, desc v1.Descriptor) (string, error) {
	t.Helper()
	blob, err := attach.OpenBlob(t.Context(), src, desc)
	if err != nil {
		return "", err
	}
	defer blob.Close()
	content, err := io.ReadAll(blob)
	return string(content), err
}
