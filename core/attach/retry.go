package attach

import (
	"errors"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Retries of one request. A registry that fails gets a few, as it may have been one of its servers. One that throttles says "later" to each request by itself, and a
// third of them is what a busy registry may refuse: what is asked for one image has to come through while its pull waits, so that there are many, at short intervals.
const (
	maxFailures  = 3                      // repeats after 408, 5xx or a dropped connection
	firstBackoff = 150 * time.Millisecond // tripled every time

	maxThrottled     = 15                     // repeats after 429
	throttledBackoff = 100 * time.Millisecond // doubled every time, up to longestThrottled; together not quite seven seconds
	longestThrottled = 500 * time.Millisecond

	maxRetryAfter = 5 * time.Second  // a registry that wants us to wait longer gets no retry: that is an answer, too
	maxWaiting    = 10 * time.Second // for one request in all, but for up to a quarter more
)

// retrier repeats requests that are safe to repeat when a registry throttles, is overloaded, or drops the connection. It gives its last answer in time: before the
// request's deadline, so that who asked learns of the registry's answer, not of the deadline.
type retrier struct{ inner http.RoundTripper }

func (r *retrier) RoundTrip(req *http.Request) (*http.Response, error) {
	var p patience
	for {
		resp, err := r.inner.RoundTrip(req)
		wait, again := p.after(req, resp, err)
		if deadline, ok := req.Context().Deadline(); !again || ok && time.Until(deadline) < wait {
			return resp, err
		}
		if resp != nil {
			io.Copy(io.Discard, io.LimitReader(resp.Body, maxErrorBody)) // so that the connection can be used again
			resp.Body.Close()
		}
		timer := time.NewTimer(wait)
		select {
		case <-req.Context().Done():
			timer.Stop()
			return nil, req.Context().Err()
		case <-timer.C:
		}
		if req.GetBody != nil {
			body, err := req.GetBody()
			if err != nil {
				return nil, err
			}
			req.Body = body
		}
	}
}

// patience is what one request has used up.
type patience struct {
	failures, throttled int
	waited              time.Duration
}

// after says how long to wait before the request is repeated, if it is.
func (p *patience) after(req *http.Request, resp *http.Response, err error) (time.Duration, bool) {
	var wait time.Duration
	switch {
	case err == nil && resp.StatusCode == http.StatusTooManyRequests && replayable(req):
		wait = min(throttledBackoff<<p.throttled, longestThrottled)
		if p.throttled++; p.throttled > maxThrottled {
			return 0, false
		}
	case (err != nil && isDropped(err) || err == nil && isTemporary(resp.StatusCode)) && repeatable(req):
		wait = firstBackoff
		for range p.failures {
			wait *= 3
		}
		if p.failures++; p.failures > maxFailures {
			return 0, false
		}
	default:
		return 0, false
	}
	if resp != nil {
		asked := retryAfter(resp)
		if asked > maxRetryAfter {
			return 0, false
		}
		wait = max(wait, asked)
	}
	p.waited += wait
	wait += time.Duration(rand.Int64N(int64(wait)/4 + 1)) // so that those who were refused together don't come back together
	return wait, p.waited <= maxWaiting
}

// replayable: what was throttled was not begun, so that only the body must be there again.
func replayable(req *http.Request) bool {
	return req.Body == nil || req.Body == http.NoBody || req.GetBody != nil
}

// repeatable: what failed may have been done. POST and PATCH continue an upload and have to be started over by who began it.
func repeatable(req *http.Request) bool {
	switch req.Method {
	case http.MethodGet, http.MethodHead, http.MethodPut:
		return replayable(req)
	}
	return false
}

func isDropped(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, syscall.ECONNRESET)
}

func isTemporary(status int) bool {
	switch status {
	case http.StatusRequestTimeout,
		http.StatusInternalServerError, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return true
	}
	return false
}

// retryAfter reads Retry-After in its form in seconds (RFC 9110, 10.2.3), 0 if there is none; the other form, a date, depends on the registry's clock and isn't used.
func retryAfter(resp *http.Response) time.Duration {
	seconds, err := strconv.ParseUint(resp.Header.Get("Retry-After"), 10, 31)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}
