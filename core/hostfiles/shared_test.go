package hostfiles_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/hostfiles/hostfilestest"
)

// sharing is what one of two installers wants of a file.
func sharing(t *testing.T, root, client string, fields ...hostfiles.Field) {
	t.Helper()
	p := place(root)
	p.Record, p.Client = filepath.Join(root, "touchmark/install", client+".json"), client
	last, err := p.Installed()
	if err != nil {
		t.Fatal(err)
	}
	c, err := hostfiles.Wanted{Place: p, Last: last, Files: []hostfiles.File{{Path: filepath.Join(root, "config.yaml"), Mode: 0o644, Fields: fields}}}.Plan()
	apply(t, c, err)
	if last, err = p.Installed(); err != nil {
		t.Fatal(err)
	}
	c, err = hostfiles.Wanted{Place: p, Last: last, Files: []hostfiles.File{{Path: filepath.Join(root, "config.yaml"), Mode: 0o644, Fields: fields}}}.Plan()
	if err != nil || !c.Empty() {
		t.Errorf("%s: doing it again would change\n%s%v", client, c.Diff(), err)
	}
}

func takeAway(t *testing.T, root, client string) {
	t.Helper()
	p := place(root)
	p.Record, p.Client = filepath.Join(root, "touchmark/install", client+".json"), client
	c, err := p.Removal(hostfiles.Edited{})
	apply(t, c, err)
}

var (
	listen  = hostfiles.Field{Section: "agent", Name: "listen", Value: "127.0.0.1:7467"}
	scopes  = hostfiles.Field{Section: "podman", Name: "scopes", Value: []string{"registry.example"}}
	observe = hostfiles.Field{Section: "containerd", Name: "observe", Value: true}
)

// Two installers and a person write the same file, in any order, and each takes
// out what is its own.
func TestSharedFiles(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		before string // "" is none
		steps  func(t *testing.T, root string)
		after  string
	}{
		"one, which made it": {"", func(t *testing.T, root string) {
			sharing(t, root, "a", listen)
			takeAway(t, root, "a")
		}, ""},
		"the second goes first": {"# ours\n\nagent:   {state: /x} # here\n", func(t *testing.T, root string) {
			sharing(t, root, "a", listen, scopes)
			sharing(t, root, "b", observe)
			takeAway(t, root, "b")
			takeAway(t, root, "a")
		}, "# ours\n\nagent:   {state: /x} # here\n"},
		"the first goes first": {"# ours\n\nagent:   {state: /x} # here\n", func(t *testing.T, root string) {
			sharing(t, root, "a", listen, scopes)
			sharing(t, root, "b", observe)
			takeAway(t, root, "a")
			takeAway(t, root, "b")
		}, "# ours\n\nagent: {state: /x} # here\n"}, // what b found there, a had written
		"both made it": {"", func(t *testing.T, root string) {
			sharing(t, root, "a", listen, scopes)
			sharing(t, root, "b", observe)
			sharing(t, root, "a", scopes)
			takeAway(t, root, "a")
			takeAway(t, root, "b")
		}, ""},
		"a person adds something": {"", func(t *testing.T, root string) {
			sharing(t, root, "a", listen)
			text, err := os.ReadFile(filepath.Join(root, "config.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			put(t, filepath.Join(root, "config.yaml"), string(text)+"policy: mine.yaml\n")
			sharing(t, root, "a", listen, observe)
			takeAway(t, root, "a")
		}, "policy: mine.yaml\n"},
		"a person's own value": {"agent: {listen: '127.0.0.1:1'}\n", func(t *testing.T, root string) {
			sharing(t, root, "a", listen)
			sharing(t, root, "b", observe)
			takeAway(t, root, "a")
			takeAway(t, root, "b")
		}, "agent: {listen: '127.0.0.1:1'}\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			root := t.TempDir()
			file := filepath.Join(root, "config.yaml")
			if c.before != "" {
				put(t, file, c.before)
			}
			c.steps(t, root)
			data, err := os.ReadFile(file)
			if c.after == "" && !errors.Is(err, fs.ErrNotExist) {
				t.Fatalf("it is still there: %q", data)
			}
			text := string(data)
			if c.after != "" && strings.HasPrefix(text, "# Written by") {
				_, text, _ = strings.Cut(text, "\n")
				text = strings.TrimLeft(text, "\n")
			}
			if strings.ReplaceAll(text, `"`, "'") != c.after {
				t.Errorf("%q, want %q", text, c.after)
			}
		})
	}
}

func TestLinksAndPrograms(t *testing.T) {
	t.Parallel()
	root := t.TempDir()
	want := func() *hostfiles.Changes {
		last, err := place(root).Installed()
		if err != nil {
			t.Fatal(err)
		}
		c, err := hostfiles.Wanted{Place: place(root), Last: last, Files: []hostfiles.File{
			{Path: filepath.Join(root, "bin/verifier"), Link: "/usr/local/bin/verifier"},
			{Path: filepath.Join(root, "bin/copy"), Data: []byte("\x7fELF\x00"), Mode: 0o755},
		}}.Plan()
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := want()
	if diff := c.Diff(); !strings.Contains(diff, "bin/verifier: nothing -> a link to /usr/local/bin/verifier") || !strings.Contains(diff, "bin/copy: nothing -> 5 bytes, mode 0755, sha256 ") {
		t.Errorf("diff %q", diff)
	}
	apply(t, c, nil)
	if target, err := os.Readlink(filepath.Join(root, "bin/verifier")); err != nil || target != "/usr/local/bin/verifier" {
		t.Errorf("link to %q, %v", target, err)
	}
	if info, err := os.Stat(filepath.Join(root, "bin/copy")); err != nil || info.Mode() != 0o755 {
		t.Errorf("%v, %v", info, err)
	}
	if c := want(); !c.Empty() {
		t.Errorf("again: %s", c.Diff())
	}
	c, err := place(root).Removal(hostfiles.Edited{})
	apply(t, c, err)
	if diff := cmp.Diff(map[string]string{}, hostfilestest.Tree(t, root)); diff != "" {
		t.Error(diff)
	}
}

// What two installers were handed, both have; who goes last takes it away, whoever
// that is.
func TestWhatBothWantStaysForTheOther(t *testing.T) {
	t.Parallel()
	for _, first := range []string{"a", "b"} {
		root := t.TempDir()
		before := hostfilestest.Tree(t, root)
		policy := filepath.Join(root, "policy.yaml")
		wants := func(client, text string) {
			p := place(root)
			p.Record, p.Client = filepath.Join(root, "touchmark/install", client+".json"), client
			last, err := p.Installed()
			if err != nil {
				t.Fatal(err)
			}
			c, err := hostfiles.Wanted{Place: p, Last: last, Files: []hostfiles.File{{Path: policy, Data: []byte(text), Mode: 0o644, Input: true}}}.Plan()
			apply(t, c, err)
		}
		wants("a", "one\n")
		wants("b", "one\n")
		wants("a", "two\n")
		wants("b", "two\n")
		takeAway(t, root, first)
		if data, err := os.ReadFile(policy); err != nil || string(data) != "two\n" {
			t.Errorf("%s went first: %q, %v", first, data, err)
		}
		takeAway(t, root, map[string]string{"a": "b", "b": "a"}[first])
		if diff := cmp.Diff(before, hostfilestest.Tree(t, root)); diff != "" {
			t.Errorf("%s went first (-before +after)\n%s", first, diff)
		}
	}
}
