package skopeo_test

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/skopeo"
)

// put writes a file below dir.
func put(t *testing.T, dir, file, content string) {
	t.Helper()
	path := filepath.Join(dir, file)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
		t.Fatal(err)
	}
}

// A layout that can't be read, or not in one way only, is refused with the reason. The twin is the layout as it was.
func TestBadLayouts(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	desc := w.dressed(t, src, "acme/app", 1)
	for what, c := range map[string]struct {
		change func(t *testing.T, dir string)
		name   string
		want   string
	}{
		"as it was":      {func(*testing.T, string) {}, "", ""},
		"no such name":   {func(*testing.T, string) {}, ":two", `0 images of the name "two", want one; the names in it: ["one"]`},
		"no oci-layout":  {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "oci-layout")) }, "", "no OCI layout"},
		"no index.json":  {func(t *testing.T, dir string) { os.Remove(filepath.Join(dir, "index.json")) }, "", "index.json"},
		"index.json cut": {func(t *testing.T, dir string) { put(t, dir, "index.json", `{"schemaVersion":2,"manif`) }, "", "index.json"},
		"index.json twice": {func(t *testing.T, dir string) {
			put(t, dir, "index.json", `{"schemaVersion":2,"manifests":[],"Manifests":[]}`)
		}, "", "index.json"},
		"index.json large": {func(t *testing.T, dir string) { put(t, dir, "index.json", strings.Repeat(" ", 4<<20+1)) }, "", "limit"},
		"nothing in it":    {func(t *testing.T, dir string) { put(t, dir, "index.json", `{"schemaVersion":2,"manifests":[]}`) }, "", "0 images, want one"},
		"a fallback is gone": {func(t *testing.T, dir string) {
			index, err := os.ReadFile(filepath.Join(dir, "index.json"))
			if err != nil {
				t.Fatal(err)
			}
			m, err := attach.ParseManifest("application/vnd.oci.image.index.v1+json", index)
			if err != nil {
				t.Fatal(err)
			}
			for _, e := range m.Manifests {
				if e.Annotations["org.opencontainers.image.ref.name"] == "sha256-"+desc.Digest.Hex {
					os.Remove(filepath.Join(dir, "blobs/sha256", e.Digest.Hex))
				}
			}
		}, "", "no such file"},
		"the image is a link out of it": {func(t *testing.T, dir string) {
			blob := filepath.Join(dir, "blobs/sha256", desc.Digest.Hex)
			outside := filepath.Join(t.TempDir(), "index")
			if err := errors.Join(os.Rename(blob, outside), os.Symlink(outside, blob)); err != nil {
				t.Fatal(err)
			}
		}, "", "escapes"},
		"the image is a pipe": {func(t *testing.T, dir string) {
			blob := filepath.Join(dir, "blobs/sha256", desc.Digest.Hex)
			if err := errors.Join(os.Remove(blob), syscall.Mkfifo(blob, 0o644)); err != nil {
				t.Fatal(err)
			}
		}, "", "no plain file"},
	} {
		t.Run(what, func(t *testing.T) {
			t.Parallel()
			dir := filepath.Join(t.TempDir(), "layout")
			mustCopy(t, src.host+"/acme/app:1", "oci:"+dir+":one", unverified)
			c.change(t, dir)
			to := newRegistry(t, true).host + "/app:1"
			_, err := skopeo.Copy(t.Context(), place(t, "oci:"+dir+c.name), place(t, to), unverified)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want)
			if exists(t, to) {
				t.Error("the tag is there")
			}
		})
	}
}

// rewrite makes a tar file anew with changed members.
func rewrite(t *testing.T, file string, member func(*tar.Header, []byte) []*tar.Header) []byte {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	w, r := tar.NewWriter(&out), tar.NewReader(bytes.NewReader(content))
	for {
		h, err := r.Next()
		if err != nil {
			break
		}
		body := make([]byte, h.Size)
		if _, err := r.Read(body); err != nil && len(body) > 0 && err.Error() != "EOF" {
			t.Fatal(err)
		}
		for _, h := range member(h, body) {
			if err := w.WriteHeader(h); err != nil {
				t.Fatal(err)
			}
			if h.Size > 0 {
				w.Write(body)
			}
		}
	}
	w.Close()
	return out.Bytes()
}

