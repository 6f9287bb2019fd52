package siglog

import (
	"net/http"

	"github.com/touchmark/touchmark/core/tlog/entry"
)

// logEntryV2 is a TransparencyLogEntry in protobuf's JSON, where 64 bit numbers are
// strings. Rekor v2's has neither a time nor a promise.
type logEntryV2 struct {
	LogIndex          uint64           `json:"logIndex,string"`
	LogID             logIDV2          `json:"logId"`
	KindVersion       kindVersion      `json:"kindVersion"`
	InclusionProof    inclusionProofV2 `json:"inclusionProof"`
	CanonicalizedBody []byte           `json:"canonicalizedBody"`
}

type logIDV2 struct {
	KeyID []byte `json:"keyId"`
}

type kindVersion struct {
	Kind    string `json:"kind"`
	Version string `json:"version"`
}

type inclusionProofV2 struct {
	LogIndex   uint64       `json:"logIndex,string"`
	RootHash   []byte       `json:"rootHash"`
	TreeSize   uint64       `json:"treeSize,string"`
	Hashes     [][]byte     `json:"hashes"`
	Checkpoint checkpointV2 `json:"checkpoint"`
}

type checkpointV2 struct {
	Envelope string `json:"envelope"`
}

// answerV2 is an entry in the form in which Rekor v2 returns it.
func answerV2(e Included) logEntryV2 {
	return logEntryV2{
		LogIndex:    e.LogIndex,
		LogID:       logIDV2{e.LogID[:]},
		KindVersion: kindVersion{entry.KindHashedRekord, entry.V002},
		InclusionProof: inclusionProofV2{
			LogIndex:   e.LogIndex,
			RootHash:   e.RootHash[:],
			TreeSize:   e.TreeSize,
			Hashes:     append([][]byte{}, e.Hashes...), // [], not null
			Checkpoint: checkpointV2{e.Checkpoint},
		},
		CanonicalizedBody: e.Body,
	}
}

func (l *Log) postEntryV2(w http.ResponseWriter, r *http.Request) error {
	body, err := readBody(r)
	if err != nil {
		return err
	}
	proposed, err := ParseV2(body)
	if err != nil {
		return badRequest(err)
	}
	e, err := l.AppendV2(r.Context(), proposed)
	if err != nil {
		return err
	}
	writeJSON(w, http.StatusCreated, answerV2(e))
	return nil
}
