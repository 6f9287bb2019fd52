package proxyfailures_test

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// liar is a registry on a socket that does what it can to have something else served than what is signed. Its tags flip-N are somewhere else each time.
type liar struct {
	good  http.Handler
	right map[string][]byte // content of images that are signed, by digest
	wrong []artifact        // that nobody signed
	tags  []artifact        // where tags may point
	host  string

	mu    sync.Mutex
	at    map[string]int // where each tag was last
	flips int
	lies  map[string]int
}

// lie is one way to answer. It returns false if it cannot be told about this request.
type lie struct {
	name string
	tell func(l *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool
}

func (l *liar) serve(t testing.TB) (url string) {
	t.Helper()
	server := httptest.NewUnstartedServer(l)
	server.Config.ErrorLog = quiet
	server.Start()
	t.Cleanup(func() { server.CloseClientConnections(); server.Close() })
	l.host, l.at, l.lies = server.Listener.Addr().String(), map[string]int{}, map[string]int{}
	return server.URL
}

// ServeHTTP implements http.Handler.
func (l *liar) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	rec := httptest.NewRecorder()
	tag := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
	if strings.HasPrefix(tag, "flip-") {
		r.URL.Path = strings.TrimSuffix(r.URL.Path, tag) + l.flip(tag)
	}
	switch {
	case r.URL.Path == "/v2/": // or no request would get further
		return
	case strings.HasSuffix(r.URL.Path, "/tags/list"):
		rec.Header().Set("Content-Type", "application/json")
		io.WriteString(rec, `{"name":"app","tags":["flip-0","flip-1","good0","bad0"]}`)
	default:
		l.good.ServeHTTP(rec, r)
	}
	odds := 3
	if strings.Contains(r.URL.Path, "/referrers/") || strings.Contains(r.URL.Path, ".sig") {
		odds = 12 // nothing is admitted without evidence
	}
	if rand.IntN(odds) == 0 {
		if lie := lies[rand.IntN(len(lies))]; lie.tell(l, w, r, rec) {
			l.mu.Lock()
			l.lies[lie.name]++
			l.mu.Unlock()
			return
		}
	}
	pass(w, rec, rec.Body.Bytes(), rec.Body.Len())
}

// flip moves a tag and says where to.
func (l *liar) flip(tag string) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	before, ok := l.at[tag]
	now := rand.IntN(len(l.tags))
	if ok && now == before {
		now = (now + 1) % len(l.tags)
	}
	if ok {
		l.flips++
	}
	l.at[tag] = now
	return l.tags[now].index
}

// told are how many answers were lies.
func (l *liar) told() (n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, k := range l.lies {
		n += k
	}
	return n
}

// isWhole reports whether a request is for all of something that has bytes: parts are the client's to verify.
func isWhole(r *http.Request, good *httptest.ResponseRecorder) bool {
	return r.Header.Get("Range") == "" && r.Method == http.MethodGet && good.Body.Len() > 0
}

