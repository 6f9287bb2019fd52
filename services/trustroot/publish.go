package trustroot

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/theupdateframework/go-tuf/v2/metadata"

	"github.com/touchmark/touchmark/services/internal/durable"
)

// renewEvery is how often Run looks whether something must be renewed.
const renewEvery = time.Hour

// file is one file of a publication.
type file struct {
	name    string // with slashes, relative to the repository
	content []byte
}

// publication is a set of files that make the repository's next state. They are written in this order; the last, timestamp.json, is
// what makes clients see the others.
type publication struct {
	files                        []file
	roots                        [][]byte
	timestamp, snapshot, targets []byte
}

func (p *publication) add(name string, content []byte) {
	p.files = append(p.files, file{name, content})
}

// Run renews what is about to expire until ctx ends. What cannot be renewed is logged and tried again.
func (r *Repository) Run(ctx context.Context) {
	ticker := time.NewTicker(renewEvery)
	defer ticker.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
			if err := r.Renew(); err != nil {
				r.logger.Error("TUF metadata could not be renewed", "err", err, "clients_follow_until", r.end())
			}
		}
	}
}

func (r *Repository) end() time.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current.Timestamp.Signed.Expires
}

// Renew publishes what has changed or is about to expire, and warns of what it has no keys for.
func (r *Repository) Renew() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	next, err := r.prepare(r.clock().UTC())
	if err != nil || next == nil {
		return err
	}
	if err := r.publish(next); err != nil {
		return err
	}
	var names []string
	for _, f := range next.files {
		names = append(names, f.name)
	}
	r.logger.Info("TUF metadata published", "files", strings.Join(names, " "))
	return nil
}

// create publishes the first set.
func (r *Repository) create() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.clock().UTC()
	root, err := r.firstRoot(now)
	if err != nil {
		return err
	}
	if r.keys.Targets == nil {
		return errors.New("the targets key is missing")
	}
	p := &publication{roots: [][]byte{root}}
	p.add(versioned(1, metadata.ROOT), root)
	if err := r.addTargets(p, 1, now); err != nil {
		return err
	}
	if err := r.addSnapshot(p, 1, 1, now); err != nil {
		return err
	}
	if err := r.addTimestamp(p, 1, 1, now); err != nil {
		return err
	}
	return r.publish(p)
}

// prepare makes the next set, or nil if nothing has to change.
func (r *Repository) prepare(now time.Time) (*publication, error) {
	timestamp, snapshot, targets := r.current.Timestamp.Signed, r.current.Snapshot.Signed, r.current.Targets[metadata.TARGETS].Signed
	p := &publication{roots: slices.Clone(r.roots)}
	renewRoot, renewTargets := r.due(metadata.ROOT, r.current.Root.Signed.Expires, now), r.due(metadata.TARGETS, targets.Expires, now)

	if renewRoot && r.canSignRoot() {
		if err := r.addRoot(p, now); err != nil {
			return nil, err
		}
	} else {
		r.warn(metadata.ROOT, r.current.Root.Signed.Expires, now)
	}

	changed := r.changed(targets.Targets)
	if len(changed) > 0 && r.keys.Targets == nil && !r.blocked {
		r.blocked = true
		r.logger.Error("files for clients have changed, and cannot be published by TUF: the targets key is missing", "files", changed)
	}
	newTargets, newSnapshot := targets.Version, snapshot.Version
	var err error
	if r.keys.Targets != nil && (renewTargets || len(changed) > 0) {
		if newTargets, err = r.freeVersion(metadata.TARGETS, targets.Version); err != nil {
			return nil, err
		}
		if err := r.addTargets(p, newTargets, now); err != nil {
			return nil, err
		}
	} else {
		r.warn(metadata.TARGETS, targets.Expires, now)
	}
	if p.targets != nil || r.due(metadata.SNAPSHOT, snapshot.Expires, now) {
		if newSnapshot, err = r.freeVersion(metadata.SNAPSHOT, snapshot.Version); err != nil {
			return nil, err
		}
		if err := r.addSnapshot(p, newSnapshot, newTargets, now); err != nil {
			return nil, err
		}
	}
	if len(p.files) == 0 && !r.due(metadata.TIMESTAMP, timestamp.Expires, now) {
		return nil, nil
	}
	return p, r.addTimestamp(p, timestamp.Version+1, newSnapshot, now)
}

