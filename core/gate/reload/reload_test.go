package reload

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

const static = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: all}
spec:
  images: [{glob: "**"}]
  authorities: [{static: {action: %s}}]
`

// The last good policy stays in force, whatever becomes of the file.
func TestOPS04_LastGoodPolicyStays(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "policy.yaml")
	write := func(text string) {
		t.Helper()
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(fmt.Sprintf(static, "fail"))
	synctest.Test(t, func(t *testing.T) {
		load := func(ctx context.Context) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, dir, policy.Options{})
			return set, nil, err
		}
		set, _, err := load(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		g, err := gate.New(gate.Config{Policy: set})
		if err != nil {
			t.Fatal(err)
		}
		var told atomic.Int32
		w := New(Config{Gate: g, Set: set, Files: []string{dir}, Load: load, Changed: func(Status) { told.Add(1) }})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		synctest.Wait()
		admitted := func() bool {
			digest := v1.Hash{Algorithm: "sha256", Hex: strings.Repeat("a", 64)}
			return g.Admit(t.Context(), gate.Request{Repository: "registry.example/app", Digest: digest}).Admitted()
		}
		for i, step := range []struct {
			text     string
			admitted bool
			broken   string // in the status's error
		}{
			{fmt.Sprintf(static, "fail"), false, ""},
			{fmt.Sprintf(static, "pass"), true, ""},
			{"kind: [", true, "policy.yaml"},
			{strings.Replace(fmt.Sprintf(static, "fail"), "authorities", "autorities", 1), true, "autorities"},
			{"", true, "policy.yaml"},
			{fmt.Sprintf(static, "fail") + "  fromTheFuture: 1\n", true, "fromTheFuture"},
			{fmt.Sprintf(static, "fail"), false, ""},
		} {
			write(step.text)
			time.Sleep(3 * interval)
			synctest.Wait()
			status := w.Status()
			if admitted() != step.admitted {
				t.Errorf("step %d: admitted is %v", i, !step.admitted)
			}
			if (status.Err == nil) != (step.broken == "") || status.Err != nil && (!strings.Contains(status.Err.Error(), step.broken) || status.Since.IsZero()) {
				t.Errorf("step %d: status is %+v", i, status)
			}
		}
		if told.Load() != 6 {
			t.Errorf("told of %d changes, want 6", told.Load())
		}
		// A file that is gone, and a directory that is.
		for _, gone := range []string{file, dir} {
			os.RemoveAll(gone)
			time.Sleep(3 * interval)
			synctest.Wait()
			if admitted() || w.Status().Err == nil {
				t.Errorf("%s gone: status %+v", gone, w.Status())
			}
		}
		stop()
		<-done
	})
}

// A file that is still being written is not loaded.
func TestHalfWrittenFile(t *testing.T) {
	dir := t.TempDir()
	synctest.Test(t, func(t *testing.T) {
		var loads atomic.Int32
		w := New(Config{Files: []string{dir}, Load: func(context.Context) (*policy.Set, []*trust.Root, error) {
			loads.Add(1)
			return nil, nil, fmt.Errorf("no")
		}})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- w.Run(ctx) }()
		time.Sleep(interval / 2) // between two looks
		for i := range 10 {
			os.WriteFile(filepath.Join(dir, "p.yaml"), []byte(strings.Repeat("x", i)), 0o600)
			time.Sleep(interval)
		}
		synctest.Wait()
		if loads.Load() != 0 {
			t.Errorf("loaded %d times while it changed", loads.Load())
		}
		time.Sleep(3 * interval)
		synctest.Wait()
		if loads.Load() != 1 {
			t.Errorf("loaded %d times after it came to rest", loads.Load())
		}
		stop()
		<-done
	})
}

// Each announcement is made once, when it is due.
func TestNotices(t *testing.T) {
	start := time.Now()
	set := &policy.Set{Enforcement: &policy.Enforcement{Exceptions: []policy.Exception{
		{Digest: "sha256:" + strings.Repeat("a", 64), Reason: "r", By: "bob", Expires: start.Add(20 * 24 * time.Hour)},
	}}}
	var days []int
	w := New(Config{Set: set, Notice: func(n policy.Notice) { days = append(days, n.Days) }})
	for hours := range 21 * 24 {
		w.announce(start.Add(time.Duration(hours) * time.Hour))
	}
	if fmt.Sprint(days) != "[14 7 1 0]" {
		t.Errorf("announced %v days ahead, want 14, 7, 1 and at the end", days)
	}
}

// What is written between the reading and the watching is not overlooked.
func TestOPS04_WrittenBeforeTheWatch(t *testing.T) {
	for _, written := range []bool{true, false} {
		dir := t.TempDir()
		synctest.Test(t, func(t *testing.T) {
			var loads atomic.Int32
			seen := Look([]string{dir})
			if written {
				if err := os.WriteFile(filepath.Join(dir, "p.yaml"), []byte("x"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			w := New(Config{Files: []string{dir}, Seen: seen, Load: func(context.Context) (*policy.Set, []*trust.Root, error) {
				loads.Add(1)
				return nil, nil, fmt.Errorf("no")
			}})
			ctx, stop := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- w.Run(ctx) }()
			time.Sleep(5 * interval) // of the bubble's clock: it takes no time
			synctest.Wait()
			if got := loads.Load() == 1; got != written {
				t.Errorf("written before: %v, loaded %d times", written, loads.Load())
			}
			stop()
			<-done
		})
	}
}
