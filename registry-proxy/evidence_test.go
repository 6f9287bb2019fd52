package registryproxy

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

const (
	simpleSigningType = "application/vnd.dev.cosign.simplesigning.v1+json"
	bundleType        = "application/vnd.dev.sigstore.bundle.v0.3+json"
)

// tarball is a small root file system.
func tarball(t *testing.T, compressed bool) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	body := []byte("#!/bin/sh\nCANARY\n")
	if err := w.WriteHeader(&tar.Header{Name: "{", Mode: 0o755, Size: int64(len(body))}); err != nil {
		t.Fatal(err)
	}
	w.Write(body)
	w.Close()
	if !compressed {
		return b.Bytes()
	}
	var z bytes.Buffer
	zw := gzip.NewWriter(&z)
	zw.Write(b.Bytes())
	zw.Close()
	return z.Bytes()
}

func TestEvidenceIsReadableBeforeAnyVerdict(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1") // unsigned, and stays so
	h := digestOf(t, img)
	payload := l.putBlob("app", simpleSigningType, []byte(`{"critical":{"type":"cosign container image signature"}}`))
	sigConfig := l.putBlob("app", typeImageConfig, []byte(`{"architecture":"","os":"","rootfs":{"type":"layers","diff_ids":["`+payload.UntrustedDigest+`"]},"config":{}}`))
	empty := l.putBlob("app", typeEmptyConfig, []byte(`{}`))
	bundle := l.putBlob("app", bundleType, []byte(`{"mediaType":"`+bundleType+`"}`))
	subject := fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}`, bundleType, typeDockerManifest, h)

	sig := l.put("app", "sha256-"+h.Hex+".sig", typeOCIManifest, ociManifest(sigConfig, []descriptor{payload}, ""))
	body := ociManifest(empty, []descriptor{bundle}, subject)
	ref := l.put("app", sum(body).String(), typeOCIManifest, body)

	for _, path := range []string{
		"/v2/app/manifests/sha256-" + h.Hex + ".sig", "/v2/app/manifests/" + sig.String(), "/v2/app/manifests/" + ref.String(),
		"/v2/app/blobs/" + payload.UntrustedDigest, "/v2/app/blobs/" + sigConfig.UntrustedDigest,
		"/v2/app/blobs/" + bundle.UntrustedDigest, "/v2/app/blobs/" + empty.UntrustedDigest,
	} {
		l.want(l.get(path), http.StatusOK, "")
		if r := l.do(http.MethodHead, path); r.StatusCode != 200 {
			t.Errorf("HEAD %s: %d", path, r.StatusCode)
		}
	}
	if n := len(l.admitter.questions()); n != 0 {
		t.Errorf("the gate was asked %d times about evidence", n)
	}
	r := l.want(l.get("/v2/app/referrers/"+h.String()), http.StatusOK, "")
	if !strings.Contains(string(r.body), ref.String()) || r.Header.Get("Content-Type") != typeOCIIndex {
		t.Errorf("referrers: %s %s", r.Header.Get("Content-Type"), r.body)
	}
	l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
}

func TestPX08_ImagesDressedAsEvidence(t *testing.T) {
	l := newLab(t)
	fs, gz := tarball(t, false), tarball(t, true)
	runnable := l.putBlob("app", typeImageConfig, []byte(`{"architecture":"amd64","os":"linux","config":{"Cmd":["/{"]},"rootfs":{"type":"layers","diff_ids":["`+sum(fs).String()+`"]}}`))
	image := l.putBlob("app", layerType, gz)
	payload := l.putBlob("app", simpleSigningType, []byte(`{}`))
	other := func(d descriptor, mediaType string) descriptor { d.MediaType = mediaType; return d }
	sized := func(d descriptor, size int64) descriptor { d.Size = size; return d }
	subject := fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":"sha256:%s","size":1},"annotations":{"dev.sigstore.bundle.content":"dsse-envelope"}`, bundleType, typeOCIManifest, hex64)
	var many []descriptor
	for range maxEvidenceLayers + 1 {
		many = append(many, payload)
	}
	// Manifests that are images, or not small, or odd: judged, whatever they say they are.
	for i, body := range [][]byte{
		ociManifest(runnable, []descriptor{image}, subject),
		ociManifest(runnable, []descriptor{payload, image}, subject),
		ociManifest(other(runnable, "application/vnd.docker.container.image.v1+json"), []descriptor{payload}, subject),
		ociManifest(other(runnable, bundleType), []descriptor{payload}, subject),
		ociManifest(runnable, []descriptor{}, subject),
		ociManifest(runnable, []descriptor{other(payload, "application/vnd.dev.sigstore.bundle")}, subject),
		ociManifest(runnable, []descriptor{other(payload, "application/vnd.dev.sigstore.bundle.v0.3+json"+strings.Repeat("x", 40))}, subject),
		ociManifest(runnable, []descriptor{other(payload, "Application/vnd.dsse.envelope.v1+json")}, subject),
		ociManifest(runnable, []descriptor{sized(payload, maxEvidenceLayer+1)}, subject),
		ociManifest(sized(runnable, maxEvidenceConfig+1), []descriptor{payload}, subject),
		ociManifest(runnable, many, subject),
		bytes.Replace(ociManifest(runnable, []descriptor{payload}, subject), []byte(typeOCIManifest), []byte(typeDockerManifest), 1),
	} {
		contentType := typeOCIManifest
		if i == 11 {
			contentType = typeDockerManifest
		}
		tag := fmt.Sprintf("sha256-%064x.sig", i)
		digest := l.put("app", tag, contentType, body)
		l.want(l.get("/v2/app/manifests/"+tag), http.StatusForbidden, codeDenied)
		l.want(l.get("/v2/app/manifests/"+digest.String()), http.StatusForbidden, codeDenied)
	}
	// Evidence by its media types, a file system by its bytes, which some runtimes would unpack.
	for i, layer := range [][]byte{fs, gz, []byte("not JSON"), []byte(`{"a":1}` + "\x00"), {}} {
		d := l.putBlob("app", "application/vnd.dsse.envelope.v1+json", layer)
		tag := fmt.Sprintf("sha256-%064x.att", i)
		l.put("app", tag, typeOCIManifest, ociManifest(runnable, []descriptor{d}, subject))
		l.want(l.get("/v2/app/manifests/"+tag), http.StatusForbidden, codeDenied)
		r := l.want(l.get("/v2/app/blobs/"+d.UntrustedDigest), http.StatusForbidden, codeDenied)
		if bytes.Contains(r.body, []byte("CANARY")) {
			t.Error("the canary is out")
		}
		l.want(l.get("/v2/app/blobs/"+d.UntrustedDigest, "Range", "bytes=0-9"), http.StatusForbidden, codeDenied)
	}
	// A config that says what to run, or names another root file system than the evidence itself.
	dressed := l.putBlob("app", typeImageConfig, []byte(`{"os":"linux","config":{"Cmd":["/CANARY"]},"rootfs":{"type":"layers","diff_ids":["`+sum(gz).String()+`"]}}`))
	l.put("app", "sha256-"+hex64+".att", typeOCIManifest, ociManifest(dressed, []descriptor{payload}, subject))
	l.want(l.get("/v2/app/manifests/sha256-"+hex64+".att"), http.StatusForbidden, codeDenied)
	l.want(l.get("/v2/app/blobs/"+dressed.UntrustedDigest), http.StatusForbidden, codeDenied)
	// Bytes that are not what the descriptor says.
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, payload.UntrustedDigest) {
			w.Write([]byte(`[]`))
			return true
		}
		return false
	})
	config := other(payload, typeEmptyConfig)
	l.put("app", "sha256-"+hex64+".sig", typeOCIManifest, ociManifest(config, []descriptor{payload}, ""))
	l.want(l.get("/v2/app/manifests/sha256-"+hex64+".sig"), http.StatusBadGateway, codeDigestInvalid)
	l.want(l.get("/v2/app/blobs/"+payload.UntrustedDigest), http.StatusBadGateway, codeDigestInvalid)
}

