package registryproxy

import (
	"archive/tar"
	"bytes"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
)

// tarInJSON is a JSON string that is also a tar archive of one file: the oldest form of header holds printable bytes only.
func tarInJSON() []byte {
	const content = "CANARY; exec curl https://evil.example"
	archive := bytes.Repeat([]byte(" "), 2*tarBlock)
	copy(archive, `"./`+string(bytes.Repeat([]byte("x"), 97)))
	header := archive[:tarBlock]
	copy(header[100:], fmt.Sprintf("0000755 0000000 0000000 %011o 00000000000         0", len(content)))
	sum := 0
	for _, c := range header {
		sum += int(c)
	}
	copy(header[tarChecksum:], fmt.Sprintf("%06o", sum))
	copy(archive[tarBlock:], content)
	archive[len(archive)-1] = '"'
	return archive
}

// TestPX08_TarThatIsJSON: skopeo and podman unpack such a layer whatever its media type.
func TestPX08_TarThatIsJSON(t *testing.T) {
	archive := tarInJSON()
	if h, err := tar.NewReader(bytes.NewReader(archive)).Next(); err != nil || h.Mode != 0o755 || !json.Valid(archive) {
		t.Fatalf("the attack does not work: %v", err)
	}
	innocent := bytes.Clone(archive)
	innocent[tarChecksum+5] ^= 1 // a wrong sum: no reader takes it for a header
	for _, tt := range []struct {
		name   string
		layer  []byte
		status int
		code   string
	}{
		{"tar", archive, http.StatusForbidden, codeDenied},
		{"tar behind a block of JSON", append(append([]byte(`["`), bytes.Repeat([]byte("x"), tarBlock-5)...), append([]byte(`", `), append(archive, ']')...)...), http.StatusForbidden, codeDenied},
		{"almost tar", innocent, http.StatusOK, ""},
		{"zeros", []byte(`"` + string(bytes.Repeat([]byte("0"), 4*tarBlock)) + `"`), http.StatusOK, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			l := newLab(t)
			layer := l.putBlob("app", "application/vnd.dsse.envelope.v1+json", tt.layer)
			config := l.putBlob("app", typeImageConfig, []byte(`{"os":"linux","config":{},"rootfs":{"type":"layers","diff_ids":["`+layer.UntrustedDigest+`"]}}`))
			digest := l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{layer}, ""))
			l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), tt.status, tt.code)
			l.want(l.get("/v2/app/manifests/v1"), tt.status, tt.code)
			l.want(l.get("/v2/app/manifests/"+digest.String()), tt.status, tt.code)
			l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), tt.status, tt.code)
		})
	}
}

// TestPX08_OwnConfigOverAdmittedLayers: the layers are let out by the admitted image, the config by a second manifest that lists
// it as evidence. Then the manifest must not pass.
func TestPX08_OwnConfigOverAdmittedLayers(t *testing.T) {
	l := newLab(t)
	layer := l.putBlob("app", layerType, tarball(t, true))
	diffID := sum(tarball(t, false)).String()
	config := func(run string) descriptor {
		return l.putBlob("app", typeImageConfig, []byte(`{"os":"linux","config":{`+run+`},"rootfs":{"type":"layers","diff_ids":["`+diffID+`"]}}`))
	}
	good := l.put("app", "good", typeOCIManifest, ociManifest(config(`"Cmd":["/{"]`), []descriptor{layer}, ""))
	l.admitter.sign(good)
	l.want(l.get("/v2/app/manifests/good"), http.StatusOK, "")
	l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), http.StatusOK, "")

	as := func(d descriptor, mediaType string) descriptor { d.MediaType = mediaType; return d }
	for name, evil := range map[string]descriptor{"evil": config(`"Entrypoint":["/CANARY"]`), "quiet": config("")} {
		l.put("app", name+"-config", typeOCIManifest, ociManifest(as(evil, typeEmptyConfig), []descriptor{as(evil, simpleSigningType)}, ""))
		l.get("/v2/app/manifests/" + name + "-config")
		l.put("app", name, typeOCIManifest, ociManifest(evil, []descriptor{as(layer, simpleSigningType)}, ""))
		l.want(l.get("/v2/app/manifests/"+name), http.StatusForbidden, codeDenied)
	}
}

