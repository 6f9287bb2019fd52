package registryproxy

import (
	"bufio"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"syscall"
	"testing"
	"time"
)

// A client that asks for an answer and doesn't read it, until it is closed.
func (l *lab) stalled(path string) net.Conn {
	l.t.Helper()
	dialer := net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
		controlErr := c.Control(func(fd uintptr) { err = syscall.SetsockoptInt(int(fd), syscall.SOL_SOCKET, syscall.SO_RCVBUF, 4<<10) })
		return errors.Join(err, controlErr)
	}}
	conn, err := dialer.Dial("tcp", strings.TrimPrefix(l.url, "http://"))
	if err != nil {
		l.t.Fatal(err)
	}
	l.t.Cleanup(func() { conn.Close() })
	if _, err := fmt.Fprintf(conn, "GET %s HTTP/1.1\r\nHost: proxy\r\n\r\n", path); err != nil {
		l.t.Fatal(err)
	}
	if line, err := bufio.NewReaderSize(conn, 16).ReadString('\n'); !strings.Contains(line, " 200 ") {
		l.t.Fatalf("%s: %q, %v", path, line, err)
	}
	return conn
}

// TestPX27_SlowReadersOfDistinctAnswers: each holds one in memory. Beyond a bound there is 503, never a refusal; what is held already, small manifests and heads are
// served; and when the readers have gone everything is.
func TestPX27_SlowReadersOfDistinctAnswers(t *testing.T) {
	const size = 3 << 20 // more than a connection's buffers take
	l := newLab(t)
	l.proxy.held.mostLarge, l.proxy.held.most = 2*size, 2*size+smallAnswer
	pad := func(what, body string) []byte {
		return []byte(body + strings.Repeat(" ", size-len(body)-len(what)) + what)
	}
	var large []string
	for i := range 3 {
		body := pad("}", strings.TrimSuffix(imageWith(fmt.Sprintf(`,"annotations":{"a":"%d"}`, i)), "}"))
		digest := l.put("app", fmt.Sprintf("large%d", i), typeOCIManifest, body)
		l.admitter.sign(digest)
		large = append(large, "/v2/app/manifests/"+digest.String())
	}
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	bundle := l.putBlob("app", bundleType, pad("}", `{"mediaType":"`+bundleType+`"`))
	l.put("app", "evidence", typeOCIManifest, ociManifest(l.putBlob("app", typeEmptyConfig, []byte(`{}`)), []descriptor{bundle},
		fmt.Sprintf(`,"artifactType":%q,"subject":{"mediaType":%q,"digest":%q,"size":1}`, bundleType, typeDockerManifest, digestOf(t, img))))
	evidence := "/v2/app/blobs/" + bundle.UntrustedDigest
	l.want(l.get("/v2/app/manifests/evidence"), http.StatusOK, "")

	slow := []net.Conn{l.stalled(large[0]), l.stalled(large[1])}
	for _, path := range []string{large[2], evidence} {
		r := l.want(l.get(path), http.StatusServiceUnavailable, codeUnavailable)
		if r.Header.Get("Retry-After") == "" || r.Header.Get("Docker-Content-Digest") != "" || r.Header.Get("Content-Type") != "application/json" {
			t.Errorf("%s: %v", path, r.Header)
		}
		if r := l.do(http.MethodHead, path); r.StatusCode != http.StatusOK || r.ContentLength != size {
			t.Errorf("HEAD %s: %d, %d bytes", path, r.StatusCode, r.ContentLength)
		}
	}
	if r := l.want(l.get(large[0]), http.StatusOK, ""); len(r.body) != size { // one copy for both
		t.Errorf("%d bytes", len(r.body))
	}
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
	for _, conn := range slow {
		conn.Close()
	}
	waitFor(t, func() bool {
		l.proxy.held.mu.Lock()
		defer l.proxy.held.mu.Unlock()
		return l.proxy.held.held == 0 && len(l.proxy.held.readers) == 0
	})
	l.want(l.get(large[2]), http.StatusOK, "")
	l.want(l.get(evidence), http.StatusOK, "")
}

// TestPX27_SlowReadersOfLists: each request for a list makes another, and small as they may be, they leave room for manifests.
func TestPX27_SlowReadersOfLists(t *testing.T) {
	l := newLab(t)
	img := l.pushImage("app:v1")
	l.admitter.sign(digestOf(t, img))
	l.proxy.held.mostLarge = 0 // as if readers of lists had filled it
	l.want(l.get("/v2/app/tags/list"), http.StatusServiceUnavailable, codeUnavailable)
	l.want(l.get("/v2/app/referrers/"+digestOf(t, img).String()), http.StatusServiceUnavailable, codeUnavailable)
	l.want(l.get("/v2/app/manifests/v1"), http.StatusOK, "")
}

// deadlines notes until when an answer may be written.
type deadlines struct {
	http.ResponseWriter
	last time.Time
}

// SetWriteDeadline is what http.ResponseController calls.
func (d *deadlines) SetWriteDeadline(t time.Time) error {
	d.last = t
	return nil
}

// TestPX27_SlowReadersAreCutOff: the largest answers are held for little more than a minute, and ordinary ones for ten seconds.
func TestPX27_SlowReadersAreCutOff(t *testing.T) {
	for size, want := range map[int]time.Duration{1 << 10: 10 * time.Second, maxManifest: 42 * time.Second, maxEvidenceLayer: 74 * time.Second} {
		w := &deadlines{ResponseWriter: httptest.NewRecorder()}
		r, begun := httptest.NewRequest(http.MethodGet, "/", nil), time.Now()
		if fail := NewHeld().write(w, r, make([]byte, size)); fail != nil {
			t.Fatal(fail)
		}
		if earliest, latest := w.last.Sub(begun), time.Until(w.last); earliest < want || latest > want+time.Second {
			t.Errorf("%d bytes: between %v and %v", size, latest, earliest)
		}
	}
	var most [2]int
	for i, size := range []int{maxEvidenceLayer, smallAnswer} { // with as many readers as you like
		held := NewHeld()
		for held.take(make([]byte, size), size > smallAnswer) {
			most[i] += size
		}
	}
	if most != [2]int{maxHeldLarge, maxHeld} {
		t.Errorf("held at most %v", most)
	}
}
