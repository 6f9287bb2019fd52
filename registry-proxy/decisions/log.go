package decisions

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// maxQueue bounds the decisions that wait to be written: a second's worth of a busy
// proxy's.
const maxQueue = 16384

// Config says where decisions go.
type Config struct {
	// File gets a line for each; "" keeps them in memory only.
	File string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
	// Changed is called, if it is not nil, when the file ceases to work (with the
	// reason) and when it works again (with nil).
	Changed func(error)
}

// Log is a decision log. Its methods may be called by many goroutines.
type Log struct {
	config Config
	file   *file // nil if there is none
	start  string

	mu       sync.Mutex
	serial   uint64
	admitted *shelf
	others   *shelf // refused, undecided, and what enforcing would not have admitted
	counts   counts
	closed   bool

	queue chan Decision // closed by Close
	done  chan struct{} // closed when everything is written
}

// Status says whether the file works.
type Status struct {
	Err error // nil if it does
	// Dropped is how many decisions are not in the file.
	Dropped uint64
}

// Open opens the log and reads back what its file tells. A file that cannot be
// opened is an error: whoever wants a log wants to know at once.
func Open(c Config) (*Log, error) {
	if c.Now == nil {
		c.Now = time.Now
	}
	var random [6]byte
	if _, err := rand.Read(random[:]); err != nil {
		return nil, err
	}
	l := &Log{config: c, start: hex.EncodeToString(random[:]), admitted: newShelf(), others: newShelf(), done: make(chan struct{})}
	if c.File == "" {
		close(l.done)
		return l, nil
	}
	for _, name := range []string{c.File + ".1", c.File} {
		if err := readBack(name, l.keep); err != nil {
			return nil, fmt.Errorf("reading the decision log: %w", err)
		}
	}
	f, err := openFile(c.File)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, fmt.Errorf("opening the decision log: %w; make its directory, as the user that this process runs as", err)
	case err != nil:
		return nil, fmt.Errorf("opening the decision log: %w", err)
	}
	l.file, l.queue = f, make(chan Decision, maxQueue)
	go l.write()
	return l, nil
}

// Record notes a decision, now.
func (l *Log) Record(d Decision) {
	d.Time = l.config.Now().UTC()
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return
	}
	l.serial++
	d.ID = fmt.Sprintf("%s-%d", l.start, l.serial)
	if l.file != nil {
		select {
		case l.queue <- d:
		default:
			l.file.dropped.Add(1)
		}
	}
	l.keepLocked(d)
}

// keep remembers a decision for those who look at the latest.
func (l *Log) keep(d Decision) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.keepLocked(d)
}

func (l *Log) keepLocked(d Decision) {
	l.counts.add(d)
	if d.Outcome == gate.OutcomeAdmitted && d.Code != gate.CodeObserved {
		l.admitted.add(d)
		return
	}
	l.others.add(d)
}

// Query says which decisions are wanted.
type Query struct {
	// Text is looked for, whatever its case, in the image's name and digest, the
	// signer, and the reason; all of its words must be there.
	Text string
	// Outcome is the one wanted; "" is any.
	Outcome gate.Outcome
	// Limit is how many at most.
	Limit int
}

// Recent returns the latest decisions that a query wants, the latest first.
func (l *Log) Recent(q Query) []Kept {
	words := strings.Fields(strings.ToLower(q.Text))
	var out []Kept
	l.mu.Lock()
	for _, s := range []*shelf{l.admitted, l.others} {
		n := 0
		for e := s.order.Front(); e != nil && n < q.Limit; e = e.Next() {
			if k := e.Value.(*Kept); k.matches(q.Outcome, words) {
				out = append(out, *k)
				n++
			}
		}
	}
	l.mu.Unlock()
	slices.SortStableFunc(out, func(a, b Kept) int { return b.Time.Compare(a.Time) })
	return out[:min(len(out), q.Limit)]
}

func (k *Kept) matches(outcome gate.Outcome, words []string) bool {
	if outcome != "" && k.Outcome != outcome {
		return false
	}
	if len(words) == 0 {
		return true
	}
	text := strings.ToLower(strings.Join([]string{k.Repository + ":" + k.Tag, k.Digest, k.Signer, k.Reason, k.Who}, "\n"))
	return !slices.ContainsFunc(words, func(w string) bool { return !strings.Contains(text, w) })
}

// Find returns the decision with an ID, if it is still kept.
func (l *Log) Find(id string) (Kept, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, s := range []*shelf{l.others, l.admitted} {
		for e := s.order.Front(); e != nil; e = e.Next() {
			if k := e.Value.(*Kept); k.ID == id {
				return *k, true
			}
		}
	}
	return Kept{}, false
}

// Counts are the answers of the last two days by the hour, the oldest first.
func (l *Log) Counts() []Count {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.counts.until(l.config.Now())
}

// Status says whether the file works.
func (l *Log) Status() Status {
	if l.file == nil {
		return Status{}
	}
	return l.file.status()
}

// Close writes what is waiting. Later decisions are not recorded.
func (l *Log) Close() {
	l.mu.Lock()
	if !l.closed && l.queue != nil {
		close(l.queue)
	}
	l.closed = true
	l.mu.Unlock()
	<-l.done
}