// TestPX08_PartsOfAnImageAreNoEvidence: config and manifest of an image that is not admitted are JSON, too.
func TestPX08_PartsOfAnImageAreNoEvidence(t *testing.T) {
	l := newLab(t)
	img, index := l.pushImage("app:bad"), l.pushIndex("app:multi")
	var bodies [][]byte
	for _, read := range []func() ([]byte, error){img.RawConfigFile, img.RawManifest, index.RawManifest} {
		body, err := read()
		if err != nil {
			t.Fatal(err)
		}
		bodies = append(bodies, body)
	}
	for _, body := range []string{`{"rootfſ":{"diff_ids":[]}}`, `{"Layerſ":[]}`, `{"manifeſts":[]}`} { // so do clients in Go
		bodies = append(bodies, []byte(body))
	}
	config := l.putBlob("app", typeEmptyConfig, []byte(`{}`))
	for _, body := range bodies {
		for _, mediaType := range []string{"application/vnd.in-toto+json", simpleSigningType} {
			layer := l.putBlob("app", mediaType, body)
			l.put("app", "evidence", typeOCIManifest, ociManifest(config, []descriptor{layer}, ""))
			l.clock.Advance(tagFresh)
			l.want(l.get("/v2/app/manifests/evidence"), http.StatusForbidden, codeDenied)
			if r := l.get("/v2/app/blobs/" + layer.UntrustedDigest); r.StatusCode != http.StatusForbidden {
				t.Errorf("%.40s: %d %s", body, r.StatusCode, r.body)
			}
		}
		l.put("app", "evidence", typeOCIManifest, ociManifest(l.putBlob("app", typeImageConfig, body), []descriptor{l.putBlob("app", simpleSigningType, []byte(`{}`))}, ""))
		l.clock.Advance(tagFresh)
		l.want(l.get("/v2/app/manifests/evidence"), http.StatusForbidden, codeDenied)
		if r := l.get("/v2/app/blobs/" + sum(body).String()); r.StatusCode != http.StatusForbidden {
			t.Errorf("%.40s as config: %d %s", body, r.StatusCode, r.body)
		}
	}
}

// TestPX08_EvidenceConfigs: runtimes read configs without regard to case, and nothing may run from evidence.
func TestPX08_EvidenceConfigs(t *testing.T) {
	l := newLab(t)
	layer := l.putBlob("app", simpleSigningType, []byte(`{}`))
	own := `"rootfs":{"type":"layers","diff_ids":["` + layer.UntrustedDigest + `"]}`
	for config, ok := range map[string]bool{
		`{}`:                          true,
		`{"config":{},` + own + `}`:   true,
		`{"config":null,` + own + `}`: true,
		`{"config":{"Cmd":["sh"]}}`:   false,
		`{"config":{"Env":["A=b"]}}`:  false,
		`{"Config":{"Cmd":["sh"]}}`:   false,
		`{"config":[]}`:               false,
		`[]`:                          false,
		`{"config":{"Cmd":["sh"]},"config":null}`:                        false,
		`{"rootfs":{"diff_ids":["sha256:` + hex64 + `"]}}`:               false,
		`{"RootFS":{"diff_ids":["sha256:` + hex64 + `"]}}`:               false,
		`{"rootfs":{"Diff_IDs":["sha256:` + hex64 + `"]}}`:               false,
		`{"rootfs":{"diff_ids":["sha256:` + hex64 + `"]},"rootfs":{}}`:   false,
		`{"rootfs":{"diff_ids":["sha256:` + hex64 + `"],"diff_ids":[]}}`: false,
	} {
		digest := l.put("app", "v1", typeOCIManifest, ociManifest(l.putBlob("app", typeImageConfig, []byte(config)), []descriptor{layer}, ""))
		r := l.get("/v2/app/manifests/" + digest.String())
		if got := r.StatusCode == http.StatusOK; got != ok {
			t.Errorf("%s: status %d, want served %v", config, r.StatusCode, ok)
		}
	}
}

