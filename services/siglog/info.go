package siglog

import (
	"encoding/hex"
	"errors"
	"net/http"
	"strconv"
)

func (l *Log) getLog(w http.ResponseWriter, r *http.Request) error {
	signed, err := l.v1.Checkpoint(r.Context())
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		InactiveShards []struct{} `json:"inactiveShards"`
		RootHash       string     `json:"rootHash"`
		SignedTreeHead string     `json:"signedTreeHead"`
		TreeID         string     `json:"treeID"`
		TreeSize       uint64     `json:"treeSize"`
	}{
		InactiveShards: []struct{}{},
		RootHash:       hex.EncodeToString(signed.Root[:]),
		SignedTreeHead: signed.Note,
		TreeID:         strconv.FormatUint(l.treeID, 10),
		TreeSize:       signed.Size,
	})
	return nil
}

// getProof answers a consistency proof. The sizes must exist: 1 <= firstSize <=
// lastSize <= the tree's; firstSize is 1 if it is not given.
func (l *Log) getProof(w http.ResponseWriter, r *http.Request) error {
	if err := l.checkTreeID(r); err != nil {
		return err
	}
	query := r.URL.Query()
	first := uint64(1)
	var err error
	if query.Has("firstSize") {
		if first, err = strconv.ParseUint(query.Get("firstSize"), 10, 63); err != nil || first == 0 {
			return badRequest(errors.New("firstSize is not a positive number"))
		}
	}
	last, err := strconv.ParseUint(query.Get("lastSize"), 10, 63)
	if err != nil || last == 0 {
		return badRequest(errors.New("lastSize is not a positive number"))
	}
	if first > last {
		return badRequest(errors.New("firstSize is larger than lastSize"))
	}
	signed, err := l.v1.Checkpoint(r.Context())
	if err != nil {
		return err
	}
	if last > signed.Size {
		return badRequest(errors.New("lastSize is larger than the tree"))
	}
	hashes, err := l.v1.ConsistencyProof(r.Context(), first, last)
	if err != nil {
		return err
	}
	root, err := l.v1.RootAt(r.Context(), last)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, struct {
		Hashes   []string `json:"hashes"`
		RootHash string   `json:"rootHash"`
	}{hexHashes(hashes), hex.EncodeToString(root[:])})
	return nil
}

// checkTreeID refuses a request for another tree than the v1 tree.
func (l *Log) checkTreeID(r *http.Request) error {
	query := r.URL.Query()
	if query.Has("treeID") && query.Get("treeID") != strconv.FormatUint(l.treeID, 10) {
		return badRequest(errors.New("treeID is not that of a tree here"))
	}
	return nil
}
