// Package policyjson reads, asks and writes policy.json, the file by which
// containers/image decides which images may be used (containers-policy.json(5)).
//
// [Parse] is as strict as containers/image: an unknown key, one that stands
// twice or one that is missing is an error, and so is a requirement whose
// fields contradict each other. What it does not look at is what lies behind
// paths, whether keys can be read, how names in identities are written, and the
// scopes of transports other than docker and those of paths. The text of each
// requirement is kept, and written back as it is but for white space.
//
// [File.Effective] answers what holds for one image. A requirement's list is
// never empty; all of it must be satisfied.
package policyjson

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
)

// MaxBytes bounds a policy.json: a rule for each of ten thousand repositories
// fits in several times over.
const MaxBytes = 8 << 20

// File is one policy.json.
type File struct {
	// Default is what holds for images for which no transport has a scope.
	Default []Requirement
	// Transports are the rules by transport ("docker", "dir"), then scope; the
	// scope "" is the transport's own default.
	Transports map[string]map[string][]Requirement
}

// Parse reads a policy.json. The file's name is for errors.
func Parse(data []byte, file string) (*File, error) {
	f, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("reading policy.json: %s: %w", file, err)
	}
	return f, nil
}

func parse(data []byte) (*File, error) {
	if len(data) > MaxBytes {
		return nil, fmt.Errorf("larger than %d bytes", MaxBytes)
	}
	top, err := object("", data)
	if err != nil {
		return nil, err
	}
	if err := top.only("default", "transports"); err != nil {
		return nil, err
	}
	untrustedDefault, ok := top.members["default"]
	if !ok {
		return nil, fmt.Errorf("default: missing")
	}
	f := &File{Transports: map[string]map[string][]Requirement{}}
	if f.Default, err = requirements("default", untrustedDefault); err != nil {
		return nil, err
	}
	untrustedTransports, ok := top.members["transports"]
	if !ok {
		return f, nil
	}
	transports, err := object("transports", untrustedTransports)
	if err != nil {
		return nil, err
	}
	for _, transport := range transports.names {
		scopes, err := object("transports."+transport, transports.members[transport])
		if err != nil {
			return nil, err
		}
		f.Transports[transport] = map[string][]Requirement{}
		for _, scope := range scopes.names {
			if err := checkScope(transport, scope); err != nil {
				return nil, fmt.Errorf("%s: %w", ruleName(transport, scope), err)
			}
			reqs, err := requirements(ruleName(transport, scope), scopes.members[scope])
			if err != nil {
				return nil, err
			}
			f.Transports[transport][scope] = reqs
		}
	}
	return f, nil
}

// Clone is a copy that shares nothing that can be changed.
func (f *File) Clone() *File {
	out := &File{Default: slices.Clone(f.Default), Transports: map[string]map[string][]Requirement{}}
	for transport, scopes := range f.Transports {
		out.Transports[transport] = map[string][]Requirement{}
		for scope, reqs := range scopes {
			out.Transports[transport][scope] = slices.Clone(reqs)
		}
	}
	return out
}

// Set makes a list of requirements the rule of a scope.
func (f *File) Set(transport, scope string, reqs []Requirement) {
	if f.Transports == nil {
		f.Transports = map[string]map[string][]Requirement{}
	}
	if f.Transports[transport] == nil {
		f.Transports[transport] = map[string][]Requirement{}
	}
	f.Transports[transport][scope] = slices.Clone(reqs)
}

// Equal reports whether two files say the same, in whatever order and with
// whatever white space.
func (f *File) Equal(other *File) bool { return bytes.Equal(f.JSON(), other.JSON()) }

// JSON is the file's text: transports and scopes in order, four blanks a level,
// a line feed at the end. The same file always gives the same bytes.
func (f *File) JSON() []byte {
	type node struct {
		Default    []Requirement                       `json:"default"`
		Transports map[string]map[string][]Requirement `json:"transports,omitempty"`
	}
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "    ")
	// Raw texts were valid JSON when they were parsed, so encoding them works.
	if err := enc.Encode(node{f.Default, f.Transports}); err != nil {
		return nil
	}
	return out.Bytes()
}

// Scopes are a transport's scopes, in order.
func (f *File) Scopes(transport string) []string {
	return slices.Sorted(maps.Keys(f.Transports[transport]))
}
