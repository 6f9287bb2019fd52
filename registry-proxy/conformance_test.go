package registryproxy

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"testing"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/random"
)

// What the distribution specification 1.1 demands of the pull side and of content discovery (the categories "Pull" and "Content Discovery" of its
// conformance tests), on an image that is admitted; and each of it refused on its unsigned twin.
func TestConformance(t *testing.T) {
	for form, referrers := range forms {
		t.Run(form, func(t *testing.T) {
			l := newLab(t, withReferrers(referrers))
			signed, unsigned := l.pushImage("conformance/app:signed"), l.pushImage("conformance/app:unsigned")
			l.admitter.sign(digestOf(t, signed))
			sbom := l.pushReferrer("conformance/app", signed, "application/spdx+json")
			for name, check := range map[string]func(*testing.T, *lab, v1.Image, string){
				"manifests": conformManifests, "blobs": conformBlobs, "what is not there": conformAbsent, "errors": conformErrors, "tags": conformTags,
			} {
				t.Run(name, func(t *testing.T) { check(t, l, signed, "signed") })
			}
			t.Run("referrers", func(t *testing.T) {
				artifactType := "application/spdx+json"
				if referrers {
					artifactType = typeEmptyConfig // this registry's API tells the config's type
				}
				conformReferrers(t, l, signed, sbom, artifactType)
			})
			t.Run("unsigned", func(t *testing.T) {
				digest := digestOf(t, unsigned).String()
				for _, path := range []string{"manifests/unsigned", "manifests/" + digest, "blobs/" + layerDigests(t, unsigned)[0].String()} {
					for _, method := range []string{http.MethodGet, http.MethodHead} {
						r := l.do(method, "/v2/conformance/app/"+path)
						if r.StatusCode != http.StatusForbidden || method == http.MethodGet && r.code() != codeDenied {
							t.Errorf("%s %s: %d %s", method, path, r.StatusCode, r.body)
						}
					}
				}
			})
		})
	}
}

// pushReferrer puts an artifact beside an image that refers to it, with a fallback tag where the registry has no referrers API.
func (l *lab) pushReferrer(repository string, image v1.Image, artifactType string) v1.Hash {
	l.t.Helper()
	raw := rawManifest(l.t, image)
	blob := l.putBlob(repository, artifactType, []byte(`{"spdxVersion":"SPDX-2.3"}`))
	config := l.putBlob(repository, typeEmptyConfig, []byte(`{}`))
	body, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeOCIManifest, "artifactType": artifactType, "config": config, "layers": []descriptor{blob},
		"subject": map[string]any{"mediaType": typeDockerManifest, "digest": digestOf(l.t, image).String(), "size": len(raw)},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	digest := sum(body)
	l.put(repository, digest.String(), typeOCIManifest, body)
	index, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": typeOCIIndex,
		"manifests": []any{map[string]any{"mediaType": typeOCIManifest, "artifactType": artifactType, "digest": digest.String(), "size": len(body)}},
	})
	if err != nil {
		l.t.Fatal(err)
	}
	l.put(repository, strings.Replace(digestOf(l.t, image).String(), ":", "-", 1), typeOCIIndex, index)
	return digest
}

func conformManifests(t *testing.T, l *lab, image v1.Image, tag string) {
	digest, raw := digestOf(t, image).String(), rawManifest(t, image)
	for _, reference := range []string{tag, digest} {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			r := l.do(method, "/v2/conformance/app/manifests/"+reference)
			if r.StatusCode != http.StatusOK || r.Header.Get("Docker-Content-Digest") != digest || r.Header.Get("Content-Length") != strconv.Itoa(len(raw)) || r.Header.Get("Content-Type") == "" {
				t.Errorf("%s %s: %d %v", method, reference, r.StatusCode, r.Header)
			}
			if method == http.MethodGet && !bytes.Equal(r.body, raw) || method == http.MethodHead && len(r.body) > 0 {
				t.Errorf("%s %s: %d bytes", method, reference, len(r.body))
			}
		}
	}
}

func conformBlobs(t *testing.T, l *lab, image v1.Image, tag string) {
	l.want(l.get("/v2/conformance/app/manifests/"+tag), http.StatusOK, "")
	for _, digest := range layerDigests(t, image) {
		head := l.do(http.MethodHead, "/v2/conformance/app/blobs/"+digest.String())
		get := l.get("/v2/conformance/app/blobs/" + digest.String())
		if head.StatusCode != http.StatusOK || get.StatusCode != http.StatusOK || sum(get.body) != digest || head.Header.Get("Content-Length") != strconv.Itoa(len(get.body)) {
			t.Errorf("%s: HEAD %d, GET %d with %d bytes", digest, head.StatusCode, get.StatusCode, len(get.body))
		}
		part := l.get("/v2/conformance/app/blobs/"+digest.String(), "Range", "bytes=10-19")
		if part.StatusCode != http.StatusPartialContent || !bytes.Equal(part.body, get.body[10:20]) || !strings.HasPrefix(part.Header.Get("Content-Range"), "bytes 10-19/") {
			t.Errorf("%s: a range: %d, %v", digest, part.StatusCode, part.Header)
		}
	}
}

