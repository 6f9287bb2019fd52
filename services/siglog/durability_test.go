package siglog_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/services/siglog"
)

func TestLOG04_DuplicatesGetTheSameEntry(t *testing.T) {
	l := newLog(t)
	now := time.Unix(1_700_000_000, 0)
	l.cfg.Clock = func() time.Time { return now }
	l.restart(t)
	key := newKey(t)
	proposed := sign(t, key, keyPEM(t, key.Public()), "a")

	const n = 100
	answers := make(chan answer, n)
	for range n {
		go func() { answers <- l.post(t, proposed) }()
	}
	firstID, first := l.verified(t, <-answers)
	same := func(a answer) {
		t.Helper()
		id, e := l.verified(t, a)
		if a.status != 201 || id != firstID || e.LogIndex != first.LogIndex || e.IntegratedTime != first.IntegratedTime {
			t.Fatalf("%d %s at %d, time %d; first was %s at %d, time %d", a.status, id, e.LogIndex, e.IntegratedTime, firstID, first.LogIndex, first.IntegratedTime)
		}
	}
	for range n - 1 {
		same(<-answers)
	}
	l.verified(t, l.post(t, sign(t, key, keyPEM(t, key.Public()), "b")))
	now = now.Add(time.Hour)
	same(l.post(t, proposed))
	l.restart(t)
	same(l.post(t, proposed))
	var head struct{ TreeSize uint64 }
	l.getJSON(t, "/api/v1/log", &head)
	if head.TreeSize != 2 {
		t.Errorf("the tree has %d leaves, want 2", head.TreeSize)
	}
}

func TestIndexIsRebuiltFromTheTree(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	cert := certPEM(t, key, "alice@acme.example")
	idA, a := l.verified(t, l.post(t, sign(t, key, cert, "a")))
	idB, _ := l.verified(t, l.post(t, signEnvelope(t, key, cert, "{}")))
	l.server.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	removeIndex(t, l.cfg.Dir, "index.sqlite")
	l.start(t)
	if id, got := l.verified(t, l.send(t, "/api/v1/log/entries/"+idA, nil)); id != idA || got.LogIndex != a.LogIndex {
		t.Errorf("%s at %d", id, got.LogIndex)
	}
	digest := sha256.Sum256([]byte("a"))
	l.wantSearch(t, `{"email":"alice@acme.example"}`, idB, idA)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%x"}`, digest), idA)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"%x"}`, sha256.Sum256([]byte("{}"))), idB)
}

// The last of these is also a directory from before the v2 tree took entries, which
// has no index for it.
func TestLOG04_V2DuplicatesGetTheSameEntry(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	request := signV2(t, key, "a")
	const n = 100
	answers := make(chan answer, n)
	for range n {
		go func() { answers <- l.postV2(t, request) }()
	}
	first := l.verifiedV2(t, <-answers)
	same := func(a answer) {
		t.Helper()
		if e := l.verifiedV2(t, a); e.GetLogIndex() != first.GetLogIndex() || !bytes.Equal(e.GetCanonicalizedBody(), first.GetCanonicalizedBody()) {
			t.Fatalf("entry at %d, first was at %d", e.GetLogIndex(), first.GetLogIndex())
		}
	}
	for range n - 1 {
		same(<-answers)
	}
	l.verifiedV2(t, l.postV2(t, signV2(t, key, "b")))
	l.restart(t)
	same(l.postV2(t, request))
	l.server.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	removeIndex(t, l.cfg.Dir, "index-v2.sqlite")
	l.start(t)
	same(l.postV2(t, request))
	if cp := l.send(t, "/checkpoint", nil); !strings.HasPrefix(string(cp.body), "log.example\n2\n") {
		t.Errorf("want 2 leaves: %s", cp.body)
	}
}

