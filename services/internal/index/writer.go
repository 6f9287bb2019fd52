package index

import (
	"context"
	"database/sql"
	"errors"
)

// maxBatch bounds the writes that share a transaction.
const maxBatch = 256

// ErrClosed is returned for writes after Close.
var ErrClosed = errors.New("index is closed")

// write is one caller's part of a transaction.
type write struct {
	apply func(*sql.Tx) error
	done  chan error // has room for the answer
}

// write runs apply in a transaction and returns when that is durable. If ctx ends
// first, the write may still happen.
func (x *Index) write(ctx context.Context, apply func(*sql.Tx) error) error {
	w := write{apply, make(chan error, 1)}
	select {
	case x.writes <- w:
	case <-x.quit:
		return ErrClosed
	case <-ctx.Done():
		return ctx.Err()
	}
	select {
	case err := <-w.done:
		return err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// writer commits what has come in while the last commit was being written, as
// one transaction.
func (x *Index) writer() {
	defer close(x.done)
	for {
		var batch []write
		select {
		case w := <-x.writes:
			batch = append(batch, w)
		case <-x.quit:
			return
		}
	gather:
		for len(batch) < maxBatch {
			select {
			case w := <-x.writes:
				batch = append(batch, w)
			default:
				break gather
			}
		}
		err := x.commit(batch)
		for _, w := range batch {
			w.done <- err
		}
	}
}

// commit applies all writes or none.
func (x *Index) commit(batch []write) error {
	tx, err := x.db.Begin()
	if err != nil {
		return err
	}
	for _, w := range batch {
		if err := w.apply(tx); err != nil {
			return errors.Join(err, tx.Rollback())
		}
	}
	return tx.Commit()
}
