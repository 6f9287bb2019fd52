package registryproxy

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
)

func rawManifest(t testing.TB, x interface{ RawManifest() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := x.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestPX01_JudgedBytesAreTheServedBytes(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	l.seen("")

	r := l.want(l.get("/v2/app/manifests/good"), http.StatusOK, "")
	if !bytes.Equal(r.body, rawManifest(t, good)) {
		t.Error("other bytes were served")
	}
	if got := r.Header.Get("Docker-Content-Digest"); got != digestOf(t, good).String() {
		t.Errorf("Docker-Content-Digest is %s", got)
	}
	if n := l.seen("/manifests/"); n != 1 {
		t.Errorf("the upstream was asked %d times for the manifest, want once", n)
	}
	q := l.admitter.questions()[0]
	if q.Repository != "registry.acme.example/app" || q.Digest != digestOf(t, good) || q.MediaType != r.Header.Get("Content-Type") {
		t.Errorf("the gate was asked %+v", q)
	}

	r = l.want(l.get("/v2/app/manifests/bad"), http.StatusForbidden, codeDenied)
	if r.message() != unsignedReason {
		t.Errorf("message is %q", r.message())
	}
	var body struct {
		Errors []struct{ Detail gate.Verdict }
	}
	if err := json.Unmarshal(r.body, &body); err != nil || body.Errors[0].Detail.Digest != digestOf(t, bad).String() {
		t.Errorf("detail is %s (%v)", r.body, err)
	}
	l.want(l.get("/v2/app/manifests/none"), http.StatusNotFound, codeManifestUnknown)
	l.want(l.get("/v2/none/manifests/v1"), http.StatusNotFound, codeManifestUnknown)
}

func TestPX02_HeadIsJudgedLikeGet(t *testing.T) {
	l := newLab(t)
	good := l.pushImage("app:good")
	l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	r := l.do(http.MethodHead, "/v2/app/manifests/good")
	if r.StatusCode != 200 || r.Header.Get("Docker-Content-Digest") != digestOf(t, good).String() || r.ContentLength != int64(len(rawManifest(t, good))) {
		t.Errorf("HEAD good: %d %v", r.StatusCode, r.Header)
	}
	if r = l.do(http.MethodHead, "/v2/app/manifests/bad"); r.StatusCode != http.StatusForbidden || r.Header.Get("Docker-Content-Digest") != "" {
		t.Errorf("HEAD bad: %d %v", r.StatusCode, r.Header)
	}
	l.push("app:good", l.pushImage("app:other")) // the tag moves between HEAD and GET
	l.want(l.get("/v2/app/manifests/good"), http.StatusForbidden, codeDenied)
}

func TestPX03_AnswersThatDifferPerRequest(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	var n atomic.Int64
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			return false
		}
		img := good
		if n.Add(1)%2 == 0 || r.Method == http.MethodHead || r.Header.Get("User-Agent") != userAgent {
			img = bad
		}
		w.Header().Set("Content-Type", typeDockerManifest)
		w.Header().Set("Docker-Content-Digest", digestOf(t, good).String()) // A135: the header lies
		w.Write(rawManifest(t, img))
		return true
	})
	for i := range 100 {
		r := l.get("/v2/app/manifests/v1")
		if r.StatusCode == 200 && !bytes.Equal(r.body, rawManifest(t, good)) || r.StatusCode != 200 && r.code() != codeDenied {
			t.Fatalf("request %d: %d %s", i, r.StatusCode, r.body)
		}
	}
}

func TestPX04_ByDigestWithoutATag(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	l.want(l.get("/v2/app/manifests/"+digestOf(t, good).String()), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/"+digestOf(t, bad).String()), http.StatusForbidden, codeDenied)
	l.want(l.get("/v2/app/manifests/sha256:"+hex64), http.StatusNotFound, codeManifestUnknown)
}

func TestPX07_ChildrenOnlyUnderAnAdmittedIndex(t *testing.T) {
	for _, referrers := range []bool{true, false} {
		l := newLab(t, withReferrers(referrers))
		good, bad := l.pushIndex("app:good"), l.pushIndex("app:bad")
		l.admitter.sign(digestOf(t, good))
		l.want(l.get("/v2/app/manifests/bad"), http.StatusForbidden, codeDenied)
		l.want(l.get("/v2/app/manifests/"+children(t, bad)[0].String()), http.StatusForbidden, codeDenied)
		l.want(l.get("/v2/app/manifests/good"), http.StatusOK, "")
		for _, child := range children(t, good) {
			l.want(l.get("/v2/app/manifests/"+child.String()), http.StatusOK, "")
		}
		q := l.admitter.questions()
		if last := q[len(q)-1]; len(last.Parents) != 1 || last.Parents[0] != digestOf(t, good) {
			t.Errorf("parents of the last question are %v", last.Parents)
		}

		l.restart() // knows nothing: the walk finds the parents
		for _, child := range children(t, good) {
			l.want(l.get("/v2/app/manifests/"+child.String()), http.StatusOK, "")
		}
		l.want(l.get("/v2/app/manifests/"+children(t, bad)[1].String()), http.StatusForbidden, codeDenied)
	}
}

func TestPX07_NoRefusalWithoutACompleteSearch(t *testing.T) {
	l := newLab(t)
	good := l.pushIndex("app:good")
	l.admitter.sign(digestOf(t, good))
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.Contains(r.URL.Path, "/tags/list") {
			w.WriteHeader(http.StatusInternalServerError)
			return true
		}
		return false
	})
	child := "/v2/app/manifests/" + children(t, good)[0].String()
	r := l.want(l.get(child), http.StatusServiceUnavailable, codeUnavailable)
	if r.Header.Get("Retry-After") == "" {
		t.Error("no Retry-After")
	}
	l.setLie(nil)
	l.restart()
	l.want(l.get(child), http.StatusOK, "")
}