func TestA156_PX32_FallbackIndex(t *testing.T) {
	l := newLab(t, withReferrers(false))
	img, bad := l.pushImage("app:v1"), l.pushImage("app:bad")
	h := digestOf(t, img)
	l.admitter.sign(h)
	empty := l.putBlob("app", typeEmptyConfig, []byte(`{}`))
	bundle := l.putBlob("app", bundleType, []byte(`{"mediaType":"`+bundleType+`"}`))
	body := ociManifest(empty, []descriptor{bundle}, fmt.Sprintf(`,"subject":{"mediaType":%q,"digest":%q,"size":1}`, typeDockerManifest, h))
	ref := l.put("app", sum(body).String(), typeOCIManifest, body)
	entry := func(digest, mediaType, more string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, mediaType, digest, len(body), more)
	}
	index := func(entries ...string) []byte {
		return []byte(`{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`)
	}
	good := entry(ref.String(), typeOCIManifest, `,"artifactType":"`+bundleType+`"`)
	fallback := "/v2/app/manifests/sha256-" + h.Hex
	referrers := "/v2/app/referrers/" + h.String()

	// None yet.
	l.want(l.get(fallback), http.StatusNotFound, codeManifestUnknown)
	r := l.want(l.get(referrers), http.StatusOK, "")
	if r.Header.Get("Content-Type") != typeOCIIndex || !strings.Contains(string(r.body), `"manifests":[]`) {
		t.Errorf("empty referrers: %s", r.body)
	}
	// A good one, by tag, by the digest that the tag led to, and through the API.
	l.want(l.get("/v2/app/manifests/"+sum(index(good)).String()), http.StatusNotFound, codeManifestUnknown)
	digest := l.put("app", "sha256-"+h.Hex, typeOCIIndex, index(good))
	l.want(l.get("/v2/app/manifests/"+digest.String()), http.StatusOK, "") // the search found its tag
	l.want(l.get(fallback), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/"+digest.String()), http.StatusOK, "")
	r = l.want(l.get(referrers), http.StatusOK, "")
	if !strings.Contains(string(r.body), ref.String()) {
		t.Errorf("referrers: %s", r.body)
	}
	for filter, want := range map[string]bool{bundleType: true, "application/spdx+json": false} {
		r := l.want(l.get(referrers+"?artifactType="+strings.ReplaceAll(filter, "+", "%2B")), http.StatusOK, "")
		if strings.Contains(string(r.body), ref.String()) != want || r.Header.Get("OCI-Filters-Applied") != "artifactType" {
			t.Errorf("filter %s: %s", filter, r.body)
		}
	}
	// Poisoned: it lists an unsigned image as if it were evidence. The list is readable, the image is not, and being listed
	// there makes nothing a child of anything.
	l.put("app", "sha256-"+h.Hex, typeOCIIndex, index(good, entry(digestOf(t, bad).String(), typeOCIManifest, `,"artifactType":"`+bundleType+`"`)))
	l.want(l.get(fallback), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/"+digestOf(t, bad).String()), http.StatusForbidden, codeDenied)
	for _, q := range l.admitter.questions() {
		if len(q.Parents) != 0 {
			t.Errorf("the fallback index was named as parent: %v", q.Parents)
		}
	}
	// A runnable index under the tag is an index, and is judged.
	for _, entries := range []string{
		entry(digestOf(t, bad).String(), typeDockerManifest, ""),
		entry(digestOf(t, bad).String(), typeOCIManifest, ""),
		entry(digestOf(t, bad).String(), typeOCIManifest, `,"artifactType":"x/y","platform":{"architecture":"amd64","os":"linux"}`),
		entry(digestOf(t, bad).String(), typeOCIIndex, `,"artifactType":"x/y"`),
		entry(digestOf(t, bad).String(), typeOCIManifest, `,"artifactType":"x/y","urls":["https://evil.example/"]`),
	} {
		d := l.put("app", "sha256-"+h.Hex, typeOCIIndex, index(good, entries))
		l.clock.Advance(tagFresh)
		l.want(l.get(fallback), http.StatusForbidden, codeDenied)
		l.want(l.get("/v2/app/manifests/"+d.String()), http.StatusForbidden, codeDenied)
	}
	// The good one under another tag is not the list of anybody's referrers.
	other := index(good, entry(ref.String(), typeOCIManifest, `,"artifactType":"x/y"`))
	l.put("app", "latest", typeOCIIndex, other)
	l.want(l.get("/v2/app/manifests/latest"), http.StatusForbidden, codeDenied)

	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "") // none of it changes the image's own verdict
}

