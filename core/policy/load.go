package policy

import (
	"bytes"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/configfile"
)

// Load reads the policies of a regular file, or of all the files of a directory
// whose names end in ".yaml", in the order of the names. Every error names the
// file; the names of files that end in ".yml", ".json" or ".YAML" are errors, since
// whoever put them there wants them read.
//
// All files together are one set: names may stand once, and what [Enforcement]
// documents say is put together as [Parse] says.
func Load(ctx context.Context, path string, o Options) (*Set, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	files := []string{path}
	if info.IsDir() {
		if files, err = Files(path); err != nil {
			return nil, err
		}
	}
	return LoadFiles(ctx, files, o)
}

// LoadFiles reads the policies of several regular files as one set.
func LoadFiles(ctx context.Context, files []string, o Options) (*Set, error) {
	a, size := newAssembly(ctx, o), 0
	for _, file := range files {
		data, err := configfile.Read(file, MaxSize)
		if err != nil {
			return nil, fmt.Errorf("reading policy: %w", err)
		}
		if size += len(data); size > MaxSize {
			return nil, fmt.Errorf("reading policy: %s: all files together have more than %d bytes", file, MaxSize)
		}
		a.r.file, a.r.dir = file, filepath.Dir(file)
		a.add(data)
	}
	return a.set()
}

// Files lists the policy files of a directory, in the order in which [Load] reads
// them.
func Files(dir string) ([]string, error) {
	entries, err := os.ReadDir(dir) // sorted by name
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	var files []string
	for _, e := range entries {
		switch ext := filepath.Ext(e.Name()); {
		case strings.HasPrefix(e.Name(), "."): // an editor's, or Kubernetes' ..data
		case ext == ".yaml":
			files = append(files, filepath.Join(dir, e.Name()))
		case slices.Contains([]string{".yaml", ".yml", ".json"}, strings.ToLower(ext)):
			return nil, fmt.Errorf("reading policy: %s: only files whose names end in .yaml are read; rename it, or move it away", filepath.Join(dir, e.Name()))
		}
	}
	if len(files) == 0 {
		return nil, fmt.Errorf("reading policy: %s: the directory holds no *.yaml", dir)
	}
	return files, nil
}

// Parse reads a stream of ClusterImagePolicy, TrustRoot and [Enforcement]
// documents, and Lists of them as kubectl prints them. It is an error if there
// is none: an empty policy file is a mistake, even though it would refuse every
// image. If anything is wrong, nothing is returned but [Errors].
//
// Several Enforcement documents are one: their lists are joined, and each of
// their other fields may stand in one of them only.
func Parse(ctx context.Context, data []byte, o Options) (*Set, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("policy: has %d bytes, the limit is %d", len(data), MaxSize)
	}
	a := newAssembly(ctx, o)
	if a.r.file = o.File; o.File != "" {
		a.r.dir = filepath.Dir(o.File)
	}
	a.add(data)
	return a.set()
}

// assembly is a set while it is being put together.
type assembly struct {
	r     *reader
	out   *Set
	names map[string]string // of policies and trust roots, by kind and name -> where
	once  map[string]string // fields of Enforcement documents -> where
	bytes [][]byte
}

func newAssembly(ctx context.Context, o Options) *assembly {
	return &assembly{
		r: &reader{ctx: ctx, options: o}, out: &Set{Enforcement: &Enforcement{}},
		names: make(map[string]string), once: make(map[string]string),
	}
}

// add reads all documents of a file.
func (a *assembly) add(data []byte) {
	a.bytes = append(a.bytes, data)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	documents, before := 0, len(a.r.errs)
	for !a.r.full() {
		doc, ok := a.r.next(dec)
		if !ok {
			break
		}
		documents++
		a.document(doc)
	}
	if documents == 0 && len(a.r.errs) == before {
		a.r.fail(0, "", "the file holds no policy")
	}
}

// set is what all files say together.
func (a *assembly) set() (*Set, error) {
	if len(a.r.errs) > 0 {
		return nil, a.r.errs
	}
	if err := a.r.ctx.Err(); err != nil {
		return nil, fmt.Errorf("reading policy: %w", errors.Join(err, context.Cause(a.r.ctx)))
	}
	hash := sha256.New()
	for _, part := range append(a.bytes, a.r.fetched...) {
		hash.Write(part)
	}
	hash.Sum(a.out.Digest[:0])
	a.out.index = newIndex(a.out.Policies)
	return a.out, nil
}

// document reads one document.
func (a *assembly) document(doc value) {
	if doc.node.Kind == yaml.ScalarNode && doc.node.ShortTag() == "!!null" {
		doc.fail("the document is empty")
		return
	}
	if doc.node.Kind != yaml.MappingNode {
		doc.wrongType("a document with apiVersion, kind and spec")
		return
	}
	head := fields{value: doc}
	switch version, kind := head.text("apiVersion"), head.text("kind"); {
	case kind == "ClusterImagePolicy" && (version == "policy.sigstore.dev/v1beta1" || version == "policy.sigstore.dev/v1alpha1"):
		a.clusterImagePolicy(doc)
	case kind == "TrustRoot" && version == "policy.sigstore.dev/v1alpha1":
		a.trustRoot(doc)
	case kind == "Enforcement" && version == "touchmark.dev/v1alpha1":
		a.enforcement(doc)
	case kind == "List" && version == "v1":
		f := doc.fields("apiVersion", "kind", "metadata", "items")
		for _, item := range f.requireList("items", maxPolicies) {
			a.document(item)
		}
	default:
		doc.fail("apiVersion %q, kind %q: want policy.sigstore.dev/v1beta1 ClusterImagePolicy, policy.sigstore.dev/v1alpha1 TrustRoot or touchmark.dev/v1alpha1 Enforcement", version, kind)
	}
}

// name reads metadata.name, which may stand once among documents of a kind.
// What else Kubernetes keeps in metadata means nothing here.
func (a *assembly) name(doc fields, kind string) string {
	meta, ok := doc.require("metadata")
	if !ok {
		return ""
	}
	if meta.node.Kind != yaml.MappingNode {
		meta.wrongType("a mapping")
		return ""
	}
	named, ok := fields{value: meta}.require("name")
	if !ok {
		return ""
	}
	name := named.text()
	a.onlyOnce(a.names, kind+" "+name, named, fmt.Sprintf("the name %q", name))
	return name
}

// onlyOnce says that something stands twice.
func (a *assembly) onlyOnce(seen map[string]string, what string, v value, say string) {
	if first, twice := seen[what]; twice {
		v.fail("%s stands twice, first in %s", say, first)
		return
	}
	seen[what] = v.where()
}
