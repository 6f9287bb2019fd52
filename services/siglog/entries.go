package siglog

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// maxRetrieve bounds the entries of one retrieve request, as Rekor does.
const maxRetrieve = 10

// logEntry is Rekor's LogEntryAnon.
type logEntry struct {
	Body           []byte       `json:"body"`
	IntegratedTime int64        `json:"integratedTime"`
	LogID          string       `json:"logID"`
	LogIndex       uint64       `json:"logIndex"`
	Verification   verification `json:"verification"`
}

type verification struct {
	InclusionProof       inclusionProof `json:"inclusionProof"`
	SignedEntryTimestamp []byte         `json:"signedEntryTimestamp"`
}

type inclusionProof struct {
	Checkpoint string   `json:"checkpoint"`
	Hashes     []string `json:"hashes"`
	LogIndex   uint64   `json:"logIndex"`
	RootHash   string   `json:"rootHash"`
	TreeSize   uint64   `json:"treeSize"`
}

// answer is an entry in the form in which Rekor returns it.
func (e Entry) answer() map[string]logEntry {
	return map[string]logEntry{e.ID: {
		Body:           e.Body,
		IntegratedTime: e.IntegratedTime,
		LogID:          hex.EncodeToString(e.LogID[:]),
		LogIndex:       e.LogIndex,
		Verification: verification{
			InclusionProof: inclusionProof{
				Checkpoint: e.Checkpoint,
				Hashes:     hexHashes(e.Hashes),
				LogIndex:   e.LogIndex,
				RootHash:   hex.EncodeToString(e.RootHash[:]),
				TreeSize:   e.TreeSize,
			},
			SignedEntryTimestamp: e.SET,
		},
	}}
}

func (l *Log) postEntry(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	proposed, err := Parse(body)
	if err != nil {
		return badRequest(err)
	}
	e, err := l.Append(r.Context(), proposed)
	if err != nil {
		return err
	}
	// The ETag is unquoted and equals the key in the body: clients take it for one.
	w.Header().Set("ETag", e.ID)
	w.Header().Set("Location", "/api/v1/log/entries/"+e.ID)
	writeJSON(w, http.StatusCreated, e.answer())
	return nil
}

func (l *Log) getEntryByIndex(w http.ResponseWriter, r *http.Request) error {
	place, err := strconv.ParseUint(r.URL.Query().Get("logIndex"), 10, 63)
	if err != nil {
		return badRequest(errors.New("logIndex is not the number of an entry"))
	}
	e, err := l.byIndex(r.Context(), place)
	return answerEntry(w, e, err)
}

func (l *Log) getEntryByID(w http.ResponseWriter, r *http.Request) error {
	hash, err := l.parseID(r.PathValue("id"))
	if errors.Is(err, errNotFound) {
		return answerEntry(w, Entry{}, err)
	}
	if err != nil {
		return badRequest(err)
	}
	e, err := l.byHash(r.Context(), hash)
	return answerEntry(w, e, err)
}

// answerEntry answers one entry; 404 has no body, as Rekor's has none.
func answerEntry(w http.ResponseWriter, e Entry, err error) error {
	if errors.Is(err, errNotFound) {
		w.WriteHeader(http.StatusNotFound)
		return nil
	}
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusOK, e.answer())
	return nil
}

// retrieve answers those of the entries asked for that are in the log.
func (l *Log) retrieve(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	var query struct {
		EntryUUIDs []string         `json:"entryUUIDs"`
		LogIndexes []*int64         `json:"logIndexes"`
		Entries    []jsontext.Value `json:"entries"`
	}
	if err := decode(body, &query); err != nil {
		return badRequest(err)
	}
	if n := len(query.EntryUUIDs) + len(query.LogIndexes) + len(query.Entries); n > maxRetrieve {
		return &statusError{http.StatusUnprocessableEntity, fmt.Sprintf("%d entries are asked for, the limit is %d", n, maxRetrieve)}
	}
	found := []map[string]logEntry{}
	add := func(e Entry, err error) error {
		if errors.Is(err, errNotFound) {
			return nil
		}
		if err == nil {
			found = append(found, e.answer())
		}
		return err
	}
	for i, id := range query.EntryUUIDs {
		hash, err := l.parseID(id)
		if errors.Is(err, errNotFound) {
			continue
		}
		if err != nil {
			return badRequest(fmt.Errorf("entryUUIDs[%d]: %w", i, err))
		}
		if err := add(l.byHash(r.Context(), hash)); err != nil {
			return err
		}
	}
	for i, proposed := range query.Entries {
		p, err := Parse(proposed)
		if err != nil {
			return badRequest(fmt.Errorf("entries[%d]: %w", i, err))
		}
		if err := add(l.byHash(r.Context(), p.LeafHash)); err != nil {
			return err
		}
	}
	for i, place := range query.LogIndexes {
		if place == nil || *place < 0 {
			return badRequest(fmt.Errorf("logIndexes[%d] is not the number of an entry", i))
		}
		if err := add(l.byIndex(r.Context(), uint64(*place))); err != nil {
			return err
		}
	}
	writeJSON(w, http.StatusOK, found)
	return nil
}
