package sign

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"
)

// serviceTimeout bounds one request to a service. It is Sigstore's; a log answers when the entry is in the tree.
const serviceTimeout = 30 * time.Second

// maxAnswer bounds a service's answer, in bytes: a certificate chain, or a log entry with its proof, has a few KiB.
const maxAnswer = 1 << 20

// maxReason bounds what is quoted of an answer that refuses.
const maxReason = 300

// ServiceError says that a service could not be asked, or did not give an answer that can be used.
type ServiceError struct {
	Service string // "certificate authority", "log" or "timestamp authority"
	URL     string
	Status  int // HTTP status, 0 if there was none
	Err     error
}

// Error names the service, the URL, the status if there was one, and the cause.
func (e *ServiceError) Error() string {
	if e.Status == 0 {
		return fmt.Sprintf("asking %s: %s: %v", e.Service, e.URL, e.Err)
	}
	return fmt.Sprintf("asking %s: %s: status %d: %v", e.Service, e.URL, e.Status, e.Err)
}

// Unwrap gives the cause.
func (e *ServiceError) Unwrap() error { return e.Err }

// service is one of the three that are asked.
type service struct {
	name   string
	client *http.Client
}

func newService(name string, client *http.Client) service {
	if client == nil {
		client = http.DefaultClient
	}
	c := *client
	// A redirect could take the token to another host, or turn a POST into a GET.
	c.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return service{name: name, client: &c}
}

// answer is what a service said, with one of the statuses that were wanted.
type answer struct {
	url    string
	status int
	header http.Header
	body   []byte
}

// request asks. Any status that isn't wanted is a *ServiceError with the service's reason.
func (s service) request(ctx context.Context, method, u, contentType string, body []byte, want ...int) (*answer, error) {
	ctx, cancel := context.WithTimeout(ctx, serviceTimeout)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, u, bytes.NewReader(body))
	if err != nil {
		return nil, s.failed(u, 0, err)
	}
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := s.client.Do(req)
	if err != nil {
		if ue, ok := err.(*url.Error); ok {
			err = ue.Err // it would name the URL a second time
		}
		return nil, s.failed(u, 0, err)
	}
	defer resp.Body.Close()
	data, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer+1))
	switch {
	case err != nil:
		return nil, s.failed(u, resp.StatusCode, fmt.Errorf("reading answer: %w", err))
	case len(data) > maxAnswer:
		return nil, s.failed(u, resp.StatusCode, fmt.Errorf("answer is larger than %d bytes", maxAnswer))
	case !slices.Contains(want, resp.StatusCode):
		return nil, s.failed(u, resp.StatusCode, fmt.Errorf("it says %q", data[:min(len(data), maxReason)]))
	}
	return &answer{url: u, status: resp.StatusCode, header: resp.Header, body: data}, nil
}

func (s service) failed(u string, status int, err error) error {
	return &ServiceError{Service: s.name, URL: u, Status: status, Err: err}
}

// unusable is about an answer that came as it should, but doesn't say what it should.
func (s service) unusable(a *answer, format string, args ...any) error {
	return s.failed(a.url, a.status, fmt.Errorf("its answer can't be used: "+format, args...))
}

// join puts a path behind a base URL.
func join(base, path string) string { return strings.TrimSuffix(base, "/") + path }