func TestPX32_A156_ReferrersOutagesAndFloods(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	path := "/v2/app/referrers/" + digestOf(t, img).String()
	page := func(from, n int) string {
		var entries []string
		for i := range n {
			entries = append(entries, fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%064x","size":1,"artifactType":%q}`, typeOCIManifest, from+i, bundleType))
		}
		return `{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[` + strings.Join(entries, ",") + `]}`
	}
	answer := func(f func(w http.ResponseWriter, r *http.Request)) reply {
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/referrers/") {
				return false
			}
			w.Header().Set("Content-Type", typeOCIIndex)
			f(w, r)
			return true
		})
		l.seen("")
		return l.get(path)
	}
	count := func(r reply) int {
		var list struct{ Manifests []any }
		json.Unmarshal(r.body, &list)
		return len(list.Manifests)
	}
	for _, status := range []int{500, 502, 503, 429, 403, 401, 400} {
		r := answer(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(status) })
		if r.StatusCode != 502 && r.StatusCode != 503 {
			t.Errorf("upstream %d: got %d %s", status, r.StatusCode, r.body)
		}
		if l.seen("/manifests/sha256-") != 0 {
			t.Errorf("upstream %d: the fallback tag was asked for", status)
		}
	}
	// Ten pages become one.
	r := answer(func(w http.ResponseWriter, r *http.Request) {
		var p int
		fmt.Sscanf(r.URL.Query().Get("page"), "%d", &p)
		if p < 9 {
			w.Header().Set("Link", fmt.Sprintf(`<%s?page=%d>; rel="next"`, path, p+1))
		}
		fmt.Fprint(w, page(p*100, 100))
	})
	if l.want(r, http.StatusOK, ""); count(r) != 1000 || r.Header.Get("Link") != "" {
		t.Errorf("%d referrers, Link %q", count(r), r.Header.Get("Link"))
	}
	l.want(answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page(0, 1000)) }), http.StatusOK, "")
	l.want(answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, page(0, 10000)) }), http.StatusBadGateway, codeUnknown)
	l.want(answer(func(w http.ResponseWriter, r *http.Request) { // pages without end
		w.Header().Set("Link", `<?page=`+r.URL.Query().Get("page")+`1>; rel="next"`)
		fmt.Fprint(w, page(0, 1))
	}), http.StatusBadGateway, codeUnknown)
	if n := l.seen("/referrers/"); n > maxReferrerPages {
		t.Errorf("%d pages were read", n)
	}
	for _, link := range []string{"http://evil.example" + path + "?page=2", "//evil.example" + path + "?page=2", "/v2/other/referrers/x?page=2", "http://[::1", "file:///etc/passwd?x=1"} {
		r := answer(func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Link", "<"+link+`>; rel="next"`)
			fmt.Fprint(w, page(0, 1))
		})
		l.want(r, http.StatusBadGateway, codeUnknown)
	}
	for _, body := range []string{"", "{}", "[]", page(0, 1) + "{}", strings.Replace(page(0, 1), "sha256:", "sha256:..", 1)} {
		l.want(answer(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, body) }), http.StatusBadGateway, codeUnknown)
	}
}

