package store_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent/store"
)

const place = "registry.example/app\nagent"

func digest(n int) v1.Hash { return v1.Hash{Algorithm: "sha256", Hex: fmt.Sprintf("%064x", n)} }

func verdict(n int, outcome gate.Outcome, code gate.Code) gate.Verdict {
	return gate.Verdict{
		Outcome: outcome, Code: code, Reason: fmt.Sprint("reason ", n), Repository: "registry.example/app", Digest: digest(n).String(), DecidedAt: coretest.Start,
	}
}

func open(t *testing.T, dir string, clock *coretest.Clock, version string) *store.Store {
	t.Helper()
	s := store.Open(t.Context(), store.Config{Dir: dir, Version: version, Host: "node-1", Now: clock.Now})
	if err := s.Status().Err; err != nil {
		t.Fatal(err)
	}
	return s
}

func closed(t *testing.T, s *store.Store) {
	t.Helper()
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestDecisions(t *testing.T) {
	dir, clock := filepath.Join(t.TempDir(), "state"), coretest.NewClock(coretest.Start)
	s := open(t, dir, clock, "1")
	root, alice := gate.Asker{Client: "podman", UID: 0}, gate.Asker{Client: "containerd", UID: 1000}
	s.Record(root, verdict(1, gate.OutcomeRefused, gate.CodeUnsigned))
	clock.Advance(time.Minute)
	s.Record(root, verdict(1, gate.OutcomeRefused, gate.CodeUnsigned))
	clock.Advance(time.Minute)
	s.Record(alice, verdict(1, gate.OutcomeRefused, gate.CodeUnsigned))
	clock.Advance(time.Minute)
	s.Record(alice, verdict(1, gate.OutcomeAdmitted, gate.CodeAdmitted))
	clock.Advance(time.Minute)
	s.Record(root, verdict(2, gate.OutcomeAdmitted, gate.CodeObserved))
	s.Flush(t.Context())
	closed(t, s)

	// What was recorded can be read with no agent there, and by the next one.
	read, err := store.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer closed(t, read)
	brief := func(all []store.Decision, err error) (out []string) {
		if err != nil {
			t.Error(err)
		}
		for _, d := range all {
			out = append(out, fmt.Sprintf("%s %d %s %s %d %s..%s %s %v", d.Client, d.UID, d.Digest[70:], d.Code, d.Count, d.First.Format("04:05"), d.Last.Format("04:05"), d.Host, len(d.Verdict) > 0))
		}
		return out
	}
	uid := 1000
	for what, c := range map[string]struct{ got, want []string }{
		"all": {brief(read.Decisions(t.Context(), store.Query{Repository: "registry.example/app"})), []string{
			"podman 0 2 observed 1 04:00..04:00 node-1 true",
			"containerd 1000 1 admitted 1 03:00..03:00 node-1 true",
			"containerd 1000 1 unsigned 1 02:00..02:00 node-1 true",
			"podman 0 1 unsigned 2 00:00..01:00 node-1 true",
		}},
		"of one digest, for one user": {brief(read.Decisions(t.Context(), store.Query{Repository: "registry.example/app", Digest: digest(1).String(), UID: &uid})), []string{
			"containerd 1000 1 admitted 1 03:00..03:00 node-1 true",
			"containerd 1000 1 unsigned 1 02:00..02:00 node-1 true",
		}},
		"of another repository": {brief(read.Decisions(t.Context(), store.Query{Repository: "registry.example"})), nil},
		"problems": {brief(read.Problems(t.Context())), []string{
			"podman 0 2 observed 1 04:00..04:00 node-1 false",
			"containerd 1000 1 unsigned 3 00:00..02:00 node-1 false",
		}},
	} {
		if diff := cmp.Diff(c.want, c.got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	for path, want := range map[string]os.FileMode{dir: 0o700 | os.ModeDir, filepath.Join(dir, store.File): 0o600} {
		if info, err := os.Stat(path); err != nil || info.Mode() != want {
			t.Errorf("%s: %v, %v; want %v", path, info.Mode(), err, want)
		}
	}
	if _, err := store.Read(t.Context(), t.TempDir()); !errors.Is(err, store.ErrNone) {
		t.Errorf("no file: %v", err)
	}
}

// fill records as many decisions of a user, one a second, as if they had been made.
func fill(t *testing.T, dir string, uid, n int) {
	t.Helper()
	err := store.Exec(filepath.Join(dir, store.File), fmt.Sprintf(`INSERT INTO decisions
		WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < %d)
		SELECT '%d-' || i, 'podman', %d, 'r.example/a', 'sha256:', 'refused', 'unsigned', '', '', 1, 0, %d + i * 1000000000, '{}' FROM n`,
		n, uid, uid, coretest.Start.UnixNano()))
	if err != nil {
		t.Fatal(err)
	}
}

// The record is bounded in number and age, and so are each user's and each
// verdict.
func TestDecisionsAreBounded(t *testing.T) {
	dir, clock := t.TempDir(), coretest.NewClock(coretest.Start.Add(3*time.Hour))
	record := func(v gate.Verdict) {
		s := open(t, dir, clock, "1")
		s.Record(gate.Asker{UID: 9}, v) // the first thing that is written prunes
		s.Flush(t.Context())
		closed(t, s)
	}
	large := verdict(0, gate.OutcomeRefused, gate.CodeNotAcceptable)
	large.Signatures = make([]gate.SignatureResult, 1)
	large.Signatures[0].Unreadable = strings.Repeat("x", 1<<20)
	record(large)
	for uid, n := range []int{3000, 1900, 1900} {
		fill(t, dir, uid, n)
	}
	record(large)
	if total, one := store.Count(t, dir, "decisions"), store.Count(t, dir, "decisions WHERE uid = 0"); total != 5000 || one != 2000 {
		t.Errorf("%d decisions are kept, %d of one user; want 5000 and 2000", total, one)
	}
	s, err := store.Read(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := s.Decisions(t.Context(), store.Query{Repository: large.Repository}); err != nil || len(found) != 1 || len(found[0].Verdict) > 32<<10 || found[0].Count != 2 {
		t.Errorf("the large verdict: %d decisions, %v", len(found), err)
	}
	closed(t, s)
	clock.Advance(91 * 24 * time.Hour)
	record(verdict(1, gate.OutcomeRefused, gate.CodeUnsigned))
	if n := store.Count(t, dir, "decisions"); n != 1 {
		t.Errorf("after three months %d decisions are kept", n)
	}
}

func keep(s *store.Store, clock *coretest.Clock, rules, key string) {
	now := clock.Now()
	s.Keep(rules, key, gate.Kept{Verdict: verdict(1, gate.OutcomeAdmitted, gate.CodeAdmitted), From: now, Until: now.Add(10 * time.Minute)})
}

// What was kept is there after a restart, and gone with the rules, the clock and
// the program.
func TestAdmissions(t *testing.T) {
	for _, c := range []struct {
		name    string
		version string
		rules   []string // in force after the restart, one after the other
		later   time.Duration
		want    bool
	}{
		{"restart", "1", []string{"A"}, time.Minute, true},
		{"read again, the same", "1", []string{"A", "A"}, time.Minute, true},
		{"other rules", "1", []string{"B"}, time.Minute, false},
		{"other rules, and back", "1", []string{"B", "A"}, time.Minute, false},
		{"rules without a name, and back", "1", []string{"", "A"}, time.Minute, false},
		{"another program", "2", []string{"A"}, time.Minute, false},
		{"the clock went back", "1", []string{"A"}, -time.Minute, false},
	} {
		dir, clock := t.TempDir(), coretest.NewClock(coretest.Start)
		s := open(t, dir, clock, "1")
		s.Begin("A", clock.Now())
		keep(s, clock, "A", "key")
		keep(s, clock, "B", "other") // by a decision that began under rules that are gone
		closed(t, s)

		clock.Advance(c.later)
		s = open(t, dir, clock, c.version)
		for _, rules := range c.rules {
			s.Begin(rules, clock.Now())
		}
		last := c.rules[len(c.rules)-1]
		got, ok := s.Restore(last, "key", clock.Now())
		if ok != c.want {
			t.Errorf("%s: restored is %v", c.name, ok)
		}
		if ok && (!got.From.Equal(coretest.Start) || !got.Until.Equal(coretest.Start.Add(10*time.Minute)) || got.Verdict.Reason != "reason 1") {
			t.Errorf("%s: %+v", c.name, got)
		}
		for _, key := range []string{"other", "key2"} {
			if _, ok := s.Restore(last, key, clock.Now()); ok {
				t.Errorf("%s: %s is restored", c.name, key)
			}
		}
		if _, ok := s.Restore("C", "key", clock.Now()); ok {
			t.Errorf("%s: restored under rules that are not in force", c.name)
		}
		closed(t, s)
	}
}

// A clock that goes back while the agent runs, or is down, forgets, though the
// admission's time would come again.
func TestAdmissionsAndTheClock(t *testing.T) {
	dir, clock := t.TempDir(), coretest.NewClock(coretest.Start)
	s := open(t, dir, clock, "1")
	s.Begin("A", clock.Now())
	keep(s, clock, "A", "key")
	s.Flush(t.Context())
	clock.Advance(9 * time.Minute)
	if _, ok := s.Restore("A", "key", clock.Now()); !ok {
		t.Error("it is gone")
	}
	s.Record(gate.Asker{}, verdict(1, gate.OutcomeAdmitted, gate.CodeAdmitted)) // writes the time
	closed(t, s)
	clock.Advance(-8 * time.Minute)
	s = open(t, dir, clock, "1")
	s.Begin("A", clock.Now())
	if _, ok := s.Restore("A", "key", clock.Now()); ok {
		t.Error("nine minutes became eighteen")
	}
	keep(s, clock, "A", "key") // life goes on
	s.Flush(t.Context())
	if _, ok := s.Restore("A", "key", clock.Now()); !ok {
		t.Error("nothing is kept any more")
	}
	clock.Advance(-time.Minute)
	if _, ok := s.Restore("A", "key", clock.Now()); ok {
		t.Error("restored after the clock went back")
	}
	closed(t, s)
}

func TestParents(t *testing.T) {
	dir, clock := t.TempDir(), coretest.NewClock(coretest.Start)
	s := open(t, dir, clock, "1")
	ctx := t.Context()
	s.Remember(ctx, place, digest(100), []v1.Hash{digest(1), digest(2)})
	s.Remember(ctx, place, digest(101), []v1.Hash{digest(2)})
	s.Remember(ctx, place, digest(100), []v1.Hash{digest(3)}) // an index lists what it lists
	check := func(when string) {
		t.Helper()
		for _, c := range []struct {
			place    string
			manifest int
			limit    int
			want     []v1.Hash
		}{
			{place, 1, 8, []v1.Hash{digest(100)}}, {place, 2, 8, []v1.Hash{digest(100), digest(101)}}, {place, 2, 1, []v1.Hash{digest(100)}},
			{place, 3, 8, nil}, {"registry.example/app\n", 1, 8, nil},
		} {
			if diff := cmp.Diff(c.want, s.Parents(ctx, c.place, digest(c.manifest), c.limit)); diff != "" {
				t.Errorf("%s: %d in %q: %s", when, c.manifest, c.place, diff)
			}
		}
		if !s.Known(ctx, place, digest(101)) || s.Known(ctx, place, digest(1)) || s.Known(ctx, "elsewhere", digest(101)) {
			t.Errorf("%s: known is wrong", when)
		}
	}
	check("at once")
	closed(t, s)
	s = open(t, dir, clock, "1")
	check("after a restart")
	closed(t, s)
}

// A file that cannot be used is said to be, and nothing is remembered but in
// memory.
func TestBrokenFile(t *testing.T) {
	for what, breakIt := range map[string]func(path string) error{
		"garbage":         func(path string) error { return os.WriteFile(path, []byte(strings.Repeat("garbage", 1000)), 0o600) },
		"a directory":     func(path string) error { return os.Mkdir(path, 0o700) },
		"a newer one":     func(path string) error { return store.Exec(path, "PRAGMA user_version = 99") },
		"a link":          func(path string) error { return os.Symlink("/dev/null", path) },
		"readable by all": func(path string) error { return os.WriteFile(path, nil, 0o644) },
		"somebody else's": func(path string) error {
			if os.Getuid() != 0 {
				return os.WriteFile(path, nil, 0o644) // likewise refused
			}
			return errors.Join(os.WriteFile(path, nil, 0o600), os.Chown(path, 65534, 65534))
		},
		"in somebody else's directory": func(path string) error {
			if os.Getuid() != 0 {
				return os.WriteFile(path, nil, 0o644) // likewise refused
			}
			return os.Chown(filepath.Dir(path), 65534, 65534)
		},
		"a state directory": func(path string) error {
			return errors.Join(os.Remove(filepath.Dir(path)), os.WriteFile(filepath.Dir(path), nil, 0o600))
		},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		if err := os.Mkdir(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := breakIt(filepath.Join(dir, store.File)); err != nil {
			t.Fatal(err)
		}
		var told atomic.Int32
		s := store.Open(t.Context(), store.Config{Dir: dir, Changed: func(err error) {
			if err != nil {
				told.Add(1)
			}
		}})
		if err := s.Status().Err; err == nil || !strings.Contains(err.Error(), dir) || told.Load() != 1 {
			t.Errorf("%s: status %v, told %d times", what, err, told.Load())
		}
		now := time.Now()
		s.Begin("A", now)
		s.Keep("A", "key", gate.Kept{Verdict: verdict(1, gate.OutcomeAdmitted, gate.CodeAdmitted), From: now, Until: now.Add(time.Minute)})
		s.Record(gate.Asker{}, verdict(1, gate.OutcomeAdmitted, gate.CodeAdmitted))
		s.Remember(t.Context(), place, digest(100), []v1.Hash{digest(1)})
		s.Flush(t.Context())
		if _, ok := s.Restore("A", "key", now); ok {
			t.Errorf("%s: restored", what)
		}
		if _, err := s.Decisions(t.Context(), store.Query{}); err == nil {
			t.Errorf("%s: there are decisions", what)
		}
		if len(s.Parents(t.Context(), place, digest(1), 8)) != 1 {
			t.Errorf("%s: parents are not remembered in memory", what)
		}
		closed(t, s)
	}
}
