package cache

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/registry-proxy/blob"
)

// childDir tells the test's own program what to do when it is started again.
const childDir = "TOUCHMARK_CACHE_TEST_DIR"

func TestMain(m *testing.M) {
	switch mode, dir, _ := strings.Cut(os.Getenv(childDir), ":"); mode {
	case "":
		os.Exit(m.Run())
	case "fill":
		fillForEver(dir)
	case "small":
		fillSmallDisk(dir)
	case "limit":
		fillLimited(dir)
	}
}

// child starts the test's own program for one of the tasks above.
func child(t *testing.T, mode, dir string) *exec.Cmd {
	t.Helper()
	program, err := os.Executable()
	check0(t, err)
	cmd := exec.Command(program)
	cmd.Env = append(os.Environ(), childDir+"="+mode+":"+dir)
	return cmd
}

// blobs of the children: a few, of all sizes.
var childSizes = []int{1, 70_000, 300_000, 1 << 20}

// fillForEver fetches blobs and answers, writes a line for each one that was served, and never ends.
func fillForEver(dir string) {
	c, err := Open(Config{Dir: dir, MaxBytes: MinBytes})
	if err != nil {
		fmt.Println("ERROR", err)
		os.Exit(1)
	}
	fmt.Println("open")
	for i := uint64(0); ; i++ {
		seed := rand.Uint64N(20)
		body, digest := content(seed, childSizes[seed%4])
		r, err := c.Get(context.Background(), "app", digest, int64(len(body)), (&origin{body: body}).open)
		if err != nil {
			fmt.Println("ERROR", err)
			os.Exit(1)
		}
		var b bytes.Buffer
		if err := r.Copy(context.Background(), &b, 0, int64(len(body))); err != nil || !bytes.Equal(b.Bytes(), body) {
			fmt.Println("ERROR", err, "of", b.Len())
			os.Exit(1)
		}
		r.Close()
		c.Keep(Answer{Repository: "r.example/app", Key: strconv.Itoa(int(seed)), Status: 200, At: time.Now(), Body: body[:1000%len(body)]})
		if i%10 == 9 { // something to write again
			os.Remove(filepath.Join(dir, blobName(digest)))
		}
	}
}

// TestPX29_KillWhileItFills: whatever lies there after kill -9, only right blobs come out.
func TestPX29_KillWhileItFills(t *testing.T) {
	cycles := 25
	if n, err := strconv.Atoi(os.Getenv("CACHE_KILLS")); err == nil {
		cycles = n
	}
	dir := t.TempDir()
	partial, kept := 0, 0
	for cycle := range cycles {
		cmd := child(t, "fill", dir)
		out, err := cmd.StdoutPipe()
		check0(t, err)
		check0(t, cmd.Start())
		line := make([]byte, 5)
		if _, err := io.ReadFull(out, line); err != nil || string(line) != "open\n" {
			rest, _ := io.ReadAll(out)
			t.Fatalf("cycle %d: %s%s %v", cycle, line, rest, err)
		}
		time.Sleep(rand.N(30 * time.Millisecond)) // the moment of the kill
		cmd.Process.Kill()
		rest, _ := io.ReadAll(out)
		cmd.Wait()
		if len(rest) > 0 {
			t.Fatalf("cycle %d: %s", cycle, rest)
		}
		if names, _ := os.ReadDir(filepath.Join(dir, partialDir)); len(names) > 0 {
			partial++
		}
		c := openCache(t, dir, MinBytes)
		if names, _ := os.ReadDir(filepath.Join(dir, partialDir)); len(names) > 0 {
			t.Fatalf("cycle %d: %d partial files are left", cycle, len(names))
		}
		for seed := range uint64(20) {
			body, digest := content(seed, childSizes[seed%4])
			file := filepath.Join(dir, blobName(digest))
			if got, err := os.ReadFile(file); err == nil {
				kept++
				if !bytes.Equal(got, body) {
					t.Fatalf("cycle %d: a file of %d bytes is wrong", cycle, len(got))
				}
			}
			got, _, err := read(t.Context(), c, digest, int64(len(body)), (&origin{body: body}).open)
			if err != nil || !bytes.Equal(got, body) {
				t.Fatalf("cycle %d: %d bytes, %v", cycle, len(got), err)
			}
			if a, ok := c.Recall("r.example/app", strconv.Itoa(int(seed))); ok && !bytes.Equal(a.Body, body[:1000%len(body)]) {
				t.Fatalf("cycle %d: an answer is wrong", cycle)
			}
		}
		waitFor(t, c.settled)
		c.Close()
		for seed := range uint64(20) { // so that the next one has something to fetch
			if _, digest := content(seed, childSizes[seed%4]); rand.N(2) == 0 {
				os.Remove(filepath.Join(dir, blobName(digest)))
			}
		}
	}
	t.Logf("%d kills, %d in the midst of a file; %d files were looked at", cycles, partial, kept)
	if partial == 0 {
		t.Error("no kill hit a file being written: the test tests nothing")
	}
}

