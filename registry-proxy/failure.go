package registryproxy

import (
	"encoding/json"
	"errors"
	"net/http"
	"strconv"
)

// Error codes of the OCI distribution specification 1.1 ("Error Codes"); codeUnavailable, codeUnknown and codeTagInvalid
// are not in its table, but every registry and client since docker/distribution knows them.
const (
	codeBlobUnknown     = "BLOB_UNKNOWN"
	codeDenied          = "DENIED"
	codeDigestInvalid   = "DIGEST_INVALID"
	codeManifestInvalid = "MANIFEST_INVALID"
	codeManifestUnknown = "MANIFEST_UNKNOWN"
	codeNameInvalid     = "NAME_INVALID"
	codeNameUnknown     = "NAME_UNKNOWN"
	codeSizeInvalid     = "SIZE_INVALID"
	codeTooMany         = "TOOMANYREQUESTS"
	codeUnauthorized    = "UNAUTHORIZED"
	codeUnavailable     = "UNAVAILABLE"
	codeUnknown         = "UNKNOWN"
	codeUnsupported     = "UNSUPPORTED"
)

// retryAfterSeconds is what a client is told to wait after a 503: outages and missing evidence are looked at again by
// then (refusals and lookups are remembered for less).
const retryAfterSeconds = 10

// failure is an answer that is not the thing asked for: the one form in which every error of this package leaves it.
// Message and detail are shown to the client and hold no address or credential of the upstream; cause goes to the log.
type failure struct {
	status  int
	code    string
	message string
	detail  json.RawMessage // the Verdict of a refusal
	cause   error

	outage    bool   // the upstream could not be asked
	broken    bool   // a manifest that no registry would have taken or sent: half of one, a web page, one under another type
	upstream  int    // the upstream's own 401 or 403, which is the client's where it is passed through
	challenge string // WWW-Authenticate of a 401
}

func (f *failure) Error() string {
	if f.cause != nil {
		return f.message + ": " + f.cause.Error()
	}
	return f.message
}

func (f *failure) Unwrap() error { return f.cause }

func invalid(code, message string) *failure {
	return &failure{status: http.StatusBadRequest, code: code, message: message}
}

func notFound(code, message string) *failure {
	return &failure{status: http.StatusNotFound, code: code, message: message}
}

// unavailable is for what may work later: an outage, or a decision that could not be made. A cause that is an answer itself is told, too.
func unavailable(message string, cause error) *failure {
	var told *failure
	if errors.As(cause, &told) {
		message += ": " + told.message
	}
	return &failure{status: http.StatusServiceUnavailable, code: codeUnavailable, message: message, cause: cause}
}

// badUpstream is for an upstream that answered, and wrongly.
func badUpstream(code, message string, cause error) *failure {
	return &failure{status: http.StatusBadGateway, code: code, message: message, cause: cause}
}

type errorBody struct {
	Errors []errorEntry `json:"errors"`
}

type errorEntry struct {
	Code    string          `json:"code"`
	Message string          `json:"message"`
	Detail  json.RawMessage `json:"detail,omitempty"`
}

// write answers in the registry's JSON error shape. HEAD gets the same status and headers; net/http drops its body.
func (f *failure) write(w http.ResponseWriter) {
	body, err := json.Marshal(errorBody{Errors: []errorEntry{{Code: f.code, Message: f.message, Detail: f.detail}}})
	if err != nil {
		body = []byte(`{"errors":[{"code":"` + f.code + `","message":"the reason could not be written"}]}`)
	}
	h := w.Header()
	h.Set("Content-Type", "application/json")
	h.Set("Content-Length", strconv.Itoa(len(body)))
	h.Set("Cache-Control", "no-store")
	switch f.status {
	case http.StatusUnauthorized:
		if f.challenge != "" {
			h.Set("WWW-Authenticate", f.challenge)
		}
	case http.StatusMethodNotAllowed:
		h.Set("Allow", "GET, HEAD")
	case http.StatusServiceUnavailable, http.StatusTooManyRequests:
		h.Set("Retry-After", strconv.Itoa(retryAfterSeconds))
	}
	w.WriteHeader(f.status)
	_, _ = w.Write(body) // the client may be gone: there is nobody left to tell
}
