package policycmd

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/userfile"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/configfile"
)

// recording is one answer of a registry, as it is kept in a file.
type recording struct {
	Method string      `json:"method"`
	URL    string      `json:"url"`
	Status int         `json:"status"`
	Header http.Header `json:"header,omitempty"`
	Body   []byte      `json:"body,omitempty"` // base64
}

// keptHeaders are the only ones that are kept: what a client needs to read the
// answer, and nothing about whoever asked.
var keptHeaders = []string{"Content-Type", "Docker-Content-Digest", "Link", "Oci-Filters-Applied"}

// maxRecording bounds an answer: what looking for evidence reads at most.
const maxRecording = max(attach.MaxManifest, attach.MaxBundle) + 1

// recordingFile is where the answer to a request lies, over HTTP or HTTPS.
func recordingFile(dir, method string, url *url.URL) string {
	sum := sha256.Sum256([]byte(method + " " + url.Host + url.RequestURI()))
	return filepath.Join(dir, hex.EncodeToString(sum[:])+".json")
}

// recordable reports whether a request is one for content of a registry.
// Tokens, and the requests that obtain them, are never kept.
func recordable(req *http.Request) bool {
	return (req.Method == http.MethodGet || req.Method == http.MethodHead) && strings.HasPrefix(req.URL.Path, "/v2/") && req.URL.Path != "/v2/"
}

// recorder keeps the answers of registries that pass through it.
type recorder struct {
	dir  string
	next http.RoundTripper
}

func newRecorder(dir string, next http.RoundTripper) (*recorder, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, fmt.Errorf("--record: %w", err)
	}
	return &recorder{dir: dir, next: next}, nil
}

// RoundTrip keeps what is there, and what is not. Where a registry sends
// the client elsewhere, the answer from there is kept as the registry's: the
// address may hold a secret.
func (r *recorder) RoundTrip(req *http.Request) (*http.Response, error) {
	resp, err := r.next.RoundTrip(req)
	if err != nil {
		return nil, err
	}
	first := req
	for first.Response != nil && first.Response.Request != nil {
		first = first.Response.Request
	}
	if !recordable(first) || resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusNotFound {
		return resp, nil
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxRecording+1))
	rest := resp.Body
	resp.Body = struct {
		io.Reader
		io.Closer
	}{io.MultiReader(bytes.NewReader(body), rest), rest}
	if err != nil || len(body) > maxRecording {
		return resp, nil // what cannot be read whole is no answer to keep
	}
	kept := recording{Method: first.Method, URL: first.URL.String(), Status: resp.StatusCode, Header: http.Header{}, Body: body}
	for _, name := range keptHeaders {
		if values := resp.Header.Values(name); len(values) > 0 {
			kept.Header[name] = values
		}
	}
	text, err := json.MarshalIndent(kept, "", "  ")
	if err == nil {
		err = userfile.Replace(recordingFile(r.dir, first.Method, first.URL), append(text, '\n'), 0o644)
	}
	if err != nil {
		_ = resp.Body.Close()
		return nil, fmt.Errorf("recording the answer to %s: %w", kept.URL, err)
	}
	return resp, nil
}

// player answers from a recording, and makes no requests. It is trusted no more
// than a registry: whoever reads the answers verifies them.
type player struct{ dir string }

func newPlayer(dir string) (*player, error) {
	info, err := os.Stat(dir)
	if err != nil {
		return nil, fmt.Errorf("--offline: %w", err)
	}
	if !info.IsDir() {
		return nil, fmt.Errorf("--offline: %s: not a directory", dir)
	}
	return &player{dir: dir}, nil
}

// RoundTrip answers what was recorded. What was not is an outage, not a "no".
func (p *player) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Path == "/v2/" {
		return answer(req, recording{Status: http.StatusOK}), nil
	}
	text, err := configfile.Read(recordingFile(p.dir, req.Method, req.URL), 2*maxRecording)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("%s %s is not in the recording %s", req.Method, req.URL, p.dir)
	}
	var kept recording
	if err == nil {
		err = json.Unmarshal(text, &kept)
	}
	if err != nil {
		return nil, fmt.Errorf("reading the recording of %s: %w", req.URL, err)
	}
	return answer(req, kept), nil
}

func answer(req *http.Request, r recording) *http.Response {
	if r.Header == nil {
		r.Header = http.Header{}
	}
	return &http.Response{
		Status: http.StatusText(r.Status), StatusCode: r.Status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: r.Header, Body: io.NopCloser(bytes.NewReader(r.Body)), ContentLength: int64(len(r.Body)), Request: req,
	}
}
