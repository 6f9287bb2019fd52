package clients

import (
	"bytes"
	"flag"
	"fmt"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Between these lines docs/clients.md is written by the tests.
const (
	begin = "<!-- begin: go test ./integration/clients -update -->\n"
	end   = "<!-- end -->\n"
)

// tried is one thing that a client was seen to do.
type tried struct {
	client, does string
	commands     []string
	refuses      []string // what, with the reason that it gave
}

// record collects what was tried.
type record struct {
	mu      sync.Mutex
	rows    map[string]*tried
	skipped bool
}

// add notes a command, or what was refused. Several tests may add the same.
func (r *record) add(client, does, command, refuses string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.rows == nil {
		r.rows = map[string]*tried{}
	}
	row := r.rows[client+does]
	if row == nil {
		row = &tried{client: client, does: does}
		r.rows[client+does] = row
	}
	if command != "" && !slices.Contains(row.commands, command) {
		row.commands = append(row.commands, command)
	}
	if refuses != "" && !slices.Contains(row.refuses, refuses) {
		row.refuses = append(row.refuses, refuses)
	}
}

// start begins a test: it runs beside others, and if it does not run to its end, what was tried is not everything.
func start(t *testing.T) {
	t.Parallel()
	t.Cleanup(func() {
		if t.Skipped() || t.Failed() {
			journal.mu.Lock()
			journal.skipped = true
			journal.mu.Unlock()
		}
	})
}

// complete reports whether every test ran.
func (r *record) complete() bool {
	for _, name := range []string{"test.run", "test.skip", "test.list", "test.bench"} {
		if flag.Lookup(name).Value.String() != "" {
			return false
		}
	}
	return !r.skipped && len(r.rows) > 0
}

// markdown is one table for each client.
func (r *record) markdown() []byte {
	var b bytes.Buffer
	client := ""
	for _, key := range slices.Sorted(maps.Keys(r.rows)) {
		row := r.rows[key]
		if row.client != client {
			client = row.client
			fmt.Fprintf(&b, "\n### %s\n\n| | command | refuses |\n|---|---|---|\n", client)
		}
		slices.Sort(row.commands)
		slices.Sort(row.refuses)
		for i, command := range row.commands {
			row.commands[i] = "`" + strings.ReplaceAll(command, "|", `\|`) + "`"
		}
		fmt.Fprintf(&b, "| %s | %s | %s |\n", row.does, strings.Join(row.commands, "<br>"), strings.Join(row.refuses, "<br>"))
	}
	b.WriteByte('\n')
	return b.Bytes()
}

// compare holds the document against what was tried, or writes it.
func (r *record) compare(path string, write bool) error {
	text, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	before, rest, found := bytes.Cut(text, []byte(begin))
	old, after, found2 := bytes.Cut(rest, []byte(end))
	if !found || !found2 {
		return fmt.Errorf("%s has no lines %q and %q", path, begin, end)
	}
	table := r.markdown()
	switch {
	case bytes.Equal(old, table):
		return nil
	case !write:
		return fmt.Errorf("%s does not say what the tests did: run go test ./integration/clients -update", path)
	}
	return os.WriteFile(path, slices.Concat(before, []byte(begin), table, []byte(end), after), 0o644)
}
