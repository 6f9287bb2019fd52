package proxyfailures_test

import (
	"bytes"
	"errors"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
)

// PX-25: the disk of the cache and of the decision log is full, or read-only, before the proxy starts or later. What is signed is served, nothing else is,
// and the page shows both decisions. A proxy that does not start then says which directory is to blame.
func TestPX25_Disks(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can mount a disk that is small enough to fill")
	}
	all, root := flavours(t)
	f, b := all[0], newBench(t, root)
	upstream := &faulty{good: f.upstream.handler, parts: f.names()}
	url := upstream.serve(t)
	defer upstream.end()
	for use, more := range map[string]string{"cache": "cache: {dir: DISK/cache, size: 1GiB}\noffline: 1h\n", "decision log": "decisions: {file: DISK/decisions.jsonl}\n"} {
		for name, spoil := range map[string]func(disk string) error{"full": fill, "read-only": func(disk string) error {
			return syscall.Mount("tmpfs", disk, "tmpfs", syscall.MS_RDONLY, "") // on top: the kernel refuses to remount what has files open for writing
		}} {
			for _, warm := range []bool{false, true} {
				t.Run(use+" on a "+name+" disk"+map[bool]string{true: " later"}[warm], func(t *testing.T) {
					disk := t.TempDir()
					if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=2m"); err != nil {
						t.Fatalf("making a disk that can be filled: %v", err)
					}
					t.Cleanup(func() {
						for syscall.Unmount(disk, syscall.MNT_DETACH) == nil { // what lies on top, and below
						}
					})
					if !warm {
						if err := spoil(disk); err != nil {
							t.Fatal(err)
						}
					}
					proxy, stop, err := b.front(url, f.policy(""), strings.ReplaceAll(more, "DISK", disk))
					if err != nil {
						if warm || !strings.Contains(err.Error(), disk) {
							t.Fatalf("it does not start: %v", err)
						}
						return
					}
					defer stop()
					if warm {
						f.askAll(http.DefaultClient, proxy)
						if err := spoil(disk); err != nil {
							t.Fatal(err)
						}
					}
					for _, e := range entries() {
						c := combination{flavour: f, entry: e, fault: fault{name: "a disk"}}
						for a, wrong := range map[*artifact]func(reply) string{&f.bad: c.wrongOfBad, &f.good: combination{flavour: f, entry: e}.wrongOfGood} {
							if e.path(f.repository, *a) == "" {
								continue
							}
							if e.before != nil {
								first := e
								first.path = e.before
								ask(http.DefaultClient, proxy, first, f.repository, *a)
							}
							if r := ask(http.DefaultClient, proxy, e, f.repository, *a); wrong(r) != "" {
								t.Errorf("%s %s: %s: %d %.200q %v", e.method, e.name, wrong(r), r.status, r.body, r.err)
							}
						}
					}
					checkPages(t, proxy, f)
				})
			}
		}
	}
}

// fill leaves no room on a disk.
func fill(disk string) error {
	file, err := os.Create(filepath.Join(disk, "full"))
	if err != nil {
		return err
	}
	for block := make([]byte, 4096); err == nil; {
		_, err = file.Write(block)
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return errors.Join(err, file.Close())
	}
	return file.Close()
}

var decisionLink = regexp.MustCompile(`/decisions/[0-9a-f]+-[0-9]+`)

// checkPages has the page tell of both images, each decision have a page of its own, and neither show an image's content.
func checkPages(t *testing.T, proxy string, f *flavour) {
	t.Helper()
	get := func(path string) []byte {
		t.Helper()
		resp, err := http.Get(proxy + path)
		if err != nil {
			t.Error(err)
			return nil
		}
		defer resp.Body.Close()
		body, err := io.ReadAll(resp.Body)
		if err != nil || resp.StatusCode != http.StatusOK || bytes.Contains(body, []byte(canary)) {
			t.Errorf("%s: %d %v %.300s", path, resp.StatusCode, err, body)
		}
		return body
	}
	list := get("/")
	links := decisionLink.FindAllString(string(list), -1)
	if len(links) < 2 || !bytes.Contains(list, []byte("refused")) || !bytes.Contains(list, []byte(f.repository)) {
		t.Errorf("the page does not tell of both images: %.500s", list)
	}
	for _, link := range links[:min(len(links), 5)] {
		get(link)
	}
}
