package decisions

import (
	"container/list"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// maxKept bounds the decisions of each shelf. With verdicts of 16 KiB at most that
// is 32 MiB, and some two in practice.
const maxKept = 2000

// Kept is a decision as it was given last, and how often it was.
type Kept struct {
	Decision
	Count int
	First time.Time
}

// shelf holds the latest decisions, those that were given again once.
type shelf struct {
	order *list.List // of *Kept, the latest first
	byKey map[key]*list.Element
}

func newShelf() *shelf { return &shelf{order: list.New(), byKey: make(map[key]*list.Element)} }

// add puts a decision on top. It keeps the ID under which it is known.
func (s *shelf) add(d Decision) {
	k := d.key()
	if e, ok := s.byKey[k]; ok {
		kept := e.Value.(*Kept)
		d.ID, d.Verdict, d.verdict = kept.ID, kept.Verdict, gate.Verdict{}
		kept.Decision = d
		kept.Count++
		s.order.MoveToFront(e)
		return
	}
	if d.Verdict == nil {
		d.Verdict = d.whole()
	}
	d.verdict = gate.Verdict{} // it may be large
	s.byKey[k] = s.order.PushFront(&Kept{Decision: d, Count: 1, First: d.Time})
	if s.order.Len() > maxKept {
		last := s.order.Back()
		delete(s.byKey, last.Value.(*Kept).key())
		s.order.Remove(last)
	}
}
