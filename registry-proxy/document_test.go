package registryproxy

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// testDescriptor is a valid descriptor as text.
func testDescriptor(mediaType string) string {
	return fmt.Sprintf(`{"mediaType":%q,"digest":"sha256:%s","size":2}`, mediaType, hex64)
}

const layerType = "application/vnd.oci.image.layer.v1.tar+gzip"

func imageWith(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + typeOCIManifest + `","config":` + testDescriptor(typeImageConfig) + `,"layers":[` + testDescriptor(layerType) + `]` + more + `}`
}

func indexWith(more string) string {
	return `{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[` + testDescriptor(typeOCIManifest) + `]` + more + `}`
}

func TestParseDocument(t *testing.T) {
	for _, c := range []struct{ name, body, contentType string }{
		{"OCI image", imageWith(""), typeOCIManifest},
		{"OCI index", indexWith(""), typeOCIIndex},
		{"unknown fields", imageWith(`,"x":{"manifests":1}`), typeOCIManifest},
		{"subject and annotations", imageWith(`,"subject":` + testDescriptor(typeOCIManifest) + `,"annotations":{"Size":"1","size":"2"}`), typeOCIManifest},
		{"OCI image without mediaType", strings.Replace(imageWith(""), `"mediaType":"`+typeOCIManifest+`",`, "", 1), typeOCIManifest},
		{"OCI index without mediaType", strings.Replace(indexWith(""), `"mediaType":"`+typeOCIIndex+`",`, "", 1), typeOCIIndex},
		{"Docker image", strings.Replace(imageWith(""), typeOCIManifest, typeDockerManifest, 1), typeDockerManifest},
		{"Docker list", strings.Replace(indexWith(""), typeOCIIndex, typeDockerList, 1), typeDockerList},
		{"valid data", strings.Replace(imageWith(""), hex64+`","size":2`, `44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a","size":2,"data":"e30="`, 1), typeOCIManifest},
	} {
		if _, err := parseDocument([]byte(c.body), c.contentType); err != nil {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

// ambiguous are documents that some other parser could read as something else, each with part of the reason.
var ambiguous = []struct{ name, body, contentType, want string }{
	{"layers and manifests", imageWith(`,"manifests":[]`), typeOCIManifest, "both"},
	{"layers and null manifests", imageWith(`,"manifests":null`), typeOCIManifest, "both"},
	{"index with config", indexWith(`,"config":` + testDescriptor(typeImageConfig)), typeOCIIndex, "both"},
	{"image with index type", strings.Replace(imageWith(""), typeOCIManifest, typeOCIIndex, 1), typeOCIIndex, "an image by its fields"},
	{"index with image type", strings.Replace(indexWith(""), typeOCIIndex, typeOCIManifest, 1), typeOCIManifest, "an index by its fields"},
	{"Content-Type of the other kind", imageWith(""), typeOCIIndex, "was sent as"},
	{"Content-Type docker", imageWith(""), typeDockerManifest, "was sent as"},
	{"Content-Type missing", imageWith(""), "", "was sent as"},
	{"Docker image without mediaType", strings.Replace(imageWith(""), `"mediaType":"`+typeOCIManifest+`",`, "", 1), typeDockerManifest, "was sent as"},
	{"unknown type", strings.Replace(imageWith(""), typeOCIManifest, "application/json", 1), "application/json", "not served"},
	{"artifact manifest", strings.Replace(imageWith(""), typeOCIManifest, "application/vnd.oci.artifact.manifest.v1+json", 1), "application/vnd.oci.artifact.manifest.v1+json", "not served"},
	{"schema 1", `{"schemaVersion":1,"name":"a","fsLayers":[],"history":[],"signatures":[]}`, "application/vnd.docker.distribution.manifest.v1+prettyjws", "schemaVersion is not 2"},
	{"schema 1 in 2", imageWith(`,"fsLayers":[]`), typeOCIManifest, "schema 1"},
	{"duplicate key", imageWith(`,"layers":[]`), typeOCIManifest, "one key twice"},
	{"duplicate key deep", imageWith(`,"subject":{"mediaType":"a","size":1,"size":2,"digest":"sha256:` + hex64 + `"}`), typeOCIManifest, "one key twice"},
	{"key in another case", imageWith(`,"Layers":[]`), typeOCIManifest, "in another case"},
	{"key with a long s", imageWith(`,"layerſ":[]`), typeOCIManifest, "in another case"},
	{"descriptor key in another case", imageWith(`,"subject":{"mediaType":"a","size":1,"Digest":"sha256:` + hex64 + `","digest":"sha256:` + hex64 + `"}`), typeOCIManifest, "in another case"},
	{"trailing data", imageWith("") + "{}", typeOCIManifest, "after the document's end"},
	{"not UTF-8", imageWith(",\"x\":\"\xff\""), typeOCIManifest, "UTF-8"},
	{"byte order mark", "\ufeff" + imageWith(""), typeOCIManifest, "not valid JSON"},
	{"deep nesting", imageWith(`,"x":` + strings.Repeat("[", 100) + strings.Repeat("]", 100)), typeOCIManifest, "nested"},
	{"layers of the wrong type", strings.Replace(imageWith(""), `"layers":[`, `"layers":[1,`, 1), typeOCIManifest, "layers[0]: not an object"},
	{"null layer", strings.Replace(imageWith(""), `"layers":[`, `"layers":[null,`, 1), typeOCIManifest, "layers[0]: not an object"},
	{"no layers", `{"schemaVersion":2,"mediaType":"` + typeOCIManifest + `","config":` + testDescriptor(typeImageConfig) + `}`, typeOCIManifest, "neither"},
	{"array", `[]`, typeOCIManifest, "not an object"},
	{"null", `null`, typeOCIManifest, "not an object"},
	{"empty", ``, typeOCIManifest, "not valid JSON"},
	{"size missing", strings.Replace(imageWith(""), `,"size":2`, ``, 1), typeOCIManifest, "config: size"},
	{"size negative", strings.Replace(imageWith(""), `"size":2`, `"size":-2`, 1), typeOCIManifest, "config: size"},
	{"size in exponents", strings.Replace(imageWith(""), `"size":2`, `"size":2e0`, 1), typeOCIManifest, "config: a field has the wrong type"},
	{"one digest with two sizes", strings.Replace(imageWith(""), `"size":2`, `"size":3`, 1), typeOCIManifest, "two sizes"},
	{"data that is something else", strings.Replace(imageWith(""), `"size":2`, `"size":2,"data":"e30="`, 1), typeOCIManifest, "data is not"},
	{"annotation digest", imageWith(`,"annotations":{"vnd.docker.reference.digest":"sha256:"}`), typeOCIManifest, "annotations[vnd.docker.reference.digest]"},
}

func TestA129_PX13_AmbiguousManifestsAreNotServed(t *testing.T) {
	l := newLab(t)
	for i, c := range ambiguous {
		_, err := parseDocument([]byte(c.body), c.contentType)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got error %v, want one with %q", c.name, err, c.want)
		}
		tag := fmt.Sprintf("v%d", i)
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.HasSuffix(r.URL.Path, "/manifests/"+tag) {
				return false
			}
			w.Header()["Content-Type"] = []string{c.contentType}
			fmt.Fprint(w, c.body)
			return true
		})
		l.want(l.get("/v2/app/manifests/"+tag), http.StatusBadGateway, codeManifestInvalid)
	}
	if n := len(l.admitter.questions()); n != 0 {
		t.Errorf("the gate was asked %d times", n)
	}
}

