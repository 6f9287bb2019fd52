package attach_test

import (
	"crypto/sha256"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

func TestA132_MalformedDigests(t *testing.T) {
	reg := newRegistry(t, true)
	hex := strings.Repeat("ab", 32)
	for _, d := range []v1.Hash{
		{}, {Algorithm: "sha256", Hex: "../../../etc/passwd"}, {Algorithm: "sha256", Hex: hex[:63]}, {Algorithm: "sha256", Hex: hex + "a"},
		{Algorithm: "sha256", Hex: strings.ToUpper(hex)}, {Algorithm: "sha256", Hex: hex[:63] + "\x00"}, {Algorithm: "sha256", Hex: hex[:63] + "/"},
		{Algorithm: "sha512", Hex: hex + hex}, {Algorithm: "SHA256", Hex: hex}, {Algorithm: "sha256:x", Hex: hex},
	} {
		_, err := attach.Find(t.Context(), reg.src, d)
		checkLookupError(t, err, 0, "/team/app")
		_, _, err = attach.Children(t.Context(), reg.src, d)
		checkLookupError(t, err, 0, "/team/app")
		_, err = attach.WriteBundle(t.Context(), reg.src, v1.Descriptor{Digest: d}, bundleJSON(t, 1), predicateType, now)
		checkLookupError(t, err, 0, "/team/app")
		_, err = attach.WriteLegacy(t.Context(), reg.src, d, payload(1), annotations(1))
		checkLookupError(t, err, 0, "/team/app")
	}
	if got := reg.seen(); len(got) != 0 {
		t.Errorf("requests %q, want none", got)
	}
	find(t, reg.src, someDigest) // admitted twin
}

// The registry serves other bytes than the digest says, at each place that is asked for by digest.
func TestA133_OtherBytesThanTheDigest(t *testing.T) {
	for _, what := range []string{"bundle blob", "bundle manifest", "legacy blob", "same size"} {
		t.Run(what, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			manifest := reg.writeBundle(t, subject, 1)
			reg.writeLegacy(t, subject, 2)
			forged := bundleJSON(t, 666)
			if what == "same size" {
				forged = bundleJSON(t, 3)
			}
			kinds := map[string]string{"bundle blob": "/blobs/", "same size": "/blobs/", "legacy blob": "/blobs/", "bundle manifest": "/manifests/" + manifest.String()}
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, kinds[what]) {
					return false
				}
				legacy := strings.HasSuffix(r.URL.Path, digestOf(payload(2)))
				if strings.Contains(kinds[what], "blobs") && legacy != (what == "legacy blob") {
					return false
				}
				w.Header().Set("Docker-Content-Digest", r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:])
				w.Header().Set("Content-Type", manifestType)
				w.Write(forged)
				return true
			})
			got, errs := signatures(find(t, reg.src, subject.Digest))
			if len(got) != 1 || len(errs) != 1 || !strings.Contains(errs[0].Error(), "not what its descriptor says") {
				t.Errorf("found %v, %v", got, errs)
			}
		})
	}
}

func digestOf(content []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(content)) }

func TestA135_DockerContentDigestLies(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	other := reg.image(t)
	body := reg.read(t, "manifests/"+subject.Digest.String())
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") {
			return false
		}
		w.Header().Set("Docker-Content-Digest", other.Digest.String())
		w.Header().Set("Content-Type", string(subject.MediaType))
		w.Write(body)
		return true
	})
	desc, lookups, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("latest"))
	if err != nil || desc.Digest != subject.Digest || desc.Size != int64(len(body)) || len(lookups) != 1 {
		t.Errorf("%+v, %v, %v", desc, lookups, err)
	}
	_, _, err = attach.Resolve(t.Context(), reg.src, reg.src.Repository.Digest(other.Digest.String()))
	checkLookupError(t, err, 200, other.Digest.String())
	if desc, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Digest(subject.Digest.String())); err != nil || desc.Digest != subject.Digest {
		t.Errorf("admitted twin: %+v, %v", desc, err)
	}
}

