package tuf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const (
	// totalTimeout is for a whole update: a handful of small files.
	totalTimeout = 30 * time.Second

	// maxRedirects is what a mirror behind a content network needs.
	maxRedirects = 3
)

// fetcher is go-tuf's way to the network.
type fetcher struct {
	ctx    context.Context // go-tuf passes none
	client *http.Client
	roots  map[string][]byte // the roots that were fetched, verified or not, by file name
}

func newFetcher(ctx context.Context, transport http.RoundTripper) *fetcher {
	// A client of its own: no cookies, and no credentials but those that a transport would add against its contract.
	return &fetcher{ctx: ctx, client: &http.Client{Transport: transport, CheckRedirect: checkRedirect}, roots: make(map[string][]byte)}
}

func checkRedirect(request *http.Request, via []*http.Request) error {
	switch {
	case len(via) > maxRedirects:
		return fmt.Errorf("more than %d redirects", maxRedirects)
	case request.URL.User != nil:
		return errors.New("redirect to a URL with credentials")
	case request.URL.Scheme != "https" && via[0].URL.Scheme == "https":
		return errors.New("redirect from https to http")
	}
	return nil
}

// DownloadFile fetches at most maxLength bytes. A status other than 200 is a *metadata.ErrDownloadHTTP, by which go-tuf knows that
// there is no newer root.
func (f *fetcher) DownloadFile(url string, maxLength int64, _ time.Duration) ([]byte, error) {
	request, err := http.NewRequestWithContext(f.ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("User-Agent", "touchmark")
	request.Header.Set("Accept-Encoding", "identity") // the limits are of the bytes on the wire
	response, err := f.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	if response.StatusCode != http.StatusOK {
		return nil, &metadata.ErrDownloadHTTP{StatusCode: response.StatusCode, URL: url}
	}
	content, err := io.ReadAll(io.LimitReader(response.Body, maxLength+1))
	if err != nil {
		return nil, fmt.Errorf("reading %s: %w", url, err)
	}
	if int64(len(content)) > maxLength {
		return nil, &metadata.ErrDownloadLengthMismatch{Msg: fmt.Sprintf("%s is longer than %d bytes", url, maxLength)}
	}
	f.roots[path.Base(url)] = content // others are not asked for
	return content, nil
}
