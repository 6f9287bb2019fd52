package policy

import (
	"context"
	"crypto"
	"time"
)

// Options say how a policy file is read. The zero value reads policies that
// refer to nothing outside the file, and refuses the others by name.
type Options struct {
	// Evaluators compile predicates, by their language: "rego", "cue". A predicate
	// in another language is refused.
	Evaluators map[string]Evaluator
	// Resolve fetches what a policy refers to; nil refuses every reference.
	Resolve Resolver
	// IgnoreClusterMatch ignores what has a meaning in a Kubernetes cluster only
	// (spec.match, signaturePullSecrets, includeSpec and its like), instead of
	// refusing it. A policy is then applied to more than in the cluster.
	IgnoreClusterMatch bool
	// Now tells the time, against which the ends of exceptions are held; nil is
	// time.Now.
	Now func() time.Time
	// File is the name of what [Parse] reads, for errors; relative paths in it are
	// relative to its directory. [Load] and [LoadFiles] know it themselves.
	File string
}

func (o Options) now() time.Time {
	if o.Now == nil {
		return time.Now()
	}
	return o.Now()
}

// Resolver fetches what a policy refers to. Its implementation bounds sizes and
// times, and has all the network that this package has not.
type Resolver interface {
	// PublicKey returns the key that a KMS URI or a file names.
	PublicKey(ctx context.Context, ref string) (crypto.PublicKey, error)
	// Fetch returns what lies at an https URL, or in a file. The caller checks
	// what it got.
	Fetch(ctx context.Context, ref string) ([]byte, error)
}