func TestBadArchives(t *testing.T) {
	w := newWorld(t)
	src := newRegistry(t, true)
	w.dressed(t, src, "acme/app", 1)
	file := filepath.Join(t.TempDir(), "app.tar")
	mustCopy(t, src.host+"/acme/app:1", "oci-archive:"+file, unverified)
	whole, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	same := func(h *tar.Header, _ []byte) []*tar.Header { return []*tar.Header{h} }
	var zipped bytes.Buffer
	z := gzip.NewWriter(&zipped)
	z.Write(whole)
	z.Close()
	for what, c := range map[string]struct {
		content []byte
		want    string
	}{
		"as it was": {whole, ""},
		"in another tar's words": {rewrite(t, file, func(h *tar.Header, _ []byte) []*tar.Header {
			h.Name, h.Format, h.PAXRecords = "./"+h.Name, tar.FormatPAX, map[string]string{"TEST.long": strings.Repeat("x", 300)}
			return []*tar.Header{h}
		}), ""},
		"compressed": {zipped.Bytes(), "gunzip"},
		"cut off":    {whole[:len(whole)/2], "app.tar"},
		"empty":      {nil, "no OCI archive"},
		"no tar":     {bytes.Repeat([]byte("no tar"), 1000), "no tar archive"},
		"of docker save": {rewrite(t, file, func(h *tar.Header, body []byte) []*tar.Header {
			if h.Name == "oci-layout" {
				h.Name = "manifest.json"
			}
			return same(h, body)
		}), "docker save"},
		"a member twice": {rewrite(t, file, func(h *tar.Header, _ []byte) []*tar.Header { return []*tar.Header{h, h} }), "twice"},
		"a link": {rewrite(t, file, func(h *tar.Header, body []byte) []*tar.Header {
			if h.Name == "index.json" {
				return []*tar.Header{{Name: h.Name, Typeflag: tar.TypeSymlink, Linkname: "/etc/passwd"}}
			}
			return same(h, body)
		}), "no plain file"},
		// What follows is one image to who reads an archive in its place, and another to who unpacks it.
		"a second index of an absolute name": {secondIndex(t, file, "/index.json"), "leads out of the archive"},
		"a second index above":               {secondIndex(t, file, "../x/index.json"), "leads out of the archive"},
		"a second index through a link":      {secondIndex(t, file, "here/index.json", &tar.Header{Name: "here", Typeflag: tar.TypeSymlink, Linkname: "."}), "here is no plain file"},
		"a second index in a folder":         {secondIndex(t, file, "here/index.json", &tar.Header{Name: "here/", Typeflag: tar.TypeDir, Mode: 0o755}), ""},
		"a second name for the index":        {secondIndex(t, file, "other", &tar.Header{Name: "same", Typeflag: tar.TypeLink, Linkname: "index.json"}), "same is no plain file"},
		"a sparse index": {bytes.ReplaceAll(rewrite(t, file, func(h *tar.Header, body []byte) []*tar.Header {
			if h.Name == "index.json" {
				size := strconv.Itoa(len(body))
				h.Format = tar.FormatPAX
				h.PAXRecords = map[string]string{"GNX.sparse.major": "0", "GNX.sparse.minor": "1", "GNX.sparse.numblocks": "1", "GNX.sparse.map": "0," + size, "GNX.sparse.size": size}
			}
			return same(h, body)
		}), []byte("GNX.sparse."), []byte("GNU.sparse.")), "index.json is a sparse file"},
	} {
		t.Run(what, func(t *testing.T) {
			dir := t.TempDir()
			put(t, dir, "app.tar", string(c.content))
			_, err := skopeo.Copy(t.Context(), place(t, "oci-archive:"+dir+"/app.tar"), place(t, newRegistry(t, true).host+"/app:1"), unverified)
			if c.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantError(t, err, c.want)
		})
	}
}

