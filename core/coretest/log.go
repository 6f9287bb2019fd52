package coretest

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/transparency-dev/merkle/rfc6962"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Log is a signature log in memory. Some leaves lie in it from the beginning, so that proofs are not empty. It is safe for
// concurrent use; adding takes time linear in its size.
type Log struct {
	Key     crypto.Signer
	ID      [32]byte
	BaseURL string // in the trusted root
	Name    string // of the note signature: the URL's host
	Origin  string // first line of checkpoints
	// Shard is the global index of this tree's first entry; 0 for a log without shards.
	Shard int64
	// Promises says whether entries get a signed entry timestamp and an integrated time: Rekor v1.
	Promises bool

	mu     sync.Mutex
	leaves [][]byte // RFC 6962 leaf hashes
}

// fillers is how many leaves lie in a new log.
const fillers = 5

// NewLogV1 makes a log like Rekor v1's second shard: its indexes in the log and in the tree differ.
func NewLogV1(tb testing.TB) *Log {
	tb.Helper()
	l := &Log{
		Key: NewKey(tb), BaseURL: "https://rekor.touchmark.example", Name: "rekor.touchmark.example",
		Origin: "rekor.touchmark.example - 1193050959916656506", Shard: 1000, Promises: true,
	}
	l.fill(tb)
	return l
}

// NewLogV2 makes a log like Rekor v2.
func NewLogV2(tb testing.TB) *Log {
	tb.Helper()
	_, key, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	const host = "log2025.touchmark.example"
	l := &Log{Key: key, BaseURL: "https://" + host, Name: host, Origin: host}
	l.fill(tb)
	return l
}

func (l *Log) fill(tb testing.TB) {
	tb.Helper()
	id, err := tlog.KeyID(l.Name, l.Key.Public())
	if err != nil {
		tb.Fatal(err)
	}
	l.ID = id
	for i := range fillers {
		l.leaves = append(l.leaves, rfc6962.DefaultHasher.HashLeaf(fmt.Appendf(nil, "filler %d", i)))
	}
}

// Add puts the body into the log at a time and returns its entry, with the proof into a checkpoint of the tree as it is then.
func (l *Log) Add(tb testing.TB, body []byte, at time.Time) bundle.Entry {
	tb.Helper()
	var head struct{ Kind, APIVersion string }
	if err := json.Unmarshal(body, &head); err != nil {
		tb.Fatalf("log entry body: %v", err)
	}
	l.mu.Lock()
	index := len(l.leaves)
	l.leaves = append(l.leaves, rfc6962.DefaultHasher.HashLeaf(body))
	leaves := l.leaves
	l.mu.Unlock()

	checkpoint := tlog.Checkpoint{Origin: l.Origin, Size: uint64(len(leaves)), Root: [32]byte(treeRoot(leaves))}
	e := bundle.Entry{
		LogID: l.ID, LogIndex: l.Shard + int64(index), Kind: head.Kind, Version: head.APIVersion, Body: body,
		Proof: &bundle.Proof{
			Index: int64(index), TreeSize: int64(len(leaves)), RootHash: treeRoot(leaves), Hashes: path(leaves, index),
			Checkpoint: l.Checkpoint(tb, checkpoint),
		},
	}
	if l.Promises {
		e.IntegratedTime = at.Unix()
		e.SET = l.Promise(tb, e)
	}
	return e
}

// Checkpoint signs a checkpoint, whatever it says.
func (l *Log) Checkpoint(tb testing.TB, checkpoint tlog.Checkpoint) string {
	tb.Helper()
	signer, err := tlog.NewSigner(l.Name, l.Key)
	if err != nil {
		tb.Fatal(err)
	}
	note, err := signer.SignCheckpoint(checkpoint)
	if err != nil {
		tb.Fatal(err)
	}
	return note
}

// Promise signs the entry timestamp of e, whatever it says.
func (l *Log) Promise(tb testing.TB, e bundle.Entry) []byte {
	tb.Helper()
	set, err := entry.Promise{Body: e.Body, IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: e.LogID}.Sign(l.Key)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// split is the largest power of two below n (RFC 6962 section 2.1).
func split(n int) int {
	k := 1
	for 2*k < n {
		k *= 2
	}
	return k
}

// treeRoot is RFC 6962's Merkle tree hash over at least one leaf hash.
func treeRoot(leaves [][]byte) []byte {
	if len(leaves) == 1 {
		return leaves[0]
	}
	k := split(len(leaves))
	return rfc6962.DefaultHasher.HashChildren(treeRoot(leaves[:k]), treeRoot(leaves[k:]))
}

// path is RFC 6962's audit path of the leaf at index.
func path(leaves [][]byte, index int) [][]byte {
	if len(leaves) == 1 {
		return nil
	}
	k := split(len(leaves))
	if index < k {
		return append(path(leaves[:k], index), treeRoot(leaves[k:]))
	}
	return append(path(leaves[k:], index-k), treeRoot(leaves[:k]))
}
