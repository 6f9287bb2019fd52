// Package token obtains OpenID Connect identity tokens, with which a signer shows the certificate authority who it is.
//
// A [Source] gives a token when it is asked: [Given] has it already, [File] reads it from where a platform put it, [GitHub], [Buildkite] and [SPIRE] ask the systems
// that they are named after, and [DevIssuer] asks the development issuer of "touchmark up --insecure-dev-issuer". [Ambient] finds the one that is there without being told.
// People sign in with package signin. [Subject] tells what the authority wants to see signed as proof of possession.
//
// Nothing here verifies a token; that is the business of the authority that it is sent to. A token is a secret until it expires: it stands in no
// error message.
package token

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"
)

// MaxSize bounds a token, in bytes. Real ones have one to four KiB, and servers refuse headers that are much larger.
const MaxSize = 64 << 10

// timeout bounds the question to an issuer.
const timeout = 30 * time.Second

// Source gives identity tokens. Each call may give another one.
type Source interface {
	// Token returns a JWT in compact form.
	Token(ctx context.Context) (string, error)
}

// Given is a source that has the token already.
type Given string

// Token checks the form of the token and returns it.
func (g Given) Token(context.Context) (string, error) { return check(string(g)) }

// File is a source that reads the token from the file of this name, anew for each call.
type File string

// Token reads the file. White space around the token is taken off.
func (f File) Token(context.Context) (string, error) {
	file, err := os.Open(string(f))
	if err != nil {
		return "", fmt.Errorf("reading identity token: %w", err)
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return "", fmt.Errorf("reading identity token: %w", err)
	}
	if info.IsDir() {
		return "", fmt.Errorf("reading identity token: %s is a directory", f)
	}
	data, err := io.ReadAll(io.LimitReader(file, MaxSize+1))
	if err != nil {
		return "", fmt.Errorf("reading identity token: %w", err)
	}
	tok, err := check(strings.TrimSpace(string(data)))
	if err != nil {
		return "", fmt.Errorf("%s: %w", f, err)
	}
	return tok, nil
}

// FetchError says that an issuer could not be asked, or refused.
type FetchError struct {
	URL    string // or the name of the program that should have asked
	Status int    // HTTP status, 0 if there was none
	Err    error
}

// Error names the URL, the status if there was one, and the cause.
func (e *FetchError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("asking for identity token: %s: %v", e.URL, e.Err)
	}
	return fmt.Sprintf("asking for identity token: %s: status %d: %v", e.URL, e.Status, e.Err)
}

// Unwrap gives the cause.
func (e *FetchError) Unwrap() error { return e.Err }

// DevIssuer asks the development issuer of a Touchmark server for a token. It gives one for any address to everybody on its machine: for trying things out.
type DevIssuer struct {
	Server  string       // base URL, as in http://127.0.0.1:7465
	Subject string       // the e-mail address to be, as in alice@acme.example
	Client  *http.Client // nil is http.DefaultClient
}

// Token asks GET /dev/token?sub=... Its errors are a [*FetchError], but for a token that is malformed.
func (d DevIssuer) Token(ctx context.Context) (string, error) {
	u := strings.TrimSuffix(d.Server, "/") + "/dev/token?" + url.Values{"sub": {d.Subject}}.Encode()
	body, status, err := ask(ctx, d.Client, u, nil)
	switch {
	case status == http.StatusNotFound:
		return "", &FetchError{URL: u, Status: status, Err: errors.New("the server has no development issuer (touchmark up --insecure-dev-issuer)")}
	case err != nil:
		return "", &FetchError{URL: u, Status: status, Err: err}
	}
	return check(strings.TrimSpace(string(body)))
}

// reason is the error member of a JSON answer, quoted and cut. Nothing else of an answer is shown: there could be a token in it.
func reason(body []byte) string {
	var answer struct {
		Error string `json:"error"`
	}
	if json.Unmarshal(body, &answer) != nil || answer.Error == "" {
		return "the server gave no reason"
	}
	return fmt.Sprintf("the server says %.200q", answer.Error)
}

// Looks reports whether text looks like a token rather than a file name, by cosign's rule of thumb: three parts with dots between them, no slash.
func Looks(text string) bool {
	return strings.Count(text, ".") == 2 && strings.HasPrefix(text, "ey") && !strings.ContainsAny(text, "/ \n")
}

// Subject returns what the authority wants to see signed by the key that is to be certified: the claim email if there is one and
// email_verified is true (as a boolean or a string), else sub. It is what Sigstore's clients choose. The token is not verified.
// A claim that stands there twice is an error: the authority might read the other one.
func Subject(untrustedToken string) (string, error) {
	if _, err := check(untrustedToken); err != nil {
		return "", err
	}
	payload, err := base64.RawURLEncoding.Strict().DecodeString(strings.Split(untrustedToken, ".")[1])
	if err != nil {
		return "", errors.New("reading identity token: payload is not base64url")
	}
	var claims struct {
		Subject       string         `json:"sub"`
		Email         string         `json:"email"`
		EmailVerified jsontext.Value `json:"email_verified"`
	}
	if err := json.Unmarshal(payload, &claims); err != nil {
		return "", fmt.Errorf("reading identity token: payload: %w", err)
	}
	verified := string(claims.EmailVerified) == "true" || string(claims.EmailVerified) == `"true"`
	switch {
	case claims.Email != "" && verified:
		return claims.Email, nil
	case claims.Subject != "":
		return claims.Subject, nil
	}
	return "", errors.New("reading identity token: it has neither a verified email nor a sub claim")
}

// check looks at the form only, so that a wrong file, or an error page, isn't sent to an authority as if it were a token.
func check(tok string) (string, error) {
	if len(tok) > MaxSize {
		return "", fmt.Errorf("reading identity token: larger than %d bytes", MaxSize)
	}
	parts := strings.Split(tok, ".")
	if len(parts) != 3 {
		return "", errors.New("reading identity token: not a JWT in compact form (three parts with dots between them)")
	}
	for _, part := range parts {
		if part == "" || strings.Trim(part, base64url) != "" {
			return "", errors.New("reading identity token: not a JWT in compact form (three parts in base64url)")
		}
	}
	return tok, nil
}

const base64url = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
