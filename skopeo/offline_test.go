package skopeo_test

import (
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/skopeo"
)

// What was copied to a layout or archive is found there and verifies there, with no registry left.
func TestCopyVerifiesOffline(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, false)
	desc := w.dressed(t, src, "acme/app", 1)
	dir := t.TempDir()
	for _, to := range []string{"oci:" + filepath.Join(dir, "layout") + ":1", "oci-archive:" + filepath.Join(dir, "app.tar")} {
		mustCopy(t, src.host+"/acme/app:1", to, w.options())
	}
	src.Close()
	for _, at := range []string{"oci:" + filepath.Join(dir, "layout"), "oci-archive:" + filepath.Join(dir, "app.tar")} {
		source, image, closePlace, err := skopeo.Open(t.Context(), place(t, at))
		if err != nil {
			t.Fatal(err)
		}
		defer closePlace()
		if image.Digest != desc.Digest {
			t.Errorf("%s: %s, want %s", at, image.Digest, desc.Digest)
		}
		found, err := attach.Find(t.Context(), source, image.Digest)
		if err != nil || len(found.Evidence) < 3 {
			t.Errorf("%s: found %v, %v", at, found.Evidence, err)
		}
		for who, id := range map[string]identity.Identity{"alice": alice, "mallory": mallory} {
			v := newGate(t, w.Sigstore, id).Admit(t.Context(), gate.Request{Repository: "registry.example/acme/app", Digest: image.Digest, Source: source})
			if v.Admitted() != (who == "alice") || v.Outcome == gate.OutcomeUndecided {
				t.Errorf("%s, %s: %s", at, who, v.Reason)
			}
		}
	}
	for _, at := range []string{"oci:" + filepath.Join(dir, "none"), "oci:" + filepath.Join(dir, "layout") + ":none"} {
		if _, _, _, err := skopeo.Open(t.Context(), place(t, at)); err == nil {
			t.Errorf("%s was opened", at)
		}
	}
}

// TestA045_LookasideOfALayout: a lookaside that nobody asked is no place without signatures.
func TestA045_LookasideOfALayout(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	w.dressed(t, src, "acme/app", 1)
	at := "oci:" + filepath.Join(t.TempDir(), "layout")
	mustCopy(t, src.host+"/acme/app:1", at, unverified)
	source, image, closePlace, err := skopeo.Open(t.Context(), place(t, at))
	if err != nil {
		t.Fatal(err)
	}
	defer closePlace()
	if found, err := attach.Find(t.Context(), source, image.Digest); err != nil || len(found.Evidence) == 0 {
		t.Errorf("beside the image: %v, %v", found.Evidence, err)
	}
	_, err = attach.FindLookaside(t.Context(), source.Transport, "https://lookaside.example/sigs", "registry.example/acme/app", image.Digest)
	wantError(t, err, "lookaside.example is not asked")
}
