package skopeo_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/random"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/skopeo"
)

// copyInEnvironment makes the test binary a program that copies, so that it can be killed.
const copyInEnvironment = "TOUCHMARK_TEST_COPY"

func TestMain(m *testing.M) {
	if args := strings.Fields(os.Getenv(copyInEnvironment)); len(args) == 2 {
		os.Exit(copyAlone(args[0], args[1]))
	}
	os.Exit(m.Run())
}

func copyAlone(from, to string) int {
	src, err := skopeo.ParsePlace(from)
	if err == nil {
		var dst skopeo.Place
		if dst, err = skopeo.ParsePlace(to); err == nil {
			_, err = skopeo.Copy(context.Background(), src, dst, skopeo.Options{InsecureSkipVerify: true, Parallel: 1})
		}
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// A copy that is killed in its middle is continued: what arrived is not sent again, and until the end there is nothing under the tag.
func TestKilledCopyIsContinued(t *testing.T) {
	const layers, size, before = 6, 256 << 10, 3
	src := newRegistry(t, true)
	img, err := random.Image(size, layers)
	if err != nil {
		t.Fatal(err)
	}
	coretest.Push(t, src.host+"/acme/app:1", img)
	manifest, err := img.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	sizes := []int64{manifest.Config.Size}
	for _, l := range manifest.Layers {
		sizes = append(sizes, l.Size)
	}
	slices.Sort(sizes)
	slices.Reverse(sizes) // the largest is sent first

	dst := newRegistry(t, true)
	dir := t.TempDir()
	for _, to := range []string{dst.host + "/app:1", "oci:" + filepath.Join(dir, "layout") + ":1", "oci-archive:" + filepath.Join(dir, "app.tar") + ":1"} {
		kind, _, _ := strings.Cut(to, "/")
		t.Run(kind, func(t *testing.T) {
			// The registry goes silent in the middle of the fourth blob.
			silent := make(chan struct{})
			var n atomic.Int32
			src.intercept(func(rw http.ResponseWriter, r *http.Request) bool {
				if r.Method != http.MethodGet || !strings.Contains(r.URL.Path, "/blobs/") {
					return false
				}
				if n.Add(1) <= before {
					return false
				}
				rw.Header().Set("Content-Length", fmt.Sprint(sizes[before]))
				rw.Write(make([]byte, 1000))
				rw.(http.Flusher).Flush()
				close(silent)
				<-r.Context().Done()
				return true
			})
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), copyInEnvironment+"="+src.host+"/acme/app:1 "+to)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-silent
			if err := cmd.Process.Kill(); err != nil {
				t.Fatal(err)
			}
			cmd.Wait()
			nothingVisible(t, to)

			src.intercept(nil)
			dst.intercept(nil)
			r := mustCopy(t, src.host+"/acme/app:1", to, unverified)
			want := int64(len(mustRaw(t, img)))
			for _, s := range sizes[before:] {
				want += s
			}
			if r.BytesSent != want {
				t.Errorf("the second time %d bytes were sent, want %d of %d", r.BytesSent, want, r.BytesSent+r.BytesSkipped)
			}
			if got := len(src.seen("GET", "/blobs/")); got != len(sizes)-before {
				t.Errorf("the second time %d blobs were read, want %d", got, len(sizes)-before)
			}
			// It is whole: it can be copied from there.
			if r := mustCopy(t, to, newRegistry(t, true).host+"/app:1", unverified); r.Blobs != len(sizes) {
				t.Errorf("%+v", r)
			}
			leftovers, err := filepath.Glob(filepath.Join(dir, "layout", ".touchmark*"))
			if err != nil || len(leftovers) != 0 {
				t.Errorf("left over: %v", leftovers)
			}
		})
	}
}

func mustRaw(t *testing.T, m interface{ RawManifest() ([]byte, error) }) []byte {
	t.Helper()
	raw, err := m.RawManifest()
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

// nothingVisible checks that there is no image under the destination's name.
func nothingVisible(t *testing.T, to string) {
	t.Helper()
	p := place(t, to)
	switch p.Kind {
	case skopeo.Registry:
		if exists(t, to) {
			t.Errorf("%s exists", to)
		}
	case skopeo.Layout:
		if _, err := os.Stat(filepath.Join(p.Path, "index.json")); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("index.json: %v", err)
		}
	case skopeo.Archive:
		if _, err := os.Stat(p.Path); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v", p.Path, err)
		}
	}
}

