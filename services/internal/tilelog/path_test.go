package tilelog

import (
	"bytes"
	"crypto/sha256"
	"testing"

	"github.com/touchmark/touchmark/core/tlog"
)

func TestLOG27_TilesOfHugeTrees(t *testing.T) {
	const huge = 1 << 40
	for _, c := range []struct {
		level, index, size uint64
		width              int
	}{
		{0, 0, 0, 0}, {0, 0, 1, 1}, {0, 0, 255, 255}, {0, 0, 256, 256}, {0, 1, 256, 0}, {0, 1, 257, 1}, {1, 0, 255, 0}, {1, 0, 256, 1},
		{0, huge/256 - 1, huge, 256}, {0, huge / 256, huge, 0}, {0, huge / 256, huge + 3, 3}, {4, 0, huge, 256}, {5, 0, huge, 1}, {6, 0, huge, 0},
		{7, 0, 1<<63 - 1, 127}, {8, 0, 1<<63 - 1, 0}, {63, 0, 1<<63 - 1, 0}, {0, 1<<63 - 1, 1<<63 - 1, 0},
	} {
		if got := widthAt(c.level, c.index, c.size); got != c.width {
			t.Errorf("tile %d/%d of %d leaves has %d hashes, want %d", c.level, c.index, c.size, got, c.width)
		}
	}
}

func TestPathsAreReadInOneSpelling(t *testing.T) {
	for path, want := range map[string]Resource{
		"0/000":                     {Kind: TileResource, Width: 256},
		"63/999":                    {Kind: TileResource, Level: 63, Index: 999, Width: 256},
		"entries/x001/x234/067":     {Kind: BundleResource, Index: 1234067, Width: 256},
		"5/x001/000.p/255":          {Kind: TileResource, Level: 5, Index: 1000, Width: 255},
		"0/x004/x294/x967/x296/000": {Kind: TileResource, Index: 4294967296000, Width: 256},
	} {
		got, ok := parsePath(path, "entries")
		if !ok || got != want {
			t.Errorf("%s: %+v, %v; want %+v", path, got, ok, want)
		}
	}
}

func FuzzPath(f *testing.F) {
	for _, seed := range []string{"0/000", "entries/x001/000.p/1", "63/999.p/255", "0/x000/000", "..", "0/000.p/0"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, path string) {
		if r, ok := parsePath(path, "entries"); ok && r.path("entries") != path {
			t.Errorf("%q was read as %+v, which is %q", path, r, r.path("entries"))
		}
	})
}

func TestTileLeafReadsBack(t *testing.T) {
	p := Precert{Timestamp: 1, IssuerKeyHash: sha256.Sum256([]byte("issuer")), TBS: []byte("tbs"), Precertificate: []byte("precert"), Chain: [][32]byte{{1}, {2}}}
	data, err := p.TileLeaf([]byte{0, 0, 5, 0, 0, 0, 0, 7})
	if err != nil {
		t.Fatal(err)
	}
	leaves, err := StaticCT.parse(append(bytes.Clone(data), data...))
	if err != nil || len(leaves) != 2 || !bytes.Equal(leaves[1].data, data) {
		t.Fatalf("%d leaves, %v", len(leaves), err)
	}
	// RFC 6962 section 3.4: version, leaf type, then the timestamped entry, which
	// ends with the extensions.
	end := bytes.Index(data, []byte{0, 0, 5, 0, 0, 0, 0, 7}) + 8
	if want := tlog.LeafHash(append([]byte{0, 0}, data[:end]...)); leaves[0].hash != want {
		t.Errorf("leaf hash %x, want %x", leaves[0].hash, want)
	}
	for cut := range data[1:] {
		if _, err := StaticCT.parse(data[:cut+1]); err == nil {
			t.Errorf("%d of %d bytes were read as a bundle", cut+1, len(data))
		}
	}
}

func FuzzBundle(f *testing.F) {
	f.Add([]byte{0, 1, 'x'}, false)
	f.Add(make([]byte, 60), true)
	f.Fuzz(func(t *testing.T, bundle []byte, ct bool) {
		layout := Entries
		if ct {
			layout = StaticCT
		}
		leaves, err := layout.parse(bundle)
		total := 0
		for _, l := range leaves {
			total += len(l.data)
			if !ct {
				total += 2
			}
		}
		if err == nil && total != len(bundle) {
			t.Errorf("the entries have %d of %d bytes", total, len(bundle))
		}
	})
}
