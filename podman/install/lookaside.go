package install

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// mark is in front of every line that is taken out of somebody's file.
const mark = "# touchmark: "

// lookasides is what is to be written to registries.d.
type lookasides struct {
	// ours is the text of our own file.
	ours []byte
	// displaced is the text of the file, in registries.d's format, with what held
	// for these namespaces before; nil if nothing did.
	displaced []byte
	// edited are other files, by path, with our lookaside's rivals taken out.
	edited map[string][]byte
}

// planLookasides sets our lookaside for namespaces, under their physical names.
//
// In registries.d the most specific entry wins, and an entry may stand in one
// file only. So whatever other files say of a lookaside for one of the
// namespaces, or for something within it, is taken out there, set here, and
// kept as displaced, for the agent to ask after ours.
func planLookasides(c *registriesd.Config, texts map[string][]byte, o lookasideOptions) (*lookasides, error) {
	out := &lookasides{edited: map[string][]byte{}}
	namespaces := outermost(slices.Clone(o.namespaces))
	rivals := map[string]bool{}
	for _, n := range namespaces {
		for _, key := range c.Below(n) {
			e, _, _ := c.Entry(key)
			if key == n || e.Lookaside != "" && !o.attachments || e.UseSigstoreAttachments != nil && o.attachments {
				rivals[key] = true
			}
		}
	}
	ours, displaced := map[string]entry{}, map[string]entry{}
	for _, key := range slices.Sorted(maps.Keys(rivals)) {
		e, file, _ := c.Entry(key)
		text, ok := out.edited[file]
		if !ok {
			text = texts[file]
		}
		text, err := takeOut(text, file, key)
		if err != nil {
			return nil, err
		}
		out.edited[file] = text
		if !ofAgent(e.Lookaside, key) {
			displaced[key] = entry{Lookaside: e.Lookaside, Staging: e.Staging, Attachments: e.UseSigstoreAttachments}
		}
	}
	for _, key := range slices.Concat(namespaces, slices.Sorted(maps.Keys(rivals))) {
		_, configured := c.For(key)
		own, _, _ := c.Entry(key)
		if o.attachments {
			yes := true
			ours[key] = entry{Lookaside: cmp.Or(o.native[key], own.Lookaside), Staging: own.Staging, Attachments: &yes}
			continue
		}
		ours[key] = entry{
			Lookaside: o.agent + "/lookaside/" + registryOf(key), Staging: cmp.Or(stagingBefore(c, key, o.rootStaging), o.staging),
			Attachments: own.UseSigstoreAttachments,
		}
		if !configured && o.defaultLookaside != "" && o.readsOthers(key) {
			displaced[key] = entry{Lookaside: o.defaultLookaside}
		}
	}
	var err error
	if out.ours, err = render(ours, "Signatures of these registries are asked of touchmark agent."); err != nil {
		return nil, err
	}
	if len(displaced) > 0 {
		out.displaced, err = render(displaced, "What registries.d said before Touchmark was installed; the agent asks there, too.")
	}
	return out, err
}

// stagingBefore is where somebody wants signatures for a namespace to be
// written: where they were written before. default-docker does not count: the
// directory that distributions' files name there is for signatures that are to
// be published, and countersignatures are not. Nor does a web server's URL, to
// which nothing can be written, nor the directory of the host's own installation,
// to which only root can.
func stagingBefore(c *registriesd.Config, namespace, root string) string {
	for _, key := range podman.DockerScopes(namespace) {
		e, _, _ := c.Entry(key)
		if write := cmp.Or(e.Staging, e.Lookaside); write != "" {
			if strings.HasPrefix(write, "file:") && write != root {
				return write
			}
			return ""
		}
	}
	return ""
}

// lookasideOptions say what a lookaside is set for, and where.
type lookasideOptions struct {
	namespaces []string
	// attachments says that .sig tags are to be read instead of the agent asked.
	attachments bool
	// native are then the lookasides of OpenPGP signatures, by namespace.
	native  map[string]string
	agent   string // URL, without the path
	staging string // file URL
	// rootStaging is what staging is for root.
	rootStaging string
	// defaultLookaside is where clients look if nothing is configured, as a URL;
	// "" if there is nothing.
	defaultLookaside string
	// readsOthers says for which namespaces signatures by others than the host
	// are demanded, so that they have to be found where they were.
	readsOthers func(namespace string) bool
}

// entry is one entry of registries.d as it is written.
type entry struct {
	Lookaside   string `yaml:"lookaside,omitempty"`
	Staging     string `yaml:"lookaside-staging,omitempty"`
	Attachments *bool  `yaml:"use-sigstore-attachments,omitempty"`
}

func render(entries map[string]entry, comment string) ([]byte, error) {
	var out bytes.Buffer
	fmt.Fprintf(&out, "# Written by touchmark install podman; touchmark uninstall podman takes it away.\n# %s\n", comment)
	enc := yaml.NewEncoder(&out)
	enc.SetIndent(2)
	err := enc.Encode(map[string]any{"docker": entries})
	return out.Bytes(), err
}

// takeOut comments an entry out of a file's text, line by line, so that
// everything else stays as somebody wrote it.
func takeOut(text []byte, file, key string) ([]byte, error) {
	refuse := func(why string) error {
		return fmt.Errorf("%s: the entry of %q would override Touchmark's, and %s; take the entry out by hand, or move it to a file of its own", file, key, why)
	}
	first, last, ok := entryLines(text, key)
	if !ok {
		return nil, refuse("it is not written in lines of its own")
	}
	lines := bytes.SplitAfter(text, []byte("\n"))
	for i := first - 1; i < last; i++ {
		if line := lines[i]; len(bytes.TrimSpace(line)) > 0 {
			lines[i] = append([]byte(mark), line...)
		}
	}
	out := bytes.Join(lines, nil)
	// Whether exactly this entry went is seen by reading.
	before, err := registriesd.ParseFile(text, file)
	if err != nil {
		return nil, err
	}
	after, err := registriesd.ParseFile(out, file)
	if err != nil {
		return nil, refuse("commenting it out would break the file")
	}
	delete(before.Docker, key)
	if !reflect.DeepEqual(before, after) {
		return nil, refuse("commenting it out would change other entries")
	}
	return out, nil
}

// entryLines finds the lines of an entry below docker, from 1, both included.
func entryLines(text []byte, key string) (first, last int, ok bool) {
	var doc yaml.Node
	if yaml.Unmarshal(text, &doc) != nil || len(doc.Content) != 1 {
		return 0, 0, false
	}
	docker := member(doc.Content[0], "docker")
	if docker == nil || docker.Kind != yaml.MappingNode || docker.Style&yaml.FlowStyle != 0 {
		return 0, 0, false
	}
	for i := 0; i+1 < len(docker.Content); i += 2 {
		name, value := docker.Content[i], docker.Content[i+1]
		if name.Value == key {
			return name.Line, lastLine(value), true
		}
	}
	return 0, 0, false
}

// member is the value of a mapping's member, nil if there is none.
func member(n *yaml.Node, name string) *yaml.Node {
	if n.Kind != yaml.MappingNode {
		return nil
	}
	for i := 0; i+1 < len(n.Content); i += 2 {
		if n.Content[i].Value == name {
			return n.Content[i+1]
		}
	}
	return nil
}

// lastLine is the last line on which something of a node begins.
func lastLine(n *yaml.Node) int {
	last := n.Line
	for _, c := range n.Content {
		last = max(last, lastLine(c))
	}
	return last
}

// registryOf is the registry of a namespace.
func registryOf(namespace string) string {
	registry, _, _ := strings.Cut(namespace, "/")
	return registry
}
