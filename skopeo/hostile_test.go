package skopeo_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/skopeo"
)

// unverified copies whatever is there, so that a test reaches what comes after the gate.
var unverified = skopeo.Options{InsecureSkipVerify: true}

// A source that lies or fails: the error says where, and nothing gets the tag. Then the same registry without the attack: copied, what had arrived before included.
func TestHostileSource(t *testing.T) {
	w := newWorld(t)
	largest := func(t *testing.T, src *wire) v1.Descriptor { // a layer of the index's first platform
		ref, _ := name.ParseReference(src.host + "/acme/app:1")
		img, err := remote.Image(ref)
		if err != nil {
			t.Fatal(err)
		}
		m, err := img.Manifest()
		if err != nil {
			t.Fatal(err)
		}
		return m.Layers[0]
	}
	link := func(rw http.ResponseWriter, r *http.Request) {
		rw.Header().Set("Content-Type", string(types.OCIImageIndex))
		rw.Header().Set("Link", fmt.Sprintf(`<%s?n=%d>; rel="next"`, r.URL.Path, len(r.URL.RawQuery)))
		fmt.Fprint(rw, `{"schemaVersion":2,"manifests":[]}`)
	}
	for what, c := range map[string]struct {
		suffix string // of the URL's path; LAYER and CHILD stand for digests, INDEX for that of the image
		answer func(http.ResponseWriter, *http.Request, v1.Descriptor)
		want   []string
	}{
		"blob of another digest": {"blobs/LAYER", func(rw http.ResponseWriter, _ *http.Request, d v1.Descriptor) {
			rw.Write(make([]byte, d.Size))
		}, []string{"LAYER", "content has digest"}},
		"truncated blob": {"blobs/LAYER", func(rw http.ResponseWriter, _ *http.Request, d v1.Descriptor) {
			rw.Write(make([]byte, d.Size/2))
		}, []string{"LAYER", "ends after"}},
		"blob cut off": {"blobs/LAYER", func(rw http.ResponseWriter, _ *http.Request, d v1.Descriptor) {
			rw.Header().Set("Content-Length", fmt.Sprint(d.Size))
			rw.Write(make([]byte, d.Size/2))
		}, []string{"LAYER", "unexpected EOF"}},
		"endless blob": {"blobs/LAYER", func(rw http.ResponseWriter, r *http.Request, _ v1.Descriptor) {
			for r.Context().Err() == nil {
				if _, err := rw.Write(make([]byte, 64<<10)); err != nil {
					return
				}
			}
		}, []string{"LAYER", "longer than"}},
		"missing blob": {"blobs/LAYER", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.WriteHeader(http.StatusNotFound)
		}, []string{"LAYER", "404"}},
		"redirect to the cloud's metadata": {"blobs/LAYER", func(rw http.ResponseWriter, r *http.Request, _ v1.Descriptor) {
			http.Redirect(rw, r, "http://169.254.169.254/latest/meta-data/", http.StatusTemporaryRedirect)
		}, []string{"LAYER", "169.254.169.254"}},
		"redirect for ever": {"blobs/LAYER", func(rw http.ResponseWriter, r *http.Request, _ v1.Descriptor) {
			http.Redirect(rw, r, r.URL.Path, http.StatusTemporaryRedirect)
		}, []string{"LAYER", "redirects"}},
		"manifest of another digest": {"manifests/CHILD", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.Header().Set("Content-Type", string(types.OCIManifestSchema1))
			fmt.Fprint(rw, `{"schemaVersion":2}`)
		}, []string{"CHILD", "content has digest"}},
		"a platform is missing": {"manifests/CHILD", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.WriteHeader(http.StatusNotFound)
		}, []string{"CHILD", "404", "index INDEX"}},
		"endless pages of referrers": {"referrers/INDEX", func(rw http.ResponseWriter, r *http.Request, _ v1.Descriptor) {
			link(rw, r)
		}, []string{"referrers/INDEX"}},
		"10,000 referrers": {"referrers/INDEX", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.Header().Set("Content-Type", string(types.OCIImageIndex))
			list := make([]v1.Descriptor, 10_000)
			for i := range list {
				list[i] = v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", i)}, Size: 2}
			}
			json.NewEncoder(rw).Encode(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list})
		}, []string{"referrers/INDEX"}},
		"referrers: outage": {"referrers/INDEX", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.WriteHeader(http.StatusNotImplemented)
		}, []string{"referrers/INDEX", "501"}},
		"referrers: forbidden": {"referrers/CHILD", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.WriteHeader(http.StatusForbidden)
		}, []string{"referrers/CHILD", "403"}},
		".att: outage": {"manifests/TAG.att", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			rw.WriteHeader(http.StatusNotImplemented)
		}, []string{"TAG.att", "501"}},
		".sbom: not a manifest": {"manifests/TAG.sbom", func(rw http.ResponseWriter, _ *http.Request, _ v1.Descriptor) {
			fmt.Fprint(rw, "<html>")
		}, []string{"TAG.sbom", "media type"}},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			src, dst := newRegistry(t, true), newRegistry(t, true)
			desc := w.dressed(t, src, "acme/app", 1)
			layer := largest(t, src)
			index, err := attach.Read(t.Context(), src.source(t, "acme/app"), "1")
			if err != nil {
				t.Fatal(err)
			}
			names := strings.NewReplacer("LAYER", layer.Digest.String(), "CHILD", index.Manifests[0].Digest.String(),
				"INDEX", desc.Digest.String(), "TAG", "sha256-"+desc.Digest.Hex)
			src.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, names.Replace(c.suffix)) {
					return false
				}
				c.answer(rw, r, layer)
				return true
			})
			from, to := place(t, src.host+"/acme/app:1"), place(t, dst.host+"/app:1")
			r, err := skopeo.Copy(t.Context(), from, to, unverified)
			for i := range c.want {
				c.want[i] = names.Replace(c.want[i])
			}
			wantError(t, err, append(c.want, src.host)...)
			if le := (*attach.LookupError)(nil); !errors.As(err, &le) {
				t.Errorf("error is no *attach.LookupError: %v", err)
			}
			if r.Tag != "" || exists(t, dst.host+"/app:1") {
				t.Error("the tag is there")
			}
			src.intercept(nil)
			if r, err := skopeo.Copy(t.Context(), from, to, w.options()); err != nil || counts(r) != dressedCounts {
				t.Errorf("twin: %v, %+v", err, r)
			}
		})
	}
}

