package child_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/child"
)

// asParent is an environment variable that makes this test program run another one, whose path it holds.
const asParent = "CHILD_TEST_RUN"

func TestMain(m *testing.M) {
	if path := os.Getenv(asParent); path != "" {
		_, _ = program(path).Run(context.Background(), nil)
		return
	}
	os.Exit(m.Run())
}

func program(path string) child.Program {
	return child.Program{Path: path, Env: []string{"GIVEN=yes"}, TimeLimit: time.Minute, MaxAnswer: 1 << 10}
}

func script(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"+text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestRun(t *testing.T) {
	tests := []struct {
		name, script, answer, want string // want is part of the error; "" is none
	}{
		{"answers", `read -r line; echo "got $line"`, "got request\n", ""},
		{"gets its environment", `echo "$GIVEN $CHILD_TEST_SECRET"`, "yes \n", ""},
		{"works in no directory of ours", `pwd`, "/\n", ""},
		{"fails", `echo "first line" >&2; echo "second" >&2; exit 3`, "", "exit status 3: first line"},
		{"fails silently", `exit 3`, "", "exit status 3"},
		{"fails after an answer", `echo yes; exit 1`, "", "exit status 1"},
		{"dies", `kill -9 $$`, "", "signal: killed"},
		{"writes too much", `while true; do echo 0123456789012345678901234567890123456789; done`, "", "more than 1024 bytes"},
		{"complains too much", `i=0; while [ $i -lt 2000 ]; do echo "$i complaint" >&2; i=$((i+1)); done; exit 1`, "", "exit status 1: 0 complaint"},
	}
	t.Setenv("CHILD_TEST_SECRET", "secret")
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := script(t, tt.script)
			answer, err := program(path).Run(t.Context(), []byte("request\n"))
			if tt.want == "" && (err != nil || string(answer) != tt.answer) {
				t.Errorf("answer %q, %v, want %q", answer, err, tt.answer)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), path)) {
				t.Errorf("error %v, want one with %q and the program's path", err, tt.want)
			}
		})
	}
	if _, err := program(filepath.Join(t.TempDir(), "missing")).Run(t.Context(), nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v, want fs.ErrNotExist", err)
	}
}

func TestRunEnds(t *testing.T) {
	slow := program(script(t, `while true; do :; done`))
	slow.TimeLimit = 100 * time.Millisecond
	if _, err := slow.Run(t.Context(), nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "killed") {
		t.Errorf("error %v, want DeadlineExceeded", err)
	}
	slow.TimeLimit = time.Minute
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := slow.Run(ctx, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want Canceled", err)
	}
}

func TestProgramDiesWithItsParent(t *testing.T) {
	if runtime.GOOS != "linux" {
		t.Skip("only Linux has this")
	}
	pidFile := filepath.Join(t.TempDir(), "pid")
	parent := exec.Command(os.Args[0])
	parent.Env = append(os.Environ(), asParent+"="+script(t, fmt.Sprintf("echo $$ > %[1]s.new; mv %[1]s.new %[1]s; exec sleep 300", pidFile)))
	if err := parent.Start(); err != nil {
		t.Fatal(err)
	}
	var pid string
	eventually(t, "the program has started", func() bool {
		content, err := os.ReadFile(pidFile)
		pid = strings.TrimSpace(string(content))
		return err == nil
	})
	if gone(pid) {
		t.Fatal("the program has gone by itself")
	}
	_ = parent.Process.Kill()
	_ = parent.Wait()
	eventually(t, "the program has gone", func() bool { return gone(pid) })
}

// gone reports whether a process runs no more; what nobody waited for is a zombie.
func gone(pid string) bool {
	stat, err := os.ReadFile("/proc/" + pid + "/stat")
	return err != nil || strings.Contains(string(stat), ") Z ")
}

func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); {
		if time.Now().After(end) {
			t.Fatalf("waited in vain until %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func TestFind(t *testing.T) {
	dir := t.TempDir()
	t.Setenv("PATH", dir)
	if _, err := child.Find("touchmark-test-program"); !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), "touchmark-test-program") {
		t.Errorf("error %v, want fs.ErrNotExist with the program's name", err)
	}
	want := filepath.Join(dir, "touchmark-test-program")
	if err := os.WriteFile(want, nil, 0o700); err != nil {
		t.Fatal(err)
	}
	if got, err := child.Find("touchmark-test-program"); err != nil || got != want {
		t.Errorf("found %s, %v, want %s", got, err, want)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", "")
	if got, err := child.Find(filepath.Base(self)); err != nil || got != self {
		t.Errorf("found %s, %v, want %s", got, err, self)
	}
}
