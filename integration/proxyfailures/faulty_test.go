package proxyfailures_test

import (
	"bytes"
	"cmp"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// faulty is a registry on a socket of its own that has one fault: at one of the things that it is asked for, in one way. It wants a token for
// everything, and sends those who read blobs to its storage.
type faulty struct {
	good   http.Handler
	parts  map[string]string // what a digest is the digest of
	host   string
	scheme string // http if empty
	server *http.Server

	mu    sync.Mutex
	asked map[string]bool // what it was asked for
	at    string
	fault fault
}

// fault is one way of failing. It is given the good answer, which it may break.
type fault struct {
	name string
	// slow has the client, or a limit of the proxy's, end it.
	slow   bool
	status int // of an answer that is no more than that; 0 for something else
	// wellFormed is an answer that a registry without fault could give, about something else.
	wellFormed bool
	answer     func(w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder)
}

// serve starts it. It ends with the test, or before.
func (f *faulty) serve(t testing.TB) (url string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Error(err)
		return "http://127.0.0.1:1"
	}
	f.host = listener.Addr().String()
	f.server = &http.Server{Handler: f, ErrorLog: quiet}
	go f.server.Serve(listener)
	return "http://" + f.host
}

// quiet is the log of servers that are tortured.
var quiet = log.New(io.Discard, "", 0)

// end ends it, and each answer under way.
func (f *faulty) end() {
	if f.server != nil {
		f.server.Close()
	}
}

// ServeHTTP implements http.Handler.
func (f *faulty) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	part := f.part(r)
	f.mu.Lock()
	if f.asked == nil {
		f.asked = map[string]bool{}
	}
	f.asked[part] = true
	broken, fault := part == f.at, f.fault
	f.mu.Unlock()
	rec := httptest.NewRecorder()
	f.answer(rec, r, part)
	if broken {
		fault.answer(w, r, rec)
		return
	}
	pass(w, rec, rec.Body.Bytes(), rec.Body.Len())
}

// fail gives it a fault from now on.
func (f *faulty) fail(at string, with fault) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.at, f.fault = at, with
}

// part names what a request is for.
func (f *faulty) part(r *http.Request) string {
	segments := strings.Split(r.URL.Path, "/")
	last := segments[len(segments)-1]
	switch kind := segments[max(0, len(segments)-2)]; {
	case r.URL.Path == "/v2/":
		return "ping"
	case r.URL.Path == "/token":
		return "token service"
	case kind == "storage":
		return "storage of " + f.parts[last]
	case kind == "referrers":
		return "referrers API"
	case kind == "tags":
		return "tags"
	case strings.HasSuffix(last, ".sig"), strings.HasSuffix(last, ".att"):
		return last[len(last)-4:] + " tag"
	case strings.HasPrefix(last, "sha256-"):
		return "referrers tag"
	case f.parts[last] != "":
		return f.parts[last]
	case kind == "manifests":
		return "manifest by tag"
	}
	return "something else"
}

// answer is what it says without the fault.
func (f *faulty) answer(w http.ResponseWriter, r *http.Request, part string) {
	switch {
	case part == "token service":
		io.WriteString(w, `{"token":"opaque","expires_in":300}`)
	case strings.HasPrefix(part, "storage of "):
		copied := r.Clone(r.Context())
		copied.URL.Path = r.URL.Query().Get("path")
		f.good.ServeHTTP(w, copied)
	case r.Header.Get("Authorization") != "Bearer opaque":
		w.Header().Set("WWW-Authenticate", fmt.Sprintf(`Bearer realm="%s://%s/token",service="registry"`, cmp.Or(f.scheme, "http"), r.Host))
		w.WriteHeader(http.StatusUnauthorized)
	case strings.Contains(r.URL.Path, "/blobs/") && r.Method == http.MethodGet:
		last := r.URL.Path[strings.LastIndex(r.URL.Path, "/")+1:]
		http.Redirect(w, r, "/storage/"+last+"?path="+r.URL.Path, http.StatusTemporaryRedirect)
	default:
		f.good.ServeHTTP(w, r)
	}
}

// pass writes an answer with another body, which is said to have that length; -1 leaves it open.
func pass(w http.ResponseWriter, good *httptest.ResponseRecorder, body []byte, length int) {
	for name, values := range good.Header() {
		w.Header()[name] = values
	}
	w.Header().Del("Content-Length")
	switch head := good.Header().Get("Content-Length"); {
	case len(body) == 0 && head != "" && length == 0:
		w.Header().Set("Content-Length", head) // of HEAD
	case length >= 0:
		w.Header().Set("Content-Length", strconv.Itoa(length))
	}
	w.WriteHeader(good.Code)
	w.Write(body)
}

