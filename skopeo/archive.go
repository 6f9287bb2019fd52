package skopeo

import (
	"archive/tar"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	v1 "github.com/google/go-containerregistry/pkg/v1"
)

const (
	// maxMembers bounds the members of an archive; one for each blob and manifest, and some folders.
	maxMembers = MaxBlobs + MaxManifests + 1000
	// partialSuffix is behind the name of an archive that isn't complete.
	partialSuffix = ".partial"
	tarBlock      = 512
)

// archive is an OCI image layout in a tar file, which is not compressed. It is written under another name, member by member, and gets its own when it is complete:
// what an interrupted copy left is scanned, and continued after its last whole member.
type archive struct {
	file *os.File
	path string // its own name, if it is written

	mu    sync.Mutex
	blobs map[v1.Hash]section
	end   int64 // where the next member begins, if it is written
}

// section is where in the file a member's content lies.
type section struct{ offset, size int64 }

func readArchive(file string) (store, []byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, nil, err
	}
	a := &archive{file: f, blobs: map[v1.Hash]section{}}
	index, err := a.readMembers()
	if err != nil {
		return nil, nil, errors.Join(err, f.Close())
	}
	return a, index, nil
}

// readMembers notes where the blobs lie and returns index.json.
func (a *archive) readMembers() ([]byte, error) {
	small := map[string][]byte{}
	err := a.scan(func(name string, at section) error {
		if hexDigits, isBlob := strings.CutPrefix(name, blobFolder+"/"); isBlob {
			a.blobs[v1.Hash{Algorithm: "sha256", Hex: hexDigits}] = at
			return nil
		}
		if at.size > maxIndex {
			return fmt.Errorf("%s has %d bytes, limit %d", name, at.size, maxIndex)
		}
		content, err := io.ReadAll(io.NewSectionReader(a.file, at.offset, at.size))
		small[name] = content
		return err
	})
	switch {
	case err != nil:
		return nil, err
	case small[layoutFile] == nil || small[indexFile] == nil:
		return nil, fmt.Errorf("no OCI archive: it has no %s or no %s (an archive of docker save has neither, but a manifest.json)", layoutFile, indexFile)
	}
	return small[indexFile], nil
}

// scan calls member for each file that a layout is made of, in order, once for each name. Others are passed over.
func (a *archive) scan(member func(name string, at section) error) error {
	magic := make([]byte, 2)
	if _, err := a.file.ReadAt(magic, 0); err == nil && bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return errors.New("is compressed: gunzip it first")
	}
	info, err := a.file.Stat()
	if err != nil {
		return err
	}
	if _, err := a.file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	seen := map[string]bool{}
	r := tar.NewReader(a.file)
	for n := 0; ; n++ {
		header, err := r.Next()
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return fmt.Errorf("no tar archive: %w", err)
		}
		if n > maxMembers {
			return fmt.Errorf("over %d members", maxMembers)
		}
		name := path.Clean(header.Name)
		if err := checkMember(header, name); err != nil {
			return err
		}
		if name != layoutFile && name != indexFile && path.Dir(name) != blobFolder {
			continue
		}
		offset, err := a.file.Seek(0, io.SeekCurrent) // the reader reads whole headers and no further
		switch {
		case err != nil:
			return err
		case header.Typeflag != tar.TypeReg:
			return fmt.Errorf("%s is no plain file", name)
		case seen[name]:
			return fmt.Errorf("%s is there twice", name)
		case offset+header.Size > info.Size():
			return fmt.Errorf("%s is cut off", name)
		}
		seen[name] = true
		if err := member(name, section{offset: offset, size: header.Size}); err != nil {
			return err
		}
	}
}

// checkMember refuses what would be another member to those who unpack an archive, as skopeo and podman do, than it is to those who read it in its place: what was
// verified here must be what they find.
func checkMember(header *tar.Header, name string) error {
	switch {
	case path.IsAbs(name), name == "..", strings.HasPrefix(name, "../"):
		return fmt.Errorf("%q leads out of the archive", header.Name)
	case header.Typeflag != tar.TypeReg && header.Typeflag != tar.TypeDir && header.Typeflag != tar.TypeXGlobalHeader:
		return fmt.Errorf("%s is no plain file", name)
	}
	for key := range header.PAXRecords {
		if strings.HasPrefix(key, "GNU.sparse.") {
			return fmt.Errorf("%s is a sparse file", name)
		}
	}
	return nil
}

