package decisions

import (
	"bufio"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/gate"
)

var start = time.Date(2026, 3, 1, 12, 30, 0, 0, time.UTC)

// clock is a time that tests move.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) Add(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

func open(t *testing.T, c Config) *Log {
	t.Helper()
	if c.Now == nil {
		c.Now = (&clock{now: start}).Now
	}
	l, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.Close)
	return l
}

func refusal(repository string) Decision {
	return Of(gate.Verdict{
		Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: repository + " is not signed", Repository: repository, Digest: "sha256:aa",
		Policies: []gate.PolicyResult{{Name: "release"}},
	})
}

func admission(repository string) Decision {
	return Of(gate.Verdict{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted, Reason: "signed by alice@acme.example", Repository: repository, Digest: "sha256:bb"})
}

// lines are those of a file, decoded.
func lines(t *testing.T, path string) []Decision {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var out []Decision
	for s := bufio.NewScanner(f); s.Scan(); {
		var d Decision
		if err := json.Unmarshal(s.Bytes(), &d); err != nil {
			t.Errorf("%s: %v", s.Text(), err)
			continue
		}
		out = append(out, d)
	}
	return out
}

func TestEachDecisionIsALineAndIsReadBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.jsonl")
	l := open(t, Config{File: path})
	d := refusal("registry.example/a")
	d.Who, d.Address, d.Tag, d.Milliseconds = "ci", "192.0.2.1", "1\n{\"id\":\"forged\"}", 1.5
	l.Record(d)
	l.Record(d)
	l.Record(admission("registry.example/b"))
	l.Close()
	l.Record(d) // too late

	written := lines(t, path)
	if len(written) != 3 {
		t.Fatalf("%d lines, want 3: %+v", len(written), written)
	}
	first := written[0]
	if first.Who != "ci" || first.Tag != d.Tag || first.Outcome != gate.OutcomeRefused || !strings.Contains(string(first.Verdict), `"release"`) || !first.Time.Equal(start) {
		t.Errorf("%+v", first)
	}
	if written[2].Verdict != nil {
		t.Error("an admission has its verdict in the log")
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}

	again := open(t, Config{File: path})
	if diff := cmp.Diff(l.Recent(Query{Limit: 9}), again.Recent(Query{Limit: 9}), cmpopts.IgnoreUnexported(Decision{})); diff != "" {
		t.Errorf("read back (-was +is):\n%s", diff)
	}
	if diff := cmp.Diff(l.Counts(), again.Counts()); diff != "" {
		t.Errorf("counts (-was +is):\n%s", diff)
	}
	if kept, ok := again.Find(first.ID); !ok || kept.Count != 2 || len(kept.Verdict) == 0 {
		t.Errorf("found %+v, %v", kept, ok)
	}
}

