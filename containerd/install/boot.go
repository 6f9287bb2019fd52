package install

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/policy"
)

// reviewAfter is when somebody should look again at what a node boots from: an
// upgrade of Kubernetes, three of which a year bring other images.
const reviewAfter = 120 * 24 * time.Hour

// Pinned is an image that a node needs before anybody can be asked about it: the
// pause image, the network's, the control plane's, and whatever runs the agent.
type Pinned struct {
	Repository string // logical name
	Digest     string
	// Platforms are the digests that it lists, if it is an index.
	Platforms []string
	Reason    string
}

// bootHead begins [BootFile].
const bootHead = `# Written by touchmark install containerd: what this node needs before the agent
# and the network are up. See docs/containerd.md.
apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
spec: {}
`

// Boot is the text of [BootFile]: pins for images, which are admitted without
// asking the network. They are reviewed after four months; nothing is refused
// for that. The pins of earlier, a text of that kind, stay; it may be nil.
func Boot(earlier []byte, images []Pinned, by string, now time.Time) ([]byte, error) {
	images = slices.Clone(images)
	slices.SortFunc(images, func(a, b Pinned) int {
		return cmp.Or(strings.Compare(a.Repository, b.Repository), strings.Compare(a.Digest, b.Digest))
	})
	var changes []policy.Change
	for _, i := range images {
		pin := policy.Pin{Repository: i.Repository, Digest: i.Digest, Reason: i.Reason, By: by, Review: now.Add(reviewAfter).UTC().Truncate(24 * time.Hour)}
		changes = append(changes, pin.Change())
		for _, p := range i.Platforms {
			pin.Digest, pin.Reason = p, i.Reason+" (a platform of "+i.Digest+")"
			changes = append(changes, pin.Change())
		}
	}
	if earlier == nil {
		earlier = []byte(bootHead)
	}
	return policy.Edit(earlier, changes...)
}
