package attach_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

func TestWriteBundleThenFind(t *testing.T) {
	for _, api := range []bool{true, false} {
		t.Run(fmt.Sprintf("referrers API %t", api), func(t *testing.T) {
			reg := newRegistry(t, api)
			subject := reg.image(t)
			first := reg.writeBundle(t, subject, 1)
			reg.writeBundle(t, subject, 2)
			want := map[string]attach.Where{"signature 1": attach.Referrers, "signature 2": attach.Referrers}
			if !api {
				want = map[string]attach.Where{"signature 1": attach.ReferrersTag, "signature 2": attach.ReferrersTag}
			}
			got, errs := signatures(find(t, reg.src, subject.Digest))
			if diff := cmp.Diff(want, got); diff != "" || errs != nil {
				t.Errorf("found (-want +got):\n%s%v", diff, errs)
			}
			other := reg.image(t)
			if found := find(t, reg.src, other.Digest); len(found.Evidence) != 0 {
				t.Errorf("another image has %d signatures, want none", len(found.Evidence))
			}
			checkBundleManifest(t, reg.read(t, "manifests/"+first.String()), subject)
			if !api {
				checkFallbackIndex(t, reg.read(t, "manifests/sha256-"+subject.Digest.Hex))
			}
		})
	}
}

// checkBundleManifest holds the manifest against what cosign 3 writes.
func checkBundleManifest(t *testing.T, body []byte, subject v1.Descriptor) {
	t.Helper()
	var m struct {
		SchemaVersion int               `json:"schemaVersion"`
		MediaType     string            `json:"mediaType"`
		ArtifactType  string            `json:"artifactType"`
		Config        map[string]any    `json:"config"`
		Layers        []map[string]any  `json:"layers"`
		Subject       map[string]any    `json:"subject"`
		Annotations   map[string]string `json:"annotations"`
	}
	if err := json.Unmarshal(body, &m); err != nil {
		t.Fatal(err)
	}
	const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
	if m.SchemaVersion != 2 || m.MediaType != "application/vnd.oci.image.manifest.v1+json" || m.ArtifactType != bundleType {
		t.Errorf("manifest is %s", body)
	}
	wantConfig := map[string]any{
		"mediaType": "application/vnd.oci.empty.v1+json", "size": float64(2), "artifactType": bundleType,
		"digest": "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a",
	}
	if diff := cmp.Diff(wantConfig, m.Config); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
	if len(m.Layers) != 1 || m.Layers[0]["mediaType"] != bundleType {
		t.Errorf("layers %v", m.Layers)
	}
	wantSubject := map[string]any{"mediaType": string(subject.MediaType), "digest": subject.Digest.String(), "size": float64(subject.Size)}
	if diff := cmp.Diff(wantSubject, m.Subject); diff != "" {
		t.Errorf("subject (-want +got):\n%s", diff)
	}
	wantAnnotations := map[string]string{
		"org.opencontainers.image.created": "2026-11-22T12:00:00Z", "dev.sigstore.bundle.content": "dsse-envelope",
		"dev.sigstore.bundle.predicateType": predicateType,
	}
	if diff := cmp.Diff(wantAnnotations, m.Annotations); diff != "" {
		t.Errorf("annotations (-want +got):\n%s", diff)
	}
}

func checkFallbackIndex(t *testing.T, body []byte) {
	t.Helper()
	var index v1.IndexManifest
	if err := json.Unmarshal(body, &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Manifests) != 2 {
		t.Fatalf("index has %d entries, want 2: %s", len(index.Manifests), body)
	}
	for _, m := range index.Manifests {
		if m.ArtifactType != "application/vnd.dev.sigstore.bundle.v0.3+json" || m.Annotations["dev.sigstore.bundle.predicateType"] != predicateType {
			t.Errorf("entry %+v", m)
		}
	}
}

func TestWriteLegacyAppends(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeLegacy(t, subject, 1)
	second := reg.writeLegacy(t, subject, 2)
	if again := reg.writeLegacy(t, subject, 2); again != second {
		t.Errorf("the same signature again made %s, want %s unchanged", again, second)
	}
	got, errs := signatures(find(t, reg.src, subject.Digest))
	want := map[string]attach.Where{"signature 1": attach.SigTag, "signature 2": attach.SigTag}
	if diff := cmp.Diff(want, got); diff != "" || errs != nil {
		t.Errorf("found (-want +got):\n%s%v", diff, errs)
	}
	var m v1.Manifest
	if err := json.Unmarshal(reg.read(t, "manifests/sha256-"+subject.Digest.Hex+".sig"), &m); err != nil {
		t.Fatal(err)
	}
	var config v1.ConfigFile
	if err := json.Unmarshal(reg.read(t, "blobs/"+m.Config.Digest.String()), &config); err != nil {
		t.Fatal(err)
	}
	if len(m.Layers) != 2 || len(config.RootFS.DiffIDs) != 2 || config.RootFS.DiffIDs[1] != m.Layers[1].Digest {
		t.Errorf("layers %v, diff IDs %v", m.Layers, config.RootFS.DiffIDs)
	}
}

