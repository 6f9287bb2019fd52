package registryproxy

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/registry-proxy/blob"
)

func TestPX05_BlobsOnlyUnderAnAdmittedManifest(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	blob := func(img v1.Image, i int) string { return "/v2/app/blobs/" + layerDigests(t, img)[i].String() }
	config := func(img v1.Image) string {
		h, err := img.ConfigName()
		if err != nil {
			t.Fatal(err)
		}
		return "/v2/app/blobs/" + h.String()
	}
	l.want(l.get("/v2/app/manifests/good"), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/bad"), http.StatusForbidden, codeDenied)
	for i := range 3 {
		r := l.want(l.get(blob(good, i)), http.StatusOK, "")
		if h, _, _ := v1.SHA256(bytes.NewReader(r.body)); h != layerDigests(t, good)[i] {
			t.Error("other bytes were served")
		}
		l.want(l.get(blob(bad, i)), http.StatusForbidden, codeDenied)
	}
	l.want(l.get(config(good)), http.StatusOK, "")
	l.want(l.get(config(bad)), http.StatusForbidden, codeDenied)

	// After a restart, and without the manifest being asked for: the tags lead there.
	l.restart()
	l.want(l.get(blob(good, 2)), http.StatusOK, "")
	l.want(l.get(blob(bad, 2)), http.StatusForbidden, codeDenied)

	// A manifest that no tag leads to is not found again: that is not a refusal.
	untagged := l.pushImage("app:moving")
	l.admitter.sign(digestOf(t, untagged))
	l.push("app:moving", l.pushImage("app:other"))
	l.restart()
	r := l.want(l.get(blob(untagged, 0)), http.StatusServiceUnavailable, codeUnavailable)
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	l.want(l.get("/v2/app/manifests/"+digestOf(t, untagged).String()), http.StatusOK, "")
	l.want(l.get(blob(untagged, 0)), http.StatusOK, "")
	l.want(l.get("/v2/app/blobs/sha256:"+hex64), http.StatusNotFound, codeBlobUnknown)
}

func TestPX05_BlobsOfAnAdmittedIndex(t *testing.T) {
	l := newLab(t)
	index := l.pushIndex("app:v1")
	l.admitter.sign(digestOf(t, index))
	img, err := index.Image(children(t, index)[0])
	if err != nil {
		t.Fatal(err)
	}
	path := "/v2/app/blobs/" + layerDigests(t, img)[0].String()
	for range 2 {
		l.want(l.get(path), http.StatusOK, "") // at once: the walk finds index, child and blob
		l.restart()
	}
}

func TestPX05_UndecidedHolderIsNoRefusal(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.admitter.answer(digestOf(t, img), gate.Verdict{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "the registry could not be asked"})
	l.want(l.get("/v2/app/blobs/"+layerDigests(t, img)[0].String()), http.StatusServiceUnavailable, codeUnavailable)
}

func TestPX05_MoreHoldersThanAreAskedAreNoRefusal(t *testing.T) {
	l := newLab(t)
	layer := layerDigests(t, l.pushImage("app:v1"))[0]
	for i := range maxHolders {
		l.proxy.table.record(&node{key: tableKey{"app", tableDigest(i)}, mediaType: typeOCIManifest, blobs: []sizedBlob{{layer, 1}}}, false)
	}
	r := l.want(l.get("/v2/app/blobs/"+layer.String()), http.StatusServiceUnavailable, codeUnavailable) // with app:v1, one too many
	if strings.Contains(r.message(), unsignedReason) {
		t.Errorf("one refusal is told for all: %s", r.body)
	}
	l.restart()
	l.want(l.get("/v2/app/blobs/"+layer.String()), http.StatusForbidden, codeDenied)
}

func TestPX06_A144_BlobOfAnotherRepository(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("secret:v1")
	l.pushImage("open:v1")
	l.admitter.sign(digestOf(t, img))
	layer := layerDigests(t, img)[0].String()
	l.want(l.get("/v2/secret/manifests/v1"), http.StatusOK, "")
	l.want(l.get("/v2/secret/blobs/"+layer), http.StatusOK, "")
	// The test registry keeps all blobs together; the proxy does not pass it through a repository that does not list it.
	if r := l.get("/v2/open/blobs/" + layer); r.StatusCode == http.StatusOK || r.code() == codeDenied {
		t.Errorf("got %d %s", r.StatusCode, r.body)
	}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { // a registry that keeps them apart
		if strings.HasPrefix(r.URL.Path, "/v2/open/blobs/") {
			w.WriteHeader(http.StatusNotFound)
			return true
		}
		return false
	})
	l.want(l.get("/v2/open/blobs/"+layer), http.StatusNotFound, codeBlobUnknown)
	l.want(l.do(http.MethodPost, "/v2/open/blobs/uploads/?mount="+layer+"&from=secret"), http.StatusMethodNotAllowed, codeUnsupported)
}

