package tuf

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"fmt"
	"io"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/theupdateframework/go-tuf/v2/metadata"
)

const testMirror = "https://sigstore.acme.example/tuf"

var testStart = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func must[T any](value T, err error) T {
	if err != nil {
		panic(err)
	}
	return value
}

func newKey() crypto.Signer { return must(ecdsa.GenerateKey(elliptic.P256(), rand.Reader)) }

// world is a repository that does as it is told, a mirror without a network, and a client.
type world struct {
	t      *testing.T
	now    time.Time
	root   *metadata.Metadata[metadata.RootType]
	keys   map[string][]crypto.Signer
	client Client

	version map[string]int64
	content map[string]string // targets

	// Each is called, if set, before the role is signed.
	editTargets   func(*metadata.TargetsType)
	editSnapshot  func(*metadata.SnapshotType)
	editTimestamp func(*metadata.TimestampType)

	mu       sync.Mutex
	files    map[string][]byte // below the mirror's path
	serve    func(*http.Request) (*http.Response, error)
	requests []*http.Request
}

func newWorld(t *testing.T) *world {
	w := &world{
		t: t, now: testStart, keys: make(map[string][]crypto.Signer), version: make(map[string]int64), files: make(map[string][]byte),
		content: map[string]string{trustedRootTarget: "first root", signingConfigTarget: "first config"},
	}
	w.root = metadata.Root(testStart.AddDate(1, 0, 0))
	for _, role := range []string{metadata.ROOT, metadata.TARGETS, metadata.SNAPSHOT, metadata.TIMESTAMP} {
		w.setKeys(role, newKey())
	}
	w.publishRoot()
	w.publish()
	w.client = Client{
		Mirror: testMirror, Root: w.files["1.root.json"], CacheDir: t.TempDir(), Transport: w, Now: func() time.Time { return w.now },
	}
	return w
}

// setKeys makes these the keys of a role in the next root.
func (w *world) setKeys(role string, keys ...crypto.Signer) {
	w.root.Signed.Roles[role].KeyIDs = nil
	for _, key := range keys {
		must(0, w.root.Signed.AddKey(must(metadata.KeyFromPublicKey(key.Public())), role))
	}
	w.keys[role] = keys
}

// publishRoot signs the root as it is with its keys and the given further ones, and publishes it under its version.
func (w *world) publishRoot(further ...crypto.Signer) {
	w.root.ClearSignatures()
	w.files[rootName(w.root.Signed.Version)] = w.sign(w.root, append(w.keys[metadata.ROOT], further...)...)
}

// nextRoot publishes another root after an edit, signed by the keys before and after it.
func (w *world) nextRoot(edit func()) {
	before := w.keys[metadata.ROOT]
	edit()
	w.root.Signed.Version++
	w.publishRoot(before...)
}

// publish publishes the next version of targets, snapshot and timestamp.
func (w *world) publish() {
	targets := metadata.Targets(w.now.AddDate(0, 6, 0))
	w.version[metadata.TARGETS]++
	targets.Signed.Version = w.version[metadata.TARGETS]
	for name, content := range w.content {
		info := must(metadata.TargetFile().FromBytes(name, []byte(content), "sha256"))
		targets.Signed.Targets[name] = info
		w.files[fmt.Sprintf("targets/%x.%s", []byte(info.Hashes["sha256"]), name)] = []byte(content)
	}
	if w.editTargets != nil {
		w.editTargets(&targets.Signed)
	}
	name := fmt.Sprintf("%d.targets.json", targets.Signed.Version)
	w.files[name] = sign(targets, w.keys[metadata.TARGETS])

	snapshot := metadata.Snapshot(w.now.AddDate(0, 0, 21))
	w.version[metadata.SNAPSHOT]++
	snapshot.Signed.Version = w.version[metadata.SNAPSHOT]
	snapshot.Signed.Meta["targets.json"] = describe(targets.Signed.Version, w.files[name])
	if w.editSnapshot != nil {
		w.editSnapshot(&snapshot.Signed)
	}
	name = fmt.Sprintf("%d.snapshot.json", snapshot.Signed.Version)
	w.files[name] = sign(snapshot, w.keys[metadata.SNAPSHOT])

	timestamp := metadata.Timestamp(w.now.AddDate(0, 0, 7))
	w.version[metadata.TIMESTAMP]++
	timestamp.Signed.Version = w.version[metadata.TIMESTAMP]
	timestamp.Signed.Meta["snapshot.json"] = describe(snapshot.Signed.Version, w.files[name])
	if w.editTimestamp != nil {
		w.editTimestamp(&timestamp.Signed)
	}
	w.files["timestamp.json"] = sign(timestamp, w.keys[metadata.TIMESTAMP])
}

// publishNew publishes another trusted root.
func (w *world) publishNew(content string) {
	w.content[trustedRootTarget] = content
	w.publish()
}

func describe(version int64, content []byte) *metadata.MetaFiles {
	sum := sha256.Sum256(content)
	return &metadata.MetaFiles{Version: version, Length: int64(len(content)), Hashes: metadata.Hashes{"sha256": sum[:]}}
}

func (w *world) sign(root *metadata.Metadata[metadata.RootType], keys ...crypto.Signer) []byte {
	return sign(root, keys)
}

func sign[T metadata.Roles](m *metadata.Metadata[T], keys []crypto.Signer) []byte {
	seen := make(map[crypto.Signer]bool)
	for _, key := range keys {
		if !seen[key] {
			must(m.Sign(must(signature.LoadSigner(key, crypto.SHA256))))
		}
		seen[key] = true
	}
	return must(m.ToBytes(false))
}

// RoundTrip is the mirror.
func (w *world) RoundTrip(request *http.Request) (*http.Response, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.requests = append(w.requests, request)
	if w.serve != nil {
		if response, err := w.serve(request); response != nil || err != nil {
			return response, err
		}
	}
	content, ok := w.files[strings.TrimPrefix(request.URL.Path, "/tuf/")]
	if !ok {
		return answer(request, http.StatusNotFound, strings.NewReader("")), nil
	}
	return answer(request, http.StatusOK, bytes.NewReader(content)), nil
}

func answer(request *http.Request, status int, body io.Reader) *http.Response {
	return &http.Response{
		StatusCode: status, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: make(http.Header), Body: io.NopCloser(body), ContentLength: -1, Request: request,
	}
}

// keep remembers what the mirror has, and returns a function that makes it so again.
func (w *world) keep() (restore func()) {
	files, version, content := maps.Clone(w.files), maps.Clone(w.version), maps.Clone(w.content)
	return func() {
		w.files, w.version, w.content, w.editTargets, w.editSnapshot, w.editTimestamp, w.serve = files, version, content, nil, nil, nil, nil
	}
}

// admits demands that the client gets this trusted root.
func (w *world) admits(want string) *Result {
	w.t.Helper()
	result, err := w.client.Refresh(context.Background())
	if err != nil {
		w.t.Fatalf("refused: %v", err)
	}
	if string(result.TrustedRoot) != want {
		w.t.Fatalf("got %q, want %q", result.TrustedRoot, want)
	}
	return result
}

// refuses demands that the client refuses what the mirror has, for a reason that contains these words.
func (w *world) refuses(name, words string) {
	w.t.Helper()
	result, err := w.client.Refresh(context.Background())
	switch {
	case err == nil:
		w.t.Errorf("%s: got %q", name, result.TrustedRoot)
	case !strings.Contains(err.Error(), words):
		w.t.Errorf("%s: refused, but not for %q: %v", name, words, err)
	}
}
