// Package store is what an agent remembers, in one SQLite file in its state
// directory:
//
//   - decisions, for `touchmark why` and `touchmark report`: who asked about
//     which image, what the answer was, and how often ([Store.Record]);
//   - admissions that are given again after a restart, within the ten minutes
//     that they had before it (it is a gate.Store);
//   - which index lists which manifest, which never changes (it is a
//     parents.Store).
//
// Nothing in it decides: a restored admission is held against the question by
// the gate, and an index is read again. All of it can be lost.
//
// The file may break, and the disk may be full. Then nothing is remembered,
// [Store.Status] says why, and the agent decides as if there were no file. What
// is to be remembered is written behind the back of who asks: some of the last
// moments is lost in a crash, and the file is whole.
//
// It is 0600 in a directory of mode 0700: who pulled what is nobody else's
// business.
package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/services/internal/sqlite"
)

// File is the file's name in the state directory.
const File = "agent.db"

// readTimeout bounds what a question waits for the file: without an answer from
// it the registry is asked, and a broken disk must not hold up a pull.
const readTimeout = 250 * time.Millisecond

const schema = `
CREATE TABLE decisions (
	id         TEXT PRIMARY KEY, -- digest of who asked, the image, outcome and code
	client     TEXT NOT NULL,
	uid        INTEGER NOT NULL, -- -1: not known
	repository TEXT NOT NULL,
	digest     TEXT NOT NULL,
	outcome    TEXT NOT NULL,
	code       TEXT NOT NULL,
	reason     TEXT NOT NULL,    -- the last one's, like the verdict
	host       TEXT NOT NULL,
	count      INTEGER NOT NULL,
	first      INTEGER NOT NULL, -- nanoseconds since 1970, as all times here
	last       INTEGER NOT NULL,
	verdict    BLOB NOT NULL     -- JSON
) WITHOUT ROWID;
CREATE INDEX decisions_last ON decisions (last);
CREATE INDEX decisions_asker ON decisions (uid, last);
CREATE INDEX decisions_image ON decisions (repository, last);
CREATE TABLE admissions (
	key     TEXT PRIMARY KEY,
	rules   TEXT NOT NULL,
	since   INTEGER NOT NULL,
	until   INTEGER NOT NULL,
	verdict BLOB NOT NULL -- JSON
) WITHOUT ROWID;
CREATE TABLE indexes (
	id     INTEGER PRIMARY KEY,
	place  TEXT NOT NULL,
	digest TEXT NOT NULL,
	listed INTEGER NOT NULL, -- how many manifests
	UNIQUE (place, digest)
);
CREATE TABLE children (
	manifest TEXT NOT NULL,
	listing  INTEGER NOT NULL REFERENCES indexes (id),
	PRIMARY KEY (manifest, listing)
) WITHOUT ROWID;
CREATE INDEX children_listing ON children (listing);
CREATE TABLE meta (
	seen    INTEGER NOT NULL, -- the latest time that the agent saw
	version TEXT NOT NULL     -- of the program that wrote the admissions
);
INSERT INTO meta VALUES (0, '');
`

// Config is what a [Store] is made from.
type Config struct {
	Dir string // made with mode 0700 if need be
	// Version is the program's: admissions of another one are forgotten.
	Version string
	Host    string           // this host's name, noted beside decisions
	Now     func() time.Time // nil is time.Now
	// Changed is called, if it is not nil, when the store ceases to work (with
	// the reason) and when it works again (with nil).
	Changed func(error)
}

// Store is the file. Its methods may be called by many goroutines, and also
// when it could not be opened.
type Store struct {
	config Config
	db     *sql.DB         // nil if it could not be opened
	listed *parents.Memory // what was found lately

	writes chan queued
	quit   chan struct{}
	done   chan struct{} // closed when the writer has ended

	committing sync.Mutex // one transaction at a time

	mu      sync.Mutex
	err     error // why it does not work; nil if it does
	since   time.Time
	dropped uint64
	clock   clock
}

// Status says whether the store works.
type Status struct {
	Err   error     // nil if it does
	Since time.Time // when it ceased to
	// Dropped is how much was not written: the disk is too slow, or does not work.
	Dropped uint64
}

// Open opens the file, or makes it. A store that could not be opened remembers
// nothing, and says why in its status.
func Open(ctx context.Context, c Config) *Store {
	if c.Now == nil {
		c.Now = time.Now
	}
	s := &Store{config: c, listed: parents.NewMemory(), writes: make(chan queued, queueLength), quit: make(chan struct{}), done: make(chan struct{})}
	db, err := open(ctx, c.Dir)
	if err != nil {
		s.health(fmt.Errorf("opening the agent's store: %w; its content can be lost: move it away, and start the agent again", err))
		close(s.done)
		return s
	}
	s.db = db
	s.health(s.begin(ctx))
	go s.writer()
	return s
}

func open(ctx context.Context, dir string) (*sql.DB, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	// A directory of the name may have been there.
	if err := os.Chmod(dir, 0o700); err != nil {
		return nil, err
	}
	path := filepath.Join(dir, File)
	for _, own := range []string{dir, path, path + "-wal", path + "-shm"} {
		if err := checkOwner(own); err != nil {
			return nil, err
		}
	}
	return sqlite.Open(ctx, path, sqlite.Schema{Version: 1, SQL: schema})
}

// checkOwner refuses what somebody else may have put there: admissions are
// restored from it.
func checkOwner(path string) error {
	info, err := os.Lstat(path)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !ok || int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s: belongs to another user", path)
	case !info.IsDir() && !info.Mode().IsRegular():
		return fmt.Errorf("%s: not a regular file", path)
	case !info.IsDir() && info.Mode().Perm()&0o077 != 0:
		return fmt.Errorf("%s: others may read or write it (mode %v, want 0600)", path, info.Mode().Perm())
	}
	return nil
}

// ErrNone is returned by [Read] where there is no file.
var ErrNone = errors.New("the agent has recorded nothing here")

// Read opens the file of an agent that is not running, to ask for decisions.
func Read(ctx context.Context, dir string) (*Store, error) {
	path := filepath.Join(dir, File)
	if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrNone)
	} else if err != nil {
		return nil, err
	}
	s := &Store{config: Config{Dir: dir, Now: time.Now}, listed: parents.NewMemory(), done: make(chan struct{}), quit: make(chan struct{})}
	close(s.done)
	var err error
	if s.db, err = sqlite.Open(ctx, path, sqlite.Schema{Version: 1, SQL: schema}); err != nil {
		return nil, fmt.Errorf("opening the agent's store: %w", err)
	}
	return s, nil
}

// Status says whether the store works.
func (s *Store) Status() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	return Status{Err: s.err, Since: s.since, Dropped: s.dropped}
}

// health notes what came of using the file.
func (s *Store) health(err error) {
	s.mu.Lock()
	changed := (err == nil) != (s.err == nil)
	if changed {
		s.since = s.config.Now()
	}
	s.err = err
	s.mu.Unlock()
	if changed && s.config.Changed != nil {
		s.config.Changed(err)
	}
}

// Close writes what is still to be written and closes the file.
func (s *Store) Close() error {
	close(s.quit)
	<-s.done
	if s.db == nil {
		return nil
	}
	return s.db.Close()
}
