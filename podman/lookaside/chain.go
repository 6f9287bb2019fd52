package lookaside

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

const (
	// maxBlob bounds a signature of a chained lookaside, in bytes: as containers/image has it.
	maxBlob = 4 << 20
	// chainTimeout bounds one request to a chained lookaside.
	chainTimeout = 20 * time.Second
	// maxRedirects bounds those of one request; Red Hat's lookaside makes one.
	maxRedirects = 5
	// chainedHeader marks requests to chained lookasides, so that one that leads back here is noticed.
	chainedHeader = "Touchmark-Lookaside"
)

// chain reads the signatures of lookasides that were configured before ours.
type chain struct{ http *http.Client }

func newChain(transport http.RoundTripper) *chain {
	return &chain{&http.Client{Transport: transport, Timeout: chainTimeout, CheckRedirect: func(next *http.Request, via []*http.Request) error {
		if len(via) > maxRedirects || next.URL.Scheme != "https" && next.URL.Scheme != via[0].URL.Scheme {
			return errors.New("redirected too often, or away from https")
		}
		return nil
	}}}
}

// get reads signature n of an image. ok is false if the lookaside says that there is none; what it does not say is an error. An asker who is not entitled to what
// the agent may read gets of files what everybody may.
func (c *chain) get(ctx context.Context, lookaside string, q question, n int, a asker) (blob []byte, ok bool, err error) {
	base, err := url.Parse(lookaside)
	if err != nil {
		return nil, false, fmt.Errorf("lookaside: %w", err)
	}
	_, path, _ := strings.Cut(q.Physical, "/")
	u := base.JoinPath(fmt.Sprintf("%s@%s/signature-%d", path, strings.Replace(q.Digest, ":", "=", 1), n))
	switch base.Scheme {
	case "file":
		if !a.entitled {
			err = forEverybody(u.Path)
		}
		if err == nil {
			blob, ok, err = readSignature(u.Path)
		}
	case "http", "https":
		blob, ok, err = c.fetch(ctx, u)
	default:
		err = fmt.Errorf("want an http, https or file URL")
	}
	if err != nil {
		return nil, false, fmt.Errorf("lookaside %s: %w", u.Redacted(), err)
	}
	return blob, ok, nil
}

func (c *chain) fetch(ctx context.Context, u *url.URL) (blob []byte, ok bool, err error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, false, err
	}
	req.Header.Set(chainedHeader, "1")
	res, err := c.http.Do(req)
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err // the URL is named already, without a password that may be in it
		}
		return nil, false, err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK:
		blob, err = readAtMost(res.Body)
		return blob, err == nil, err
	case http.StatusNotFound:
		return nil, false, nil
	}
	return nil, false, fmt.Errorf("status %d", res.StatusCode)
}

// forEverybody is an error if not every user can read a file, or could if it were there. It says no more than they would see themselves.
func forEverybody(path string) error {
	for dir := filepath.Dir(path); ; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err == nil && info.Mode().Perm()&0o001 == 0 {
			return errors.New("not every user of this host may look there")
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	if info, err := os.Stat(path); err == nil && info.Mode().Perm()&0o004 == 0 {
		return errors.New("not every user of this host may read it")
	}
	return nil
}

func readSignature(path string) (blob []byte, ok bool, err error) {
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0) // a fifo must not keep us
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, false, err
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return nil, false, errors.Join(err, errors.New("it is not a regular file"))
	}
	blob, err = readAtMost(f)
	return blob, err == nil, err
}

func readAtMost(r io.Reader) ([]byte, error) {
	blob, err := io.ReadAll(io.LimitReader(r, maxBlob+1))
	if err == nil && len(blob) > maxBlob {
		err = fmt.Errorf("the signature has more than %d bytes", maxBlob)
	}
	return blob, err
}
