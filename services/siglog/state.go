package siglog

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/services/internal/durable"
)

// stateSchema is the version of the directory's layout.
const stateSchema = 1

// maxStateFile bounds log.json in bytes: a version, a host name and a number.
const maxStateFile = 4 << 10

// state is log.json: what is fixed at the first start.
type state struct {
	Schema   int    `json:"schema"`
	Hostname string `json:"hostname"`
	TreeID   uint64 `json:"treeID,string"`
}

// loadState reads log.json and returns the v1 tree's ID. If there is none and no
// tree either, it makes one with a new, random ID.
func loadState(dir, hostname string) (uint64, error) {
	if hostname == "" {
		return 0, errors.New("the host name is missing")
	}
	path := filepath.Join(dir, "log.json")
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(filepath.Join(dir, "v1")); !errors.Is(err, fs.ErrNotExist) {
			return 0, fmt.Errorf("%s is missing, although there is a tree", path)
		}
		// Of a first start that was cut off.
		if err := durable.RemoveTemporary(dir); err != nil {
			return 0, err
		}
		return createState(path, hostname)
	}
	if err != nil {
		return 0, err
	}
	defer f.Close()
	var s state
	err = json.UnmarshalRead(io.LimitReader(f, maxStateFile), &s, json.RejectUnknownMembers(true))
	switch {
	case err != nil:
		return 0, fmt.Errorf("reading %s: it is damaged: %w", path, err)
	case s.Schema > stateSchema:
		return 0, fmt.Errorf("reading %s: its schema version is %d, this program knows %d", path, s.Schema, stateSchema)
	case s.Schema != stateSchema || !validTreeID(s.TreeID):
		return 0, fmt.Errorf("reading %s: it is damaged", path)
	case s.Hostname != hostname:
		return 0, fmt.Errorf("reading %s: the log's host name is %q and can't become %q: it is in every checkpoint", path, s.Hostname, hostname)
	}
	return s.TreeID, nil
}

// validTreeID: entry IDs hold it as a positive int64 in 16 hex digits.
func validTreeID(id uint64) bool { return id != 0 && id < 1<<63 }

func createState(path, hostname string) (uint64, error) {
	s := state{Schema: stateSchema, Hostname: hostname}
	for !validTreeID(s.TreeID) {
		var b [8]byte
		if _, err := rand.Read(b[:]); err != nil {
			return 0, err
		}
		s.TreeID = binary.BigEndian.Uint64(b[:]) >> 1
	}
	b, err := json.Marshal(s)
	if err != nil {
		return 0, err
	}
	return s.TreeID, durable.WriteFile(path, append(b, '\n'), 0o600)
}