// TestPX14_NothingIsCarriedInADescriptor: a manifest that is not admitted leaves neither as the data of what refers to it nor in a
// list.
func TestPX14_NothingIsCarriedInADescriptor(t *testing.T) {
	l := newLab(t)
	unsigned, err := l.pushImage("app:bad").RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	carried := base64.StdEncoding.EncodeToString(unsigned)
	subject := func(data string) string {
		return fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":%d%s}`, typeOCIManifest, sum(unsigned), len(unsigned), data)
	}
	layer, config := l.putBlob("app", simpleSigningType, []byte(`{}`)), l.putBlob("app", typeImageConfig, []byte(`{ }`))
	for data, status := range map[string]int{"": http.StatusOK, `,"data":"` + carried + `"`: http.StatusForbidden} {
		l.put("app", "evidence", typeOCIManifest, ociManifest(config, []descriptor{layer}, `,"subject":`+subject(data)))
		l.clock.Advance(tagFresh)
		if r := l.get("/v2/app/manifests/evidence"); r.StatusCode != status || bytes.Contains(r.body, []byte(carried)) {
			t.Errorf("subject with %.10q: %d %s", data, r.StatusCode, r.body)
		}
		fallback := "sha256-" + hex64
		l.put("app", fallback, typeOCIIndex, []byte(`{"schemaVersion":2,"mediaType":"`+typeOCIIndex+`","manifests":[],"subject":`+subject(data)+`}`))
		if r := l.get("/v2/app/manifests/" + fallback); r.StatusCode != status || bytes.Contains(r.body, []byte(carried)) {
			t.Errorf("fallback index about a subject with %.10q: %d %s", data, r.StatusCode, r.body)
		}
	}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.Contains(r.URL.Path, "/referrers/") {
			return false
		}
		w.Header().Set("Content-Type", typeOCIIndex)
		fmt.Fprintf(w, `{"schemaVersion":2,"mediaType":%q,"manifests":[%s]}`, typeOCIIndex, subject(`,"artifactType":"application/x","urls":["https://evil.example"],"data":"`+carried+`"`))
		return true
	})
	r := l.want(l.get("/v2/app/referrers/sha256:"+hex64), http.StatusOK, "")
	if !strings.Contains(string(r.body), sum(unsigned).String()) || strings.Contains(string(r.body), carried) || strings.Contains(string(r.body), "evil.example") {
		t.Errorf("the list of referrers: %s", r.body)
	}
}

// TestPX27_LayersListedAsEvidenceAreNotRead: whoever may push can list an image's layer as evidence of a few bytes. That costs those who pull it
// no reading of it before they get it.
func TestPX27_LayersListedAsEvidenceAreNotRead(t *testing.T) {
	l := newLab(t)
	config := l.putBlob("app", typeEmptyConfig, []byte(`{}`))
	layer := l.putBlob("app", layerType, make([]byte, maxEvidenceLayer+1))
	l.admitter.sign(l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{layer}, "")))
	dressed := layer
	dressed.MediaType, dressed.Size = simpleSigningType, 2
	l.put("app", "dressed", typeOCIManifest, ociManifest(config, []descriptor{dressed}, ""))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	first := true
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, layer.UntrustedDigest) || !first {
			return false
		}
		first = false
		w.Header().Set("Content-Length", strconv.FormatInt(layer.Size, 10))
		w.WriteHeader(http.StatusOK)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done() // whoever reads it waits
		return true
	})
	if r := l.get("/v2/app/manifests/dressed"); r.StatusCode == http.StatusOK || first {
		t.Errorf("%d %s", r.StatusCode, r.body)
	}
	if r := l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), http.StatusOK, ""); int64(len(r.body)) != layer.Size {
		t.Errorf("%d bytes", len(r.body))
	}
}

// TestPX27_EvidenceIsReadOnce: however many clients ask for a signature, and however slowly they read it, there is one copy of it.
func TestPX27_EvidenceIsReadOnce(t *testing.T) {
	l := newLab(t)
	layer, config := l.putBlob("app", simpleSigningType, []byte(`{"critical":{}}`)), l.putBlob("app", typeImageConfig, []byte(`{}`))
	l.put("app", "sig", typeOCIManifest, ociManifest(config, []descriptor{layer}, ""))
	l.want(l.get("/v2/app/manifests/sig"), http.StatusOK, "")
	for range 10 {
		l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), http.StatusOK, "")
	}
	if n := l.seen("/blobs/" + layer.UntrustedDigest); n != 1 {
		t.Errorf("it was read %d times", n)
	}
	l.clock.Advance(digestFresh)
	l.want(l.get("/v2/app/blobs/"+layer.UntrustedDigest), http.StatusOK, "")
	if n := l.seen("/blobs/" + layer.UntrustedDigest); n != 1 {
		t.Errorf("later it was read %d times", n)
	}
}
