// Package doctor finds out whether a node enforces: whether containerd, as it is
// configured and runs there, keeps out every image that Touchmark's policy does
// not admit.
//
// [Examine] looks at containerd's effective configuration (imports merged, the
// defaults of its release filled in), at what the running daemon says of itself,
// at the directory of image verifiers and the programs that decide, at
// Touchmark's own files and at the agent. It changes nothing. What it finds is one
// of the causes of [Catalog], which docs/doctor.md lists; core/doctor says what the
// answer is.
//
// The file is not the daemon: a file that was changed since containerd was started
// is a cause of its own, and so is a plugin that the file has and the daemon has
// not.
//
// An examination believes what is configured. [Probe] does not: it has this very
// containerd pull an image that must be refused, by each way that asks verifiers.
//
// [Fix] applies the remedies that a program can apply; it restarts nothing.
//
// Each check is a function over a [snapshot], in a file named after its subject.
package doctor

import (
	"context"
	"errors"
	"time"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/policy"
)

// Daemon is the running containerd: a [*node.Node].
type Daemon interface {
	Version(context.Context) (release, revision string, err error)
	Server(context.Context) (pid int, err error)
	Plugins(context.Context) ([]node.Plugin, error)
	Namespaces(context.Context) ([]string, error)
	Images(ctx context.Context, namespace string) ([]node.Image, error)
	Remove(ctx context.Context, namespace string, image node.Image) error
	Transfer(ctx context.Context, namespace, ref string, o node.Options) error
	CRIPull(ctx context.Context, image string) (ref string, err error)
	CRIRemove(ctx context.Context, image string) error
	CRIHas(ctx context.Context, image string) (bool, error)
}

// Config says what to examine.
type Config struct {
	// Host is the node.
	Host containerd.Host
	// Intent is what is to be enforced, and by what.
	Intent Intent
	// Now is the time of the examination.
	Now time.Time
	// Daemon is the running containerd; nil if none answers, and then Down says why.
	Daemon Daemon
	Down   error
	// Agent asks the agent how it is; nil: it is not asked.
	Agent doctor.Agent
	// Policies loads the policies; nil: what they say is not looked at.
	Policies func(context.Context) (*policy.Set, error)
	// Live says that this process runs on the node: containerd should answer, and
	// what processes are can be seen.
	Live bool
	// Version is what the verifier's version is held against; "" is that of this
	// program. A program that was built without one is held against nothing.
	Version string
	// Clock says whether something keeps the node's clock; nil: that is not asked.
	Clock func() (kept bool, err error)
}

// Examine examines the node. The error is about the arguments only: what cannot
// be found out is a finding.
func Examine(ctx context.Context, c Config) (*doctor.Report, error) {
	if c.Now.IsZero() {
		return nil, errors.New("examining a node: no time given")
	}
	s := take(ctx, c)
	for _, check := range checks {
		check(ctx, s)
	}
	return s.Report(c.Now, []string{"containerd"}, s.notes), nil
}
