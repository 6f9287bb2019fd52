package trust

import (
	"bytes"
	"errors"
	"fmt"
	"path/filepath"

	"github.com/touchmark/touchmark/core/configfile"
)

// maxRoots bounds the trust roots in one file: "gh attestation trusted-root"
// writes two.
const maxRoots = 64

// LoadAll reads the trusted roots of a regular file: of one whose name ends in
// ".jsonl" one on each line, as "gh attestation trusted-root" writes them, of
// any other file one. The first root has the given name, the others have it with "-2",
// "-3" and so on behind it. Empty lines are skipped, but count. The error names
// file and line.
func LoadAll(name, path string) ([]*Root, error) {
	if filepath.Ext(path) != ".jsonl" {
		root, err := Load(name, path)
		if err != nil {
			return nil, err
		}
		return []*Root{root}, nil
	}
	data, err := configfile.Read(path, MaxSize)
	if err != nil {
		return nil, fmt.Errorf("reading trusted roots: %w", err)
	}
	roots, err := parseLines(name, data)
	if err != nil {
		return nil, fmt.Errorf("%s%w", path, err)
	}
	return roots, nil
}

func parseLines(name string, untrusted []byte) ([]*Root, error) {
	var roots []*Root
	line := 0
	for text := range bytes.Lines(untrusted) {
		line++
		text = bytes.TrimRight(text, "\r\n")
		if len(text) == 0 {
			continue
		}
		if len(roots) == maxRoots {
			return nil, fmt.Errorf(":%d: more than %d trusted roots", line, maxRoots)
		}
		full := name
		if n := len(roots); n > 0 && name != "" {
			full = fmt.Sprintf("%s-%d", name, n+1)
		}
		root, err := Parse(full, text)
		if err != nil {
			return nil, fmt.Errorf(":%d: %w", line, err)
		}
		for i, other := range roots {
			if other.Digest == root.Digest {
				return nil, fmt.Errorf(":%d: trusted root %d stands twice", line, i+1)
			}
		}
		roots = append(roots, root)
	}
	if len(roots) == 0 {
		return nil, errors.New(": no trusted root")
	}
	return roots, nil
}