// Things that are listed as attached and aren't, or attached in a circle, end the walk and stop no copy.
func TestListedButNotAttached(t *testing.T) {
	w := newWorld(t)
	src, dst := newRegistry(t, false), newRegistry(t, true)
	repo := src.source(t, "acme/app")
	image := coretest.Push(t, src.host+"/acme/app:1", coretest.Image(t, 1))
	desc, err := remote.Head(image)
	if err != nil {
		t.Fatal(err)
	}
	w.attach(t, repo, *desc, coretest.SignOptions{Identity: alice})
	// A .sig tag of the image that leads to another image, whose .sig tag leads back.
	other := coretest.Push(t, src.host+"/acme/app:sha256-"+desc.Digest.Hex+".sig", coretest.Image(t, 7))
	back := src.host + "/acme/app:sha256-" + strings.TrimPrefix(other.DigestStr(), "sha256:") + ".sig"
	coretest.Push(t, back, coretest.Image(t, 1))
	// The fallback index lists the image itself, another image, and something that was deleted.
	index, err := attach.Read(t.Context(), repo, "sha256-"+desc.Digest.Hex)
	if err != nil {
		t.Fatal(err)
	}
	stranger, err := remote.Head(coretest.Push(t, src.host+"/acme/app:stranger", coretest.Image(t, 9)))
	if err != nil {
		t.Fatal(err)
	}
	gone := v1.Descriptor{MediaType: types.OCIManifestSchema1, Digest: v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("0", 64)}, Size: 9}
	raw, err := json.Marshal(v1.IndexManifest{
		SchemaVersion: 2, MediaType: types.OCIImageIndex,
		Manifests: append(index.Manifests, *desc, *stranger, gone),
	})
	if err != nil {
		t.Fatal(err)
	}
	src.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/sha256-"+desc.Digest.Hex) {
			return false
		}
		rw.Header().Set("Content-Type", string(types.OCIImageIndex))
		rw.Write(raw)
		return true
	})
	r := mustCopy(t, src.host+"/acme/app:1", dst.host+"/app:1", w.options())
	var omitted []string
	for _, o := range r.Omitted {
		omitted = append(omitted, o.Digest)
	}
	want := sorted([]string{desc.Digest.String(), stranger.Digest.String(), gone.Digest.String()})
	if fmt.Sprint(sorted(omitted)) != fmt.Sprint(want) {
		t.Errorf("omitted %v, want %v", r.Omitted, want)
	}
	if exists(t, dst.host+"/app@"+stranger.Digest.String()) {
		t.Error("an image that is not attached was copied")
	}
}

