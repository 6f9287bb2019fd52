package plugin

import (
	"context"
	"fmt"

	"github.com/touchmark/touchmark/containerd/access"
	"github.com/touchmark/touchmark/core/child"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/gate/parents"
	"github.com/touchmark/touchmark/core/gate/reload"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/worker"
	"github.com/touchmark/touchmark/core/trust"
)

// judge decides in this process. It is a [bindir.Asker].
type judge struct {
	config   *hostconfig.Config
	access   *access.Access
	finder   *parents.Finder
	observes bool
}

// newJudge reads the files that config.yaml names, and watches them until ctx ends.
func newJudge(ctx context.Context, file string) (*judge, error) {
	c, err := hostconfig.Load(file, hostconfig.System("/"))
	if err != nil {
		return nil, err
	}
	if len(c.Trust.TUF) > 0 {
		return nil, fmt.Errorf("%s: trust.tuf is followed by the agent only; take in_process out of config.toml, or put trusted_root.json into %s", c.File, c.Trust.Dir)
	}
	load := func(ctx context.Context) (*policy.Set, []*trust.Root, error) { return rules(ctx, c) }
	seen := reload.Look(c.Files())
	set, roots, err := load(ctx)
	if err != nil {
		return nil, err
	}
	g, err := gate.New(gate.Config{Policy: set, Roots: roots})
	if err != nil {
		return nil, fmt.Errorf("%s: %w", c.Policy, err)
	}
	watcher := reload.New(reload.Config{Gate: g, Set: set, Files: c.Files(), Seen: seen, Load: load})
	j := &judge{
		config: c, finder: parents.New(parents.Config{Admitter: g, Rule: g.IndexRule}), observes: c.Containerd.Observe,
		access: access.New(access.Config{Containerd: c.Containerd.Config, Hosts: c.Containerd.Hosts, Credentials: []string{c.Containerd.Credentials}}),
	}
	go func() {
		_ = watcher.Run(ctx) // ends with the context
		_ = j.finder.Close() // nothing can go wrong there
	}()
	return j, nil
}

// rules reads policies and trust roots.
func rules(ctx context.Context, c *hostconfig.Config) (*policy.Set, []*trust.Root, error) {
	files, err := c.RootFiles()
	if err != nil {
		return nil, nil, err
	}
	var roots []*trust.Root
	for _, f := range files {
		loaded, err := trust.LoadAll(f.Name, f.Path)
		if err != nil {
			return nil, nil, err
		}
		roots = append(roots, loaded...)
	}
	for _, root := range roots {
		if err := root.Check(); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", c.Trust.Dir, err)
		}
	}
	program, _ := child.Find(worker.Name) // without it, a policy with a predicate is refused, by name
	set, err := policy.Load(ctx, c.Policy, policy.Options{Evaluators: map[string]policy.Evaluator{
		"rego": worker.Evaluator("rego", program), "cue": worker.Evaluator("cue", program),
	}})
	return set, roots, err
}

// Ask decides, with the host's credentials.
func (j *judge) Ask(ctx context.Context, q ask.Question) ask.Answer {
	req, err := remote.Request(q)
	if err != nil {
		return q.Undecided(string(gate.CodeBadRequest), err)
	}
	v := j.access.Admit(ctx, j.finder, req, q.Physical, true)
	if j.observes {
		v = gate.Observed(v, "containerd (containerd.observe in "+j.config.File+")")
	}
	return v.Answer()
}