func TestPX31_TagsAreCappedAndLinksAreOurs(t *testing.T) {
	l := newLab(t)
	for _, tag := range []string{"a", "b", "c"} {
		l.pushImage("app:" + tag)
	}
	tags := func(r reply) string {
		var list tagList
		json.Unmarshal(r.body, &list)
		return list.Name + ":" + strings.Join(list.Tags, ",")
	}
	r := l.want(l.get("/v2/app/tags/list"), http.StatusOK, "")
	if tags(r) != "app:a,b,c" || r.Header.Get("Link") != "" {
		t.Errorf("got %s, Link %q", r.body, r.Header.Get("Link"))
	}
	l.want(l.get("/v2/none/tags/list"), http.StatusNotFound, codeNameUnknown)
	l.seen("")
	l.want(l.get("/v2/app/tags/list?n=2147483647&last=a"), http.StatusOK, "")
	if l.seen("n=1000") != 1 {
		t.Error("n was not capped")
	}
	lie := func(body, link string) reply {
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/tags/") {
				return false
			}
			if link != "" {
				w.Header().Set("Link", link)
			}
			fmt.Fprint(w, body)
			return true
		})
		return l.get("/v2/app/tags/list?n=2")
	}
	r = l.want(lie(`{"name":"other","tags":["a","b"]}`, `<https://evil.example/v2/app/tags/list?last=b&n=2>; rel="next"`), http.StatusOK, "")
	if tags(r) != "app:a,b" || r.Header.Get("Link") != `</v2/app/tags/list?last=b&n=2>; rel="next"` {
		t.Errorf("got %s, Link %q", r.body, r.Header.Get("Link"))
	}
	r = l.want(lie(`{"name":"app","tags":["a","b","c","d"]}`, ""), http.StatusOK, "") // n ignored upstream
	if tags(r) != "app:a,b" || r.Header.Get("Link") == "" {
		t.Errorf("got %s, Link %q", r.body, r.Header.Get("Link"))
	}
	for _, body := range []string{`{"tags":["a/../b"]}`, `{"tags":["<script>"]}`, `{"tags":"a"}`, ``, `{"tags":["` + strings.Repeat("a", maxList) + `"]}`} {
		if r := lie(body, ""); r.StatusCode != http.StatusBadGateway && r.StatusCode != http.StatusRequestEntityTooLarge {
			t.Errorf("%.40s: got %d", body, r.StatusCode)
		}
	}
}