// addTargets adds the files and the metadata that names them, each with exactly one hash: clients put any one of them into the
// file's URL.
func (r *Repository) addTargets(p *publication, version int64, now time.Time) error {
	targets := metadata.Targets(expiry(metadata.TARGETS, now))
	targets.Signed.Version = version
	for _, name := range slices.Sorted(maps.Keys(r.content)) {
		info, err := metadata.TargetFile().FromBytes(name, r.content[name], "sha256")
		if err != nil {
			return fmt.Errorf("target %s: %w", name, err)
		}
		targets.Signed.Targets[name] = info
		p.add(targetPath(name, info.Hashes["sha256"]), r.content[name])
	}
	var err error
	if p.targets, err = sign(targets, r.keys.Targets); err != nil {
		return fmt.Errorf("signing targets: %w", err)
	}
	p.add(versioned(version, metadata.TARGETS), p.targets)
	return nil
}

func (r *Repository) addSnapshot(p *publication, version, targetsVersion int64, now time.Time) error {
	snapshot := metadata.Snapshot(expiry(metadata.SNAPSHOT, now))
	snapshot.Signed.Version = version
	var err error
	if snapshot.Signed.Meta["targets.json"], err = r.describe(metadata.TARGETS, targetsVersion, p.targets); err != nil {
		return err
	}
	if p.snapshot, err = sign(snapshot, r.keys.Online); err != nil {
		return fmt.Errorf("signing snapshot: %w", err)
	}
	p.add(versioned(version, metadata.SNAPSHOT), p.snapshot)
	return nil
}

func (r *Repository) addTimestamp(p *publication, version, snapshotVersion int64, now time.Time) error {
	timestamp := metadata.Timestamp(expiry(metadata.TIMESTAMP, now))
	timestamp.Signed.Version = version
	var err error
	if timestamp.Signed.Meta["snapshot.json"], err = r.describe(metadata.SNAPSHOT, snapshotVersion, p.snapshot); err != nil {
		return err
	}
	if p.timestamp, err = sign(timestamp, r.keys.Online); err != nil {
		return fmt.Errorf("signing timestamp: %w", err)
	}
	p.add(timestampFile, p.timestamp)
	return nil
}

// describe pins a version by length and hash. content is nil for the version that is published already.
func (r *Repository) describe(role string, version int64, content []byte) (*metadata.MetaFiles, error) {
	if content == nil {
		var err error
		if content, err = r.read(versioned(version, role)); err != nil {
			return nil, err
		}
	}
	sum := sha256.Sum256(content)
	info := metadata.MetaFile(version)
	info.Length, info.Hashes = int64(len(content)), metadata.Hashes{"sha256": sum[:]}
	return info, nil
}

// changed are the names of the files that are not what is published, or not published, or published no more.
func (r *Repository) changed(published map[string]*metadata.TargetFiles) []string {
	var names []string
	for name, content := range r.content {
		sum := sha256.Sum256(content)
		if info := published[name]; info == nil || !bytes.Equal(info.Hashes["sha256"], sum[:]) {
			names = append(names, name)
		}
	}
	for name := range published {
		if _, ok := r.content[name]; !ok {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// publish verifies a set as clients will, writes its files, and makes it the current one.
func (r *Repository) publish(p *publication) error {
	if p.snapshot == nil {
		var err error
		if p.snapshot, err = r.read(versioned(r.current.Snapshot.Signed.Version, metadata.SNAPSHOT)); err != nil {
			return err
		}
	}
	if p.targets == nil {
		var err error
		if p.targets, err = r.read(versioned(r.current.Targets[metadata.TARGETS].Signed.Version, metadata.TARGETS)); err != nil {
			return err
		}
	}
	next, err := verifySet(p.roots, p.timestamp, p.snapshot, p.targets)
	if err != nil {
		return fmt.Errorf("the keys at hand make metadata that clients refuse: %w", err)
	}
	for _, f := range p.files {
		if err := r.write(f); err != nil {
			return err
		}
	}
	r.roots, r.current = p.roots, next
	return nil
}

func (r *Repository) write(f file) error {
	return durable.WriteFile(filepath.Join(r.path, filepath.FromSlash(f.name)), f.content, 0o644)
}
