package skopeo

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"regexp"
	"slices"
	"sync"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/core/attach"
)

// store is what a layout lies in: a directory or an archive. Its methods may be called from several goroutines.
type store interface {
	// open opens a blob and says how large it is; io/fs.ErrNotExist if it isn't there. What it holds is not checked.
	open(digest v1.Hash) (io.ReadCloser, int64, error)
	// has says whether the whole blob is there, having read it.
	has(digest v1.Hash) (bool, error)
	// add keeps what it reads under its own digest, and is done when that would survive a crash. Of a reader that fails nothing is kept.
	add(r io.Reader) (v1.Hash, error)
	// commit makes this the layout's index.json, at once or not at all.
	commit(index []byte) error
	close() error
}

// maxEntries bounds the entries of index.json; each image has a handful.
const maxEntries = 4096

// refNameAnnotation holds an entry's name in index.json (image specification, "Pre-Defined Annotation Keys").
const refNameAnnotation = "org.opencontainers.image.ref.name"

// cosignKind tells cosign's --local-image what an entry of index.json is (cosign, pkg/oci/layout).
const cosignKind = "kind"

// layout is an OCI image layout and its index.json, which is written when everything else is.
type layout struct {
	store    store
	writable bool

	mu        sync.Mutex                  // guards everything below
	members   map[string]json.RawMessage  // of index.json, but for manifests
	entries   []entry                     // index.json's manifests
	uploads   map[string]v1.Hash          // by the path that was given out for each
	referrers map[v1.Hash][]v1.Descriptor // read when first asked for, of a layout that isn't written
}

// entry is an entry of index.json, as it is there and as it is read.
type entry struct {
	raw  json.RawMessage
	desc v1.Descriptor
}

func (e entry) name() string { return e.desc.Annotations[refNameAnnotation] }

// readLayout opens a layout or archive for reading.
func readLayout(p Place) (*layout, error) {
	var s store
	var index []byte
	var err error
	if p.Kind == Archive {
		s, index, err = readArchive(p.Path)
	} else {
		s, index, err = readDirectory(p.Path)
	}
	if err != nil {
		return nil, err
	}
	l := &layout{store: s}
	if err := l.parse(index); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return l, nil
}

// writeLayout opens a layout for writing, or begins one. Nobody else writes it until it is closed.
func writeLayout(p Place) (*layout, error) {
	var s store
	var index []byte
	var err error
	if p.Kind == Archive {
		s, err = writeArchive(p.Path)
	} else {
		s, index, err = writeDirectory(p.Path)
	}
	if err != nil {
		return nil, err
	}
	l := &layout{store: s, writable: true, uploads: map[string]v1.Hash{}}
	if index == nil {
		index = []byte(`{"schemaVersion":2,"mediaType":"` + types.OCIImageIndex + `","manifests":[]}`)
	}
	if err := l.parse(index); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return l, nil
}

// parse reads index.json.
func (l *layout) parse(untrustedIndex []byte) error {
	m, err := attach.ParseManifest(types.OCIImageIndex, untrustedIndex)
	if err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	if len(m.Manifests) > maxEntries {
		return fmt.Errorf("index.json: %d entries, limit %d", len(m.Manifests), maxEntries)
	}
	if err := json.Unmarshal(untrustedIndex, &l.members); err != nil {
		return fmt.Errorf("index.json: %w", err)
	}
	var raw []json.RawMessage
	if err := json.Unmarshal(l.members["manifests"], &raw); err != nil || len(raw) != len(m.Manifests) {
		return fmt.Errorf("index.json: manifests can't be read: %w", err)
	}
	for i, desc := range m.Manifests {
		l.entries = append(l.entries, entry{raw: raw[i], desc: desc})
	}
	return nil
}

// attachedName is what entries have as their name that hold attachments.
var attachedName = regexp.MustCompile(`\Asha256-[0-9a-f]{64}(\.[a-z]+)?\z`)

// image finds an image by its name; without one, the only image that there is.
func (l *layout) image(wanted string) (v1.Descriptor, string, error) {
	l.mu.Lock()
	entries := slices.Clone(l.entries)
	l.mu.Unlock()
	var found []entry
	for _, e := range entries {
		switch {
		case wanted != "" && e.name() == wanted:
		case wanted != "" || attachedName.MatchString(e.name()):
			continue
		default:
			m, err := l.manifest(e.desc.Digest)
			if err != nil {
				return v1.Descriptor{}, "", err
			}
			if m.Subject != nil {
				continue
			}
		}
		if !slices.ContainsFunc(found, func(f entry) bool { return f.desc.Digest == e.desc.Digest }) {
			found = append(found, e)
		}
	}
	if len(found) == 1 {
		return found[0].desc, found[0].name(), nil
	}
	what := "images"
	if wanted != "" {
		what = fmt.Sprintf("images of the name %q", wanted)
	}
	var names []string
	for _, e := range entries {
		if e.name() != "" && !attachedName.MatchString(e.name()) {
			names = append(names, e.name())
		}
	}
	return v1.Descriptor{}, "", fmt.Errorf("index.json has %d %s, want one; the names in it: %q", len(found), what, names)
}

