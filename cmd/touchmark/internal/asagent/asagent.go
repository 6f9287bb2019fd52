// Package asagent decides about images as a host's agent does for its containerd: with that
// containerd's ways to reach registries and its credentials, and only observing where the
// configuration says so. The agent itself decides by it, and so do the commands that
// answer in its place.
package asagent

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/rules"
	"github.com/touchmark/touchmark/containerd/access"
	"github.com/touchmark/touchmark/containerd/kubelet"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/hostconfig"
)

// Client is the name that containerd's verifier asks under.
const Client = "containerd"

// containerdAccess is how this host's containerd reaches registries. Besides the
// file of our own, the credentials are looked for where kubelet and Docker keep
// theirs.
func containerdAccess(c *hostconfig.Config, complain func(provider, said string)) *access.Access {
	files := []string{c.Containerd.Credentials, "/var/lib/kubelet/config.json"}
	if home, err := os.UserHomeDir(); err == nil { // a service may have none
		files = append(files, filepath.Join(home, ".docker", "config.json"))
	}
	return access.New(access.Config{
		Containerd: c.Containerd.Config, Hosts: c.Containerd.Hosts, Credentials: files,
		Providers: kubelet.Config{File: c.Containerd.CredentialProviders.Config, Bin: c.Containerd.CredentialProviders.Bin, Complain: complain},
	})
}

// Containerd decides what containerd's verifier asks the agent. complain, which may be
// nil, is told what the kubelet's credential providers say when they fail.
func Containerd(c *hostconfig.Config, next gate.Admitter, complain func(provider, said string)) func(context.Context, gate.Request, string, bool) gate.Verdict {
	registries := containerdAccess(c, complain)
	return func(ctx context.Context, req gate.Request, physical string, withCredentials bool) gate.Verdict {
		v := registries.Admit(ctx, next, req, physical, withCredentials)
		if c.Containerd.Observe {
			return gate.Observed(v, containerdObserves)
		}
		return v
	}
}

// containerdObserves is what config.yaml calls a containerd that admits everything.
const containerdObserves = "containerd (containerd.observe in config.yaml)"

// Observing are the clients that only observe, whatever the policies say.
func Observing(c *hostconfig.Config) []string {
	if c.Containerd.Observe {
		return []string{containerdObserves}
	}
	return nil
}

// Decide decides about an image as this host's agent does when a client asks it,
// in this process.
func Decide(ctx context.Context, client string, f rules.Flags, image string) (gate.Verdict, error) {
	if client != Client {
		return gate.Verdict{}, exit.Usage(fmt.Errorf("--client %q is not known; want %s", client, Client))
	}
	ref, err := name.NewDigest(image)
	if err != nil {
		return gate.Verdict{}, exit.Usage(fmt.Errorf("image %q: with --client, an image is named by its digest: %w", image, err))
	}
	digest, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		return gate.Verdict{}, exit.Usage(fmt.Errorf("image %q: %w", image, err))
	}
	c, err := f.Host()
	if err != nil {
		return gate.Verdict{}, err
	}
	if c == nil {
		return gate.Verdict{}, exit.Usage(errors.New("--client goes with --config: it is this host's configuration that says what is demanded"))
	}
	g, err := f.Gate(ctx)
	if err != nil {
		return gate.Verdict{}, err
	}
	finder := parents.New(parents.Config{Admitter: g, Rule: g.IndexRule})
	defer func() { _ = finder.Close() }() // nothing can go wrong there
	req := gate.Request{Repository: attach.LogicalName(ref.Context()), Digest: digest}
	return Containerd(c, finder, nil)(ctx, req, ref.Context().Name(), true), nil
}
