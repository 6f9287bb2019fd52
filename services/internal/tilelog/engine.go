package tilelog

import (
	"crypto/sha256"
	"fmt"
)

// Engine stores one log: it gives leaves their places, integrates them and keeps
// tiles, bundles and one checkpoint. All durability is the engine's. Its methods
// are called concurrently.
//
// The log trusts nothing that an engine returns until it has hashed it.
type Engine interface {
	// Append sequences and integrates the entry and returns its index when both
	// are on stable storage. Entries appended at the same time may share a write.
	Append(Entry) (index uint64, err error)

	// State is the size and root of the tree as it is on stable storage, read
	// once. It never runs ahead of what Tile and Bundle return.
	State() (State, error)

	// Tile returns the hashes of tile (level, index) with exactly that width (1 to
	// 256, 256 is a full tile), and Bundle the bundle with that many entries. What
	// is not stored is [io/fs.ErrNotExist]: once the full one exists, narrower ones
	// may go.
	Tile(level, index uint64, width int) ([]byte, error)
	Bundle(index uint64, width int) ([]byte, error)

	// Checkpoint returns the stored checkpoint ([io/fs.ErrNotExist] if there is
	// none yet), and SetCheckpoint replaces it durably and atomically.
	Checkpoint() ([]byte, error)
	SetCheckpoint([]byte) error

	// Name says where a tile, a bundle or the state is kept, for error messages.
	Name(Resource) string

	// Layout is the layout of the bundles.
	Layout() Layout

	// Close ends the engine. No Append is under way when it is called.
	Close() error
}

// State is the durable state of a tree.
type State struct {
	Size uint64 // in leaves
	Root [sha256.Size]byte
}

// Entry is what an engine appends. Exactly one field is set.
type Entry struct {
	Leaf    []byte
	Precert *Precert // only with the StaticCT layout
}

// Precert is a precertificate entry of a log with the static-ct-api layout. Its
// leaf hash depends on the index, which is part of the timestamp's extensions.
type Precert struct {
	Timestamp      uint64            // milliseconds since 1970
	IssuerKeyHash  [sha256.Size]byte // SHA-256 of the issuer's SPKI
	TBS            []byte            // DER, without the poison
	Precertificate []byte            // DER, as it was submitted
	Chain          [][sha256.Size]byte
}

// Resource names one stored thing.
type Resource struct {
	Kind  Kind
	Level uint64 // of a tile
	Index uint64 // of a tile or a bundle
	Width int    // of a tile or a bundle
}

// Kind is the kind of a [Resource].
type Kind int

// What an engine stores.
const (
	TileResource Kind = iota
	BundleResource
	StateResource
	CheckpointResource
)

// CorruptError says that stored bytes contradict a hash or their format. It stops
// the log that meets it.
type CorruptError struct {
	Name   string // of the file
	Reason string
}

func (e *CorruptError) Error() string { return fmt.Sprintf("reading %s: %s", e.Name, e.Reason) }