func TestPX07_NoRefusalWhenAPartOfTheSearchFailed(t *testing.T) {
	l := newLab(t)
	good := l.pushIndex("app:good")
	bad := l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if strings.HasSuffix(r.URL.Path, "/manifests/good") {
			w.WriteHeader(http.StatusBadGateway)
			return true
		}
		return false
	})
	child := "/v2/app/manifests/" + children(t, good)[0].String()
	l.want(l.get(child), http.StatusServiceUnavailable, codeUnavailable)
	l.want(l.get("/v2/app/manifests/"+digestOf(t, bad).String()), http.StatusServiceUnavailable, codeUnavailable)
	l.want(l.get("/v2/app/manifests/bad"), http.StatusForbidden, codeDenied) // the user named it
	l.setLie(nil)
	l.restart()
	l.want(l.get(child), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/"+digestOf(t, bad).String()), http.StatusForbidden, codeDenied)
}

func TestPX09_DeepIndexesAndBoundedSearch(t *testing.T) {
	l := newLab(t)
	leaf := digestOf(t, l.pushImage("app:leaf"))
	top, mediaType := leaf, typeDockerManifest
	for i := range 5 {
		body := fmt.Sprintf(`{"schemaVersion":2,"mediaType":%q,"manifests":[{"mediaType":%q,"digest":%q,"size":1}]}`, typeOCIIndex, mediaType, top)
		top, mediaType = l.put("app", fmt.Sprintf("nest%d", i), typeOCIIndex, []byte(body)), typeOCIIndex
		l.want(l.get(fmt.Sprintf("/v2/app/manifests/nest%d", i)), http.StatusForbidden, codeDenied)
	}
	l.admitter.sign(top)
	l.want(l.get("/v2/app/manifests/"+top.String()), http.StatusOK, "")
	for range 3 {
		l.get("/v2/app/manifests/" + leaf.String())
	}
	for _, q := range l.admitter.questions() {
		if len(q.Parents) > 1 {
			t.Errorf("%d parents were named for one line of indexes", len(q.Parents))
		}
	}

	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { // a list of tags without end
		if !strings.Contains(r.URL.Path, "/tags/list") {
			return false
		}
		var tags []string
		for i := range 600 {
			tags = append(tags, fmt.Sprintf("%s%d", r.URL.Query().Get("last"), i)[max(0, len(r.URL.Query().Get("last"))-60):])
		}
		w.Header().Set("Link", `</v2/app/tags/list?n=1000&last=x>; rel="next"`)
		json.NewEncoder(w).Encode(tagList{Name: "app", Tags: tags})
		return true
	})
	l.restart()
	l.want(l.get("/v2/app/manifests/"+leaf.String()), http.StatusServiceUnavailable, codeUnavailable)
	if n := l.seen("/tags/list"); n > 3 {
		t.Errorf("%d pages of tags were read", n)
	}
}

func TestPX10_ManifestOverTheLimit(t *testing.T) {
	l := newLab(t)
	pad := func(size int) []byte {
		body := imageWith(`,"annotations":{"a":"`)
		return []byte(strings.TrimSuffix(body, "}") + strings.Repeat("x", size-len(body)-2) + `"}}`)
	}
	limit, over := pad(maxManifest), pad(maxManifest+1)
	if len(limit) != maxManifest || len(over) != maxManifest+1 {
		t.Fatal(len(limit), len(over))
	}
	l.admitter.sign(l.put("app", "limit", typeOCIManifest, limit), l.put("app", "over", typeOCIManifest, over))
	l.want(l.get("/v2/app/manifests/limit"), http.StatusOK, "")
	l.want(l.get("/v2/app/manifests/over"), http.StatusRequestEntityTooLarge, codeSizeInvalid)
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool { // no Content-Length, no end
		if !strings.HasSuffix(r.URL.Path, "/manifests/endless") {
			return false
		}
		w.Header().Set("Content-Type", typeOCIManifest)
		for range 1000 {
			if _, err := w.Write(bytes.Repeat([]byte(" "), 1<<20)); err != nil {
				break
			}
		}
		return true
	})
	l.want(l.get("/v2/app/manifests/endless"), http.StatusRequestEntityTooLarge, codeSizeInvalid)
}

