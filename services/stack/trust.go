package stack

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/services/internal/durable"
	"github.com/touchmark/touchmark/services/trustroot"
)

const (
	trustDir = "trust"
	tufDir   = "tuf"

	// rootFile is the TUF repository's first root, for clients, in trustDir.
	rootFile = "root.json"

	// firstPublicationFile lies in tufDir while the repository and its keys are made. Data directories that are older than the
	// repository have neither it nor anything else of the repository, and get one.
	firstPublicationFile = "first-publication"

	// The names of the keys in keysDir.
	tufRootKey = "tuf-root-" // and a number
	tufTargets = "tuf-targets"
	tufOnline  = "tuf-online"

	// defaultRootKeys is how many root keys a new repository has.
	defaultRootKeys = 1
)

// openRepository opens the TUF repository, and makes it in a directory that never had one.
func (s *Stack) openRepository(config Config, ring *keyRing) error {
	d := s.directory
	making, err := beginRepository(d)
	if err != nil {
		return err
	}
	signers, err := ring.repositoryKeys(d, making, max(config.RootKeys, defaultRootKeys))
	if err != nil {
		return err
	}
	signers.RootThreshold = config.RootThreshold
	open := trustroot.OpenRepository
	if making {
		open = trustroot.CreateRepository
	}
	s.repository, err = open(trustroot.RepositoryConfig{
		Dir: d.file(tufDir), Keys: signers, Targets: s.documents.Targets(), Clock: config.Clock, Logger: config.Logger,
	})
	if err != nil {
		return err
	}
	path := d.file(trustDir, rootFile)
	if err := durable.WriteFile(path, s.repository.Root(), 0o644); err != nil {
		return err
	}
	s.files = append(s.files, path)
	s.created = ring.created
	if making && !d.first {
		s.created = append(s.created, path)
	}
	if err := os.Remove(d.file(tufDir, firstPublicationFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("finishing first publication: %w", err)
	}
	return durable.SyncDir(d.file(tufDir))
}

// beginRepository reports whether the repository has to be made. One that was there and is gone is an error: clients hold the root
// of the old one, and would refuse another.
func beginRepository(d *directory) (making bool, err error) {
	if err := ownDirectory(d, tufDir); err != nil {
		return false, err
	}
	entries, err := os.ReadDir(d.file(tufDir))
	if err != nil {
		return false, fmt.Errorf("reading directory: %w", err)
	}
	if len(entries) == 0 {
		for _, path := range []string{d.file(trustDir, rootFile), d.file(keysDir, tufOnline+".pem")} {
			if _, err := os.Lstat(path); err == nil {
				return false, fmt.Errorf("%s is missing or empty, but %s is there: restore the repository, it cannot be made anew", d.file(tufDir), path)
			}
		}
		return true, durable.WriteFile(d.file(tufDir, firstPublicationFile), nil, 0o600)
	}
	if _, err := os.Lstat(d.file(tufDir, "targets")); err == nil {
		if err := ownDirectory(d, filepath.Join(tufDir, "targets")); err != nil {
			return false, err
		}
	}
	if _, err := os.Lstat(d.file(tufDir, firstPublicationFile)); errors.Is(err, fs.ErrNotExist) {
		return false, nil
	} else if err != nil {
		return false, fmt.Errorf("looking for %s: %w", firstPublicationFile, err)
	}
	// timestamp.json is written last: with it the repository is complete, and only the mark has not been taken away.
	_, err = os.Lstat(d.file(tufDir, "timestamp.json"))
	return errors.Is(err, fs.ErrNotExist), nil
}

// repositoryKeys reads the repository's keys. While it is made, what is missing is made. Later the root and targets keys may be
// elsewhere, but not the online key.
func (r *keyRing) repositoryKeys(d *directory, making bool, rootKeys int) (trustroot.RepositoryKeys, error) {
	var signers trustroot.RepositoryKeys
	var names []string
	if making {
		for i := range rootKeys {
			names = append(names, tufRootKey+strconv.Itoa(i+1))
		}
	} else {
		entries, err := os.ReadDir(d.file(keysDir))
		if err != nil {
			return signers, fmt.Errorf("looking for root keys: %w", err)
		}
		for _, entry := range entries {
			if name, isPEM := strings.CutSuffix(entry.Name(), ".pem"); isPEM && strings.HasPrefix(name, tufRootKey) {
				names = append(names, name)
			}
		}
	}
	for _, name := range names {
		key, err := r.key(d, making, name, generate(keys.P256))
		if err != nil {
			return signers, err
		}
		signers.Root = append(signers.Root, key)
	}
	var err error
	if signers.Targets, err = r.key(d, making, tufTargets, generate(keys.P256)); err != nil && (making || !errors.Is(err, fs.ErrNotExist)) {
		return signers, err
	}
	if signers.Online, err = r.key(d, making, tufOnline, generate(keys.P256)); err != nil {
		return signers, err
	}
	return signers, nil
}

// background runs something beside the rest until the function that it returns is called, which waits for its end.
func background(run func(context.Context)) (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { run(ctx) })
	return func() { cancel(); group.Wait() }
}
