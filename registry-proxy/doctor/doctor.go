// Package doctor finds out whether a registry proxy enforces: whether what its
// policies do not admit can be had from it all the same.
//
// [Examine] looks at proxy.yaml and at every file that it names, at who could change
// them, at what the policies let pass, at certificates and trust roots, at who reaches
// the proxy, and at the running proxy: whether it answers, is ready, and runs by these
// files. It changes nothing. What it finds is one of the causes of [Catalog], which
// docs/doctor.md lists; core/doctor says what the answer is.
//
//	report, err := doctor.Examine(ctx, doctor.Config{File: "/etc/touchmark/proxy.yaml", Now: time.Now(), Load: load, Live: true})
//
// With Network, upstream registries and the other replicas are asked, too.
//
// An examination believes what is configured. [Probe] does not: it asks the running
// proxy for an image that must be refused, and one that must be admitted.
//
// [Fix] takes from others what they can read or write and must not. Everything else is
// for people.
//
// Each check is a function over a [snapshot], in a file named after its subject.
package doctor

import (
	"context"
	"errors"
	"path/filepath"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
)

// Config says what to examine.
type Config struct {
	// File is proxy.yaml.
	File string
	// Now is the time of the examination.
	Now time.Time
	// Load reads policies for trust roots, as the proxy is told to.
	Load func(ctx context.Context, policy string, roots []*trust.Root) (*policy.Set, []*trust.Root, error)
	// UID is the user that the proxy runs as, who may write what counts, as root may.
	UID int
	// Live says that the proxy ought to run on this machine.
	Live bool
	// URL and Metrics are where the running proxy and its metrics are reached, such as
	// https://proxy.example:5443; empty: where the file says that it listens.
	URL, Metrics string
	// CA is a file of authorities that may have issued the certificate there, besides the
	// system's; empty for none. None is guessed, not even that of the configured
	// certificate: that clients believe the proxy is part of what is asked.
	CA string
	// Network says that upstream registries and other replicas may be asked.
	Network bool
	// Free is how much is free on the disk of a directory, in bytes; nil asks the kernel.
	Free func(dir string) (uint64, error)
	// Clock says whether something keeps the machine's clock; nil: that is not asked.
	Clock func() (kept bool, err error)
}

// Examine examines a proxy. The error is about the arguments only: what cannot be
// found out is a finding.
func Examine(ctx context.Context, c Config) (*doctor.Report, error) {
	if c.Now.IsZero() || c.Load == nil {
		return nil, errors.New("examining a proxy: no time, or nothing that loads policies, given")
	}
	var err error
	if c.File, err = filepath.Abs(c.File); err != nil {
		return nil, err
	}
	s, err := take(ctx, c)
	if err != nil {
		return nil, err
	}
	for _, check := range checks {
		check(ctx, s)
	}
	return s.Report(c.Now, s.registries(), nil), nil
}