// PX-01: not even an error tells what is in a manifest that is not served, nor is it as long as somebody likes.
func TestPX01_ErrorsQuoteNothing(t *testing.T) {
	const most = 300 // bytes of a message
	secret := strings.Repeat(canary, 1000)
	quoted := `"` + secret + `"`
	layer := strings.Replace(testDescriptor(layerType), `"sha256:`+hex64+`"`, quoted, 1)
	l := newLab(t)
	for name, body := range map[string]string{
		"duplicate key":                imageWith(`,` + quoted + `:1,` + quoted + `:2`),
		"duplicate key in what has it": imageWith(`,` + quoted + `:{"a":1,"a":2}`),
		"no JSON":                      imageWith(`,` + quoted + `:` + secret),
		"no JSON at all":               secret,
		"not UTF-8":                    imageWith(`,` + quoted + ":\"\xff\""),
		"nested":                       imageWith(`,` + strings.Repeat(`"`+canary+`":{`, 100)),
		"mediaType":                    strings.Replace(imageWith(""), typeOCIManifest, secret, 1),
		"another case":                 imageWith(`,"MEDIATYPE":` + quoted),
		"digest":                       imageWith(`,"subject":` + layer),
		"layer's digest":               strings.Replace(imageWith(""), `"layers":[`, `"layers":[`+layer+`,`, 1),
		"annotation":                   imageWith(`,"annotations":{"vnd.docker.reference.digest":` + quoted + `}`),
		"wrong type":                   imageWith(`,"annotations":` + quoted),
	} {
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			if !strings.Contains(r.URL.Path, "/manifests/") {
				return false
			}
			w.Header().Set("Content-Type", typeOCIManifest)
			fmt.Fprint(w, body)
			return true
		})
		l.clock.Advance(tagFresh)
		r := l.want(l.get("/v2/app/manifests/v1"), http.StatusBadGateway, codeManifestInvalid)
		if strings.Contains(string(r.body), canary) || len(r.message()) > most {
			t.Errorf("%s: %.500s", name, r.body)
		}
	}
	if strings.Contains(l.logs.String(), canary) {
		t.Error("the log quotes what is not served")
	}
}