func TestWriteLegacyKeepsForeignMembers(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	tag := "sha256-" + subject.Digest.Hex + ".sig"
	theirs := reg.blob(t, []byte("theirs"))
	reg.put(t, tag, "application/vnd.oci.image.manifest.v1+json", fmt.Sprintf(`{"schemaVersion":2,"mediaType":"application/vnd.oci.image.manifest.v1+json",
		"config":{"mediaType":"application/vnd.oci.image.config.v1+json","digest":%q,"size":6},"annotations":{"by":"cosign"},
		"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":6,"future":{"a":1},"annotations":{"dev.cosignproject.cosign/signature":"dGhlaXJz"}}]}`, theirs, theirs))
	reg.writeLegacy(t, subject, 1)
	body := string(reg.read(t, "manifests/"+tag))
	for _, want := range []string{`"future":{"a":1}`, `{"by":"cosign"}`, `dGhlaXJz`} {
		if !strings.Contains(body, want) {
			t.Errorf("%s is gone from %s", want, body)
		}
	}
	if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 2 || errs != nil {
		t.Errorf("found %v, %v", got, errs)
	}
}

func TestWriteRefusesToReplaceWhatItDoesNotKnow(t *testing.T) {
	reg := newRegistry(t, false)
	subject := reg.image(t)
	const manifest = "application/vnd.oci.image.manifest.v1+json"
	image := reg.read(t, "manifests/latest")
	reg.put(t, "sha256-"+subject.Digest.Hex, manifest, string(image))
	reg.put(t, "sha256-"+subject.Digest.Hex+".sig", "application/vnd.oci.image.index.v1+json", `{"schemaVersion":2,"manifests":[]}`)
	if _, err := attach.WriteBundle(t.Context(), reg.src, subject, bundleJSON(t, 1), predicateType, now); err == nil || !strings.Contains(err.Error(), "refusing to replace it") {
		t.Errorf("fallback tag that is no index: error %v", err)
	}
	if _, err := attach.WriteLegacy(t.Context(), reg.src, subject.Digest, payload(1), annotations(1)); err == nil || !strings.Contains(err.Error(), "refusing to replace it") {
		t.Errorf(".sig tag that is no manifest: error %v", err)
	}
	if got := string(reg.read(t, "manifests/sha256-"+subject.Digest.Hex)); got != string(image) {
		t.Error("what was there was replaced")
	}
}

// Another writer that read the tag before our write and wrote it after us loses our entry: it has to be written again.
func TestWriteSurvivesAnotherWriter(t *testing.T) {
	for _, what := range []string{"bundle", "legacy"} {
		t.Run(what, func(t *testing.T) {
			reg := newRegistry(t, false)
			subject := reg.image(t)
			tag := "/manifests/sha256-" + subject.Digest.Hex
			var puts atomic.Int32
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodPut || !strings.Contains(r.URL.Path, tag) || puts.Add(1) != 1 {
					return false
				}
				w.WriteHeader(http.StatusCreated) // and it's gone
				return true
			})
			if what == "bundle" {
				reg.writeBundle(t, subject, 1)
			} else {
				reg.writeLegacy(t, subject, 1)
			}
			if puts.Load() != 2 {
				t.Errorf("wrote %d times, want 2", puts.Load())
			}
			if got, _ := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 {
				t.Errorf("found %v", got)
			}
		})
	}
	t.Run("for ever", func(t *testing.T) {
		reg := newRegistry(t, false)
		subject := reg.image(t)
		reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.Method == http.MethodPut && strings.Contains(r.URL.Path, "/manifests/sha256-") {
				w.WriteHeader(http.StatusCreated)
				return true
			}
			return false
		})
		if _, err := attach.WriteLegacy(t.Context(), reg.src, subject.Digest, payload(1), annotations(1)); err == nil || !strings.Contains(err.Error(), "lost to other writers") {
			t.Errorf("error %v", err)
		}
	})
}

