package containerdconfig_test

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// overridden is how many configurations are overridden: one takes 30 ms.
const overridden = 150

// TestCTRD09_WhatAnOverrideCloses writes an override over configurations of every
// kind and asks the real program: nothing makes CRI pull by itself any more but
// what was said to need an edit. And a preview is what is there afterwards.
func TestCTRD09_WhatAnOverrideCloses(t *testing.T) {
	program := lab.Tool(t, "containerd-v2.4.2")
	var closed, edits int
	for i := range overridden {
		dir := t.TempDir()
		g := &generator{rand: rand.New(rand.NewPCG(seed+1000, uint64(i))), dir: dir}
		main := g.tree()
		before, err := config.Load(containerd.Host{}, main, config.Newest())
		if err != nil || before.CRI.Disabled {
			continue
		}
		changed := make(map[string][]byte)
		drops, ok := before.DropIn("zz-touchmark.toml")
		if !ok || filepath.Base(drops) == "nested" { // it is where several directories match
			drops = filepath.Join(dir, "own.d")
			text, err := os.ReadFile(main)
			if err != nil {
				t.Fatal(err)
			}
			if changed[main], err = config.AddImport(text, drops+"/*.toml"); err != nil {
				t.Fatal(err)
			}
		}
		text, err := config.Override(before.DropInVersion(),
			config.Set{Field: config.BinDir, Value: "/opt/ours"}, config.Set{Field: config.UseLocalImagePull, Value: false}, config.Set{Field: config.DisableSnapshotAnnotations, Value: true},
			config.Set{Field: config.DiscardUnpackedLayers, Value: false}, config.Set{Field: config.MaxConcurrentDownloads, Value: 3}, config.Set{Field: config.ImagePullWithSyncFs, Value: false})
		if err != nil {
			t.Fatal(err)
		}
		changed[filepath.Join(drops, "zz-touchmark.toml")] = text
		preview, err := config.Preview(containerd.Host{}, main, config.Newest(), changed)
		if err != nil {
			t.Fatalf("tree %d: %v\n%s", i, err, show(t, dir))
		}
		for path, text := range changed {
			must(os.MkdirAll(filepath.Dir(path), 0o700))
			must(os.WriteFile(path, text, 0o600))
		}
		after, err := config.Load(containerd.Host{}, main, config.Newest())
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(preview, after); diff != "" {
			t.Errorf("tree %d: -preview +after: %s", i, diff)
		}
		dump, err := config.Dump(t.Context(), program, main, config.Newest())
		if err != nil {
			t.Fatal(err)
		}
		if dump.Verifier.BinDir != "/opt/ours" {
			t.Fatalf("tree %d: bin_dir is %s\n%s", i, dump.Verifier.BinDir, show(t, dir))
		}
		for _, s := range dump.CRI.LocalPull {
			if !s.Edit {
				t.Fatalf("tree %d: %+v is open still\n%s", i, s, show(t, dir))
			}
		}
		for _, s := range before.CRI.LocalPull {
			if s.Edit {
				edits++
			} else {
				closed++
			}
		}
	}
	t.Logf("%d settings closed, %d need an edit", closed, edits)
	if closed < 50 || edits < 10 {
		t.Error("the configurations are too much alike")
	}
}
