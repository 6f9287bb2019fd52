package siglog_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/services/siglog"
)

// TestMain lets the test binary be the process that is killed.
func TestMain(m *testing.M) {
	if dir := os.Getenv("SIGLOG_TEST_APPEND_TO"); dir != "" {
		if err := appendForever(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	os.Exit(m.Run())
}

// crashConfig is the configuration of the log in dir, whose keys lie beside it.
func crashConfig(dir string) (siglog.Config, error) {
	v1, err := keys.Load(filepath.Join(dir, "v1.pem"))
	if err != nil {
		return siglog.Config{}, err
	}
	v2, err := keys.Load(filepath.Join(dir, "v2.pem"))
	return siglog.Config{Dir: filepath.Join(dir, "log"), Hostname: "log.example", V1Key: v1, V2Key: v2}, err
}

// appendForever appends entries from four goroutines and prints each that is
// acknowledged.
func appendForever(dir string) error {
	cfg, err := crashConfig(dir)
	if err != nil {
		return err
	}
	log, err := siglog.New(context.Background(), cfg)
	if err != nil {
		return err
	}
	key, err := keys.Load(filepath.Join(dir, "signer.pem"))
	if err != nil {
		return err
	}
	fmt.Println("open")
	var stdout sync.Mutex
	failed := make(chan error)
	for range 4 {
		go func() {
			for {
				p, err := propose(key)
				if err != nil {
					failed <- err
					return
				}
				e, err := log.Append(context.Background(), p)
				if err != nil {
					failed <- err
					return
				}
				stdout.Lock()
				fmt.Printf("ack %d %s %d %d %x\n", e.LogIndex, e.ID, e.IntegratedTime, e.TreeSize, e.RootHash)
				stdout.Unlock()
			}
		}()
	}
	return <-failed
}

// propose makes a new entry with an Ed25519 key, whose signatures are short to make.
func propose(key crypto.Signer) (siglog.Proposed, error) {
	digest := make([]byte, 64)
	for i := range digest {
		digest[i] = byte(rand.Uint32())
	}
	sig, err := key.Sign(nil, digest, &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		return siglog.Proposed{}, err
	}
	pem, err := keys.MarshalPublic(key.Public())
	if err != nil {
		return siglog.Proposed{}, err
	}
	return siglog.Parse(hashedRekord("sha512", digest, sig, pem))
}

// acknowledged is one line of appendForever.
type acknowledged struct {
	index    uint64
	id       string
	at       int64
	treeSize uint64
	root     [32]byte
}

func parseAck(line string) (acknowledged, error) {
	var a acknowledged
	var root []byte
	n, err := fmt.Sscanf(line, "ack %d %s %d %d %x", &a.index, &a.id, &a.at, &a.treeSize, &root)
	if err != nil || n != 5 || len(root) != 32 {
		return a, fmt.Errorf("line %q: %w", line, err)
	}
	a.root = [32]byte(root)
	return a, nil
}

// killRounds is how often the log is killed. With SIGLOG_TEST_ROUNDS=N it is N.
const killRounds = 16

func TestLOG06_LOG07_KilledAtAnyTimeLosesNothingAcknowledged(t *testing.T) {
	rounds := killRounds
	if n, err := strconv.Atoi(os.Getenv("SIGLOG_TEST_ROUNDS")); err == nil {
		rounds = n
	}
	dir := t.TempDir()
	for name, algorithm := range map[string]keys.Algorithm{"v1.pem": keys.P256, "v2.pem": keys.Ed25519, "signer.pem": keys.Ed25519} {
		key, err := keys.Generate(algorithm)
		if err != nil {
			t.Fatal(err)
		}
		if err := keys.WritePrivate(filepath.Join(dir, name), key); err != nil {
			t.Fatal(err)
		}
	}
	all := map[string]acknowledged{}
	for round := range rounds {
		acks := runAndKill(t, dir, round)
		for _, a := range acks {
			if old, ok := all[a.id]; ok {
				t.Fatalf("entry %s was acknowledged twice: %+v, %+v", a.id, old, a)
			}
			all[a.id] = a
		}
		if round%4 != 3 && round != rounds-1 {
			continue // killed again while it recovers from the last kill
		}
		checkAcknowledged(t, dir, all)
	}
	if len(all) < rounds {
		t.Fatalf("only %d entries were acknowledged in %d rounds", len(all), rounds)
	}
	t.Logf("%d rounds, %d acknowledged entries", rounds, len(all))
}

// runAndKill starts the appending process, kills it (at a random moment after it
// has opened the log or, every fourth round, while it is opening it), and returns
// what it acknowledged.
func runAndKill(t *testing.T, dir string, round int) []acknowledged {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), os.Args[0])
	cmd.Env = append(os.Environ(), "SIGLOG_TEST_APPEND_TO="+dir)
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill := func() { _ = cmd.Process.Kill() } // SIGKILL; it may be gone already
	if round%4 == 2 {
		time.AfterFunc(time.Duration(rand.IntN(40))*time.Millisecond, kill)
	}
	var acks []acknowledged
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() == "open" {
			time.AfterFunc(time.Duration(30+rand.IntN(250))*time.Millisecond, kill)
			continue
		}
		a, err := parseAck(lines.Text())
		if err != nil {
			break // torn by the kill
		}
		acks = append(acks, a)
	}
	_ = cmd.Wait() // always "signal: killed"
	if stderr.Len() > 0 {
		t.Fatalf("round %d: %s", round, stderr.String())
	}
	return acks
}