// chain attaches a referrer to a referrer to ... to the image.
func chain(t *testing.T, src attach.Source, subject v1.Descriptor, length int) {
	for i := range length {
		subject = artifact(t, src, &subject, "", "application/example", fmt.Sprint(i))
	}
}

func TestDepthIsBounded(t *testing.T) {
	for length, fails := range map[int]bool{skopeo.MaxDepth: false, skopeo.MaxDepth + 1: true} {
		src, dst := newRegistry(t, true), newRegistry(t, true)
		desc, err := remote.Head(coretest.Push(t, src.host+"/acme/app:1", coretest.Image(t, 1)))
		if err != nil {
			t.Fatal(err)
		}
		chain(t, src.source(t, "acme/app"), *desc, length)
		r, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/app:1"), place(t, dst.host+"/app:1"), unverified)
		if errors.Is(err, skopeo.ErrTooMuch) != fails {
			t.Errorf("%d levels: %v", length, err)
		}
		if !fails && r.Others != length {
			t.Errorf("%d levels: copied %d", length, r.Others)
		}
		if fails && dst.received() != 0 {
			t.Error("something was sent")
		}
	}
}

// manifestOf writes a manifest of one layer with this descriptor, whose blob is there if it has a content.
func manifestOf(t *testing.T, src attach.Source, layer string) {
	t.Helper()
	artifact(t, src, nil, "config", "application/example", "{}") // brings the blob of the empty config
	raw := `{"schemaVersion":2,"mediaType":"` + string(types.OCIManifestSchema1) + `","config":{"mediaType":"application/vnd.oci.empty.v1+json","size":2,
		"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"},"layers":[` + layer + `]}`
	m, err := attach.ParseManifest(types.OCIManifestSchema1, []byte(raw))
	if err != nil {
		t.Fatal(err)
	}
	if err := attach.WriteManifest(t.Context(), src, m, "1"); err != nil {
		t.Fatal(err)
	}
}

func TestUnusualLayers(t *testing.T) {
	const there = `"digest":"sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"`
	for what, c := range map[string]struct {
		layer   string
		foreign bool
		want    string // of the error
		omitted int
	}{
		"plain":                          {`{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2,` + there + `}`, false, "", 0},
		"not to be distributed":          {`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":5,"urls":["http://169.254.169.254/x"],"digest":"sha256:` + strings.Repeat("1", 64) + `"}`, false, "", 1},
		"not to be distributed, gone":    {`{"mediaType":"application/vnd.docker.image.rootfs.foreign.diff.tar.gzip","size":5,"urls":["http://169.254.169.254/x"],"digest":"sha256:` + strings.Repeat("1", 64) + `"}`, true, "404", 0},
		"not to be distributed, there":   {`{"mediaType":"application/vnd.oci.image.layer.nondistributable.v1.tar","size":3,"digest":"sha256:` + blobABC + `"}`, true, "", 0},
		"SHA-512":                        {`{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":2,"digest":"sha512:` + strings.Repeat("1", 128) + `"}`, false, "only SHA-256", 0},
		"negative size":                  {`{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":-2,"digest":"sha256:` + blobABC + `"}`, false, "size -2", 0},
		"two sizes of one blob":          {`{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":3,` + there + `}`, false, "another manifest says", 0},
		"larger in the manifest than is": {`{"mediaType":"application/vnd.oci.image.layer.v1.tar","size":30,"digest":"sha256:` + blobABC + `"}`, false, "ends after 3 of 30", 0},
	} {
		t.Run(what, func(t *testing.T) {
			src, dst := newRegistry(t, true), newRegistry(t, true)
			repo := src.source(t, "acme/app")
			artifact(t, repo, nil, "abc", "application/example", "abc")
			manifestOf(t, repo, c.layer)
			o := unverified
			o.Nondistributable = c.foreign
			r, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/app:1"), place(t, dst.host+"/app:1"), o)
			if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
			if len(r.Omitted) != c.omitted {
				t.Errorf("omitted %v", r.Omitted)
			}
			if exists(t, dst.host+"/app:1") != (err == nil) {
				t.Errorf("tag is there: %v, error %v", err != nil, err)
			}
		})
	}
}

// blobABC is the SHA-256 of "abc".
const blobABC = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
