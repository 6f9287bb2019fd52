package skopeo

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
)

// RoundTrip answers as a registry does whose one repository is this layout: the distribution specification's GET and HEAD of manifests, blobs and referrers, and,
// if the layout was opened for writing, uploads and PUT of manifests. It checks nothing that clients of registries check. While a layout is written it has no referrers
// API, so that its fallback indexes are kept as those of a registry without one; entries that are only listed are found by those who read.
func (l *layout) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	a, err := l.answer(req)
	switch {
	case errors.Is(err, errAbsent):
		a = answer{status: http.StatusNotFound}
	case err != nil:
		return nil, err
	}
	if a.body == nil {
		a.body = io.NopCloser(bytes.NewReader(nil))
	}
	resp := &http.Response{
		StatusCode: a.status, Status: fmt.Sprintf("%d %s", a.status, http.StatusText(a.status)),
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: http.Header{}, Body: a.body, ContentLength: a.size, Request: req,
	}
	for key, value := range a.header {
		resp.Header.Set(key, value)
	}
	if req.Method == http.MethodHead {
		resp.Body.Close()
		resp.Body = http.NoBody
	}
	return resp, nil
}

// answer is a response before it is one.
type answer struct {
	status int
	header map[string]string
	body   io.ReadCloser
	size   int64
}

func whole(mediaType string, body []byte) answer {
	return answer{
		status: http.StatusOK, header: map[string]string{"Content-Type": mediaType},
		body: io.NopCloser(bytes.NewReader(body)), size: int64(len(body)),
	}
}

// errAbsent is a clear "it is not there", which becomes 404. Nothing else does: a file that is missing behind something that is there must not look like an image to
// which nothing is attached.
var errAbsent = errors.New("not in this layout")

// answer answers the request.
func (l *layout) answer(req *http.Request) (answer, error) {
	// Where a policy sends a reader elsewhere (to the lookaside of OpenPGP signatures), "it is not there" would be said of a place where nobody looked.
	if host := req.URL.Host + "/layout"; host != sourceLayout && host != destinationLayout {
		return answer{}, fmt.Errorf("%s is not asked about an image in a layout or archive", req.URL.Host)
	}
	dir, last := path.Split(req.URL.Path)
	reading := req.Method == http.MethodGet || req.Method == http.MethodHead
	switch kind := path.Base(dir); {
	case req.URL.Path == "/v2/":
		return answer{status: http.StatusOK}, nil
	case reading && kind == "manifests":
		return l.getManifest(last)
	case reading && kind == "blobs":
		return l.getBlob(last)
	case reading && kind == "referrers" && !l.writable:
		return l.getReferrers(last)
	case reading || !l.writable:
		return answer{}, errAbsent
	case req.Method == http.MethodPut && kind == "manifests":
		return l.putManifest(req, last)
	case kind == "uploads":
		return l.upload(req)
	}
	return answer{}, errAbsent
}

func (l *layout) getManifest(identifier string) (answer, error) {
	digest, err := v1.NewHash(identifier)
	byTag := err != nil
	if byTag {
		if digest, err = l.tagged(identifier); err != nil {
			return answer{}, err
		}
	}
	if err := l.there(digest); err != nil {
		if byTag && !l.writable {
			return answer{}, fmt.Errorf("index.json names blobs/sha256/%s %s, which is not there", digest.Hex, identifier)
		}
		return answer{}, err
	}
	raw, mediaType, err := l.readManifest(digest)
	if err != nil {
		return answer{}, err
	}
	return whole(string(mediaType), raw), nil
}

func (l *layout) getBlob(identifier string) (answer, error) {
	digest, err := v1.NewHash(identifier)
	if err != nil {
		return answer{}, err
	}
	if err := l.there(digest); err != nil {
		return answer{}, err
	}
	f, size, err := l.store.open(digest)
	if err != nil {
		return answer{}, err
	}
	return answer{status: http.StatusOK, body: f, size: size}, nil
}