// Another writer is at work: our entry is there when we look, but then the other, who had read the index before us, writes it without ours.
func TestWriteWaitsForOtherWriters(t *testing.T) {
	reg := newRegistry(t, false)
	subject := reg.image(t)
	reg.writeBundle(t, subject, 1)
	tag := "sha256-" + subject.Digest.Hex
	withoutOurs := string(reg.read(t, "manifests/"+tag))
	reg.writeBundle(t, subject, 3)
	reg.writeBundle(t, subject, 4)
	var looks atomic.Int32
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method != http.MethodGet || !strings.HasSuffix(r.URL.Path, tag) || r.Header.Get("User-Agent") == "Go-http-client/1.1" {
			return false
		}
		switch looks.Add(1) {
		case 2: // we wrote; somebody else has added to that
			index := strings.Replace(string(reg.read(t, "manifests/"+tag)), `{"schemaVersion"`, `{"annotations":{"by":"another"},"schemaVersion"`, 1)
			index = strings.Replace(index, `"schemaVersion":2}`, `"schemaVersion":2,"annotations":{"by":"another"}}`, 1)
			reg.put(t, tag, indexType+"; x=y", index)
			w.Header().Set("Content-Type", indexType)
			fmt.Fprint(w, index)
			return true
		case 3:
			reg.put(t, tag, indexType, withoutOurs)
		}
		return false
	})
	reg.writeBundle(t, subject, 2)
	got, errs := signatures(find(t, reg.src, subject.Digest))
	if _, ok := got["signature 2"]; !ok || errs != nil || looks.Load() < 5 {
		t.Errorf("found %v, %v after %d looks", got, errs, looks.Load())
	}
}

// A registry that accepts the manifest but then doesn't list it has not attached anything.
func TestWriteBundleWantsToBeListed(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", "application/vnd.oci.image.index.v1+json")
		fmt.Fprint(w, `{"schemaVersion":2,"manifests":[]}`)
		return true
	})
	if _, err := attach.WriteBundle(t.Context(), reg.src, subject, bundleJSON(t, 1), predicateType, now); err == nil || !strings.Contains(err.Error(), "does not list") {
		t.Errorf("error %v", err)
	}
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut {
			w.Header().Set("OCI-Subject", subject.Digest.String())
		}
		return false
	})
	reg.writeBundle(t, subject, 2)
	for _, r := range reg.seen() {
		if strings.Contains(r, "referrers") {
			t.Errorf("asked %s although the registry said OCI-Subject", r)
		}
	}
}

// cosign#4641: an index whose entries carry the config's media type is read, and our entry is put right.
func TestFallbackIndexWithWrongArtifactType(t *testing.T) {
	for _, wrong := range []string{"", "application/vnd.oci.empty.v1+json", "application/vnd.oci.image.config.v1+json"} {
		t.Run(wrong, func(t *testing.T) {
			reg := newRegistry(t, false)
			subject := reg.image(t)
			reg.writeBundle(t, subject, 1)
			tag := "sha256-" + subject.Digest.Hex
			index := strings.ReplaceAll(string(reg.read(t, "manifests/"+tag)), `"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"`, fmt.Sprintf(`"artifactType":%q`, wrong))
			reg.put(t, tag, "application/vnd.oci.image.index.v1+json", index)
			if got, errs := signatures(find(t, reg.src, subject.Digest)); len(got) != 1 || errs != nil {
				t.Errorf("found %v, %v", got, errs)
			}
			reg.writeBundle(t, subject, 1)
			if body := string(reg.read(t, "manifests/"+tag)); strings.Count(body, `"digest"`) != 1 || !strings.Contains(body, `"artifactType":"application/vnd.dev.sigstore.bundle.v0.3+json"`) {
				t.Errorf("index is now %s", body)
			}
		})
	}
}

func TestWriteRefusesWhatFindWouldNotRead(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.intercept(nil)
	if _, err := attach.WriteBundle(t.Context(), reg.src, subject, make([]byte, attach.MaxBundle+1), predicateType, now); err == nil {
		t.Error("wrote a bundle over the limit")
	}
	if _, err := attach.WriteLegacy(t.Context(), reg.src, subject.Digest, make([]byte, attach.MaxBundle+1), annotations(1)); err == nil {
		t.Error("wrote a payload over the limit")
	}
	if _, err := attach.WriteLegacy(t.Context(), reg.src, subject.Digest, payload(1), nil); err == nil {
		t.Error("wrote a layer without a signature")
	}
	if got := reg.seen(); len(got) != 0 {
		t.Errorf("requests %q", got)
	}
}

func TestWriteDenied(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		w.WriteHeader(http.StatusForbidden)
		fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"read only"}]}`)
	}))
	defer server.Close()
	src := source(t, strings.TrimPrefix(server.URL, "http://")+"/team/app")
	_, err := attach.WriteBundle(t.Context(), src, v1.Descriptor{Digest: someDigest}, bundleJSON(t, 1), predicateType, now)
	checkLookupError(t, err, http.StatusForbidden, "/blobs/uploads")
}