// An archive that was cut off anywhere is continued, whatever lies behind its last whole member.
func TestCutOffArchive(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	desc := w.dressed(t, src, "acme/app", 1)
	file := filepath.Join(t.TempDir(), "app.tar")
	mustCopy(t, src.host+"/acme/app:1", "oci-archive:"+file, w.options())
	complete, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, tail := range [][]byte{nil, bytes.Repeat([]byte{0xff}, 700)} {
		for _, cut := range []int{0, 511, 1024, len(complete)/2 + 1, len(complete) - 1600, len(complete)} {
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file+".partial", append(slices.Clone(complete[:cut]), tail...), 0o644); err != nil {
				t.Fatal(err)
			}
			r := mustCopy(t, src.host+"/acme/app:1", "oci-archive:"+file, w.options())
			if cut == len(complete) && r.BytesSent != 0 {
				t.Errorf("cut at %d: %d bytes sent", cut, r.BytesSent)
			}
			back := mustCopy(t, "oci-archive:"+file, newRegistry(t, true).host+"/app:1", w.options())
			if back.Digest != desc.Digest.String() || counts(back) != dressedCounts {
				t.Errorf("cut at %d: %+v", cut, back)
			}
		}
	}
}

// A blob that is wrong in the destination's layout is replaced, not trusted.
func TestBrokenBlobInLayoutIsReplaced(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	w.dressed(t, src, "acme/app", 1)
	dir := filepath.Join(t.TempDir(), "layout")
	mustCopy(t, src.host+"/acme/app:1", "oci:"+dir, w.options())
	blobs, err := filepath.Glob(filepath.Join(dir, "blobs/sha256/*"))
	if err != nil {
		t.Fatal(err)
	}
	var broken int64
	for _, blob := range blobs[:5] {
		info, err := os.Stat(blob)
		if err != nil {
			t.Fatal(err)
		}
		broken += info.Size()
		if err := os.WriteFile(blob, make([]byte, info.Size()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := skopeo.Copy(t.Context(), place(t, "oci:"+dir), place(t, newRegistry(t, true).host+"/app:1"), unverified); err == nil {
		t.Error("a broken layout was copied")
	}
	r := mustCopy(t, src.host+"/acme/app:1", "oci:"+dir, w.options())
	if r.BytesSent == 0 || r.BytesSent > broken {
		t.Errorf("%d bytes sent, %d were broken", r.BytesSent, broken)
	}
	mustCopy(t, "oci:"+dir, newRegistry(t, true).host+"/app:1", w.options())
}

// A full disk is an error that says so, and leaves nothing under the tag. The disk is a small tmpfs that only the copy sees.
func TestFullDisk(t *testing.T) {
	unshare := coretest.RequireTool(t, "unshare")
	src := newRegistry(t, true)
	for layers, fits := range map[int]bool{2: true, 8: false} {
		img, err := random.Image(100<<10, int64(layers))
		if err != nil {
			t.Fatal(err)
		}
		coretest.Push(t, src.host+"/acme/app:1", img)
		for _, to := range []string{"oci:%s/layout:1", "oci-archive:%s/app.tar:1"} {
			dir := t.TempDir()
			script := `mount -t tmpfs -o size=500k tmpfs "$1" || exit 77; "$2"; status=$?; cd "$1" && find . -type f -not -path '*/blobs/*'; exit $status`
			cmd := exec.Command(unshare, "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", dir, os.Args[0])
			cmd.Env = append(os.Environ(), copyInEnvironment+"="+src.host+"/acme/app:1 "+fmt.Sprintf(to, dir))
			out, err := cmd.CombinedOutput()
			if code := cmd.ProcessState.ExitCode(); code == 77 || code != 0 && strings.Contains(string(out), "unshare:") {
				t.Skipf("no tmpfs to fill: %s", out)
			}
			visible := strings.Contains(string(out), "./layout/index.json") || strings.Contains(string(out), "./app.tar\n")
			if (err == nil) != fits || visible != fits {
				t.Errorf("%s, %d layers: %v\n%s", to, layers, err, out)
			}
			if !fits && !strings.Contains(string(out), "no space left on device") {
				t.Errorf("%s: %s", to, out)
			}
		}
	}
}

// TestOPS01_PartialArchiveIsNoLink: what an interrupted copy left is cut off where it is not whole, which must not happen to a file elsewhere.
func TestOPS01_PartialArchiveIsNoLink(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	w.dressed(t, src, "acme/app", 1)
	dir := t.TempDir()
	put(t, dir, "precious", "precious")
	file := filepath.Join(dir, "app.tar")
	if err := os.Symlink("precious", file+".partial"); err != nil {
		t.Fatal(err)
	}
	_, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/app:1"), place(t, "oci-archive:"+file), unverified)
	wantError(t, err, "app.tar.partial")
	if content, err := os.ReadFile(filepath.Join(dir, "precious")); err != nil || string(content) != "precious" {
		t.Errorf("the file that the link leads to holds %q (%v)", content, err)
	}
	if err := os.Remove(file + ".partial"); err != nil {
		t.Fatal(err)
	}
	mustCopy(t, src.host+"/acme/app:1", "oci-archive:"+file, unverified)
}