// cut ends a connection after what was written: by a reset, or as if all were said.
func cut(w http.ResponseWriter, reset bool) {
	http.NewResponseController(w).Flush()
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	if tcp, ok := conn.(*net.TCPConn); ok && reset {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// raw writes to the connection itself, and closes it.
func raw(w http.ResponseWriter, text string, body []byte) {
	conn, buffered, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer conn.Close()
	buffered.WriteString(text)
	buffered.Write(body)
	buffered.Flush()
}

// hang says nothing until whoever asked is gone.
func hang(r *http.Request) {
	select {
	case <-r.Context().Done():
	case <-time.After(time.Minute):
	}
}

// answerFaults are the ways in which one answer can be wrong.
func answerFaults() []fault {
	type answer = func(w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder)
	body := func(change func(b []byte) []byte) answer {
		return func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			b := change(bytes.Clone(good.Body.Bytes()))
			pass(w, good, b, len(b))
		}
	}
	instead := func(contentType, text string) answer {
		return func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
			w.Header().Set("Content-Type", contentType)
			io.WriteString(w, text)
		}
	}
	redirect := func(to string) answer {
		return func(w http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) {
			w.Header().Set("Location", strings.NewReplacer("SELF", r.URL.RequestURI(), "HOST", r.Host).Replace(to))
			w.WriteHeader(http.StatusTemporaryRedirect)
		}
	}
	part := func(b []byte, of, all int) []byte { return b[:len(b)*of/all] }
	faults := []fault{
		{name: "reset at once", answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
			conn, _, err := http.NewResponseController(w).Hijack()
			if err == nil {
				conn.(*net.TCPConn).SetLinger(0)
				conn.Close()
			}
		}},
		{name: "closed at once", answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) { raw(w, "", nil) }},
		{name: "no HTTP", answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
			raw(w, "220 mail.example ESMTP\r\n", nil)
		}},
		{name: "reset after the header", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, nil, max(1, good.Body.Len()))
			cut(w, true)
		}},
		{name: "reset within the body", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, part(good.Body.Bytes(), 1, 2), max(1, good.Body.Len()))
			cut(w, true)
		}},
		{name: "closed within the body", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, part(good.Body.Bytes(), 3, 4), max(1, good.Body.Len()))
			cut(w, false)
		}},
		{name: "shorter, and says so", answer: body(func(b []byte) []byte { return part(b, 3, 4) })},
		{name: "shorter, in chunks that end", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, nil, -1)
			http.NewResponseController(w).Flush()
			w.Write(part(good.Body.Bytes(), 3, 4))
		}},
		{name: "shorter, until the connection ends", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			raw(w, "HTTP/1.0 200 OK\r\nContent-Type: "+good.Header().Get("Content-Type")+"\r\n\r\n", part(good.Body.Bytes(), 3, 4))
		}},
		{name: "longer", answer: body(func(b []byte) []byte { return append(b, ' ') })},
		{name: "other bytes", answer: body(func(b []byte) []byte {
			if len(b) > 0 {
				b[len(b)/2] ^= 1
			}
			return b
		})},
		{name: "empty", answer: body(func([]byte) []byte { return nil })},
		{name: "garbage", answer: body(func([]byte) []byte { return []byte(`{"schemaVersion":2,]`) })},
		{name: "null", answer: body(func([]byte) []byte { return []byte("null") })},
		{name: "another object", wellFormed: true, answer: body(func([]byte) []byte { return []byte(`{"schemaVersion":2}`) })},
		{name: "a web page", answer: instead("text/html; charset=utf-8", "<html><body>Please log in to the hotel's network</body></html>")},
		{name: "another Content-Type", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			good.Header().Set("Content-Type", "application/octet-stream")
			pass(w, good, good.Body.Bytes(), good.Body.Len())
		}},
		{name: "no Content-Type", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			good.Header()["Content-Type"] = nil
			pass(w, good, good.Body.Bytes(), good.Body.Len())
		}},
		{name: "gzip", answer: func(w http.ResponseWriter, _ *http.Request, good *httptest.ResponseRecorder) {
			good.Header().Set("Content-Encoding", "gzip")
			pass(w, good, good.Body.Bytes(), good.Body.Len())
		}},
		{name: "a redirect to itself", answer: redirect("SELF")},
		{name: "a redirect to the network of this machine", answer: redirect("https://127.0.0.1:1/x")},
		{name: "a redirect to metadata", answer: redirect("http://169.254.169.254/latest")},
		{name: "a redirect to another scheme", answer: redirect("https://HOST/x")},
		{name: "a redirect to nowhere", answer: redirect("https://storage.invalid/x")},
		{name: "endless", slow: true, answer: func(w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, nil, -1)
			for line := bytes.Repeat([]byte("x"), 32<<10); r.Context().Err() == nil; {
				if _, err := w.Write(line); err != nil {
					return
				}
			}
		}},
		{name: "a slow drip", slow: true, answer: func(w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, nil, max(1, good.Body.Len()))
			for _, b := range good.Body.Bytes() {
				w.Write([]byte{b})
				http.NewResponseController(w).Flush()
				select {
				case <-r.Context().Done():
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
		}},
		{name: "silence", slow: true, answer: func(_ http.ResponseWriter, r *http.Request, _ *httptest.ResponseRecorder) { hang(r) }},
		{name: "silence after the header", slow: true, answer: func(w http.ResponseWriter, r *http.Request, good *httptest.ResponseRecorder) {
			pass(w, good, nil, max(1, good.Body.Len()))
			http.NewResponseController(w).Flush()
			hang(r)
		}},
		{name: "429 and come in an hour", status: 429, answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
			w.Header().Set("Retry-After", "3600")
			w.WriteHeader(http.StatusTooManyRequests)
		}},
	}
	for _, status := range []int{204, 400, 401, 403, 404, 405, 408, 410, 412, 416, 418, 429, 500, 502, 503, 504, 507} {
		faults = append(faults, fault{name: strconv.Itoa(status), status: status, slow: status == 429 || status == 408 || status >= 500, answer: func(w http.ResponseWriter, _ *http.Request, _ *httptest.ResponseRecorder) {
			w.WriteHeader(status)
		}})
	}
	return faults
}