var lies = []lie{
	{"an image that nobody signed, under another's digest", func(l *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !strings.Contains(r.URL.Path, "/manifests/") || !isWhole(r, good) {
			return false
		}
		body := l.wrong[rand.IntN(len(l.wrong))].indexBody
		pass(w, good, body, len(body))
		return true
	}},
	{"the canary at the end of a blob or image", func(_ *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		b := bytes.Clone(good.Body.Bytes())
		content := strings.Contains(r.URL.Path, "/blobs/") || strings.Contains(r.URL.Path, "/manifests/") && !strings.Contains(r.URL.Path, "/sha256-") // evidence is for all to read
		if !isWhole(r, good) || len(b) < len(canary) || !content {
			return false
		}
		copy(b[len(b)-len(canary)-rand.IntN(min(64<<10-len(canary), len(b)-len(canary)+1)):], canary)
		pass(w, good, b, len(b))
		return true
	}},
	{"the canary behind a blob's end", func(_ *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		b := append(bytes.Clone(good.Body.Bytes()), canary...)
		if !isWhole(r, good) || !strings.Contains(r.URL.Path, "/blobs/") {
			return false
		}
		pass(w, good, b, []int{len(b), good.Body.Len(), -1}[rand.IntN(3)])
		return true
	}},
	{"a length that is too long", func(_ *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		pass(w, good, good.Body.Bytes(), good.Body.Len()+1+rand.IntN(1000))
		return true
	}},
	{"a length that is too short", func(_ *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !isWhole(r, good) {
			return false
		}
		pass(w, good, good.Body.Bytes()[:good.Body.Len()/2], good.Body.Len()/2)
		return true
	}},
	{"a reset", func(_ *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		pass(w, good, good.Body.Bytes()[:good.Body.Len()*rand.IntN(100)/100], max(1, good.Body.Len()))
		cut(w, true)
		return true
	}},
	{"chunks without an end", func(_ *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		pass(w, good, good.Body.Bytes(), -1)
		for range 200 { // and longer than anything that is asked for
			if _, err := w.Write(bytes.Repeat([]byte(canary), 2048)); err != nil || r.Context().Err() != nil {
				break
			}
		}
		cut(w, false)
		return true
	}},
	{"PX-12: gzip, said and done", func(_ *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !isWhole(r, good) {
			return false
		}
		var packed bytes.Buffer
		z := gzip.NewWriter(&packed)
		z.Write(good.Body.Bytes())
		z.Close()
		good.Header().Set("Content-Encoding", "gzip")
		pass(w, good, packed.Bytes(), packed.Len())
		return true
	}},
	{"PX-12: gzip, said and not done", func(_ *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		good.Header().Set("Content-Encoding", "gzip")
		pass(w, good, good.Body.Bytes(), good.Body.Len())
		return true
	}},
	{"HTTP/1.0", func(l *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !isWhole(r, good) {
			return false
		}
		b := append(bytes.Clone(good.Body.Bytes()), canary[:rand.IntN(2)*len(canary)]...)
		raw(w, "HTTP/1.0 200 OK\r\nContent-Type: "+good.Header().Get("Content-Type")+"\r\n\r\n", b)
		return true
	}},
	{"trailers", func(l *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !isWhole(r, good) {
			return false
		}
		b := l.wrong[rand.IntN(len(l.wrong))].indexBody
		raw(w, "HTTP/1.1 200 OK\r\nContent-Type: "+good.Header().Get("Content-Type")+"\r\nTransfer-Encoding: chunked\r\nTrailer: Docker-Content-Digest, Content-Length\r\nConnection: close\r\n\r\n"+
			fmt.Sprintf("%x\r\n%s\r\n0\r\nDocker-Content-Digest: %s\r\nContent-Length: 1\r\n\r\n", len(b), b, digestOf(good.Body.Bytes())), nil)
		return true
	}},
	{"two lengths", func(l *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		raw(w, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: "+strconv.Itoa(good.Body.Len())+"\r\n\r\n", good.Body.Bytes())
		return true
	}},
	{"a second answer", func(l *liar, w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) bool {
		if !isWhole(r, good) {
			return false
		}
		b := l.wrong[rand.IntN(len(l.wrong))].indexBody
		head := func(n int) string {
			return fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n", good.Header().Get("Content-Type"), n)
		}
		raw(w, head(good.Body.Len()), append(append(bytes.Clone(good.Body.Bytes()), head(len(b))...), b...))
		return true
	}},
	{"other headers", func(l *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		h := good.Header()
		h.Set("Docker-Content-Digest", l.wrong[0].index)
		h.Set("Etag", canary)
		h.Set("Touchmark-Offline", canary)
		h.Set("Link", `</v2/app/elsewhere>; rel="next"`) // which the reason of a verdict names
		h.Set("Set-Cookie", canary)
		pass(w, good, good.Body.Bytes(), good.Body.Len())
		return true
	}},
	{"a redirect", func(l *liar, w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) bool {
		to := []string{r.URL.Path, "http://169.254.169.254/", "https://127.0.0.1:1/", "//", "http://" + l.host + "/v2/app/manifests/" + l.wrong[0].index}
		w.Header().Set("Location", to[rand.IntN(len(to))])
		w.WriteHeader(http.StatusTemporaryRedirect)
		return true
	}},
	{"a status", func(_ *liar, w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) bool {
		w.Header().Set("Retry-After", "3600")
		w.Header().Set("WWW-Authenticate", `Bearer realm="https://evil.example/token"`)
		w.WriteHeader([]int{204, 401, 403, 404, 410, 412, 418, 429, 500, 503}[rand.IntN(10)])
		io.WriteString(w, canary)
		return true
	}},
	{"a drip", func(_ *liar, w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) bool {
		pass(w, good, nil, good.Body.Len())
		b := good.Body.Bytes()
		for i := range min(10, len(b)) {
			w.Write(b[i : i+1])
			http.NewResponseController(w).Flush()
			time.Sleep(time.Millisecond) // the drip itself: what this upstream does, and nothing that is waited for
		}
		w.Write(b[min(10, len(b)):])
		return true
	}},
	{"no HTTP", func(_ *liar, w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) bool {
		if conn, _, err := http.NewResponseController(w).Hijack(); err == nil {
			io.WriteString(conn, "220 mail.example\r\n\r\n") // which the reason of a verdict names, too
			conn.(*net.TCPConn).SetLinger(0)
			conn.Close()
		}
		return true
	}},
}