// secondIndex writes an archive anew with more members behind its index.json, the last of which has the same content and another name.
func secondIndex(t *testing.T, file, name string, before ...*tar.Header) []byte {
	t.Helper()
	return rewrite(t, file, func(h *tar.Header, _ []byte) []*tar.Header {
		if h.Name != "index.json" {
			return []*tar.Header{h}
		}
		second := *h
		second.Name = name
		return append(append([]*tar.Header{h}, before...), &second)
	})
}

// What is there already and isn't ours is left alone.
func TestDestinationsThatAreRefused(t *testing.T) {
	src := newRegistry(t, true)
	coretest.Push(t, src.host+"/acme/app:1", coretest.Image(t, 1))
	from := place(t, src.host+"/acme/app:1")
	dir := t.TempDir()
	put(t, dir, "home/thesis.txt", "x")
	put(t, dir, "app.tar", "x")
	for to, want := range map[string]string{
		"oci:" + dir + "/home":                         "neither empty nor an OCI layout",
		"oci-archive:" + dir + "/app.tar":              "exists",
		"oci-archive:" + dir + "/no/such/folder/x.tar": "no such file",
	} {
		_, err := skopeo.Copy(t.Context(), from, place(t, to), unverified)
		wantError(t, err, want)
	}
	if content, err := os.ReadFile(filepath.Join(dir, "app.tar")); err != nil || string(content) != "x" {
		t.Errorf("app.tar is %q, %v", content, err)
	}
	entries, err := os.ReadDir(filepath.Join(dir, "home"))
	if err != nil || len(entries) != 1 {
		t.Errorf("home has %v, %v", entries, err)
	}
	o := unverified
	o.InsecureSkipVerify, o.Admitter = false, newWorld(t).gate
	mustCopy(t, src.host+"/acme/app:1", "oci:"+dir+"/a", unverified)
	for _, to := range []string{"oci:" + dir + "/a", "oci:" + dir + "/b"} { // itself; and policies need a name
		if _, err := skopeo.Copy(t.Context(), place(t, "oci:"+dir+"/a"), place(t, to), o); !isUsage(err) {
			t.Errorf("to %s: %v", to, err)
		}
	}
}

// Two copies don't write one layout at a time; one after the other they do.
func TestOneWriterAtATime(t *testing.T) {
	src := newRegistry(t, true)
	coretest.Push(t, src.host+"/acme/one:1", coretest.Image(t, 1))
	coretest.Push(t, src.host+"/acme/two:1", coretest.Image(t, 2))
	for _, to := range []string{"oci:" + t.TempDir() + "/layout", "oci-archive:" + t.TempDir() + "/app.tar"} {
		reached, resume := make(chan struct{}), make(chan struct{})
		src.intercept(func(_ http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/one/manifests/sha256-") && strings.HasSuffix(r.URL.Path, ".sig") {
				close(reached)
				<-resume
			}
			return false
		})
		done := make(chan error)
		go func() {
			_, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/one:1"), place(t, to), unverified)
			done <- err
		}()
		<-reached
		_, err := skopeo.Copy(t.Context(), place(t, src.host+"/acme/two:1"), place(t, to), unverified)
		wantError(t, err, "another copy")
		close(resume)
		if err := <-done; err != nil {
			t.Error(err)
		}
		src.intercept(nil)
		if strings.HasPrefix(to, "oci:") {
			mustCopy(t, src.host+"/acme/two:1", to+":two", unverified)
			mustCopy(t, to+":1", newRegistry(t, true).host+"/one:1", unverified)
			mustCopy(t, to+":two", newRegistry(t, true).host+"/two:1", unverified)
			_, err := skopeo.Copy(t.Context(), place(t, to), place(t, newRegistry(t, true).host+"/any:1"), unverified)
			wantError(t, err, "2 images, want one")
		}
	}
}