// hostileBlob is an image with one big layer, whose bytes the upstream answers as the test says.
func hostileBlob(t *testing.T, size int, answer func(w http.ResponseWriter, layer []byte), opts ...labOption) (*lab, string, []byte) {
	l := newLab(t, opts...)
	layer := bytes.Repeat([]byte("0123456789abcdef"), size/16)
	config := l.putBlob("app", typeImageConfig, []byte(`{}`))
	d := l.putBlob("app", layerType, layer)
	l.admitter.sign(l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{d}, "")))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	path := "/v2/app/blobs/" + d.UntrustedDigest
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path || r.Method != http.MethodGet {
			return false
		}
		answer(w, layer)
		return true
	})
	return l, path, layer
}

func TestPX10_NoCompleteWrongBlobLeaves(t *testing.T) {
	flip := func(b []byte, at int) []byte {
		c := bytes.Clone(b)
		c[at] ^= 1
		return c
	}
	chunked := func(w http.ResponseWriter, b []byte) {
		w.(http.Flusher).Flush() // no Content-Length
		w.Write(b)
	}
	for _, size := range []int{16, 1024, blob.Tail, blob.Tail + 16, 2 * blob.Tail, 1 << 20} {
		for name, answer := range map[string]func(w http.ResponseWriter, layer []byte){
			"first byte":          func(w http.ResponseWriter, b []byte) { w.Write(flip(b, 0)) },
			"last byte":           func(w http.ResponseWriter, b []byte) { w.Write(flip(b, len(b)-1)) },
			"shorter":             func(w http.ResponseWriter, b []byte) { chunked(w, b[:len(b)-1]) },
			"longer":              func(w http.ResponseWriter, b []byte) { chunked(w, append(bytes.Clone(b), 'x')) },
			"shorter with length": func(w http.ResponseWriter, b []byte) { w.Write(b[:len(b)-1]) },
			"empty":               func(w http.ResponseWriter, b []byte) {},
			"half, then reset": func(w http.ResponseWriter, b []byte) {
				chunked(w, b[:len(b)/2])
				w.(http.Flusher).Flush()
				panic(http.ErrAbortHandler)
			},
			"gzip": func(w http.ResponseWriter, b []byte) { w.Header().Set("Content-Encoding", "gzip"); w.Write(b) },
		} {
			l, path, layer := hostileBlob(t, size, answer)
			r := l.get(path)
			if r.StatusCode == http.StatusOK && (r.err == nil || len(r.body) > len(layer)-min(len(layer), blob.Tail)) {
				t.Errorf("%d bytes, %s: %d bytes left the proxy, error %v", size, name, len(r.body), r.err)
			}
			if r.StatusCode != http.StatusOK && r.StatusCode < 500 && r.err == nil {
				t.Errorf("%d bytes, %s: status %d", size, name, r.StatusCode)
			}
			l.setLie(nil)
			if r := l.want(l.get(path), http.StatusOK, ""); !bytes.Equal(r.body, layer) {
				t.Errorf("%d bytes: the twin is not served", size)
			}
		}
	}
}