// A file that an earlier version wrote is read back: its words stay what they are.
func TestLinesOfBeforeAreRead(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	if err := os.WriteFile(path, []byte(`{"id":"a-1","time":"2026-03-01T12:00:00Z","who":"user:ci","address":"192.0.2.1","repository":"registry.example/app","tag":"v1","digest":"sha256:aa",`+
		`"outcome":"refused","code":"unsigned","reason":"not signed","served":true,"signer":"alice","policies":["release"],"cached":true,"milliseconds":1.5,"verdict":{"outcome":"refused"}}`+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	want := Decision{
		ID: "a-1", Time: time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC), Who: "user:ci", Address: "192.0.2.1", Repository: "registry.example/app", Tag: "v1", Digest: "sha256:aa",
		Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "not signed", Served: true, Signer: "alice", Policies: []string{"release"}, Cached: true, Milliseconds: 1.5,
		Verdict: json.RawMessage(`{"outcome":"refused"}`),
	}
	got, ok := open(t, Config{File: path}).Find("a-1")
	if diff := cmp.Diff(want, got.Decision, cmpopts.IgnoreUnexported(Decision{})); !ok || diff != "" {
		t.Errorf("found %v (-want +is):\n%s", ok, diff)
	}
}

// Whoever pulls a lot pushes no refusal out of sight.
func TestFloodOfAdmissionsHidesNoRefusal(t *testing.T) {
	l := open(t, Config{})
	l.Record(refusal("registry.example/refused"))
	for i := range maxKept + 10 {
		l.Record(admission(fmt.Sprintf("registry.example/app-%d", i)))
	}
	if got := l.Recent(Query{Outcome: gate.OutcomeRefused, Limit: 10}); len(got) != 1 {
		t.Errorf("refusals: %+v", got)
	}
	if got := l.Recent(Query{Limit: 2 * maxKept}); len(got) != maxKept+1 {
		t.Errorf("%d are kept, want %d", len(got), maxKept+1)
	}
}

func TestSearch(t *testing.T) {
	l := open(t, Config{})
	a, b := refusal("registry.example/a"), admission("registry.example/b")
	b.Signer = "bob@acme.example"
	l.Record(a)
	l.Record(b)
	for text, want := range map[string]int{"": 2, "BOB": 1, "registry.example": 2, "sha256:aa": 1, "b bob": 1, "a bob": 1, "mallory": 0, "not signed": 1} {
		if got := l.Recent(Query{Text: text, Limit: 9}); len(got) != want {
			t.Errorf("%q: %d, want %d", text, len(got), want)
		}
	}
}

func TestCountsByTheHour(t *testing.T) {
	c := &clock{now: start}
	l := open(t, Config{Now: c.Now})
	l.Record(admission("r/a"))
	l.Record(refusal("r/b"))
	c.Add(time.Hour)
	l.Record(Decision{Repository: "r/c", Outcome: gate.OutcomeUndecided})
	got := l.Counts()
	if len(got) != steps {
		t.Fatalf("%d hours", len(got))
	}
	if g := got[steps-2]; g.Admitted != 1 || g.Refused != 1 || g.Undecided != 0 || !g.Start.Equal(start.Truncate(time.Hour)) {
		t.Errorf("%+v", g)
	}
	if g := got[steps-1]; g.Admitted != 0 || g.Undecided != 1 {
		t.Errorf("%+v", g)
	}
	c.Add(steps * time.Hour)
	for _, g := range l.Counts() {
		if g.Admitted+g.Refused+g.Undecided != 0 {
			t.Errorf("counted for ever: %+v", g)
		}
	}
}

// The file may be moved away, become full, and cease to work; nobody who pulls
// notices.
func TestOPS_FileThatMoves(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "log")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "decisions.jsonl")
	if err := os.WriteFile(path, []byte(`{"id":"torn`), 0o600); err != nil {
		t.Fatal(err)
	}
	f, err := openFile(path)
	if err != nil {
		t.Fatal(err)
	}
	write := func(text string) error { return f.append([]byte(text+"\n"), 1) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	read := func(name string) string {
		t.Helper()
		text, err := os.ReadFile(filepath.Join(dir, name))
		must(err)
		return string(text)
	}
	must(write("one"))
	if got := read("decisions.jsonl"); got != "{\"id\":\"torn\none\n" {
		t.Errorf("after a torn line: %q", got)
	}
	must(os.Rename(path, path+".moved"))
	must(write("two"))
	if got := read("decisions.jsonl"); got != "two\n" {
		t.Errorf("after it was moved: %q", got)
	}
	f.size = maxFile
	must(write("three"))
	if one, now := read("decisions.jsonl.1"), read("decisions.jsonl"); one != "two\n" || now != "three\n" {
		t.Errorf("after it was full: %q and %q", one, now)
	}
	must(os.RemoveAll(dir))
	if err := write("lost"); err == nil || f.status().Dropped != 1 {
		t.Errorf("without its directory: %v, %+v", err, f.status())
	}
	must(os.Mkdir(dir, 0o700))
	must(write("four"))
	if got := read("decisions.jsonl"); got != "four\n" {
		t.Errorf("once it works again: %q", got)
	}
}

func TestOPS_WhatIsNoFile(t *testing.T) {
	dir := t.TempDir()
	fifo := filepath.Join(dir, "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{fifo, dir, filepath.Join(dir, "none", "log")} {
		if l, err := Open(Config{File: path}); err == nil || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v, %v", path, l, err)
		} else if told := strings.Contains(err.Error(), "make its directory"); told != strings.Contains(path, "none") {
			t.Errorf("%s: %v", path, err)
		}
	}
}

// What is beside an image may be large; a line is not.
func TestLargeVerdictIsCutDown(t *testing.T) {
	v := gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeNotAcceptable, Repository: "r/a", Reason: "no"}
	for range 1000 {
		v.Signatures = append(v.Signatures, gate.SignatureResult{Unreadable: strings.Repeat("x", 100)})
	}
	l := open(t, Config{})
	l.Record(Of(v))
	got := l.Recent(Query{Limit: 1})[0]
	if len(got.Verdict) == 0 || len(got.Verdict) > maxVerdict || strings.Contains(string(got.Verdict), "xxx") {
		t.Errorf("%d bytes", len(got.Verdict))
	}
}

func TestManyAtOnce(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log")
	l := open(t, Config{File: path})
	var group sync.WaitGroup
	for i := range 8 {
		group.Go(func() {
			for j := range 200 {
				l.Record(admission(fmt.Sprintf("r/%d-%d", i, j)))
				l.Recent(Query{Limit: 1})
			}
		})
	}
	group.Wait()
	l.Close()
	if n := len(lines(t, path)); n != 1600 || l.Status().Dropped != 0 {
		t.Errorf("%d lines, %+v", n, l.Status())
	}
}