// runChild runs a child to its end.
func runChild(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	out, err := cmd.CombinedOutput()
	if strings.HasPrefix(string(out), "SKIP") {
		t.Skip(string(out))
	}
	if err != nil || len(out) > 0 {
		t.Errorf("%v\n%s", err, out)
	}
}

// TestPX30_FullDisk: a disk of 8 MiB, and a cache that may take 64.
func TestPX30_FullDisk(t *testing.T) {
	cmd := child(t, "small", t.TempDir())
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  syscall.CLONE_NEWNS | syscall.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	}
	runChild(t, cmd)
}

func fillSmallDisk(dir string) {
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=8m"); err != nil {
		fmt.Println("SKIP mounting:", err)
		os.Exit(1)
	}
	now := time.Now()
	c, err := Open(Config{Dir: dir, MaxBytes: MinBytes, Now: func() time.Time { return now }})
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	notKept, kept := 0, 0
	for i := range uint64(40) {
		body, digest := content(i%8, 3<<20)
		o := &origin{body: body}
		got, was, err := read(context.Background(), c, digest, int64(len(body)), o.open)
		switch {
		case err == ErrNotKept:
			notKept++
		case err != nil || !bytes.Equal(got, body):
			fmt.Printf("blob %d: %d bytes, %v\n", i, len(got), err)
		case was:
			kept++
		}
		for !c.settled() {
			time.Sleep(time.Millisecond)
		}
		if i%4 == 3 {
			now = now.Add(2 * troubleFor)
		}
	}
	if notKept == 0 || len(c.entries) == 0 {
		fmt.Printf("%d not kept, %d kept, %d entries\n", notKept, kept, len(c.entries))
	}
}

// TestPX30_DiskFailsMidway: files cannot grow beyond 2 MiB, which shows while they are written. Those who read go on with the upstream.
func TestPX30_DiskFailsMidway(t *testing.T) { runChild(t, child(t, "limit", t.TempDir())) }

func fillLimited(dir string) {
	signal.Ignore(syscall.SIGXFSZ)
	limit := syscall.Rlimit{Cur: 2 << 20, Max: 2 << 20}
	if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
		fmt.Println("SKIP limiting:", err)
		os.Exit(1)
	}
	for _, size := range []int{2 << 20, 2<<20 + 1, 2<<20 + blob.Tail - 1, 2<<20 + blob.Tail, 2<<20 + blob.Tail + 1, 5 << 20} {
		c, err := Open(Config{Dir: filepath.Join(dir, strconv.Itoa(size)), MaxBytes: MinBytes})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		body, digest := content(1, size)
		const readers = 5
		o := &origin{body: body, gate: make(chan struct{})}
		var all []*Reader
		for range readers {
			r, err := c.Get(context.Background(), "app", digest, int64(size), o.open)
			if err != nil {
				fmt.Println(err)
				os.Exit(1)
			}
			all = append(all, r)
		}
		results := make(chan error, readers)
		for _, r := range all {
			go func() {
				var b bytes.Buffer
				err := r.Copy(context.Background(), &b, 0, int64(size))
				if err == nil && !bytes.Equal(b.Bytes(), body) {
					err = fmt.Errorf("%d wrong bytes", b.Len())
				}
				results <- err
			}()
		}
		close(o.gate)
		for range readers {
			if err := <-results; err != nil {
				fmt.Printf("%d bytes: %v\n", size, err)
			}
		}
		if want := size <= 2<<20; c.Has(digest, int64(size)) != want {
			for !c.settled() {
				time.Sleep(time.Millisecond)
			}
			if c.Has(digest, int64(size)) != want {
				fmt.Printf("%d bytes: kept %v\n", size, !want)
			}
		}
		// A disk that fails and an upstream that changes its mind: no complete wrong blob.
		if size > 2<<20 {
			wrongAfterTrouble(c, body, digest)
		}
	}
}

// wrongAfterTrouble: the first answer is right as far as it gets, the one with which readers go on is not.
func wrongAfterTrouble(c *Cache, body []byte, digest v1.Hash) {
	c.mu.Lock()
	c.trouble = time.Time{}
	c.mu.Unlock()
	wrong := bytes.Clone(body)
	wrong[len(wrong)-1] ^= 1
	opens := 0
	r, err := c.Get(context.Background(), "app", digest, int64(len(body)), func(context.Context) (io.ReadCloser, error) {
		if opens++; opens == 1 {
			return io.NopCloser(bytes.NewReader(body)), nil
		}
		return io.NopCloser(bytes.NewReader(wrong)), nil
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	defer r.Close()
	var b bytes.Buffer
	if err := r.Copy(context.Background(), &b, 0, int64(len(body))); err == nil || int64(b.Len()) > blob.Head(int64(len(body))) {
		fmt.Printf("%d bytes: %d of a wrong blob left, %v\n", len(body), b.Len(), err)
	}
}