func TestPX11_Ranges(t *testing.T) {
	l, path, layer := hostileBlob(t, 1<<20, nil)
	var sawRange string
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path || r.Header.Get("Range") == "" {
			return false
		}
		sawRange = r.Header.Get("Range")
		var from, to int
		fmt.Sscanf(sawRange, "bytes=%d-%d", &from, &to)
		w.Header().Set("Content-Range", fmt.Sprintf("bytes %d-%d/%d", from, to, len(layer)))
		w.Header().Set("Content-Length", strconv.Itoa(to-from+1))
		w.WriteHeader(http.StatusPartialContent)
		w.Write(layer[from : to+1])
		return true
	})
	size := len(layer)
	for _, c := range []struct {
		header string
		status int
		from   int // of a 206
		to     int
	}{
		{"bytes=0-99", 206, 0, 99},
		{"bytes=100-", 206, 100, size - 1},
		{"bytes=-10", 206, size - 10, size - 1},
		{fmt.Sprintf("bytes=%d-%d", size-1, size+1000), 206, size - 1, size - 1},
		{"bytes=0-", 200, 0, 0},        // the whole is verified
		{"bytes=-99999999", 200, 0, 0}, // also the whole
		{"bytes=0-1,5-6", 200, 0, 0},
		{"bytes=0-10,5-16", 200, 0, 0},
		{"bytes=5-1", 200, 0, 0},
		{"lines=0-1", 200, 0, 0},
		{"bytes=x-y", 200, 0, 0},
		{"bytes=-", 200, 0, 0},
		{"bytes=+1-2", 200, 0, 0},
		{fmt.Sprintf("bytes=%d-", size), 416, 0, 0},
		{"bytes=99999999999-", 416, 0, 0},
		{"bytes=-0", 416, 0, 0},
	} {
		sawRange = ""
		r := l.get(path, "Range", c.header)
		if r.StatusCode != c.status || r.err != nil {
			t.Errorf("%s: got %d %.100s (%v), want %d", c.header, r.StatusCode, r.body, r.err, c.status)
			continue
		}
		switch c.status {
		case 206:
			want := fmt.Sprintf("bytes %d-%d/%d", c.from, c.to, size)
			if !bytes.Equal(r.body, layer[c.from:c.to+1]) || r.Header.Get("Content-Range") != want {
				t.Errorf("%s: %d bytes, Content-Range %s", c.header, len(r.body), r.Header.Get("Content-Range"))
			}
			if sawRange != fmt.Sprintf("bytes=%d-%d", c.from, c.to) {
				t.Errorf("%s: the upstream was asked for %s", c.header, sawRange)
			}
		case 200:
			if !bytes.Equal(r.body, layer) || sawRange != "" {
				t.Errorf("%s: %d bytes; the upstream saw %q", c.header, len(r.body), sawRange)
			}
		case 416:
			if got := r.Header.Get("Content-Range"); got != fmt.Sprintf("bytes */%d", size) {
				t.Errorf("%s: Content-Range %s", c.header, got)
			}
		}
	}
	if r := l.get(path, "Range", "bytes=0-99", "If-Range", `"x"`); r.StatusCode != 200 {
		t.Errorf("If-Range: %d", r.StatusCode)
	}
	bad := l.pushImage("app:bad")
	l.want(l.get("/v2/app/manifests/bad"), http.StatusForbidden, codeDenied)
	l.want(l.get("/v2/app/blobs/"+layerDigests(t, bad)[0].String(), "Range", "bytes=0-9"), http.StatusForbidden, codeDenied)

	for name, lie := range map[string]func(w http.ResponseWriter){
		"another range": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 1-100/1048576")
			w.WriteHeader(206)
		},
		"another size":    func(w http.ResponseWriter) { w.Header().Set("Content-Range", "bytes 0-99/100"); w.WriteHeader(206) },
		"no range header": func(w http.ResponseWriter) { w.WriteHeader(206) },
		"another length": func(w http.ResponseWriter) {
			w.Header().Set("Content-Range", "bytes 0-99/1048576")
			w.Header().Set("Content-Length", "1")
			w.WriteHeader(206)
		},
	} {
		l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path != path {
				return false
			}
			lie(w)
			return true
		})
		if r := l.get(path, "Range", "bytes=0-99"); r.StatusCode != http.StatusBadGateway {
			t.Errorf("%s: got %d", name, r.StatusCode)
		}
	}
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { // a registry without ranges sends the whole
		r.Header.Del("Range")
		return false
	})
	if r := l.get(path, "Range", "bytes=5-99"); r.StatusCode != 200 || !bytes.Equal(r.body, layer) {
		t.Errorf("registry without ranges: %d", r.StatusCode)
	}
}

