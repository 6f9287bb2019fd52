package ca

import (
	"encoding/json"
	"errors"
	"net/http"
)

// The messages that Fulcio gives (pkg/server/error.go), so that people find what others have written about them. What exactly is
// wrong follows after a colon.
const (
	msgToken     = "There was an error processing the identity token"
	msgProof     = "The signature supplied in the request could not be verified"
	msgKey       = "The public key supplied in the request could not be parsed"
	msgWeakKey   = "The public key supplied in the request is insecure"
	msgCSR       = "The certificate signing request could not be parsed"
	msgRequest   = "The request could not be parsed"
	msgCTLog     = "Error entering certificate in CTL"
	msgCA        = "error communicating with CA backend"
	msgLimit     = "Too many certificates were requested"
	msgIssuer    = "The identity token's issuer could not be reached"
	msgTooLarge  = "The request is too large"
	msgNotFound  = "Not Found"
	msgBadMethod = "Method Not Allowed"
)

// code is a gRPC status code, which grpc-gateway puts into the body of an error.
type code int

const (
	codeInvalidArgument   code = 3
	codeNotFound          code = 5
	codeResourceExhausted code = 8
	codeUnimplemented     code = 12
	codeInternal          code = 13
	codeUnavailable       code = 14
)

// refusal is an error that the client is told about. detail is part of the answer only for errors of the client's own.
type refusal struct {
	status  int
	code    code
	message string
	detail  error
}

func (r *refusal) Error() string {
	if r.detail == nil {
		return r.message
	}
	return r.message + ": " + r.detail.Error()
}

func (r *refusal) Unwrap() error { return r.detail }

func invalid(message string, detail error) error {
	return &refusal{http.StatusBadRequest, codeInvalidArgument, message, detail}
}

func unavailable(message string, detail error) error {
	return &refusal{http.StatusServiceUnavailable, codeUnavailable, message, detail}
}

func internal(detail error) error {
	return &refusal{http.StatusInternalServerError, codeInternal, msgCA, detail}
}

// refuse answers a request with an error, as grpc-gateway writes one. It is the one place where errors become answers.
func (c *CA) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var refused *refusal
	if !errors.As(err, &refused) {
		refused = &refusal{http.StatusInternalServerError, codeInternal, msgCA, err}
	}
	message := refused.message
	if refused.status < http.StatusInternalServerError {
		message = refused.Error()
		c.logger.InfoContext(r.Context(), "certificate refused", "status", refused.status, "err", err)
	} else {
		c.logger.ErrorContext(r.Context(), "certificate not issued", "status", refused.status, "err", err)
	}
	if refused.status == http.StatusTooManyRequests || refused.status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "1")
	}
	writeJSON(w, refused.status, struct {
		Code    code   `json:"code"`
		Message string `json:"message"`
		Details []any  `json:"details"`
	}{refused.code, message, []any{}})
}

func writeJSON(w http.ResponseWriter, status int, value any) {
	body, err := json.Marshal(value)
	if err != nil {
		http.Error(w, msgCA, http.StatusInternalServerError)
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
