package stack

import (
	"bufio"
	"bytes"
	"context"
	"crypto/x509"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/sct"
)

// childEnv names the data directory for a process of this test binary that is a stack, and is meant to be killed.
const childEnv = "TOUCHMARK_TEST_STACK_DIR"

func TestMain(m *testing.M) {
	if dir := os.Getenv(childEnv); dir != "" {
		if err := runChild(dir); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

// runChild is a stack that says where it listens and runs until it is killed.
func runChild(dir string) error {
	server, err := Listen(ServerConfig{Addr: "127.0.0.1:0"})
	if err != nil {
		return err
	}
	s, err := New(context.Background(), Config{Dir: dir, PublicURL: testURL, InsecureDevIssuer: true, CertificatesPerIdentity: -1, CertificatesTotal: -1})
	if err != nil {
		return err
	}
	server.Use(s.Handler())
	fmt.Println(server.URL())
	return server.Serve(context.Background())
}

// child is such a process.
type child struct {
	*exec.Cmd
	ready  chan string // receives the URL, or is closed when the process ends before
	errors bytes.Buffer
}

func spawn(t *testing.T, dir string) *child {
	t.Helper()
	c := &child{Cmd: exec.CommandContext(t.Context(), os.Args[0], "-test.run=^$"), ready: make(chan string, 1)}
	c.Env = append(os.Environ(), childEnv+"="+dir)
	c.Stderr = &c.errors
	out, err := c.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(c.ready)
		if line, err := bufio.NewReader(out).ReadString('\n'); err == nil {
			c.ready <- strings.TrimSpace(line)
		}
	}()
	return c
}

// kill is SIGKILL: nothing is flushed, nothing is closed.
func (c *child) kill() {
	_ = c.Process.Kill()
	_ = c.Wait()
}

// A first start that is killed at any moment is completed by the next one.
func TestFirstStartKilled(t *testing.T) {
	rounds := 6
	if testing.Short() {
		rounds = 3
	}
	// How long an undisturbed start takes, here and now, bounds the moments to choose from.
	begin := time.Now()
	c := spawn(t, filepath.Join(t.TempDir(), "data"))
	if url := <-c.ready; url == "" {
		t.Fatalf("the child did not start: %s", &c.errors)
	}
	whole := time.Since(begin)
	c.kill()

	interrupted := 0
	for range rounds {
		config := testConfig(t)
		// Up to three starts of the same directory are killed before one is left alone.
		for range 1 + rand.IntN(3) {
			c := spawn(t, config.Dir)
			timer := time.NewTimer(rand.N(whole))
			select {
			case <-timer.C:
				interrupted++
			case <-c.ready:
			}
			timer.Stop()
			c.kill()
		}
		s := start(t, config)
		if _, err := issueOver(t.Context(), serve(t, s)); err != nil {
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		before := s.TrustedRoot()
		again := start(t, config)
		if !bytes.Equal(before, again.TrustedRoot()) || len(again.Created()) != 0 {
			t.Error("the start after a completed one is not the same")
		}
		if err := again.Close(); err != nil {
			t.Fatal(err)
		}
		if leftovers := must(filepath.Glob(filepath.Join(config.Dir, "*", ".*new-*"))); len(leftovers) > 0 {
			t.Errorf("left over: %v", leftovers)
		}
		if _, err := os.Stat(filepath.Join(config.Dir, firstStartFile)); err == nil {
			t.Error("the first start is not finished")
		}
	}
	if interrupted == 0 {
		t.Error("no start was interrupted: the test tested nothing")
	}
	t.Logf("%d starts were killed within %v", interrupted, whole)
}

// CA-18, CA-23: kill -9 at any moment. Every certificate that was returned is in the certificate log, as what was logged, at the index
// that its timestamp names.
func TestCA18_KillLosesNoLoggedCertificate(t *testing.T) {
	rounds := 5
	if testing.Short() {
		rounds = 2
	}
	config := testConfig(t)
	var mu sync.Mutex
	var returned []*x509.Certificate
	for range rounds {
		c := spawn(t, config.Dir)
		url := <-c.ready
		if url == "" {
			t.Fatalf("the child did not start again: %s", &c.errors)
		}
		var group sync.WaitGroup
		first := make(chan struct{})
		var once sync.Once
		for range 6 {
			group.Go(func() {
				for {
					leaf, err := issueOver(t.Context(), url)
					if err != nil {
						return // the stack is gone
					}
					mu.Lock()
					returned = append(returned, leaf)
					mu.Unlock()
					once.Do(func() { close(first) })
				}
			})
		}
		<-first
		timer := time.NewTimer(rand.N(300 * time.Millisecond))
		<-timer.C
		c.kill()
		group.Wait()
	}

	s := start(t, config)
	entries := readCTLog(t, serve(t, s))
	t.Logf("%d certificates were returned in %d lives, %d are logged", len(returned), rounds, len(entries))
	if len(returned) < rounds || len(entries) < len(returned) {
		t.Errorf("%d certificates were returned, %d are logged", len(returned), len(entries))
	}
	for _, leaf := range returned {
		timestamp := must(sct.FromCertificate(leaf))[0]
		index, found, err := sct.ParseLeafIndex(timestamp.Extensions)
		if err != nil || !found || index >= uint64(len(entries)) {
			t.Errorf("leaf index %d, %v, %v", index, found, err)
			continue
		}
		if !bytes.Equal(entries[index], must(sct.PrecertTBS(leaf.RawTBSCertificate))) {
			t.Errorf("entry %d is not the certificate that names it", index)
		}
	}
}

// readCTLog reads all entries as a monitor does, and returns what was logged of each: the certificate to be signed, without poison.
// C2SP static-ct-api: TileLeaf is TimestampedEntry, pre_certificate, fingerprints.
func readCTLog(t *testing.T, url string) [][]byte {
	t.Helper()
	_, checkpoint := get(t, url+"/ct/checkpoint")
	size := must(strconv.Atoi(strings.Split(string(checkpoint), "\n")[1]))
	var entries [][]byte
	for tile := 0; tile*256 < size; tile++ {
		path := fmt.Sprintf("/ct/tile/data/%03d", tile)
		if tile > 999 {
			t.Fatal("more entries than this test makes")
		}
		if width := size - tile*256; width < 256 {
			path += fmt.Sprintf(".p/%d", width)
		}
		status, data := get(t, url+path)
		if status != http.StatusOK {
			t.Fatalf("%s: status %d", path, status)
		}
		take := func(lengthBytes int) []byte {
			length := make([]byte, 4)
			copy(length[4-lengthBytes:], data[:lengthBytes])
			n := int(binary.BigEndian.Uint32(length))
			value := data[lengthBytes : lengthBytes+n]
			data = data[lengthBytes+n:]
			return value
		}
		for len(data) > 0 {
			if kind := binary.BigEndian.Uint16(data[8:]); kind != 1 {
				t.Fatalf("entry %d is of kind %d, want a precertificate", len(entries), kind)
			}
			data = data[8+2+32:]               // time, kind, issuer's key
			entries = append(entries, take(3)) // to be signed
			take(2)                            // extensions
			take(3)                            // precertificate
			take(2)                            // fingerprints of the chain
		}
	}
	return entries
}