// there returns errAbsent for a blob that the layout lacks. In one that is written, what lies there may be older than this copy, and broken: that is as good as nothing.
func (l *layout) there(digest v1.Hash) error {
	if l.writable {
		whole, err := l.store.has(digest)
		if err == nil && !whole {
			return errAbsent
		}
		return err
	}
	f, _, err := l.store.open(digest)
	if errors.Is(err, fs.ErrNotExist) {
		return errAbsent
	}
	if err != nil {
		return err
	}
	return f.Close()
}

// getReferrers lists what is attached to a digest: what its fallback index lists, and what is listed in index.json and names it as its subject.
func (l *layout) getReferrers(identifier string) (answer, error) {
	digest, err := v1.NewHash(identifier)
	if err != nil {
		return answer{}, err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.referrers == nil {
		if err := l.readReferrers(); err != nil {
			return answer{}, err
		}
	}
	list := l.referrers[digest]
	if list == nil {
		list = []v1.Descriptor{}
	}
	body, err := json.Marshal(v1.IndexManifest{SchemaVersion: 2, MediaType: types.OCIImageIndex, Manifests: list})
	if err != nil {
		return answer{}, err
	}
	return whole(string(types.OCIImageIndex), body), nil
}

// readReferrers reads every entry of index.json once.
func (l *layout) readReferrers() error {
	lists := map[v1.Hash][]v1.Descriptor{}
	seen := map[[2]v1.Hash]bool{}
	list := func(subject v1.Hash, desc v1.Descriptor) {
		if key := [2]v1.Hash{subject, desc.Digest}; !seen[key] {
			seen[key] = true
			lists[subject] = append(lists[subject], desc)
		}
	}
	for _, e := range l.entries {
		m, err := l.manifest(e.desc.Digest)
		if err != nil {
			return fmt.Errorf("reading what index.json lists: %w", err)
		}
		if hex, isFallback := strings.CutPrefix(e.name(), "sha256-"); isFallback && m.MediaType.IsIndex() {
			for _, desc := range m.Manifests {
				list(v1.Hash{Algorithm: "sha256", Hex: hex}, desc)
			}
		}
		if m.Subject != nil {
			list(m.Subject.Digest, m.Entry())
		}
	}
	l.referrers = lists
	return nil
}

// putManifest keeps a manifest, under its digest and, if that was asked for, a tag.
func (l *layout) putManifest(req *http.Request, identifier string) (answer, error) {
	raw, err := io.ReadAll(io.LimitReader(req.Body, attach.MaxManifest+1))
	if err != nil {
		return answer{}, err
	}
	m, err := attach.ParseManifest(types.MediaType(req.Header.Get("Content-Type")), raw)
	if err != nil {
		return answer{}, err
	}
	digest, err := l.store.add(bytes.NewReader(raw))
	if err != nil {
		return answer{}, err
	}
	if !strings.Contains(identifier, ":") {
		l.set(identifier, m)
	} else if identifier != digest.String() {
		return answer{}, fmt.Errorf("manifest %s: content has digest %s", identifier, digest)
	}
	return answer{status: http.StatusCreated}, nil
}

// upload takes a blob in three requests: POST begins it, PATCH brings it, PUT says which digest it should have had.
func (l *layout) upload(req *http.Request) (answer, error) {
	if req.Method == http.MethodPost {
		l.mu.Lock()
		defer l.mu.Unlock()
		location := fmt.Sprintf("%s%d", req.URL.Path, len(l.uploads))
		l.uploads[location] = v1.Hash{}
		return answer{status: http.StatusAccepted, header: map[string]string{"Location": location}}, nil
	}
	location := req.URL.Path
	l.mu.Lock()
	digest, begun := l.uploads[location]
	l.mu.Unlock()
	switch {
	case !begun:
		return answer{}, errAbsent
	case req.Method == http.MethodPatch:
		digest, err := l.store.add(req.Body)
		if err != nil {
			return answer{}, err
		}
		l.mu.Lock()
		defer l.mu.Unlock()
		l.uploads[location] = digest
		return answer{status: http.StatusAccepted, header: map[string]string{"Location": location}}, nil
	case req.URL.Query().Get("digest") != digest.String():
		return answer{}, fmt.Errorf("blob %s: content has digest %s", req.URL.Query().Get("digest"), digest)
	}
	return answer{status: http.StatusCreated}, nil
}
