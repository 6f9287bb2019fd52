package siglog_test

import (
	"bufio"
	"context"
	"crypto"
	"crypto/ed25519"
	"crypto/x509"
	"encoding/hex"
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

// appendForever appends entries to both trees, from four goroutines each, and
// prints each that is acknowledged.
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
	forever := func(appendOne func() (line string, err error)) {
		for {
			line, err := appendOne()
			if err != nil {
				failed <- err
				return
			}
			stdout.Lock()
			fmt.Println(line)
			stdout.Unlock()
		}
	}
	for range 4 {
		go forever(func() (string, error) {
			p, err := propose(key)
			if err != nil {
				return "", err
			}
			e, err := log.Append(context.Background(), p)
			return fmt.Sprintf("ack %d %s %d %d %x", e.LogIndex, e.ID, e.IntegratedTime, e.TreeSize, e.RootHash), err
		})
		go forever(func() (string, error) {
			p, err := proposeV2(key)
			if err != nil {
				return "", err
			}
			e, err := log.AppendV2(context.Background(), p)
			return fmt.Sprintf("v2 %d %x", e.LogIndex, e.Body), err
		})
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

// proposeV2 is propose for the v2 tree.
func proposeV2(key crypto.Signer) (siglog.ProposedV2, error) {
	digest := make([]byte, 64)
	for i := range digest {
		digest[i] = byte(rand.Uint32())
	}
	sig, err := key.Sign(nil, digest, &ed25519.Options{Hash: crypto.SHA512})
	if err != nil {
		return siglog.ProposedV2{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return siglog.ProposedV2{}, err
	}
	return siglog.ParseV2(hashedRekordV2(digest, sig, verifierV2("publicKey", der, "PKIX_ED25519_PH")))
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
	all, allV2 := map[string]acknowledged{}, map[uint64]string{}
	few := func() bool { return len(all) < rounds || len(allV2) < rounds }
	// On a busy machine a round may end before anything was acknowledged.
	for round := 0; round < rounds || few() && round < 8*rounds; round++ {
		acks, acksV2 := runAndKill(t, dir, round)
		for index, body := range acksV2 {
			if old, ok := allV2[index]; ok {
				t.Fatalf("v2 entry %d was acknowledged twice: %s, %s", index, old, body)
			}
			allV2[index] = body
		}
		for _, a := range acks {
			if old, ok := all[a.id]; ok {
				t.Fatalf("entry %s was acknowledged twice: %+v, %+v", a.id, old, a)
			}
			all[a.id] = a
		}
		if round%4 == 3 { // else killed again while it recovers from the last kill
			checkAcknowledged(t, dir, all, allV2)
		}
	}
	checkAcknowledged(t, dir, all, allV2)
	if few() {
		t.Fatalf("only %d and %d entries were acknowledged in %d rounds", len(all), len(allV2), rounds)
	}
	t.Logf("%d rounds, %d and %d acknowledged entries", rounds, len(all), len(allV2))
}

// runAndKill starts the appending process, kills it (at a random moment after it
// has opened the log or, every fourth round, while it is opening it), and returns
// what it acknowledged: entries of the v1 tree, and bodies of the v2 tree by place.
func runAndKill(t *testing.T, dir string, round int) ([]acknowledged, map[uint64]string) {
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
	acksV2 := map[uint64]string{}
	lines := bufio.NewScanner(stdout)
	for lines.Scan() {
		if lines.Text() == "open" {
			time.AfterFunc(time.Duration(30+rand.IntN(250))*time.Millisecond, kill)
			continue
		}
		var place uint64
		var body []byte
		if n, err := fmt.Sscanf(lines.Text(), "v2 %d %x", &place, &body); err == nil && n == 2 && strings.HasSuffix(string(body), "}}}}}}") {
			acksV2[place] = string(body)
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
	return acks, acksV2
}

// checkAcknowledged opens the log and looks for everything that was acknowledged,
// and proves that its v1 tree extends every tree that was.
func checkAcknowledged(t *testing.T, dir string, all map[string]acknowledged, allV2 map[uint64]string) {
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
	leaves := l.leavesV2(t)
	for place, body := range allV2 {
		if place >= uint64(len(leaves)) || string(leaves[place]) != body {
			t.Fatalf("acknowledged v2 entry %d, which is not there now", place)
		}
	}
	distinct := map[string]bool{}
	for _, leaf := range leaves {
		distinct[string(leaf)] = true
	}
	if len(distinct) != len(leaves) {
		t.Errorf("%d v2 leaves are in the tree twice", len(leaves)-len(distinct))
	}
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
