package trustroot

import (
	"crypto"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"math"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"
	"github.com/theupdateframework/go-tuf/v2/metadata/trustedmetadata"
)

const (
	timestampFile = "timestamp.json"
	targetsDir    = "targets"

	// maxFile bounds what is read of the repository's own files: what clients read of the largest role.
	maxFile = 5 << 20

	// maxRoots is how many roots after their own clients of go-tuf follow at once.
	maxRoots = 256
)

// RepositoryConfig says what a repository publishes, where, and with which keys.
type RepositoryConfig struct {
	// Dir is the repository's directory, which exists and which nobody else writes. Required.
	Dir string

	// Keys sign the metadata.
	Keys RepositoryKeys

	// Targets are the files to publish, by name. Required.
	Targets map[string][]byte

	// Clock tells the time; nil means time.Now.
	Clock func() time.Time

	// Logger receives what operators must know; nil discards.
	Logger *slog.Logger
}

// RepositoryKeys are the keys at hand, ECDSA P-256: the kind that every TUF client reads, and that hardware keeps.
type RepositoryKeys struct {
	// Root are the keys that name all keys. A new repository trusts all of these; later they may be fewer, or none.
	Root []crypto.Signer

	// RootThreshold is how many root keys must sign, in a new repository; 0 means 1.
	RootThreshold int

	// Targets signs what the files are. It may be missing later.
	Targets crypto.Signer

	// Online signs snapshot and timestamp, again and again. Required.
	Online crypto.Signer
}

// A Repository is a TUF repository in a directory. It is safe for concurrent use, by one process.
type Repository struct {
	path    string
	dir     *os.Root
	keys    RepositoryKeys
	content map[string][]byte
	clock   func() time.Time
	logger  *slog.Logger

	mu      sync.Mutex
	roots   [][]byte // version 1 first
	current *trustedmetadata.TrustedMetadata
	warned  map[string]int // per role, the highest share of its life that was warned of
	blocked bool           // it was said that the targets cannot be published
}

// CreateRepository makes a repository in an empty directory, or in one where an earlier call was interrupted.
func CreateRepository(config RepositoryConfig) (*Repository, error) {
	r, err := newRepository(config)
	if err != nil {
		return nil, fmt.Errorf("making TUF repository: %w", err)
	}
	if err := r.create(); err != nil {
		return nil, errors.Join(fmt.Errorf("making TUF repository in %s: %w", r.path, err), r.Close())
	}
	return r, nil
}

// OpenRepository opens a repository, verifies it as clients do, and publishes what has changed or is about to expire. A repository
// that is damaged or not signed by the keys at hand is an error.
func OpenRepository(config RepositoryConfig) (*Repository, error) {
	r, err := newRepository(config)
	if err != nil {
		return nil, fmt.Errorf("opening TUF repository: %w", err)
	}
	err = r.load()
	if err == nil {
		err = r.checkKeys()
	}
	if err == nil {
		err = r.Renew()
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("opening TUF repository in %s: %w", r.path, err), r.Close())
	}
	return r, nil
}

func newRepository(config RepositoryConfig) (*Repository, error) {
	if config.Dir == "" || config.Keys.Online == nil || len(config.Targets) == 0 {
		return nil, errors.New("Dir, Keys.Online and Targets are required")
	}
	for name := range config.Targets {
		if !plainName(name) {
			return nil, fmt.Errorf("target %q: want letters, digits, '.', '_' and '-'", name)
		}
	}
	r := &Repository{
		path: config.Dir, keys: config.Keys, content: config.Targets, clock: config.Clock, logger: config.Logger, warned: make(map[string]int),
	}
	if r.clock == nil {
		r.clock = time.Now
	}
	if r.logger == nil {
		r.logger = slog.New(slog.DiscardHandler)
	}
	if err := os.Mkdir(filepath.Join(config.Dir, targetsDir), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("making directory: %w", err)
	}
	var err error
	r.dir, err = os.OpenRoot(config.Dir)
	return r, err
}

// Root returns the first root metadata: what clients start from.
func (r *Repository) Root() []byte {
	r.mu.Lock()
	defer r.mu.Unlock()
	return append([]byte(nil), r.roots[0]...)
}

// Healthy is nil while clients can follow the repository: its timestamp has not expired.
func (r *Repository) Healthy() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if end := r.current.Timestamp.Signed.Expires; r.clock().After(end) {
		return fmt.Errorf("%s expired at %s and could not be renewed", timestampFile, end.Format(time.RFC3339))
	}
	return nil
}

// Close ends the use of the directory.
func (r *Repository) Close() error { return r.dir.Close() }

