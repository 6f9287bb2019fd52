package doctor

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
)

// The ways in which images are pulled that ask verifiers, as reports call them.
const (
	byCRI      = "CRI"
	byTransfer = "transfer service"
)

// probeNamespace is where the transfer service pulls to, as ctr does by default. It
// is not CRI's, so that no image of a pod is touched.
const probeNamespace = "default"

// maxSaid is how much of containerd's words is repeated, in bytes.
const maxSaid = 2 << 10

// Probe says what to pull.
type Probe struct {
	// Unsigned is an image that must be refused. "" makes one up, which this process
	// serves on loopback by plain HTTP, where containerd reaches it without any
	// configuration.
	Unsigned string
	// Good is an image that must be admitted; "" for none.
	Good string
}

// Run has the running containerd pull what is to be refused, and what is to be
// admitted, by each way, takes away what was pulled, and adds what happened to the
// report. An error says that nothing could be tried.
func (p Probe) Run(ctx context.Context, c Config, r *doctor.Report) error {
	if c.Daemon == nil {
		return fmt.Errorf("probing: containerd does not answer: %w", c.Down)
	}
	unsigned := p.Unsigned
	if unsigned == "" {
		repository, stop, err := doctor.ServeUnsigned()
		if err != nil {
			return fmt.Errorf("probing: %w", err)
		}
		defer stop()
		unsigned = repository + ":1"
	}
	plugins, err := c.Daemon.Plugins(ctx)
	if err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	cri := slices.ContainsFunc(plugins, func(p node.Plugin) bool { return p.Type == "io.containerd.grpc.v1" && p.ID == "cri" && p.InitErr == "" })
	var problems []error
	for _, image := range []struct {
		name string
		want bool
	}{{unsigned, false}, {p.Good, true}} {
		if image.name == "" {
			continue
		}
		if cri {
			tried, err := pullByCRI(ctx, c, image.name)
			problems = append(problems, err)
			tried.Want = image.want
			r.Add(tried)
		}
		tried, err := pullByTransfer(ctx, c, image.name)
		problems = append(problems, err)
		tried.Want = image.want
		r.Add(tried)
	}
	return errors.Join(problems...)
}

// pullByCRI pulls as the kubelet does. An image that was there before stays.
func pullByCRI(ctx context.Context, c Config, image string) (doctor.Tried, error) {
	d := c.Daemon
	t := doctor.Tried{Image: image, Way: byCRI}
	had, err := d.CRIHas(ctx, image)
	if err != nil {
		tell(c, &t, err)
		return t, nil
	}
	_, err = d.CRIPull(ctx, image)
	t.Admitted = err == nil
	if err != nil {
		tell(c, &t, err)
		return t, nil
	}
	if had {
		return t, nil
	}
	if err := d.CRIRemove(context.WithoutCancel(ctx), image); err != nil {
		return t, fmt.Errorf("taking away what the probe pulled: %w", err)
	}
	return t, nil
}

// pullByTransfer pulls as ctr does. An image that was there before stays.
func pullByTransfer(ctx context.Context, c Config, image string) (doctor.Tried, error) {
	t := doctor.Tried{Image: image, Way: byTransfer}
	before, err := find(ctx, c.Daemon, image)
	if err != nil {
		tell(c, &t, err)
		return t, nil
	}
	options := node.Options{}
	if s := take(ctx, c); s.config != nil {
		if dirs := s.hostsDirs(); len(dirs) == 1 {
			options.HostsDir = s.Name(dirs[0])
		}
	}
	if err := c.Daemon.Transfer(ctx, probeNamespace, image, options); err != nil {
		tell(c, &t, err)
		return t, nil
	}
	t.Admitted = true
	if before != nil {
		return t, nil
	}
	ctx = context.WithoutCancel(ctx)
	pulled, err := find(ctx, c.Daemon, image)
	if err == nil && pulled != nil {
		err = c.Daemon.Remove(ctx, probeNamespace, *pulled)
	}
	if err != nil {
		return t, fmt.Errorf("taking away what the probe pulled: %w", err)
	}
	return t, nil
}

// find is an image of the probe's namespace; nil if it is not there.
func find(ctx context.Context, d Daemon, image string) (*node.Image, error) {
	images, err := d.Images(ctx, probeNamespace)
	if err != nil {
		return nil, err
	}
	for _, i := range images {
		if i.Name == image {
			return &i, nil
		}
	}
	return nil, nil
}

// tell says why an image was not pulled. Only a refusal by Touchmark, or by its
// proxy, is one: what was blocked because somebody could not be reached, or by
// another verifier, proves nothing.
func tell(c Config, t *doctor.Tried, err error) {
	said := err.Error()
	t.Said = said[max(0, len(said)-maxSaid):]
	// A registry says so, too, to whoever may not read.
	byProxy := len(c.Intent.Proxies) > 0 && strings.Contains(said, "denied: ")
	t.Unknown = !strings.Contains(said, "refused by touchmark") && !byProxy
}
