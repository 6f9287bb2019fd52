package sign

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"path"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog"
)

// logEntry is LogEntryAnon of Rekor's API.
type logEntry struct {
	Body           string `json:"body"`
	IntegratedTime int64  `json:"integratedTime"`
	LogID          string `json:"logID"`
	LogIndex       int64  `json:"logIndex"`
	Verification   struct {
		SET   []byte `json:"signedEntryTimestamp"`
		Proof *struct {
			Checkpoint string   `json:"checkpoint"`
			Hashes     []string `json:"hashes"`
			LogIndex   int64    `json:"logIndex"`
			RootHash   string   `json:"rootHash"`
			TreeSize   int64    `json:"treeSize"`
		} `json:"inclusionProof"`
	} `json:"verification"`
}

// logInV1 has the entry logged by the log (Rekor v1 API) at this base URL. The answer has to be about our entry, byte for byte, with a signed entry timestamp
// and an inclusion proof; whether those verify is checked where the log's key is known.
func (p proposed) logInV1(ctx context.Context, s service, base string) (bundle.Entry, error) {
	entries := join(base, "/api/v1/log/entries")
	a, err := s.request(ctx, http.MethodPost, entries, "application/json", p.request, http.StatusCreated, http.StatusConflict)
	if err != nil {
		return bundle.Entry{}, err
	}
	if a.status == http.StatusConflict {
		// The log has it already: signatures by RSA keys are deterministic. It says where.
		id := path.Base(a.header.Get("Location"))
		if _, err := hex.DecodeString(id); err != nil || len(id) != 64 && len(id) != 80 {
			return bundle.Entry{}, s.unusable(a, "the entry exists already, but Location doesn't name it")
		}
		if a, err = s.request(ctx, http.MethodGet, entries+"/"+id, "", nil, http.StatusOK); err != nil {
			return bundle.Entry{}, err
		}
	}
	e, err := p.read(a.body)
	if err != nil {
		return bundle.Entry{}, s.unusable(a, "%w", err)
	}
	return e, nil
}

// read checks the answer against what was proposed.
func (p proposed) read(untrusted []byte) (bundle.Entry, error) {
	none := bundle.Entry{}
	var answer map[string]logEntry
	if err := json.Unmarshal(untrusted, &answer); err != nil {
		return none, err
	}
	if len(answer) != 1 {
		return none, fmt.Errorf("%d entries, want one", len(answer))
	}
	for id, e := range answer {
		leaf := tlog.LeafHash(p.body)
		if want := hex.EncodeToString(leaf[:]); len(id) < len(want) || id[len(id)-len(want):] != want {
			return none, fmt.Errorf("entry %q is not the one that was sent (leaf hash %s)", id, want)
		}
		body, err := base64.StdEncoding.DecodeString(e.Body)
		if err != nil || !bytes.Equal(body, p.body) {
			return none, errors.New("the log's body is not that of the entry that was sent")
		}
		return p.entry(e)
	}
	return none, nil
}

func (p proposed) entry(e logEntry) (bundle.Entry, error) {
	out := bundle.Entry{
		LogIndex: e.LogIndex, Kind: p.kind, Version: p.version,
		IntegratedTime: e.IntegratedTime, SET: e.Verification.SET, Body: p.body,
	}
	id, err := hex.DecodeString(e.LogID)
	if err != nil || len(id) != len(out.LogID) {
		return out, fmt.Errorf("logID %q is not a SHA-256", e.LogID)
	}
	copy(out.LogID[:], id)
	proof := e.Verification.Proof
	if len(out.SET) == 0 || proof == nil || proof.Checkpoint == "" {
		return out, errors.New("no signed entry timestamp, or no inclusion proof with a checkpoint")
	}
	out.Proof = &bundle.Proof{Index: proof.LogIndex, TreeSize: proof.TreeSize, Checkpoint: proof.Checkpoint}
	if out.Proof.RootHash, err = hex.DecodeString(proof.RootHash); err != nil {
		return out, fmt.Errorf("rootHash: %w", err)
	}
	for i, h := range proof.Hashes {
		raw, err := hex.DecodeString(h)
		if err != nil {
			return out, fmt.Errorf("hashes[%d]: %w", i, err)
		}
		out.Proof.Hashes = append(out.Proof.Hashes, raw)
	}
	return out, nil
}