func TestBlobHead(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	m, _ := img.Manifest()
	r := l.do(http.MethodHead, "/v2/app/blobs/"+m.Layers[0].Digest.String())
	if r.StatusCode != 200 || r.ContentLength != m.Layers[0].Size {
		t.Errorf("HEAD: %d, %d bytes", r.StatusCode, r.ContentLength)
	}
	bad := l.pushImage("app:bad")
	if r := l.do(http.MethodHead, "/v2/app/blobs/"+layerDigests(t, bad)[0].String()); r.StatusCode == 200 {
		t.Error("HEAD of an unadmitted blob was answered")
	}
}

// patternBlock repeats every 256 bytes, so any offset continues it.
var patternBlock = bytes.Repeat(func() []byte {
	b := make([]byte, 256)
	for i := range b {
		b[i] = byte(i)
	}
	return b
}(), 256)

// pattern is a reader of size bytes that holds none of them.
type pattern struct{ offset, size int64 }

func (p *pattern) Read(b []byte) (int, error) {
	if p.offset == p.size {
		return 0, io.EOF
	}
	n := copy(b[:min(int64(len(b)), p.size-p.offset)], patternBlock[p.offset%256:])
	p.offset += int64(n)
	return n, nil
}

// patternDigest is the digest of a pattern of size bytes.
func patternDigest(t testing.TB, size int64) v1.Hash {
	t.Helper()
	h, _, err := v1.SHA256(&pattern{size: size})
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func TestA085_BigLayerIsStreamed(t *testing.T) {
	size := int64(1 << 30)
	if testing.Short() {
		size = 64 << 20
	}
	digest := patternDigest(t, size)
	l := newLab(t)
	config := l.putBlob("app", typeImageConfig, []byte(`{}`))
	layer := descriptor{MediaType: layerType, Digest: digest, Size: size, UntrustedDigest: digest.String()}
	l.admitter.sign(l.put("app", "v1", typeOCIManifest, ociManifest(config, []descriptor{layer}, "")))
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, digest.String()) {
			return false
		}
		w.Header().Set("Content-Length", strconv.FormatInt(size, 10))
		io.Copy(w, &pattern{size: size})
		return true
	})
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")

	heap := func() uint64 {
		var m runtime.MemStats
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	runtime.GC()
	before, peak := heap(), uint64(0)
	resp, err := http.Get(l.url + "/v2/app/blobs/" + digest.String())
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	received := sha256.New()
	for n := int64(0); ; {
		m, err := io.CopyN(received, resp.Body, 32<<20)
		n += m
		peak = max(peak, heap())
		if errors.Is(err, io.EOF) {
			if n != size {
				t.Fatalf("%d bytes arrived", n)
			}
			break
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if hex.EncodeToString(received.Sum(nil)) != digest.Hex {
		t.Error("other bytes arrived")
	}
	growth := int64(peak) - int64(before)
	t.Logf("%d MiB streamed, memory grew by %d KiB", size>>20, growth>>10)
	if growth > 32<<20 {
		t.Errorf("memory grew by %d MiB", growth>>20)
	}
}

// PX-27: a digest that somebody made up costs the upstream a few requests, however many tags there are.
func TestPX27_MadeUpDigestsAreNotSearchedFor(t *testing.T) {
	l := newLab(t)
	for i := range 20 {
		l.pushImage("app:v" + strconv.Itoa(i))
	}
	l.seen("")
	for i := range 5 {
		l.clock.Advance(walkFresh)
		l.want(l.get("/v2/app/blobs/"+sum([]byte{byte(i)}).String()), http.StatusNotFound, codeBlobUnknown)
	}
	if n := l.seen("/manifests/"); n != 0 {
		t.Errorf("%d manifests were read", n)
	}
}

// PX-27: they pause, too, where a search never sees everything.
func TestPX27_FruitlessSearchesPauseWhereSomethingIsWithheld(t *testing.T) {
	for name, status := range map[string]int{"withheld": http.StatusPreconditionFailed, "for a while": http.StatusServiceUnavailable} {
		t.Run(name, func(t *testing.T) {
			l := newLab(t)
			l.pushImage("app:v1")
			l.pushImage("app:v2")
			orphan := l.putBlob("app", layerType, []byte("orphan"))
			l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
				if !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
					return false
				}
				w.WriteHeader(status)
				return true
			})
			const times = 60
			l.seen("")
			for range times {
				l.want(l.get("/v2/app/blobs/"+orphan.UntrustedDigest), http.StatusServiceUnavailable, codeUnavailable)
				l.clock.Advance(walkFresh)
			}
			if n := l.seen("/tags/list"); (n < times) != (status == http.StatusPreconditionFailed) {
				t.Errorf("%d searches", n)
			}
		})
	}
}