// load reads the newest set: all roots in a row, and what timestamp.json leads to.
func (r *Repository) load() error {
	var roots [][]byte
	for version := int64(1); version <= maxRoots; version++ {
		root, err := r.read(versioned(version, metadata.ROOT))
		if errors.Is(err, fs.ErrNotExist) {
			break
		}
		if err != nil {
			return err
		}
		roots = append(roots, root)
	}
	if len(roots) == 0 {
		return fmt.Errorf("%s is missing: restore the repository, it cannot be made anew", versioned(1, metadata.ROOT))
	}
	timestamp, err := r.read(timestampFile)
	if err != nil {
		return err
	}
	// Where timestamp and snapshot lead to is verified below.
	unverifiedTimestamp, err := metadata.Timestamp().FromBytes(timestamp)
	if err != nil {
		return fmt.Errorf("%s: %w", timestampFile, err)
	}
	snapshot, err := r.readRole(metadata.SNAPSHOT, unverifiedTimestamp.Signed.Meta)
	if err != nil {
		return err
	}
	unverifiedSnapshot, err := metadata.Snapshot().FromBytes(snapshot)
	if err != nil {
		return fmt.Errorf("snapshot: %w", err)
	}
	targets, err := r.readRole(metadata.TARGETS, unverifiedSnapshot.Signed.Meta)
	if err != nil {
		return err
	}
	current, err := verifySet(roots, timestamp, snapshot, targets)
	if err != nil {
		return err
	}
	for name, info := range current.Targets[metadata.TARGETS].Signed.Targets {
		content, err := r.read(targetPath(name, info.Hashes["sha256"]))
		if err == nil {
			err = info.VerifyLengthHashes(content)
		}
		if err != nil {
			return fmt.Errorf("target %s: %w", name, err)
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.roots, r.current = roots, current
	return nil
}

func (r *Repository) readRole(role string, meta map[string]*metadata.MetaFiles) ([]byte, error) {
	info := meta[role+".json"]
	if info == nil {
		return nil, fmt.Errorf("%s is not listed", role)
	}
	return r.read(versioned(info.Version, role))
}

// verifySet verifies a set as a client does that has the first root, expiry aside: what has expired here is about to be renewed.
func verifySet(roots [][]byte, timestamp, snapshot, targets []byte) (*trustedmetadata.TrustedMetadata, error) {
	set, err := trustedmetadata.New(roots[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", versioned(1, metadata.ROOT), err)
	}
	set.RefTime = time.Time{}
	for i, root := range roots[1:] {
		if _, err := set.UpdateRoot(root); err != nil {
			return nil, fmt.Errorf("%s: %w", versioned(int64(i)+2, metadata.ROOT), err)
		}
	}
	if _, err := set.UpdateTimestamp(timestamp); err != nil {
		return nil, fmt.Errorf("%s: %w", timestampFile, err)
	}
	if _, err := set.UpdateSnapshot(snapshot, false); err != nil {
		return nil, fmt.Errorf("snapshot: %w", err)
	}
	if _, err := set.UpdateTargets(targets); err != nil {
		return nil, fmt.Errorf("targets: %w", err)
	}
	return set, nil
}

// read reads a regular file of the repository.
func (r *Repository) read(name string) ([]byte, error) {
	file, err := r.dir.OpenFile(name, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer func() { _ = file.Close() }()
	info, err := file.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxFile {
		return nil, fmt.Errorf("%s must be a regular file of at most %d bytes", name, maxFile)
	}
	return io.ReadAll(io.LimitReader(file, maxFile))
}

// freeVersion is the first version after the current one that no file has: not even one that a crash left, so that a version never
// stands for two things.
func (r *Repository) freeVersion(role string, current int64) (int64, error) {
	for version := current + 1; version < math.MaxInt32; version++ {
		_, err := r.dir.Lstat(versioned(version, role))
		if errors.Is(err, fs.ErrNotExist) {
			return version, nil
		}
		if err != nil {
			return 0, err
		}
	}
	return 0, fmt.Errorf("%s has no version left", role)
}

func versioned(version int64, role string) string { return fmt.Sprintf("%d.%s.json", version, role) }

func targetPath(name string, sha256 []byte) string {
	return fmt.Sprintf("%s/%x.%s", targetsDir, sha256, name)
}

// plainName reports whether a target's name is the same in a path, a URL and a file system.
func plainName(name string) bool {
	for i, c := range []byte(name) {
		alphanumeric := c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
		if !alphanumeric && (i == 0 || c != '.' && c != '_' && c != '-') {
			return false
		}
	}
	return name != "" && len(name) <= 128
}
