// Package doctor finds out whether a host enforces: whether podman, skopeo,
// buildah and CRI-O, as they are configured there, keep out every image that
// Touchmark's policy does not admit.
//
// [Examine] looks at the files that containers/image reads, at those of
// Touchmark, and at the running agent, and changes nothing. What it finds is
// one of the causes of [Catalog]; docs/doctor.md lists them. The answer is
//
//   - "no" if there is a cause that lets an image in without being judged
//     ([Open]), wherever else signatures are demanded;
//   - "unknown" if images that ought to get in don't, or something that matters
//     could not be read ([Broken]): then nobody can say what the policy's word
//     is worth here;
//   - "yes" otherwise. A [Warning] does not change that.
//
// An examination believes what is configured. [Probe] does not: it has the
// host's own client pull an image that must be refused.
//
// [Fix] plans the remedies that can be applied by a program; what people wrote
// by hand into scripts and units is named and left to them.
//
// Each check is a function over a [snapshot], in a file named after its
// subject. Files are read within bounds and nothing in them can make a check
// panic or wait; a file that cannot be read or understood is a finding, too.
package doctor

import (
	"context"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/install"
)

// Config says what to examine.
type Config struct {
	// Host is the host, or one user of it.
	Host podman.Host
	// Intent is what is to be enforced, and by what.
	Intent Intent
	// Now is the time of the examination.
	Now time.Time
	// Environment is that of the examined shell or service, "NAME=value" each;
	// nil if none is known.
	Environment []string
	// Agent asks the agent how it is; nil: it is not asked.
	Agent doctor.Agent
	// Live says that this process runs on the host, in its network, so that
	// what listens there can be seen.
	Live bool
	// Clock says whether something keeps the host's clock; nil: that is not asked.
	Clock func() (kept bool, err error)
	// Network says that the registries of the declared scopes may be asked.
	Network bool
}

// Examine examines the host. The error is about the configuration only: what
// cannot be found out on the host is a finding.
func Examine(ctx context.Context, c Config) (*doctor.Report, error) {
	if c.Now.IsZero() {
		return nil, fmt.Errorf("examining a host: no time given")
	}
	s := take(c)
	for _, check := range checks {
		check(ctx, s)
	}
	var notes []string
	if len(c.Intent.Scopes) > 0 {
		notes = []string{install.Carried}
	}
	return s.Report(c.Now, c.Intent.Scopes, notes), nil
}
