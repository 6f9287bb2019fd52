package installcmd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/policyfile"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/configfile"
)

// maxBoot bounds the file of pins, in bytes; a thousand have 300 KiB.
const maxBoot = 4 << 20

// criNamespace is where the images of the kubelet are.
const criNamespace = "k8s.io"

// bootFlags say what a fresh node runs before anybody can be asked about it.
type bootFlags struct {
	pause    bool
	images   []string
	fromNode bool
}

func (f *bootFlags) register(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.BoolVar(&f.pause, "boot", true, "pin the pause image, if containerd runs and has it")
	fl.StringArrayVar(&f.images, "boot-image", nil, "`IMAGE` to pin by its digest, so that it is admitted before the agent or the network is up; can be repeated")
	fl.BoolVar(&f.fromNode, "boot-from-node", false, "pin all images that the node has now in the kubelet's namespace")
}

// text is the policy file with the pins; nil if there is nothing to pin that is not
// pinned yet. What was pinned before stays, unless it is said anew what to pin.
func (f *bootFlags) text(cmd *cobra.Command, t *target, policies string) ([]byte, error) {
	var there []node.Image
	if t.node != nil {
		var err error
		if there, err = t.node.Images(cmd.Context(), criNamespace); err != nil {
			return nil, exit.Undecided(err)
		}
	}
	if f.fromNode && t.node == nil {
		return nil, exit.Undecided(fmt.Errorf("--boot-from-node: %w", t.down))
	}
	b := &boot{cmd: cmd, target: t, there: there, pinned: map[string]bool{}}
	sandbox := t.config.CRI.Sandbox()
	if image, ok := b.find(sandbox); f.pause && ok {
		if err := b.add(image, "the pause image, in every pod"); err != nil {
			return nil, err
		}
	} else if f.pause && sandbox != "" && t.node != nil && !t.config.CRI.Disabled {
		fmt.Fprintf(cmd.ErrOrStderr(), "touchmark: warning: the pause image %s is not on the node, so it is not pinned; name it with --boot-image, or sign it\n", sandbox)
	}
	for _, image := range f.images {
		if err := b.named(image); err != nil {
			return nil, err
		}
	}
	if f.fromNode {
		for _, image := range there {
			if !strings.HasPrefix(image.Name, "sha256:") { // CRI's name for the image's configuration
				if err := b.add(image, "was on the node when Touchmark was installed"); err != nil {
					return nil, err
				}
			}
		}
	}
	var earlier []byte
	if !f.fromNode && len(f.images) == 0 {
		var err error
		if earlier, err = configfile.Read(filepath.Join(policies, install.BootFile), maxBoot); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, exit.Undecided(err)
		}
		b.images = slices.DeleteFunc(b.images, func(p install.Pinned) bool {
			return bytes.Contains(earlier, []byte(p.Repository+"@"+p.Digest))
		})
	}
	if len(b.images) == 0 {
		return nil, nil
	}
	text, err := install.Boot(earlier, b.images, bootBy(), time.Now())
	if err != nil {
		return nil, exit.Undecided(err)
	}
	return text, nil
}

// boot collects the images to pin.
type boot struct {
	cmd    *cobra.Command
	target *target
	there  []node.Image
	images []install.Pinned
	pinned map[string]bool
}

// find is an image of the node by any spelling of its name.
func (b *boot) find(image string) (node.Image, bool) {
	want, err := name.ParseReference(image)
	if err != nil {
		return node.Image{}, false
	}
	for _, i := range b.there {
		if have, err := name.ParseReference(i.Name); err == nil && have.Name() == want.Name() {
			return i, true
		}
	}
	return node.Image{}, false
}

// named pins what somebody named: as it is on the node, or in its registry.
func (b *boot) named(image string) error {
	if found, ok := b.find(image); ok {
		return b.add(found, "needed to boot")
	}
	s, err := (policyfile.File{}).Resolve(b.cmd, image)
	if err != nil {
		return err
	}
	p := install.Pinned{Repository: s.Repository, Digest: s.Digest.String(), Reason: "needed to boot"}
	for _, platform := range s.Platforms {
		p.Platforms = append(p.Platforms, platform.String())
	}
	b.pin(p)
	return nil
}

// add pins an image of the node, with the platforms that its index lists.
func (b *boot) add(image node.Image, reason string) error {
	ref, err := name.ParseReference(image.Name)
	if err != nil {
		return nil // a name that no pull has, such as that of a build
	}
	p := install.Pinned{Repository: attach.LogicalName(ref.Context()), Digest: image.Digest, Reason: reason}
	if isIndex(image.MediaType) {
		if p.Platforms, err = b.platforms(b.cmd.Context(), image); err != nil {
			return err
		}
	}
	b.pin(p)
	return nil
}

func (b *boot) pin(p install.Pinned) {
	if key := p.Repository + "@" + p.Digest; !b.pinned[key] {
		b.pinned[key] = true
		b.images = append(b.images, p)
	}
}

// isIndex reports whether a media type is that of an index of platforms.
func isIndex(mediaType string) bool {
	return mediaType == "application/vnd.oci.image.index.v1+json" || mediaType == "application/vnd.docker.distribution.manifest.list.v2+json"
}

// platforms are the manifests that an index on the node lists. An index whose own
// text is not there any more lists none.
func (b *boot) platforms(ctx context.Context, image node.Image) ([]string, error) {
	text, err := b.target.node.Manifest(ctx, criNamespace, image.Digest)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, exit.Undecided(err)
	}
	if got := fmt.Sprintf("sha256:%x", sha256.Sum256(text)); got != image.Digest {
		return nil, exit.Undecided(fmt.Errorf("the node's own %s is another: %s", image.Digest, got))
	}
	var index v1.IndexManifest
	if err := json.Unmarshal(text, &index); err != nil {
		return nil, exit.Undecided(fmt.Errorf("reading the index %s: %w", image.Name, err))
	}
	var out []string
	for _, m := range index.Manifests {
		if m.Platform == nil || m.Platform.OS != "unknown" { // BuildKit's attestations have this platform
			out = append(out, m.Digest.String())
		}
	}
	return out, nil
}

// bootBy names who pins, in the policy file.
func bootBy() string {
	if host, err := os.Hostname(); err == nil {
		return "touchmark install containerd on " + host
	}
	return "touchmark install containerd"
}
