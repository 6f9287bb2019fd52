package ctlog

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io/fs"
	"net/http"
	"os"
	"strings"
	"time"

	gojson "github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/services/internal/tilelog"
)

const (
	// maxRequests bounds the requests answered at once.
	maxRequests = 128
	// maxRequest bounds a request's body in bytes: maxChain certificates of usual
	// size (2 KiB) many times over.
	maxRequest = 256 << 10
	// requestTimeout ends a request before Fulcio's client gives up at 30 s.
	requestTimeout = 25 * time.Second
)

// prefix is what all paths begin with.
const prefix = "/ct/"

// Handler serves the log under /ct/, see the package comment.
func (l *Log) Handler() http.Handler {
	mux := http.NewServeMux()
	if l.cfg.Submissions {
		mux.HandleFunc("POST /ct/v1/add-pre-chain", l.addPreChain)
	}
	mux.HandleFunc("GET /ct/v1/get-roots", l.getRoots)
	mux.HandleFunc("GET /ct/issuer/{fingerprint}", l.getIssuer)
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		writeError(w, http.StatusNotFound, "there is no "+r.Method+" here")
	})
	reads := l.tree.Handler(prefix)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// The mux would clean the paths of tiles, where only one spelling exists.
		if path := r.URL.EscapedPath(); path == prefix+"checkpoint" || strings.HasPrefix(path, prefix+"tile/") {
			reads.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

// addPreChain answers as RFC 6962 section 4.2 says.
func (l *Log) addPreChain(w http.ResponseWriter, r *http.Request) {
	select {
	case l.slots <- struct{}{}:
		defer func() { <-l.slots }()
	default:
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, "the log is busy; try again")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), requestTimeout)
	defer cancel()
	var request struct {
		Chain [][]byte `json:"chain"`
	}
	err := gojson.UnmarshalRead(http.MaxBytesReader(w, r.Body, maxRequest), &request, gojson.RejectUnknownMembers(true))
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		writeError(w, http.StatusRequestEntityTooLarge, "the request's body is larger than the log takes")
		return
	case err != nil:
		writeError(w, http.StatusBadRequest, `the request is not {"chain":[...]} with certificates in base64 DER`)
		return
	}
	timestamp, err := l.AddPreChain(ctx, request.Chain)
	if err != nil {
		l.answerError(w, r, err)
		return
	}
	signature, err := timestamp.DigitallySigned()
	if err != nil {
		l.answerError(w, r, err)
		return
	}
	writeJSON(w, http.StatusOK, answer{
		ID: timestamp.LogID[:], Timestamp: timestamp.Timestamp, Extensions: timestamp.Extensions, Signature: signature,
	})
}

// answer is RFC 6962's answer to add-pre-chain.
type answer struct {
	Version    int    `json:"sct_version"` // 0 is v1
	ID         []byte `json:"id"`
	Timestamp  uint64 `json:"timestamp"`
	Extensions []byte `json:"extensions"`
	Signature  []byte `json:"signature"`
}

func (l *Log) getRoots(w http.ResponseWriter, _ *http.Request) {
	roots := make([][]byte, len(l.cfg.Roots))
	for i, root := range l.cfg.Roots {
		roots[i] = root.Raw
	}
	writeJSON(w, http.StatusOK, struct {
		Certificates [][]byte `json:"certificates"`
	}{roots})
}

func (l *Log) getIssuer(w http.ResponseWriter, r *http.Request) {
	text := r.PathValue("fingerprint")
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != sha256.Size || hex.EncodeToString(b) != text {
		http.NotFound(w, r)
		return
	}
	fingerprint := [sha256.Size]byte(b)
	der, err := os.ReadFile(l.issuerPath(fingerprint))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		http.NotFound(w, r)
		return
	case err != nil:
		l.answerError(w, r, err)
		return
	case sha256.Sum256(der) != fingerprint:
		l.answerError(w, r, errors.New("reading "+l.issuerPath(fingerprint)+": it is damaged"))
		return
	}
	w.Header().Set("Content-Type", "application/pkix-cert")
	w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(der))
}

// answerError is the one place where errors become statuses. What is not the
// client's fault is logged and not told.
func (l *Log) answerError(w http.ResponseWriter, r *http.Request, err error) {
	var refused *RejectedError
	if errors.As(err, &refused) {
		writeError(w, http.StatusBadRequest, refused.Reason)
		return
	}
	l.cfg.Logger.ErrorContext(r.Context(), "request failed", "path", r.URL.Path, "error", err)
	switch {
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled), errors.Is(err, tilelog.ErrStopped), errors.Is(err, tilelog.ErrClosed):
		w.Header().Set("Retry-After", "1")
		writeError(w, http.StatusServiceUnavailable, "the log can't take certificates now")
	default:
		writeError(w, http.StatusInternalServerError, "the log failed to answer")
	}
}

func writeError(w http.ResponseWriter, status int, message string) {
	writeJSON(w, status, struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{status, message})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	b, err := json.Marshal(v)
	if err != nil {
		http.Error(w, "", http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = w.Write(append(b, '\n')) // the client went away
}
