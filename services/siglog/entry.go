package siglog

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/services/internal/index"
)

// Entry is an entry of the v1 tree with everything that proves it.
type Entry struct {
	Included
	ID             string // 16 hex digits of the tree's ID, 64 of the leaf hash
	IntegratedTime int64  // seconds since 1970
	SET            []byte // signed entry timestamp
}

// errNotFound is returned for what is not in the log.
var errNotFound = errors.New("there is no such entry")

// entry proves the body at the place, and signs its timestamp.
func (l *Log) entry(ctx context.Context, body []byte, place uint64, at int64) (Entry, error) {
	proven, err := l.v1.prove(ctx, body, place)
	if err != nil {
		return Entry{}, err
	}
	set, err := entry.Promise{Body: body, IntegratedTime: at, LogIndex: int64(place), LogID: proven.LogID}.Sign(l.cfg.V1Key)
	if err != nil {
		return Entry{}, err
	}
	return Entry{Included: proven, ID: fmt.Sprintf("%016x%x", l.treeID, tlog.LeafHash(body)), IntegratedTime: at, SET: set}, nil
}

// byIndex returns the entry at a place.
func (l *Log) byIndex(ctx context.Context, place uint64) (Entry, error) {
	size, _, err := l.v1.Head(ctx)
	if err != nil {
		return Entry{}, err
	}
	if place >= size {
		return Entry{}, errNotFound
	}
	body, err := l.v1.Leaf(ctx, place)
	if err != nil {
		return Entry{}, err
	}
	record, err := l.v1.index.Lookup(ctx, tlog.LeafHash(body))
	if err != nil {
		return Entry{}, err
	}
	return l.entry(ctx, body, place, record.Time)
}

// byHash returns the entry with a leaf hash.
func (l *Log) byHash(ctx context.Context, leafHash [32]byte) (Entry, error) {
	record, err := l.v1.index.Lookup(ctx, leafHash)
	if errors.Is(err, index.ErrNotFound) || err == nil && !record.Completed {
		return Entry{}, errNotFound
	}
	if err != nil {
		return Entry{}, err
	}
	body, err := l.v1.Leaf(ctx, uint64(record.LogIndex))
	if err != nil {
		return Entry{}, err
	}
	if tlog.LeafHash(body) != leafHash {
		return Entry{}, fmt.Errorf("the tree holds another leaf at %d than the index says", record.LogIndex)
	}
	return l.entry(ctx, body, uint64(record.LogIndex), record.Time)
}

// parseID reads an entry ID (80 hex digits) or a bare leaf hash (64). The ID of
// another tree is errNotFound.
func (l *Log) parseID(untrusted string) (leafHash [32]byte, err error) {
	text := strings.ToLower(untrusted)
	if len(text) == 80 {
		treeID, err := strconv.ParseUint(text[:16], 16, 63)
		if err != nil || treeID == 0 {
			return leafHash, fmt.Errorf("%.100q is not an entry ID: its first 16 digits are no tree ID", untrusted)
		}
		if treeID != l.treeID {
			return leafHash, errNotFound
		}
		text = text[16:]
	}
	b, err := hex.DecodeString(text)
	if err != nil || len(b) != len(leafHash) {
		return leafHash, fmt.Errorf("%.100q is not an entry ID: want 64 or 80 hex digits", untrusted)
	}
	return [32]byte(b), nil
}
