package store

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

const (
	// maxDecisions bounds the decisions that are kept; the same answer to the same
	// asker about the same image is one. With a few KiB each that is some 20 MiB.
	maxDecisions = 5000
	// maxForOne bounds those of one user: nobody's questions push out everybody
	// else's.
	maxForOne = 2000
	// maxAge bounds their age.
	maxAge = 90 * 24 * time.Hour
	// maxVerdict bounds a verdict that is kept whole, in bytes. Of a larger one the
	// signatures are left out: whoever may push can put many beside an image.
	maxVerdict = 32 << 10
	// maxAnswer bounds the decisions that one question returns.
	maxAnswer = 1000
)

// Decision is one answer, to one asker, about one image, and how often it was
// given.
type Decision struct {
	Client     string          `json:"client"`
	UID        int             `json:"uid"` // -1 if it is not known
	Repository string          `json:"repository"`
	Digest     string          `json:"digest"`
	Outcome    gate.Outcome    `json:"outcome"`
	Code       gate.Code       `json:"code"`
	Reason     string          `json:"reason"`
	Host       string          `json:"host"`
	Count      int             `json:"count"`
	First      time.Time       `json:"first"`
	Last       time.Time       `json:"last"`
	Verdict    json.RawMessage `json:"verdict,omitempty"` // the last one
}

// Record notes a decision.
func (s *Store) Record(who gate.Asker, v gate.Verdict) {
	if s.db == nil {
		return
	}
	// A verdict that was given again is as old as its decision; the answer is new.
	now := s.config.Now().UnixNano()
	verdict, err := json.Marshal(v)
	if err == nil && len(verdict) > maxVerdict {
		v.Signatures, v.Lookups, v.Others = nil, nil, nil
		verdict, err = json.Marshal(v)
	}
	if err != nil {
		verdict = []byte("{}") // nothing in a verdict can do that
	}
	id := sha256.Sum256([]byte(strings.Join([]string{who.Client, fmt.Sprint(who.UID), v.Repository, v.Digest, string(v.Outcome), string(v.Code)}, "\n")))
	s.later(func(tx *sql.Tx) error {
		_, err := tx.Exec(`INSERT INTO decisions (id, client, uid, repository, digest, outcome, code, reason, host, count, first, last, verdict)
			VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?)
			ON CONFLICT (id) DO UPDATE SET reason = excluded.reason, host = excluded.host, count = count + 1, last = excluded.last, verdict = excluded.verdict`,
			hex.EncodeToString(id[:]), who.Client, who.UID, v.Repository, v.Digest, v.Outcome, v.Code, v.Reason, s.config.Host, now, now, verdict)
		return err
	})
}

// Query says which decisions are wanted.
type Query struct {
	Repository string // the logical name; required
	Digest     string // any, if empty
	UID        *int   // of the asker; any, if nil
}

// ErrClosed is why a store that does not work answers nothing.
var ErrClosed = errors.New("the agent's store does not work")

// Decisions returns what was recorded, the latest first.
func (s *Store) Decisions(ctx context.Context, q Query) ([]Decision, error) {
	if s.db == nil {
		return nil, ErrClosed
	}
	uid := -1
	if q.UID != nil {
		uid = *q.UID
	}
	rows, err := s.db.QueryContext(ctx, `SELECT client, uid, repository, digest, outcome, code, reason, host, count, first, last, verdict
		FROM decisions WHERE repository = ? AND (? = '' OR digest = ?) AND (? OR uid = ?) ORDER BY last DESC LIMIT ?`,
		q.Repository, q.Digest, q.Digest, q.UID == nil, uid, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("reading decisions: %w", err)
	}
	return scan(rows, true)
}

// Problems returns what was refused, what enforcing would have refused, and what
// could not be decided, by image and reason over all askers, the latest first.
// Verdicts are left out.
func (s *Store) Problems(ctx context.Context) ([]Decision, error) {
	if s.db == nil {
		return nil, ErrClosed
	}
	// Where max() stands, SQLite takes the other columns from the row that has it.
	rows, err := s.db.QueryContext(ctx, `SELECT client, uid, repository, digest, outcome, code, reason, host, sum(count), min(first), max(last), NULL
		FROM decisions WHERE outcome != ? OR code = ? GROUP BY repository, digest, code, host ORDER BY max(last) DESC LIMIT ?`,
		gate.OutcomeAdmitted, gate.CodeObserved, maxAnswer)
	if err != nil {
		return nil, fmt.Errorf("reading decisions: %w", err)
	}
	return scan(rows, false)
}

func scan(rows *sql.Rows, verdicts bool) ([]Decision, error) {
	defer func() { _ = rows.Close() }() // Err tells
	out := []Decision{}
	for rows.Next() {
		var d Decision
		var first, last int64
		var verdict []byte
		if err := rows.Scan(&d.Client, &d.UID, &d.Repository, &d.Digest, &d.Outcome, &d.Code, &d.Reason, &d.Host, &d.Count, &first, &last, &verdict); err != nil {
			return nil, fmt.Errorf("reading decisions: %w", err)
		}
		d.First, d.Last = time.Unix(0, first).UTC(), time.Unix(0, last).UTC()
		if verdicts {
			d.Verdict = verdict
		}
		out = append(out, d)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("reading decisions: %w", err)
	}
	return out, nil
}