// writeArchive begins an archive or continues one.
func writeArchive(file string) (store, error) {
	if _, err := os.Lstat(file); !errors.Is(err, fs.ErrNotExist) {
		return nil, errors.Join(err, usage("%s exists: an archive is written once; a layout (oci:) takes several images", file))
	}
	// Not through a link: in a folder that others write too, it may lead to any file, and what is not whole is cut off.
	f, err := os.OpenFile(file+partialSuffix, os.O_RDWR|os.O_CREATE|syscall.O_NOFOLLOW, 0o644)
	if err != nil {
		return nil, err
	}
	a := &archive{file: f, path: file, blobs: map[v1.Hash]section{}}
	if err := a.recover(); err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return a, nil
}

// errEnd ends a scan where an interrupted copy has nothing more that is whole.
var errEnd = errors.New("the end of what is whole")

// recover takes over what is whole of an earlier copy and cuts off the rest.
func (a *archive) recover() error {
	if err := syscall.Flock(int(a.file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		return fmt.Errorf("%s is being written by another copy: %w", a.file.Name(), err)
	}
	err := a.scan(func(name string, at section) error {
		digest, _, err := v1.SHA256(io.NewSectionReader(a.file, at.offset, at.size))
		if err != nil {
			return err
		}
		if name != blobFolder+"/"+digest.Hex || at.offset != a.end+tarBlock {
			return errEnd
		}
		a.blobs[digest] = at
		a.end = padded(at)
		return nil
	})
	// An error of the scan is where the copy was interrupted; one of the disk comes again with the next write.
	if pe := (*fs.PathError)(nil); errors.As(err, &pe) {
		return err
	}
	return a.file.Truncate(a.end)
}

// padded is where the member after this one begins.
func padded(at section) int64 {
	return at.offset + (at.size+tarBlock-1)/tarBlock*tarBlock
}

func (a *archive) open(digest v1.Hash) (io.ReadCloser, int64, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	at, ok := a.blobs[digest]
	if !ok {
		return nil, 0, fmt.Errorf("%s/%s: %w", blobFolder, digest.Hex, fs.ErrNotExist)
	}
	return io.NopCloser(io.NewSectionReader(a.file, at.offset, at.size)), at.size, nil
}

// has: an archive that is written knows only blobs that were hashed.
func (a *archive) has(digest v1.Hash) (bool, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.blobs[digest]
	return ok, nil
}

// add writes one member at a time. Its header, with size and digest, comes last: until then the member does not exist.
func (a *archive) add(r io.Reader) (v1.Hash, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	sum := sha256.New()
	at := section{offset: a.end + tarBlock}
	var err error
	if at.size, err = io.Copy(io.NewOffsetWriter(a.file, at.offset), io.TeeReader(r, sum)); err != nil {
		return v1.Hash{}, errors.Join(err, a.file.Truncate(a.end))
	}
	digest := v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(sum.Sum(nil))}
	if _, again := a.blobs[digest]; again {
		return digest, a.file.Truncate(a.end)
	}
	if err := a.finish(blobFolder+"/"+digest.Hex, at); err != nil {
		return digest, errors.Join(err, a.file.Truncate(a.end))
	}
	a.blobs[digest] = at
	return digest, nil
}

// finish makes what was written at the end a member.
func (a *archive) finish(name string, at section) error {
	if err := a.file.Truncate(padded(at)); err != nil {
		return err
	}
	var header bytes.Buffer
	// The format with which the header is one block, however large the content.
	err := tar.NewWriter(&header).WriteHeader(&tar.Header{Format: tar.FormatGNU, Name: name, Size: at.size, Mode: 0o644, Typeflag: tar.TypeReg})
	if err != nil {
		return err
	}
	if _, err := a.file.WriteAt(header.Bytes(), at.offset-tarBlock); err != nil {
		return err
	}
	a.end = padded(at)
	return nil
}

// commit completes the archive and gives it its name.
func (a *archive) commit(index []byte) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, member := range []struct {
		name    string
		content []byte
	}{{layoutFile, []byte(layoutContent)}, {indexFile, index}} {
		at := section{offset: a.end + tarBlock, size: int64(len(member.content))}
		if _, err := a.file.WriteAt(member.content, at.offset); err != nil {
			return err
		}
		if err := a.finish(member.name, at); err != nil {
			return err
		}
	}
	// Two empty blocks end an archive.
	if err := a.file.Truncate(a.end + 2*tarBlock); err != nil {
		return err
	}
	if err := a.file.Sync(); err != nil {
		return err
	}
	if err := os.Rename(a.path+partialSuffix, a.path); err != nil {
		return err
	}
	folder, err := os.Open(filepath.Dir(a.path))
	if err != nil {
		return err
	}
	return errors.Join(folder.Sync(), folder.Close())
}

func (a *archive) close() error { return a.file.Close() }