func TestA129_AmbiguousDocuments(t *testing.T) {
	const index = `{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","manifests":[]}`
	tests := []struct{ name, mediaType, body, want string }{
		{"index with layers", indexType, `{"schemaVersion":2,"manifests":[],"layers":[]}`, "an index with layers"},
		{"more tokens than are read", manifestType, `{"schemaVersion":2,"layers":[{}` + strings.Repeat(",{}", 1<<20) + `]}`, "JSON of more than 131072 tokens"},
		{"manifest with manifests", manifestType, `{"schemaVersion":2,"layers":[],"manifests":[]}`, "a manifest with manifests"},
		{"served as another type", manifestType, index, "but it was served as"},
		{"schema 1", "application/vnd.docker.distribution.manifest.v1+prettyjws", `{"schemaVersion":1}`, "neither a manifest nor an index"},
		{"schema 1 in disguise", manifestType, `{"schemaVersion":1}`, "schemaVersion is 1"},
		{"no media type", "", index, "neither a manifest nor an index"},
		{"two lists", indexType, `{"schemaVersion":2,"manifests":[],"manifests":[]}`, "duplicate"},
		{"two lists by case", indexType, `{"schemaVersion":2,"manifests":[],"MANIFESTS":[]}`, "duplicate"},
		{"two documents", indexType, index + index, "after top-level value"},
		{"duplicate digest in a descriptor", indexType, fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"digest":%q,"digest":%q}]}`, someDigest, someDigest), "duplicate"},
		{"deep", indexType, strings.Repeat(`{"a":`, 20000) + "1" + strings.Repeat("}", 20000), "depth"},
		{"admitted twin", indexType, index, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			reg := newRegistry(t, true)
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.Contains(r.URL.Path, "/manifests/") {
					return false
				}
				w.Header()["Content-Type"] = []string{tt.mediaType}
				io.WriteString(w, tt.body)
				return true
			})
			_, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("latest"))
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if checkLookupError(t, err, 200, "/manifests/latest"); !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func TestChildren(t *testing.T) {
	reg := newRegistry(t, true)
	a, b := reg.image(t), reg.image(t)
	index := fmt.Sprintf(`{"schemaVersion":2,"manifests":[{"mediaType":%q,"digest":%q,"size":%d,"platform":{"os":"linux","architecture":"arm64"}},{"mediaType":%q,"digest":%q,"size":%d}]}`,
		a.MediaType, a.Digest, a.Size, b.MediaType, b.Digest, b.Size)
	reg.put(t, "multi", indexType, index)
	desc, _, err := attach.Resolve(t.Context(), reg.src, reg.src.Repository.Tag("multi"))
	if err != nil {
		t.Fatal(err)
	}
	children, lookups, err := attach.Children(t.Context(), reg.src, desc.Digest)
	if err != nil || len(children) != 2 || children[0].Digest != a.Digest || children[0].Platform.Architecture != "arm64" || len(lookups) != 1 {
		t.Errorf("%v, %v, %v", children, lookups, err)
	}
	if children, _, err := attach.Children(t.Context(), reg.src, a.Digest); err != nil || children != nil {
		t.Errorf("of a manifest: %v, %v, want none", children, err)
	}
	_, _, err = attach.Children(t.Context(), reg.src, someDigest)
	checkLookupError(t, err, 404, someDigest.Hex)
}

// zeros never ends.
type zeros struct{ sent *atomic.Int64 }

func (z zeros) Read(p []byte) (int, error) { z.sent.Add(int64(len(p))); return len(p), nil }

func TestA067_EndlessBlob(t *testing.T) {
	reg := newRegistry(t, true)
	subject := reg.image(t)
	reg.writeBundle(t, subject, 1)
	var sent atomic.Int64
	reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		io.Copy(w, io.LimitReader(zeros{&sent}, 10<<30))
		return true
	})
	_, errs := signatures(find(t, reg.src, subject.Digest))
	if len(errs) != 1 || !strings.Contains(errs[0].Error(), "longer than") {
		t.Errorf("errors %v", errs)
	}
	if n := sent.Load(); n > 64<<20 {
		t.Errorf("took %d bytes", n)
	}
}

func TestA068_HugeManifests(t *testing.T) {
	for _, place := range []string{"sig tag", "referrers", "referrer"} {
		t.Run(place, func(t *testing.T) {
			reg := newRegistry(t, true)
			subject := reg.image(t)
			manifest := reg.writeBundle(t, subject, 1)
			paths := map[string]string{"sig tag": ".sig", "referrers": "/referrers/" + subject.Digest.String(), "referrer": manifest.String()}
			var sent atomic.Int64
			reg.intercept(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, paths[place]) {
					return false
				}
				w.Header().Set("Content-Type", map[bool]string{true: indexType, false: manifestType}[place == "referrers"])
				io.WriteString(w, `{"schemaVersion":2,"layers":[`)
				for range 10_000_000 {
					n, err := io.WriteString(w, `{"mediaType":"a","digest":"b","size":1},`)
					if sent.Add(int64(n)); err != nil {
						return true
					}
				}
				return true
			})
			found, err := attach.Find(t.Context(), reg.src, subject.Digest)
			if place == "referrers" {
				checkLookupError(t, err, 200, "/referrers/")
			} else if _, errs := signatures(found); err != nil || len(errs) != 1 {
				t.Errorf("found %v, %v, want one error", errs, err)
			}
			if n := sent.Load(); n > 32<<20 {
				t.Errorf("took %d bytes", n)
			}
		})
	}
	t.Run("descriptors that lie about their size cost no request", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		reg.put(t, "sha256-"+subject.Digest.Hex+".sig", manifestType, fmt.Sprintf(`{"schemaVersion":2,"layers":[
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":9223372036854775807},
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":9223372036854775807},
			{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":-1},
			{"mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","digest":%q,"size":0}]}`, someDigest, someDigest, someDigest, someDigest))
		reg.intercept(nil)
		got, errs := signatures(find(t, reg.src, subject.Digest))
		if len(got) != 0 || len(errs) != 4 || len(reg.seen()) != 2 {
			t.Errorf("found %v, %v; requests %q", got, errs, reg.seen())
		}
	})
	t.Run("annotations over the limit", func(t *testing.T) {
		reg := newRegistry(t, true)
		subject := reg.image(t)
		blob := reg.blob(t, payload(1))
		reg.put(t, "sha256-"+subject.Digest.Hex+".sig", manifestType, fmt.Sprintf(`{"schemaVersion":2,"layers":[{"mediaType":"application/vnd.dev.cosign.simplesigning.v1+json","digest":%q,"size":%d,
			"annotations":{"dev.cosignproject.cosign/signature":%q}}]}`, blob, len(payload(1)), strings.Repeat("A", attach.MaxAnnotations)))
		if _, errs := signatures(find(t, reg.src, subject.Digest)); len(errs) != 1 || !strings.Contains(errs[0].Error(), "annotations") {
			t.Errorf("errors %v", errs)
		}
	})
}
