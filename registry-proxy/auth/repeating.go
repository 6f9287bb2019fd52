package auth

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

// repeating is an issuer's transport. It gives each answer again for [keysFresh], so that strangers with tokens that they made up
// cannot have the proxy ask the issuer as often as they ask the proxy.
type repeating struct {
	next http.RoundTripper
	now  func() time.Time

	mu      sync.Mutex           // held while the issuer is asked: nobody else can go on before
	answers map[string]*answered // by URL: of discovery and of the keys, and where these redirect to
}

// maxAnswers bounds the answers that are kept.
const maxAnswers = 8

// answered is one answer, or why there is none.
type answered struct {
	at   time.Time
	resp http.Response // its body is read and closed
	body []byte
	err  error
}

// RoundTrip implements http.RoundTripper.
func (r *repeating) RoundTrip(req *http.Request) (*http.Response, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	a := r.answers[req.URL.String()]
	if a == nil || r.now().Sub(a.at).Abs() >= keysFresh {
		if len(r.answers) >= maxAnswers || r.answers == nil {
			r.answers = map[string]*answered{}
		}
		a = r.ask(req)
		a.at = r.now()
		r.answers[req.URL.String()] = a
	}
	if a.err != nil {
		return nil, a.err
	}
	resp := a.resp
	resp.Request, resp.Header, resp.Body = req, a.resp.Header.Clone(), io.NopCloser(bytes.NewReader(a.body))
	return &resp, nil
}

func (r *repeating) ask(req *http.Request) *answered {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return &answered{err: err}
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxKeys+1))
	if err == nil && len(body) > maxKeys {
		err = fmt.Errorf("the answer has more than %d bytes", maxKeys)
	}
	return &answered{resp: *resp, body: body, err: err}
}