// manifest reads a manifest or index that lies among the blobs.
func (l *layout) manifest(digest v1.Hash) (*attach.Manifest, error) {
	raw, mediaType, err := l.readManifest(digest)
	if err != nil {
		return nil, err
	}
	m, err := attach.ParseManifest(mediaType, raw)
	if err != nil {
		return nil, fmt.Errorf("blobs/sha256/%s: %w", digest.Hex, err)
	}
	if m.Digest != digest {
		return nil, fmt.Errorf("blobs/sha256/%s: content has digest %s", digest.Hex, m.Digest)
	}
	return m, nil
}

// readManifest gives the bytes, and the media type that they say they have; those that don't say it are an OCI index if they list manifests.
func (l *layout) readManifest(digest v1.Hash) ([]byte, types.MediaType, error) {
	f, size, err := l.store.open(digest)
	if err != nil {
		return nil, "", err
	}
	defer f.Close()
	if size > attach.MaxManifest {
		return nil, "", fmt.Errorf("blobs/sha256/%s: manifest of %d bytes, limit %d", digest.Hex, size, attach.MaxManifest)
	}
	raw, err := io.ReadAll(io.LimitReader(f, attach.MaxManifest))
	if err != nil {
		return nil, "", err
	}
	var says struct {
		MediaType types.MediaType `json:"mediaType"`
		Manifests json.RawMessage `json:"manifests"`
	}
	if err := json.Unmarshal(raw, &says); err != nil {
		return nil, "", fmt.Errorf("blobs/sha256/%s: %w", digest.Hex, err)
	}
	if says.MediaType == "" {
		says.MediaType = types.OCIManifestSchema1
		if says.Manifests != nil {
			says.MediaType = types.OCIImageIndex
		}
	}
	return raw, says.MediaType, nil
}

// tagged finds the entry with a name; errAbsent if there is none.
func (l *layout) tagged(tag string) (v1.Hash, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found v1.Hash
	for _, e := range l.entries {
		if e.name() != tag {
			continue
		}
		if found != (v1.Hash{}) && found != e.desc.Digest {
			return found, fmt.Errorf("index.json has two entries of the name %q", tag)
		}
		found = e.desc.Digest
	}
	if found == (v1.Hash{}) {
		return found, errAbsent
	}
	return found, nil
}

// setImage names an image in index.json, in the place of what had the name before. An image without a name is only listed.
func (l *layout) setImage(imageName string, m *attach.Manifest) {
	l.set(imageName, m)
	l.mu.Lock()
	defer l.mu.Unlock()
	if slices.ContainsFunc(l.entries, func(e entry) bool { return e.desc.Annotations[cosignKind] != "" }) {
		return // cosign's form has room for one image, the first
	}
	for i, e := range l.entries {
		switch {
		case e.desc.Digest == m.Digest && m.MediaType.IsIndex():
			l.entries[i] = e.annotated(cosignKind, "dev.cosignproject.cosign/imageIndex")
		case e.desc.Digest == m.Digest:
			l.entries[i] = e.annotated(cosignKind, "dev.cosignproject.cosign/image")
		case e.name() == attachedTag(m.Digest, ".sig"):
			l.entries[i] = e.annotated(cosignKind, "dev.cosignproject.cosign/sigs")
		case e.name() == attachedTag(m.Digest, ".att"):
			l.entries[i] = e.annotated(cosignKind, "dev.cosignproject.cosign/atts")
		}
	}
}

// set puts an entry into index.json, in the place of one with the same name.
func (l *layout) set(entryName string, m *attach.Manifest) {
	e := newEntry(v1.Descriptor{MediaType: m.MediaType, Digest: m.Digest, Size: int64(len(m.Raw))})
	if entryName != "" {
		e = e.annotated(refNameAnnotation, entryName)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for i, old := range l.entries {
		if old.name() == entryName && (entryName != "" || old.desc.Digest == m.Digest) {
			if old.desc.Digest != m.Digest {
				l.entries[i] = e
			}
			return
		}
	}
	l.entries = append(l.entries, e)
}

func newEntry(desc v1.Descriptor) entry {
	raw, err := json.Marshal(desc)
	if err != nil {
		panic(fmt.Sprintf("a descriptor that can't be marshalled: %v", err)) // it is made of strings and a number
	}
	return entry{raw: raw, desc: desc}
}

// annotated is the entry with one more annotation.
func (e entry) annotated(key, value string) entry {
	annotations := maps.Clone(e.desc.Annotations)
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[key] = value
	e.desc.Annotations = annotations
	return newEntry(e.desc)
}

// commit writes index.json.
func (l *layout) commit() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	raw := make([]json.RawMessage, 0, len(l.entries))
	for _, e := range l.entries {
		raw = append(raw, e.raw)
	}
	var err error
	if l.members["manifests"], err = json.Marshal(raw); err != nil {
		return err
	}
	index, err := json.Marshal(l.members)
	if err != nil {
		return err
	}
	return l.store.commit(index)
}
