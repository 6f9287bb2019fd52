package skopeo

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
)

const (
	// maxIndex bounds index.json, in bytes.
	maxIndex = attach.MaxManifest
	// layoutFile says that a directory is an OCI image layout.
	layoutFile    = "oci-layout"
	layoutContent = `{"imageLayoutVersion":"1.0.0"}`
	indexFile     = "index.json"
	blobFolder    = "blobs/sha256"
	// partialPrefix begins the names of files that are still being written; only who holds the lock has any.
	partialPrefix = ".touchmark-partial-"
)

// directory is an OCI image layout in a directory. Nothing outside of it is read or written, whatever links lie in it.
type directory struct {
	root *os.Root
	lock *os.File // held with flock while it is written; nil if it is only read

	mu    sync.Mutex
	n     int              // partial files so far
	whole map[v1.Hash]bool // blobs that were read, or written, and are right
}

func readDirectory(dir string) (store, []byte, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	d := &directory{root: root, whole: map[v1.Hash]bool{}}
	index, err := d.readIndex()
	if err != nil {
		return nil, nil, errors.Join(err, d.close())
	}
	return d, index, nil
}

// writeDirectory opens a layout, or makes one where there is nothing. The index is nil if there is none yet.
func writeDirectory(dir string) (store, []byte, error) {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return nil, nil, err
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, nil, err
	}
	d := &directory{root: root, whole: map[v1.Hash]bool{}}
	index, err := d.prepare(dir)
	if err != nil {
		return nil, nil, errors.Join(err, d.close())
	}
	return d, index, nil
}

func (d *directory) prepare(dir string) ([]byte, error) {
	var err error
	if d.lock, err = d.root.Open("."); err != nil {
		return nil, err
	}
	if err := syscall.Flock(int(d.lock.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return nil, fmt.Errorf("%s is being written by another copy: %w", dir, err)
	}
	names, err := d.lock.Readdirnames(-1)
	if err != nil {
		return nil, err
	}
	isLayout, others := false, 0
	for _, name := range names {
		switch {
		case name == layoutFile:
			isLayout = true
		case strings.HasPrefix(name, partialPrefix):
			if err := d.root.Remove(name); err != nil {
				return nil, err
			}
		default:
			others++
		}
	}
	if !isLayout && others > 0 {
		return nil, fmt.Errorf("%s is neither empty nor an OCI layout: it has no file %s", dir, layoutFile)
	}
	if err := d.root.MkdirAll(blobFolder, 0o755); err != nil {
		return nil, err
	}
	if !isLayout {
		return nil, d.replace(layoutFile, strings.NewReader(layoutContent))
	}
	index, err := d.readIndex()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // a first copy that was interrupted
	}
	return index, err
}

func (d *directory) readIndex() ([]byte, error) {
	if _, err := d.root.Stat(layoutFile); err != nil {
		return nil, fmt.Errorf("no OCI layout: %w", err)
	}
	f, size, err := d.openFile(indexFile)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if size > maxIndex {
		return nil, fmt.Errorf("%s has %d bytes, limit %d", indexFile, size, maxIndex)
	}
	return io.ReadAll(io.LimitReader(f, maxIndex))
}

func (d *directory) open(digest v1.Hash) (io.ReadCloser, int64, error) {
	return d.openFile(blobFolder + "/" + digest.Hex)
}

// openFile opens a plain file: a pipe would wait for ever.
func (d *directory) openFile(name string) (io.ReadCloser, int64, error) {
	info, err := d.root.Stat(name)
	if err != nil {
		return nil, 0, err
	}
	if !info.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no plain file", name)
	}
	f, err := d.root.Open(name)
	return f, info.Size(), err
}

func (d *directory) has(digest v1.Hash) (bool, error) {
	d.mu.Lock()
	known := d.whole[digest]
	d.mu.Unlock()
	if known {
		return true, nil
	}
	f, _, err := d.open(digest)
	if errors.Is(err, fs.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	defer f.Close()
	got, _, err := v1.SHA256(f)
	if err != nil {
		return false, err
	}
	if got != digest {
		return false, nil // it will be replaced
	}
	d.remember(digest)
	return true, nil
}

func (d *directory) remember(digest v1.Hash) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.whole[digest] = true
}

func (d *directory) add(r io.Reader) (v1.Hash, error) {
	sum := sha256.New()
	partial, err := d.write(io.TeeReader(r, sum))
	if err != nil {
		return v1.Hash{}, err
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	if err := d.root.Rename(partial, blobFolder+"/"+digest.Hex); err != nil {
		return digest, errors.Join(err, d.root.Remove(partial))
	}
	d.remember(digest)
	return digest, nil
}

// write writes a new file and returns its name. On an error nothing is left.
func (d *directory) write(r io.Reader) (string, error) {
	d.mu.Lock()
	d.n++
	name := fmt.Sprintf("%s%d", partialPrefix, d.n)
	d.mu.Unlock()
	f, err := d.root.OpenFile(name, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, r)
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(err, d.root.Remove(name))
	}
	return name, nil
}

// replace makes this the file's content, at once or not at all.
func (d *directory) replace(name string, r io.Reader) error {
	partial, err := d.write(r)
	if err != nil {
		return err
	}
	if err := d.root.Rename(partial, name); err != nil {
		return errors.Join(err, d.root.Remove(partial))
	}
	return d.lock.Sync()
}

func (d *directory) commit(index []byte) error {
	// The blobs' names first: an index must not survive a crash that they don't.
	folder, err := d.root.Open(blobFolder)
	if err != nil {
		return err
	}
	if err := errors.Join(folder.Sync(), folder.Close()); err != nil {
		return err
	}
	return d.replace(indexFile, strings.NewReader(string(index)))
}

func (d *directory) close() error {
	if d.lock != nil {
		return errors.Join(d.lock.Close(), d.root.Close())
	}
	return d.root.Close()
}