func removeIndex(t *testing.T, dir, name string) {
	t.Helper()
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(dir, name+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
}

func TestLOG26_ShutdownAcknowledgesOrRefuses(t *testing.T) {
	cfg := newConfig(t)
	log, err := siglog.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	key, err := keys.Generate(keys.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	type result struct {
		e   siglog.Entry
		err error
	}
	var proposals []siglog.Proposed
	for range n {
		p, err := propose(key)
		if err != nil {
			t.Fatal(err)
		}
		proposals = append(proposals, p)
	}
	results, started := make(chan result, n), make(chan struct{}, n)
	for _, p := range proposals {
		go func() {
			started <- struct{}{}
			e, err := log.Append(context.Background(), p)
			results <- result{e, err}
		}()
	}
	for range n / 2 {
		<-started
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
	l := &testLog{cfg: cfg}
	l.start(t)
	defer func() { l.server.Close(); l.Close() }()
	acked := 0
	for range n {
		r := <-results
		if r.err != nil {
			continue
		}
		acked++
		if _, e := l.verified(t, l.send(t, "/api/v1/log/entries/"+r.e.ID, nil)); uint64(e.LogIndex) != r.e.LogIndex || e.IntegratedTime != r.e.IntegratedTime {
			t.Fatalf("acknowledged %+v, now %+v", r.e, e)
		}
	}
	t.Logf("%d of %d acknowledged", acked, n)
}

func TestLOG12_LOG23_OpenRefusals(t *testing.T) {
	l := newLog(t)
	key := newKey(t)
	l.verified(t, l.post(t, sign(t, key, keyPEM(t, key.Public()), "a")))
	refuse := func(name, names string, change func(*siglog.Config)) {
		t.Helper()
		cfg := l.cfg
		change(&cfg)
		log, err := siglog.New(t.Context(), cfg)
		if err == nil {
			log.Close()
			t.Fatalf("%s: opened", name)
		}
		if !strings.Contains(err.Error(), names) {
			t.Errorf("%s: %v does not name %q", name, err, names)
		}
	}
	refuse("second writer", "in use by another process", func(*siglog.Config) {})
	l.server.Close()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	other := newConfig(t)
	refuse("other v1 key", "v1/checkpoint", func(c *siglog.Config) { c.V1Key = other.V1Key })
	refuse("other v2 key", "v2/checkpoint", func(c *siglog.Config) { c.V2Key = other.V2Key })
	refuse("other host name", "log.example", func(c *siglog.Config) { c.Hostname = "other.example" })
	refuse("no host name", "host name", func(c *siglog.Config) { c.Hostname = "" })
	refuse("keys swapped", "v1 key", func(c *siglog.Config) { c.V1Key, c.V2Key = c.V2Key, c.V1Key })
	refuse("no key", "key", func(c *siglog.Config) { c.V1Key = nil })

	path := filepath.Join(l.cfg.Dir, "log.json")
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"empty": "", "zeroed": string(make([]byte, len(good))), "torn": string(good[:len(good)/2]),
		"newer schema": strings.Replace(string(good), `"schema":1`, `"schema":2`, 1),
		"tree ID zero": `{"schema":1,"hostname":"log.example","treeID":"0"}`,
	} {
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		refuse(name, path, func(*siglog.Config) {})
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	refuse("log.json missing", path, func(*siglog.Config) {})
	if err := os.WriteFile(path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	l.start(t)
	if _, ok := l.V1().Key.(*ecdsa.PublicKey); !ok || l.Healthy() != nil {
		t.Error("the good one did not come back")
	}
}

// A first start that was cut off while it wrote log.json leaves no file behind for good.
func TestLOG06_LeftoversOfTheFirstStart(t *testing.T) {
	cfg := newConfig(t)
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	leftover := filepath.Join(cfg.Dir, ".new-123")
	if err := os.WriteFile(leftover, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	l, err := siglog.New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if _, err := os.Stat(leftover); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("%s is still there: %v", leftover, err)
	}
}
