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
