package tsa

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
)

const (
	mediaTypeQuery = "application/timestamp-query"
	mediaTypeReply = "application/timestamp-reply"
)

// Handler serves the API. Each path answers other methods than its own with 405.
func (t *TSA) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/api/v1/timestamp", t.serveTimestamp)
	mux.HandleFunc("/api/v1/timestamp/certchain", t.serveChain)
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { writeError(w, http.StatusNotFound, "no such resource") })
	return mux
}

func (t *TSA) serveTimestamp(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", "POST")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
		return
	}
	parse := map[string]func([]byte) (request, error){mediaTypeQuery: parseRequest, mediaTypeJSON: parseJSONRequest}[mediaType(r)]
	if parse == nil {
		writeError(w, http.StatusUnsupportedMediaType, "Content-Type must be "+mediaTypeQuery+" or "+mediaTypeJSON)
		return
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if tooLarge := (*http.MaxBytesError)(nil); errors.As(err, &tooLarge) {
		writeError(w, http.StatusRequestEntityTooLarge, fmt.Sprintf("a request has at most %d bytes", maxRequest))
		return
	}
	if err != nil {
		writeError(w, http.StatusBadRequest, "the body could not be read")
		return
	}
	parsed, err := parse(body)
	if err != nil {
		writeError(w, http.StatusBadRequest, "reading timestamp request: "+err.Error())
		return
	}
	response, err := t.stamp(parsed)
	var rejected *rejection
	switch {
	case errors.As(err, &rejected):
		t.logger.InfoContext(r.Context(), "timestamp refused", "err", err)
		if response, err = rejectionResponse(rejected); err == nil {
			writeReply(w, http.StatusOK, response)
			return
		}
	case err == nil:
		writeReply(w, http.StatusCreated, response)
		return
	}
	t.logger.ErrorContext(r.Context(), "making timestamp", "err", err)
	writeError(w, http.StatusInternalServerError, "the timestamp could not be made")
}

// mediaType is the request's, without parameters; empty if it cannot be read.
func mediaType(r *http.Request) string {
	mediaType, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	if err != nil {
		return ""
	}
	return mediaType
}

func (t *TSA) serveChain(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		writeError(w, http.StatusMethodNotAllowed, "method "+r.Method+" is not allowed here")
		return
	}
	w.Header().Set("Content-Type", "application/pem-certificate-chain")
	_, _ = w.Write(t.chainPEM)
}

func writeReply(w http.ResponseWriter, status int, response []byte) {
	w.Header().Set("Content-Type", mediaTypeReply)
	w.WriteHeader(status)
	_, _ = w.Write(response)
}

// writeError answers as upstream does: a JSON object with code and message.
func writeError(w http.ResponseWriter, status int, message string) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(struct {
		Code    int    `json:"code"`
		Message string `json:"message"`
	}{status, message})
}
