package proxyfailures_test

import (
	"strings"
)

// entry is one thing that a client can ask the proxy for.
type entry struct {
	name, method string
	path         func(repository string, a artifact) string // empty if there is no such thing of it
	want         func(a artifact) []byte                    // what a complete answer has to be; nil where it is no content
	byteRange    string
	before       func(repository string, a artifact) string // what every client asks first; nil for nothing
}

// isContent reports whether the answer is an image's own bytes, which nobody gets who may not have the image.
func (e entry) isContent() bool { return e.want != nil && !strings.HasPrefix(e.name, "evidence") }

func entries() []entry {
	manifest := func(reference func(artifact) string) func(string, artifact) string {
		return func(repository string, a artifact) string {
			if reference(a) == "" {
				return ""
			}
			return "/v2/" + repository + "/manifests/" + reference(a)
		}
	}
	blob := func(digest func(artifact) string) func(string, artifact) string {
		return func(repository string, a artifact) string {
			if digest(a) == "" {
				return ""
			}
			return "/v2/" + repository + "/blobs/" + digest(a)
		}
	}
	tag, index := func(a artifact) string { return a.tag }, func(a artifact) string { return a.index }
	child, layer := func(a artifact) string { return a.manifest }, func(a artifact) string { return a.layer }
	indexBody, childBody := func(a artifact) []byte { return a.indexBody }, func(a artifact) []byte { return a.child }
	evidence := manifest(func(a artifact) string { return a.evidence })
	layerBody := func(a artifact) []byte { return a.layerBody }
	return []entry{
		{name: "manifest by tag", method: "GET", path: manifest(tag), want: indexBody},
		{name: "manifest by tag", method: "HEAD", path: manifest(tag), want: indexBody},
		{name: "manifest by digest", method: "GET", path: manifest(index), want: indexBody},
		{name: "manifest by digest", method: "HEAD", path: manifest(index), want: indexBody},
		{name: "child manifest", method: "GET", path: manifest(child), want: childBody},
		{name: "child manifest", method: "HEAD", path: manifest(child), want: childBody},
		{name: "config", method: "GET", path: blob(func(a artifact) string { return a.config }), want: func(a artifact) []byte { return a.configBody }},
		{name: "layer", method: "GET", path: blob(layer), want: layerBody},
		{name: "layer", method: "HEAD", path: blob(layer), want: layerBody},
		{name: "part of a layer", method: "GET", path: blob(layer), byteRange: "bytes=100-", want: func(a artifact) []byte { return a.layerBody[100:] }},
		{name: "evidence manifest", method: "GET", path: evidence},
		{name: "evidence blob", method: "GET", path: blob(func(a artifact) string { return a.evidenceBlob }), before: evidence}, // whose manifest has no tag
		{name: "countersigned .sig tag", method: "GET", path: manifest(func(a artifact) string { return strings.Replace(a.index, ":", "-", 1) + ".sig" })},
		{name: "referrers", method: "GET", path: func(repository string, a artifact) string { return "/v2/" + repository + "/referrers/" + a.index }},
		{name: "tags", method: "GET", path: func(repository string, _ artifact) string { return "/v2/" + repository + "/tags/list" }},
	}
}
