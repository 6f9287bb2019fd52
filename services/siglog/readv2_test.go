package siglog_test

import (
	"crypto/ed25519"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"github.com/transparency-dev/merkle/proof"
	"github.com/transparency-dev/merkle/rfc6962"
	"github.com/transparency-dev/tessera/client"
	"golang.org/x/mod/sumdb/note"
	modtlog "golang.org/x/mod/sumdb/tlog"
)

// readers are where the v2 tree is read, below the log's URL.
var readers = []string{"/", "/api/v2/"}

// noteVerifier is the verifier that others make of the log's name and key.
func (l *testLog) noteVerifier(t *testing.T) note.Verifier {
	t.Helper()
	text, err := note.NewEd25519VerifierKey("log.example", l.V2().Key.(ed25519.PublicKey))
	if err != nil {
		t.Fatal(err)
	}
	v, err := note.NewVerifier(text)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func (l *testLog) fetcher(t *testing.T, below string) *client.HTTPFetcher {
	t.Helper()
	u, err := url.Parse(l.server.URL + below)
	if err != nil {
		t.Fatal(err)
	}
	f, err := client.NewHTTPFetcher(u, l.server.Client())
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// leavesV2 reads every leaf of the v2 tree with Tessera's client.
func (l *testLog) leavesV2(t *testing.T) [][]byte {
	t.Helper()
	f := l.fetcher(t, "/")
	cp, _, _, err := client.FetchCheckpoint(t.Context(), f.ReadCheckpoint, l.noteVerifier(t), "log.example")
	if err != nil {
		t.Fatal(err)
	}
	var leaves [][]byte
	for i := uint64(0); uint64(len(leaves)) < cp.Size; i++ {
		bundle, err := client.GetEntryBundle(t.Context(), f.ReadEntryBundle, i, cp.Size)
		if err != nil {
			t.Fatal(err)
		}
		leaves = append(leaves, bundle.Entries...)
	}
	return leaves
}

// leafV2 is the body of a hashedrekord 0.0.2, with nothing beside it.
type leafV2 struct {
	APIVersion string `json:"apiVersion"`
	Kind       string `json:"kind"`
	Spec       struct {
		HashedRekordV002 struct {
			Data struct {
				Algorithm string `json:"algorithm"`
				Digest    []byte `json:"digest"`
			} `json:"data"`
			Signature struct {
				Content  []byte `json:"content"`
				Verifier struct {
					KeyDetails string `json:"keyDetails"`
					PublicKey  struct {
						RawBytes []byte `json:"rawBytes"`
					} `json:"publicKey"`
				} `json:"verifier"`
			} `json:"signature"`
		} `json:"hashedRekordV002"`
	} `json:"spec"`
}

// Tessera's client and x/mod's tlog read the whole tree, over more than one tile,
// and every leaf is a v2 body.
func TestV2TreeIsReadByOthers(t *testing.T) {
	l := newLog(t)
	const n = 300
	key := newKey(t)
	answers := make(chan answer, n)
	places := make(chan struct{}, 64) // fewer than the log has
	for i := range n {
		request := signV2(t, key, fmt.Sprint(i))
		places <- struct{}{}
		go func() {
			answers <- l.postV2(t, request)
			<-places
		}()
	}
	for range n {
		l.verifiedV2(t, <-answers)
	}
	// Entries of the v1 tree are not in this one.
	l.verified(t, l.post(t, sign(t, key, keyPEM(t, key.Public()), "a")))
	leaves := l.leavesV2(t)
	if len(leaves) != n {
		t.Fatalf("%d leaves, want %d", len(leaves), n)
	}
	for i, leaf := range leaves {
		var b leafV2
		if err := json.Unmarshal(leaf, &b, json.RejectUnknownMembers(true)); err != nil || b.Kind != "hashedrekord" || b.APIVersion != "0.0.2" || len(b.Spec.HashedRekordV002.Data.Digest) != 32 {
			t.Fatalf("leaf %d: %v: %s", i, err, leaf)
		}
	}
	for _, below := range readers {
		f := l.fetcher(t, below)
		cp, _, _, err := client.FetchCheckpoint(t.Context(), f.ReadCheckpoint, l.noteVerifier(t), "log.example")
		if err != nil {
			t.Fatal(err)
		}
		prover, err := client.NewProofBuilder(t.Context(), cp.Size, f.ReadTile)
		if err != nil {
			t.Fatal(err)
		}
		tiles := modtlog.TileHashReader(modtlog.Tree{N: int64(cp.Size), Hash: modtlog.Hash(cp.Hash)}, &tileReader{l.server.URL + below, l.server.Client()})
		for _, i := range []uint64{0, 1, 255, 256, n - 1} {
			hashes, err := prover.InclusionProof(t.Context(), i)
			if err != nil {
				t.Fatal(err)
			}
			if err := proof.VerifyInclusion(rfc6962.DefaultHasher, i, cp.Size, rfc6962.DefaultHasher.HashLeaf(leaves[i]), hashes, cp.Hash); err != nil {
				t.Errorf("%s: leaf %d: %v", below, i, err)
			}
			record, err := modtlog.ProveRecord(int64(cp.Size), int64(i), tiles)
			if err != nil {
				t.Fatal(err)
			}
			if err := modtlog.CheckRecord(record, int64(cp.Size), modtlog.Hash(cp.Hash), int64(i), modtlog.RecordHash(leaves[i])); err != nil {
				t.Errorf("%s: leaf %d: %v", below, i, err)
			}
		}
	}
	for _, path := range []string{"/tile/0/002", "/api/v2/tile/entries/001.p/45", "/api/v2/tile/entries/001.p/0", "/tile/../checkpoint", "/tile/8/0/000", "/api/v2/tile/0/0"} {
		if a := l.send(t, path, nil); a.status != 404 {
			t.Errorf("%s: %d", path, a.status)
		}
	}
}

// tileReader gives x/mod's tlog the tiles of a C2SP tlog-tiles log, whose paths do
// not name the tiles' height.
type tileReader struct {
	url    string
	client *http.Client
}

func (r *tileReader) Height() int                        { return 8 }
func (r *tileReader) SaveTiles([]modtlog.Tile, [][]byte) {}
func (r *tileReader) ReadTiles(tiles []modtlog.Tile) ([][]byte, error) {
	var all [][]byte
	for _, tile := range tiles {
		b, err := r.get(strings.Replace(tile.Path(), "tile/8/", "tile/", 1))
		if err != nil {
			return nil, err
		}
		all = append(all, b)
	}
	return all, nil
}

func (r *tileReader) get(path string) ([]byte, error) {
	resp, err := r.client.Get(r.url + path)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", path, resp.Status)
	}
	return io.ReadAll(resp.Body)
}
