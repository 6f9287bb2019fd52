package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/services/agent/store"
)

// writerEnv makes this test binary write to the store in a directory until it is
// killed.
const writerEnv = "TOUCHMARK_TEST_STORE"

func TestMain(m *testing.M) {
	if dir := os.Getenv(writerEnv); dir != "" {
		writeForEver(dir)
	}
	os.Exit(m.Run())
}

func writeForEver(dir string) {
	background := context.Background()
	s := store.Open(background, store.Config{Dir: dir, Version: "1"})
	s.Begin("A", time.Now())
	for i := 1; ; i++ {
		now := time.Now()
		s.Record(gate.Asker{Client: "podman", UID: 0}, verdict(i, gate.OutcomeAdmitted, gate.CodeAdmitted))
		s.Keep("A", fmt.Sprint("key", i), gate.Kept{Verdict: verdict(i, gate.OutcomeAdmitted, gate.CodeAdmitted), From: now, Until: now.Add(10 * time.Minute)})
		if i%50 == 0 {
			s.Flush(background)
			fmt.Println(i) // these are on the disk now
		}
	}
}

// A process that is killed in the midst of writing leaves a whole file, with
// everything in it that was said to be there.
func TestKilled(t *testing.T) {
	dir := t.TempDir()
	for round := range 5 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), writerEnv+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		written := 0
		for lines := bufio.NewScanner(out); written < 100*(round+1) && lines.Scan(); {
			if _, err := fmt.Sscan(lines.Text(), &written); err != nil {
				t.Fatalf("%q: %v", lines.Text(), err)
			}
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		_ = cmd.Wait() // killed
		if n := store.Count(t, dir, "decisions"); n < written {
			t.Errorf("round %d: %d decisions of %d", round, n, written)
		}
		s := store.Open(t.Context(), store.Config{Dir: dir, Version: "1"})
		s.Begin("A", time.Now())
		if got, ok := s.Restore("A", fmt.Sprint("key", written), time.Now()); !ok || got.Verdict.Digest != digest(written).String() {
			t.Errorf("round %d: the last admission is not restored: %+v", round, got)
		}
		closed(t, s)
	}
}

// A full disk is said to be one, and nothing else happens; what was there stays,
// and the next thing is written when there is room again.
func TestFullDisk(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("only root can mount a small file system")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=512k"); err != nil {
		t.Skipf("mounting a small file system: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	clock := coretest.NewClock(coretest.Start)
	s := open(t, filepath.Join(dir, "state"), clock, "1")
	s.Begin("A", clock.Now())
	s.Record(gate.Asker{UID: 0}, verdict(1, gate.OutcomeRefused, gate.CodeUnsigned))
	keep(s, clock, "A", "key")
	s.Flush(t.Context())

	filler := filepath.Join(dir, "filler")
	f, err := os.Create(filler)
	if err != nil {
		t.Fatal(err)
	}
	for chunk := make([]byte, 4096); err == nil; {
		_, err = f.Write(chunk)
	}
	_ = f.Close()    // it is full
	noticed := false // at some time: a write that needs no room may succeed after others
	for i := range 200 {
		s.Record(gate.Asker{UID: 0}, verdict(i+2, gate.OutcomeRefused, gate.CodeUnsigned))
		s.Flush(t.Context())
		noticed = noticed || s.Status().Err != nil
	}
	status := s.Status()
	if !noticed || status.Dropped == 0 || status.Since.IsZero() {
		t.Errorf("a full disk is not noticed: %+v", status)
	}
	if _, ok := s.Restore("A", "key", clock.Now()); !ok {
		t.Error("what was there is gone")
	}
	if found, err := s.Decisions(t.Context(), store.Query{Repository: "registry.example/app", Digest: digest(1).String()}); err != nil || len(found) != 1 {
		t.Errorf("what was there: %v, %v", found, err)
	}

	if err := os.Remove(filler); err != nil {
		t.Fatal(err)
	}
	s.Record(gate.Asker{UID: 0}, verdict(1000, gate.OutcomeRefused, gate.CodeUnsigned))
	s.Flush(t.Context())
	if err := s.Status().Err; err != nil {
		t.Errorf("there is room again: %v", err)
	}
	closed(t, s)
	store.Count(t, filepath.Join(dir, "state"), "decisions")
}