// PX-27: a blob that is there, but that no manifest lists, is searched for again after twice the time, ten minutes at most. Another blob, and
// one whose repository has a manifest more, are not held back.
func TestPX27_FruitlessSearchesPause(t *testing.T) {
	l := newLab(t)
	for i := range 20 {
		l.pushImage("app:v" + strconv.Itoa(i))
	}
	orphan, other := l.putBlob("app", layerType, []byte("orphan")), l.putBlob("app", layerType, []byte("other"))
	searched := func(blob descriptor) bool {
		t.Helper()
		l.seen("")
		l.want(l.get("/v2/app/blobs/"+blob.UntrustedDigest), http.StatusServiceUnavailable, codeUnavailable)
		return l.seen("/tags/list") > 0
	}
	var at []time.Duration
	for passed := time.Duration(0); passed < 45*time.Minute; passed += walkFresh {
		if searched(orphan) {
			at = append(at, passed/time.Second)
		}
		l.clock.Advance(walkFresh)
	}
	want := []time.Duration{0, 10, 30, 70, 150, 310, 630, 1230, 1830, 2430}
	if diff := cmp.Diff(want, at); diff != "" {
		t.Error(diff)
	}
	if searched(orphan) || !searched(other) {
		t.Error("the pause is one of that blob alone")
	}
	l.clock.Advance(walkFresh)
	img := l.pushImage("app:unsigned")
	l.want(l.get("/v2/app/manifests/unsigned"), http.StatusForbidden, codeDenied)
	if searched(orphan) {
		t.Error("a manifest that was refused ended the pause")
	}
	l.admitter.sign(digestOf(t, img), l.put("app", "new", typeOCIManifest, ociManifest(other, []descriptor{orphan}, "")))
	l.clock.Advance(walkFresh)
	l.want(l.get("/v2/app/manifests/unsigned"), http.StatusOK, "")
	l.want(l.get("/v2/app/blobs/"+orphan.UntrustedDigest), http.StatusOK, "")
	var f fruitless
	for i := range 3 * maxFruitless {
		f.note("app", tableDigest(i), time.Time{})
		if f.size != len(f.repositories["app"]) || f.size > maxFruitless {
			t.Fatalf("%d of %d", f.size, len(f.repositories["app"]))
		}
	}
}