// checkAcknowledged opens the log and looks for everything that was acknowledged,
// and proves that its tree extends every tree that was.
func checkAcknowledged(t *testing.T, dir string, all map[string]acknowledged) {
	t.Helper()
	cfg, err := crashConfig(dir)
	if err != nil {
		t.Fatal(err)
	}
	l := &testLog{cfg: cfg}
	l.start(t)
	defer func() {
		l.server.Close()
		if err := l.Close(); err != nil {
			t.Error(err)
		}
	}()
	var head struct {
		TreeSize uint64
		RootHash string
	}
	l.getJSON(t, "/api/v1/log", &head)
	now := tlog.Checkpoint{Origin: "x", Size: head.TreeSize, Root: unhex(t, head.RootHash)}
	checkedSizes := map[uint64]bool{}
	for _, a := range all {
		id, e := l.verified(t, l.send(t, "/api/v1/log/entries/"+a.id, nil))
		if id != a.id || uint64(e.LogIndex) != a.index || e.IntegratedTime != a.at {
			t.Fatalf("acknowledged %+v, now %s at %d, time %d", a, id, e.LogIndex, e.IntegratedTime)
		}
		if checkedSizes[a.treeSize] {
			continue
		}
		checkedSizes[a.treeSize] = true
		var proof struct{ Hashes []string }
		l.getJSON(t, fmt.Sprintf("/api/v1/log/proof?firstSize=%d&lastSize=%d", a.treeSize, head.TreeSize), &proof)
		var hashes [][]byte
		for _, h := range proof.Hashes {
			hash := unhex(t, h)
			hashes = append(hashes, hash[:])
		}
		if err := tlog.VerifyConsistency(tlog.Checkpoint{Origin: "x", Size: a.treeSize, Root: a.root}, now, hashes); err != nil {
			t.Fatalf("size %d: %v", a.treeSize, err)
		}
	}
}

func unhex(t *testing.T, s string) [32]byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 32 {
		t.Fatalf("%q is not a hash", s)
	}
	return [32]byte(b)
}

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
	for _, suffix := range []string{"", "-wal", "-shm"} {
		if err := os.Remove(filepath.Join(l.cfg.Dir, "index.sqlite"+suffix)); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	l.start(t)
	if id, got := l.verified(t, l.send(t, "/api/v1/log/entries/"+idA, nil)); id != idA || got.LogIndex != a.LogIndex {
		t.Errorf("%s at %d", id, got.LogIndex)
	}
	digest := sha256.Sum256([]byte("a"))
	l.wantSearch(t, `{"email":"alice@acme.example"}`, idB, idA)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"sha256:%x"}`, digest), idA)
	l.wantSearch(t, fmt.Sprintf(`{"hash":"%x"}`, sha256.Sum256([]byte("{}"))), idB)
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
	refuse("second writer", "another writer", func(*siglog.Config) {})
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