// PX-27: what manifests hold while they wait for a decision is bounded. Large ones leave room for others.
func TestPX27_ManifestsThatAreJudgedAreHeld(t *testing.T) {
	const size, fit, more = 2 * smallAnswer, 3, 5
	l := newLab(t)
	l.proxy.judging = newHeld(fit*size+smallAnswer, fit*size)
	l.admitter.sign(digestOf(t, l.pushImage("app:small")))
	l.admitter.block = make(chan struct{})
	answers := make(chan reply)
	ask := func(tag string) { answers <- l.get("/v2/app/manifests/" + tag) }
	for i := range fit + more {
		body := strings.TrimSuffix(imageWith(fmt.Sprintf(`,"annotations":{"a":"%d `, i)), "}")
		body += strings.Repeat("x", size-len(body)-len(`"}}`)) + `"}}`
		l.admitter.sign(l.put("app", fmt.Sprint("v", i), typeOCIManifest, []byte(body)))
		go ask(fmt.Sprint("v", i))
	}
	for range more {
		l.want(<-answers, http.StatusServiceUnavailable, codeUnavailable)
	}
	go ask("small")
	close(l.admitter.block)
	for range fit + 1 {
		l.want(<-answers, http.StatusOK, "")
	}
	for i := range fit + more { // nothing is held any more
		l.want(l.get(fmt.Sprint("/v2/app/manifests/v", i)), http.StatusOK, "")
	}
}

func TestA140_DigestPinnedManifestIsHashed(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good), digestOf(t, bad)) // even an admitted one is not the one that was asked for
	path := "/v2/app/manifests/" + digestOf(t, good).String()
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != path {
			return false
		}
		w.Header().Set("Content-Type", typeDockerManifest)
		w.Header().Set("Docker-Content-Digest", digestOf(t, good).String())
		w.Write(rawManifest(t, bad))
		return true
	})
	l.want(l.get(path), http.StatusBadGateway, codeManifestInvalid)
	l.setLie(nil)
	l.want(l.get(path), http.StatusOK, "")
}

func TestA136_MovedTagIsJudgedAnew(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:v1"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.push("app:v1", bad)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
	l.push("app:v1", good)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
}

func TestA137_TagFlipsBetweenEveryTwoRequests(t *testing.T) {
	l := newLab(t)
	good, bad := l.pushImage("app:good"), l.pushImage("app:bad")
	l.admitter.sign(digestOf(t, good))
	raws := [][]byte{rawManifest(t, good), rawManifest(t, bad)}
	var n atomic.Int64
	l.setLie(func(w http.ResponseWriter, r *http.Request) bool {
		if !strings.HasSuffix(r.URL.Path, "/manifests/v1") {
			return false
		}
		w.Header().Set("Content-Type", typeDockerManifest)
		w.Write(raws[n.Add(1)%2])
		return true
	})
	pulls := 10_000
	if testing.Short() {
		pulls = 500
	}
	handler := l.proxy.Handler()
	var served, denied atomic.Int64
	var wg sync.WaitGroup
	for worker := range 8 {
		wg.Go(func() {
			for i := range pulls / 8 {
				method := http.MethodGet
				if i%5 == 0 {
					method = http.MethodHead
				}
				req, _ := http.NewRequest(method, "http://proxy/v2/app/manifests/v1", nil)
				req.RemoteAddr = fmt.Sprintf("192.0.2.%d:1", worker)
				rec := &recorder{header: http.Header{}}
				l.clock.Advance(tagFresh)
				handler.ServeHTTP(rec, req)
				switch {
				case bytes.Contains(rec.body.Bytes(), raws[1][:200]) || rec.header.Get("Docker-Content-Digest") == digestOf(t, bad).String():
					t.Errorf("unsigned bytes were served")
				case rec.status == http.StatusOK:
					served.Add(1)
				case rec.status == http.StatusForbidden:
					denied.Add(1)
				default:
					t.Errorf("%d %s", rec.status, rec.body.String())
				}
			}
		})
	}
	wg.Wait()
	if served.Load() == 0 || denied.Load() == 0 {
		t.Errorf("%d served, %d denied: the flips did not happen", served.Load(), denied.Load())
	}
	t.Logf("%d served, %d denied", served.Load(), denied.Load())
}

// recorder is a ResponseWriter for one request in this process.
type recorder struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *recorder) Header() http.Header         { return r.header }
func (r *recorder) WriteHeader(status int)      { r.status = status }
func (r *recorder) Write(p []byte) (int, error) { return r.body.Write(p) }

func TestPX22_PolicyChangeTakesEffectAtOnce(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	blob := "/v2/app/blobs/" + layerDigests(t, img)[0].String()
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	l.want(l.get(blob), http.StatusOK, "")
	l.admitter.revoke(digestOf(t, img))
	l.want(l.get("/v2/app/manifests/v1"), http.StatusForbidden, codeDenied)
	l.want(l.get(blob), http.StatusForbidden, codeDenied)
}
