package nri

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/nri/pkg/api"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/containerd/bindir"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// imageName is CRI's annotation with the image as the pod has it, which need not be
// the first of its names (containerd internal/cri/annotations).
const imageName = "io.kubernetes.cri.image-name"

// handler is what the stub calls. NRI asks about one container at a time.
type handler struct{ *Plugin }

// Configure is told which runtime that is.
func (h *handler) Configure(_ context.Context, _, runtime, version string) (api.EventMask, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.status.Runtime = strings.TrimSpace(runtime + " " + version)
	return 0, nil // every event that there is a method for
}

// Synchronize is told what exists already, which is left alone. It is the last step
// of a connection.
func (h *handler) Synchronize(context.Context, []*api.PodSandbox, []*api.Container) ([]*api.ContainerUpdate, error) {
	h.connected(nil)
	return nil, nil
}

// CreateContainer refuses a container, or changes nothing of it.
func (h *handler) CreateContainer(ctx context.Context, pod *api.PodSandbox, c *api.Container) (*api.ContainerAdjustment, []*api.ContainerUpdate, error) {
	return nil, nil, h.check(ctx, pod, c)
}

// ValidateContainerAdjustment refuses what CreateContainer did not admit: see the
// package's manual.
func (h *handler) ValidateContainerAdjustment(ctx context.Context, req *api.ValidateContainerAdjustmentRequest) error {
	c := req.GetContainer()
	h.mu.Lock()
	last := h.passed
	h.passed = nil
	h.mu.Unlock()
	if last != nil && last.id != "" && *last == (passed{c.GetId(), c.GetImage().GetDigest()}) {
		return nil
	}
	return h.check(ctx, req.GetPod(), c)
}

// check judges the image of a container. The error is for whoever reads the pod's
// events.
func (p *Plugin) check(ctx context.Context, pod *api.PodSandbox, c *api.Container) error {
	v, err := p.judge(ctx, c)
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case err == nil && v.Admitted():
		p.passed = &passed{c.GetId(), c.GetImage().GetDigest()}
		p.status.Admitted++
		return nil
	case err == nil && v.Outcome == gate.OutcomeRefused:
		err = errors.New("refused by touchmark: " + v.Reason)
	case err == nil:
		err = errors.New("touchmark cannot decide: " + strings.TrimPrefix(v.Reason, fmt.Sprintf("cannot decide about %s@%s: ", v.Repository, v.Digest)))
	}
	p.passed = nil
	p.status.Refused++
	text := bindir.OneLine(err.Error())
	p.logger.Warn("a container was refused", "namespace", pod.GetNamespace(), "pod", pod.GetName(), "container", c.GetName(), "reason", text)
	return errors.New(text)
}

// judge asks about the image of a container.
func (p *Plugin) judge(ctx context.Context, c *api.Container) (gate.Verdict, error) {
	req, repository, err := p.request(c)
	if err != nil {
		return gate.Verdict{}, err
	}
	p.mu.Lock()
	limit := p.limit * 3 / 4 // the rest is for the way, on a busy node
	p.mu.Unlock()
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("not within the %s that containerd gives; it is still being looked for, and known when the kubelet tries again", limit.Round(time.Millisecond)))
	defer cancel()
	return p.config.Decide(ctx, req, repository), nil
}

// request makes the question of a container, and says which repository that is as
// containerd writes it.
func (p *Plugin) request(c *api.Container) (gate.Request, string, error) {
	image := c.GetImage()
	if image.GetDigest() == "" {
		return gate.Request{}, "", fmt.Errorf("refused by touchmark: %s does not say which image the container is made from; containerd 2.4 does", p.Status().Runtime)
	}
	digest, err := v1.NewHash(image.GetDigest())
	if err != nil {
		return gate.Request{}, "", fmt.Errorf("refused by touchmark: containerd names the image's digest as %q", jsonguard.Excerpt(image.GetDigest()))
	}
	for _, text := range []string{c.GetAnnotations()[imageName], image.GetName()} {
		name, err := node.ParseName(text)
		// A pod need not write Docker Hub out, and containerd always does; other names are
		// of images that were imported under them.
		if err == nil && (name.Full || text != image.GetName()) {
			return gate.Request{Repository: name.Logical, Digest: digest, ParentsKnown: name.Digest == ""}, name.Repository, nil
		}
	}
	return gate.Request{}, "", fmt.Errorf("refused by touchmark: the image %s has no name that a policy could be about", image.GetDigest())
}
