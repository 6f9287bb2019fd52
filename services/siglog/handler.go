package siglog

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"time"

	"golang.org/x/sync/semaphore"

	"github.com/touchmark/touchmark/services/internal/tilelog"
)

const (
	// maxRequests bounds the requests answered at once, so that a flood waits in the
	// network and not in memory.
	maxRequests = 128
	// maxRequest bounds a request's body in bytes. A dsse entry carries the whole
	// envelope twice encoded in base64, and no verifier here reads a bundle over
	// 8 MiB.
	maxRequest = 12 << 20
	// maxBodies bounds the bodies of all requests answered at once, in bytes.
	maxBodies = 256 << 20
	// requestTimeout ends a request before sigstore-go's client gives up at 30 s.
	requestTimeout = 25 * time.Second
)

// Handler serves the log, see the package comment.
func (l *Log) Handler() http.Handler {
	mux := http.NewServeMux()
	for pattern, serve := range map[string]func(http.ResponseWriter, *http.Request) error{
		"POST /api/v1/log/entries":          l.postEntry,
		"GET /api/v1/log/entries":           l.getEntryByIndex,
		"GET /api/v1/log/entries/{id}":      l.getEntryByID,
		"POST /api/v1/log/entries/retrieve": l.retrieve,
		"GET /api/v1/log":                   l.getLog,
		"GET /api/v1/log/proof":             l.getProof,
		"GET /api/v1/log/publicKey":         l.getPublicKey,
		"POST /api/v1/index/retrieve":       l.searchIndex,
		"POST /api/v2/log/entries":          l.postEntryV2,
		"/":                                 unknown,
	} {
		mux.HandleFunc(pattern, l.bounded(serve))
	}
	v2, v2API := l.v2.Handler("/"), l.v2.Handler("/api/v2/")
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would clean the paths of tiles, where only one spelling exists.
		switch path := r.URL.EscapedPath(); {
		case path == "/checkpoint" || strings.HasPrefix(path, "/tile/"):
			v2.ServeHTTP(w, r)
		case path == "/api/v2/checkpoint" || strings.HasPrefix(path, "/api/v2/tile/"):
			v2API.ServeHTTP(w, r)
		default:
			mux.ServeHTTP(w, r)
		}
	})
}

// bounded gives a request a place, a deadline and a body limit, and answers its
// error.
func (l *Log) bounded(serve func(http.ResponseWriter, *http.Request) error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		w.Header().Set("Cache-Control", "no-store")
		select {
		case l.slots <- struct{}{}:
			defer func() { <-l.slots }()
		default:
			l.answerError(w, r, errBusy)
			return
		}
		ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
		defer cancel()
		r = r.WithContext(ctx)
		body := &accountedBody{ReadCloser: http.MaxBytesReader(w, r.Body, maxRequest), all: l.bodies}
		defer body.release()
		r.Body = body
		if err := serve(w, r); err != nil {
			l.answerError(w, r, err)
		}
	}
}

// accountedBody counts what is read of a body against the bytes of all of them.
type accountedBody struct {
	io.ReadCloser
	all  *semaphore.Weighted
	mine int64
}

// Read implements io.Reader; its error is errBusy where there is no room.
func (b *accountedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 && !b.all.TryAcquire(int64(n)) {
		return 0, errBusy
	}
	b.mine += int64(n)
	return n, err
}

func (b *accountedBody) release() {
	b.all.Release(b.mine)
	b.mine = 0
}

// statusError is an error that is the client's to know.
type statusError struct {
	status  int
	message string
}

func (e *statusError) Error() string { return e.message }

func badRequest(err error) error { return &statusError{http.StatusBadRequest, err.Error()} }

var errBusy = &statusError{http.StatusServiceUnavailable, "the log is busy; try again"}

// answerError is the one place where errors become statuses. What is not the
// client's fault is logged and not told.
func (l *Log) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var status *statusError
	var tooLarge *http.MaxBytesError
	ours := false
	switch {
	case errors.As(err, &status):
	case errors.As(err, &tooLarge):
		status = &statusError{http.StatusRequestEntityTooLarge, "the request's body is larger than the log takes"}
	case errors.Is(err, ErrClosed), errors.Is(err, context.Canceled):
		status = &statusError{http.StatusServiceUnavailable, "the log is shutting down; try again"}
	case errors.Is(err, context.DeadlineExceeded):
		status, ours = &statusError{http.StatusServiceUnavailable, "the log could not answer in time; try again"}, true
	case errors.Is(err, tilelog.ErrStopped), errors.Is(err, tilelog.ErrClosed):
		status, ours = &statusError{http.StatusServiceUnavailable, "the log has stopped writing; its operator must look at it"}, true
	default:
		status, ours = &statusError{http.StatusInternalServerError, "the log failed to answer"}, true
	}
	if ours {
		l.cfg.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "status", status.status, "error", err)
	}
	if status.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	if strings.HasPrefix(r.URL.Path, "/api/v2/") {
		writeJSON(w, status.status, errorV2{grpcCode(status.status), status.message, []struct{}{}})
		return
	}
	writeJSON(w, status.status, errorV1{status.status, status.message})
}

// errorV1 is the body of Rekor v1's errors.
type errorV1 struct {
	Code    int    `json:"code"` // HTTP status
	Message string `json:"message"`
}

// errorV2 is the body of Rekor v2's errors, which a gRPC gateway writes.
type errorV2 struct {
	Code    int        `json:"code"` // of gRPC
	Message string     `json:"message"`
	Details []struct{} `json:"details"` // always empty
}

// grpcCode is the gRPC code that goes with a status.
func grpcCode(status int) int {
	switch status {
	case http.StatusNotFound:
		return 5 // NOT_FOUND
	case http.StatusRequestEntityTooLarge:
		return 8 // RESOURCE_EXHAUSTED
	case http.StatusInternalServerError:
		return 13 // INTERNAL
	case http.StatusServiceUnavailable:
		return 14 // UNAVAILABLE
	}
	return 3 // INVALID_ARGUMENT
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client went away
}

// readBody reads a JSON request.
func readBody(r *http.Request) ([]byte, error) {
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		return nil, &statusError{http.StatusUnsupportedMediaType, "the request's Content-Type is not application/json"}
	}
	if encoding := r.Header.Get("Content-Encoding"); encoding != "" && encoding != "identity" {
		return nil, &statusError{http.StatusUnsupportedMediaType, "compressed requests are not taken"}
	}
	b, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	if err != nil && !errors.As(err, &tooLarge) && !errors.Is(err, errBusy) {
		return nil, badRequest(errors.New("the request's body ended early"))
	}
	return b, err
}

func unknown(_ http.ResponseWriter, r *http.Request) error {
	return &statusError{http.StatusNotFound, "there is no " + r.Method + " here"}
}

func (l *Log) getPublicKey(w http.ResponseWriter, r *http.Request) error {
	if err := l.checkTreeID(r); err != nil {
		return err
	}
	der, err := l.publicKeyDER()
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/x-pem-file")
	_, _ = w.Write(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})) // the client went away
	return nil
}

func hexHashes(hashes [][]byte) []string {
	out := make([]string, len(hashes))
	for i, h := range hashes {
		out[i] = hex.EncodeToString(h)
	}
	return out
}