func TestPX13_ServedTypeIsTheOneInTheBytes(t *testing.T) {
	l := newLab(t)
	body := []byte(imageWith(""))
	l.admitter.sign(l.put("app", "v1", typeOCIManifest, body))
	for _, accept := range []string{"", "*/*", typeDockerManifest, "text/html"} {
		r := l.want(l.get("/v2/app/manifests/v1", "Accept", accept), http.StatusOK, "")
		if got := r.Header.Get("Content-Type"); got != typeOCIManifest {
			t.Errorf("Accept %q: Content-Type is %q", accept, got)
		}
	}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		w.Header().Set("Content-Type", typeOCIManifest+"; charset=utf-8")
		return false
	})
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
}

func TestA083_MalformedDigestsAnywhereAreNotForwarded(t *testing.T) {
	for _, digest := range []string{"", "sha256:", "sha256:zz", "md5:d41d8cd98f00b204e9800998ecf8427e", "sha256:" + strings.ToUpper(hex64), "sha256:" + hex64 + "\u0000", "ſha256:" + hex64, strings.Repeat("a", 10<<10)} {
		quoted, _ := json.Marshal(digest)
		for _, body := range []string{
			strings.Replace(imageWith(""), `"sha256:`+hex64+`"`, string(quoted), 1), // config
			strings.Replace(indexWith(""), `"sha256:`+hex64+`"`, string(quoted), 1), // manifests
			imageWith(`,"subject":{"mediaType":"a","size":1,"digest":` + string(quoted) + `}`),
			imageWith(`,"annotations":{"org.opencontainers.image.base.digest":` + string(quoted) + `}`),
		} {
			contentType := typeOCIManifest
			if strings.Contains(body, `"manifests"`) {
				contentType = typeOCIIndex
			}
			if _, err := parseDocument([]byte(body), contentType); err == nil {
				t.Errorf("digest %.40q was accepted in %.300s", digest, body)
			}
		}
	}
}

func TestPX09_HugeIndexesAreNotServed(t *testing.T) {
	list := func(n int) []byte {
		return []byte(`{"schemaVersion":2,"mediaType":"` + typeOCIIndex + `","manifests":[` + strings.Repeat(testDescriptor(typeOCIManifest)+",", n-1) + testDescriptor(typeOCIManifest) + `]}`)
	}
	if _, err := parseDocument(list(maxDescriptors), typeOCIIndex); err != nil {
		t.Error(err)
	}
	if _, err := parseDocument(list(maxDescriptors+1), typeOCIIndex); err == nil {
		t.Error("an index of 1,001 was accepted")
	}
}

func FuzzParseDocument(f *testing.F) {
	f.Add([]byte(imageWith("")))
	f.Add([]byte(indexWith("")))
	for _, c := range ambiguous {
		f.Add([]byte(c.body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, contentType := range []string{typeOCIManifest, typeOCIIndex, typeDockerManifest, typeDockerList} {
			doc, err := parseDocument(body, contentType)
			if err != nil {
				continue
			}
			// What is accepted has one reading: the lenient parser that most clients use finds the same.
			var lenient struct {
				MediaType         string
				Layers, Manifests []struct{ Digest string }
			}
			if err := json.Unmarshal(body, &lenient); err != nil {
				t.Fatal(err)
			}
			if len(lenient.Layers) != len(doc.layers) || len(lenient.Manifests) != len(doc.manifests) || lenient.MediaType != "" && lenient.MediaType != doc.mediaType {
				t.Fatalf("two readings of %q", body)
			}
			for i, l := range doc.layers {
				if lenient.Layers[i].Digest != l.Digest.String() {
					t.Fatalf("two readings of %q", body)
				}
			}
		}
	})
}