func conformAbsent(t *testing.T, l *lab, _ v1.Image, _ string) {
	absent := sum([]byte("nobody has this")).String()
	for _, path := range []string{"manifests/none", "manifests/" + absent, "blobs/" + absent} {
		for _, method := range []string{http.MethodHead, http.MethodGet} {
			if r := l.do(method, "/v2/conformance/app/"+path); r.StatusCode != http.StatusNotFound {
				t.Errorf("%s %s: %d %s", method, path, r.StatusCode, r.body)
			}
		}
	}
}

// The specification's codes, in its form.
func conformErrors(t *testing.T, l *lab, _ v1.Image, _ string) {
	for path, codes := range map[string][]string{
		"conformance/app/manifests/sha256:totallywrong": {codeManifestUnknown, codeDigestInvalid, codeManifestInvalid, codeUnsupported},
		"conformance/app/manifests/none":                {codeManifestUnknown},
		"UPPER/case/manifests/1":                        {codeNameInvalid},
		"conformance/app/tags/list?n=minus":             {codeUnsupported, codeUnknown},
	} {
		r := l.get("/v2/" + path)
		var body struct {
			Errors []struct {
				Code    string          `json:"code"`
				Message string          `json:"message"`
				Detail  json.RawMessage `json:"detail"`
			} `json:"errors"`
		}
		if err := json.Unmarshal(r.body, &body); err != nil || len(body.Errors) == 0 || !slices.Contains(codes, body.Errors[0].Code) || body.Errors[0].Message == "" || r.StatusCode < 400 || r.StatusCode >= 500 {
			t.Errorf("%s: %d %s", path, r.StatusCode, r.body)
		}
	}
	if r := l.get("/v2/"); r.StatusCode != http.StatusOK {
		t.Errorf("/v2/: %d", r.StatusCode)
	}
}

func conformTags(t *testing.T, l *lab, _ v1.Image, _ string) {
	for _, tag := range []string{"a", "b", "c"} {
		image, err := random.Image(10, 1)
		if err != nil {
			t.Fatal(err)
		}
		l.push("conformance/tags:"+tag, image)
	}
	list := func(query string) (tags []string, link string) {
		t.Helper()
		r := l.want(l.get("/v2/conformance/tags/tags/list"+query), http.StatusOK, "")
		var body struct {
			Name string   `json:"name"`
			Tags []string `json:"tags"`
		}
		if err := json.Unmarshal(r.body, &body); err != nil || body.Name != "conformance/tags" {
			t.Errorf("%s: %v", r.body, err)
		}
		return body.Tags, r.Header.Get("Link")
	}
	if tags, _ := list(""); !slices.Equal(tags, []string{"a", "b", "c"}) {
		t.Errorf("all: %v", tags)
	}
	if tags, _ := list("?n=2"); !slices.Equal(tags, []string{"a", "b"}) {
		t.Errorf("n=2: %v", tags)
	}
	if tags, _ := list("?n=2&last=b"); !slices.Equal(tags, []string{"c"}) {
		t.Errorf("after b: %v", tags)
	}
}

func conformReferrers(t *testing.T, l *lab, image v1.Image, sbom v1.Hash, artifactType string) {
	list := func(digest, query string) ([]string, http.Header) {
		t.Helper()
		r := l.want(l.get("/v2/conformance/app/referrers/"+digest+query), http.StatusOK, "")
		var index struct {
			SchemaVersion int    `json:"schemaVersion"`
			MediaType     string `json:"mediaType"`
			Manifests     []struct {
				Digest       string `json:"digest"`
				ArtifactType string `json:"artifactType"`
			} `json:"manifests"`
		}
		if err := json.Unmarshal(r.body, &index); err != nil || index.SchemaVersion != 2 || index.MediaType != typeOCIIndex || r.Header.Get("Content-Type") != typeOCIIndex {
			t.Errorf("%s: %v, %v", r.body, err, r.Header)
		}
		var found []string
		for _, m := range index.Manifests {
			found = append(found, m.Digest+" "+m.ArtifactType)
		}
		return found, r.Header
	}
	want := []string{sbom.String() + " " + artifactType}
	digest := digestOf(t, image).String()
	if found, _ := list(digest, ""); !slices.Equal(found, want) {
		t.Errorf("all: %v, want %v", found, want)
	}
	if found, _ := list(digest, "?artifactType="+url.QueryEscape(artifactType)); !slices.Equal(found, want) {
		t.Errorf("of this type: %v, want %v", found, want)
	}
	if found, header := list(digest, "?artifactType=application/none"); len(found) > 0 && header.Get("OCI-Filters-Applied") != "" {
		t.Errorf("of no type: %v, and it says that it filters", found)
	}
	if found, _ := list(sum([]byte("nobody has this")).String(), ""); len(found) != 0 {
		t.Errorf("of nothing: %v", found)
	}
	// What refers to an image can be read like it.
	if r := l.get("/v2/conformance/app/manifests/" + sbom.String()); r.StatusCode != http.StatusOK || sum(r.body) != sbom {
		t.Errorf("the artifact: %d", r.StatusCode)
	}
}
