// Package sign signs images, attestations and files: key or token, certificate, log, time, bundle, registry.
//
// [Image] resolves a reference once and signs what it names: the index and each platform's manifest, so that the image is found to be signed by those who
// see the index (containerd, cosign, the proxy) and by those who see only one platform's digest (podman). Each of these digests gets two signatures:
//
//   - an in-toto statement in a DSSE envelope, written as a Sigstore bundle v0.3 that refers to the image, which is what cosign 3 makes;
//   - a simple signing payload at the tag sha256-<hex>.sig, which is what cosign 2 makes, and all that podman and skopeo read.
//
// Each signature has its own entry in the log and, where the signing config names an authority, an RFC 3161 timestamp. The log for bundles is the one of the highest
// version that the signing config offers: dsse 0.0.1 entries of Rekor's v1 API, or hashedrekord 0.0.2 entries of its v2 API, which tells no time, so that the timestamp
// has to be there. Readers of .sig know v1 only; where the signing config names no such log, these are not made, and the [Result] says so.
// Signing with a token makes one key for all of them, which never leaves the process, and gets one certificate for it; signing with a key gets none.
//
// [Attest] signs an in-toto statement about an image. [Blob] and [Statement] sign what is no image, and return the bundle.
//
// Every answer of a service is checked before it is used. With [Config.Root], all that was made is verified as a verifier would do it, byte for byte as it will be written.
// Nothing is written to the registry before all of that succeeded, and the index's signatures are written last.
package sign

import (
	"context"
	"crypto"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"golang.org/x/sync/errgroup"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/token"
	"github.com/touchmark/touchmark/core/trust"
)

// maxTargets bounds the digests signed for one image; each costs two log entries that are there for ever. The largest official images have about 15 platforms.
const maxTargets = 64

// concurrency is the number of digests that are signed at a time.
const concurrency = 4

// ErrInput is wrapped by errors about what the caller gave: keys, options, predicates. Trying again does not help.
var ErrInput = errors.New("cannot be signed like this")

// Config says who signs and where. Exactly one of Token and Key is required, and Signing unless NoLog.
type Config struct {
	// Signing names the services: a log with major version 1 or 2, a certificate authority for tokens, and a timestamp authority, which may be missing unless the log's
	// version is 2.
	Signing *trust.SigningConfig
	// NoLog signs with Key without a log entry, and without Signing without a timestamp either, so that nothing is asked: verifiers have to be told (cosign's
	// --insecure-ignore-tlog), and the owner of the key can't see what was signed with it.
	NoLog bool
	// Token gives the identity token for a certificate.
	Token token.Source
	// Key signs without a certificate: ECDSA or RSA, see core/keys.
	Key crypto.Signer
	// Root is what verifiers trust. If it is set, signatures that don't verify under it are not written.
	Root *trust.Root
	// HTTPClient talks to the services, not to the registry; nil is http.DefaultClient. Redirects are not followed.
	HTTPClient *http.Client
	// Now tells the time; nil is time.Now.
	Now func() time.Time
	// InsecureHTTP allows sending the token over plain HTTP to another machine.
	InsecureHTTP bool
}

// Options are choices about one image. The zero value signs everything in both forms.
type Options struct {
	// SkipPlatforms signs an index without the manifests in it. Clients that see only one platform's digest may then find no signature.
	SkipPlatforms bool
	// SkipLegacy writes no .sig or .att tag; podman, skopeo and cosign 2 then find nothing.
	SkipLegacy bool
	// Progress is told of each digest that was signed, and then of each that was written to the registry. Its calls don't overlap. May be nil.
	Progress func(phase Phase, done, total int)
}

// Phase is what signing an image is about just now.
type Phase string

// The phases, in their order.
const (
	Signing Phase = "signed"  // and logged, timestamped and verified
	Writing Phase = "written" // to the registry
)

// counter counts for Options.Progress.
type counter struct {
	mu     sync.Mutex
	report func(Phase, int, int)
	count  map[Phase]int
	total  int
}

func newCounter(report func(Phase, int, int), total int) *counter {
	return &counter{report: report, count: map[Phase]int{}, total: total}
}

func (c *counter) done(p Phase) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count[p]++
	if c.report != nil {
		c.report(p, c.count[p], c.total)
	}
}

// Result is what was signed and written.
type Result struct {
	Repository    string      `json:"repository"`
	Digest        string      `json:"digest"`                  // of what the reference named
	PredicateType string      `json:"predicateType,omitempty"` // of an attestation; empty for a signature
	Identity      *Identity   `json:"identity,omitempty"`      // in the certificate
	KeyHint       string      `json:"keyHint,omitempty"`       // of the key, if there is no certificate: base64 of the SHA-256 of its PKIX form
	Verified      bool        `json:"verified"`                // against Config.Root, before writing
	NoLegacy      string      `json:"noLegacy,omitempty"`      // why no .sig was made, although Options ask for it
	Incomplete    string      `json:"incomplete,omitempty"`    // why not all of it was written
	Signatures    []Signature `json:"signatures"`              // platforms first, what the reference named last
}

// Identity is what the certificate says of the signer.
type Identity struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
}

// Signature is what was written for one digest.
type Signature struct {
	Digest   string   `json:"digest"`
	Platform string   `json:"platform,omitempty"`
	Bundle   Written  `json:"bundle"`
	Legacy   *Written `json:"legacy,omitempty"` // nil with Options.SkipLegacy or Result.NoLegacy
	JSON     []byte   `json:"-"`                // the bundle
}

// Written is one signature in the registry and in the log.
type Written struct {
	Manifest  string     `json:"manifest"`            // digest of the manifest that holds it
	Log       string     `json:"log,omitempty"`       // URL of the log; empty with Config.NoLog
	LogIndex  int64      `json:"logIndex"`            // says nothing without Log
	Timestamp *time.Time `json:"timestamp,omitempty"` // by the timestamp authority
}

// Image signs the image that ref names in the repository src. The name that is signed is ref's, which src.Repository may differ from.
//
// Errors of services are a [*ServiceError] or a [*token.FetchError], errors of the registry an [*attach.LookupError]: then it could not be decided whether the image can be
// signed, and trying again may help. When an error comes from the registry while writing, the [Result] is returned beside it, with what has been written before.
func Image(ctx context.Context, config Config, ref name.Reference, src attach.Source, opts Options) (*Result, error) {
	if err := config.checkSimpleSigning(opts); err != nil {
		return nil, fmt.Errorf("signing: %w: %w", ErrInput, err)
	}
	return run(ctx, config, ref, src, nil, opts)
}

// Attest says something about the image that ref names: each digest gets an in-toto statement with the predicate, in the forms of cosign 3 and, unless
// opts.SkipLegacy, of cosign 2 (a layer of the tag sha256-<hex>.att). Both hold the same signature; it is in one log where that log is of Rekor v1. Errors are those of [Image].
func Attest(ctx context.Context, config Config, ref name.Reference, src attach.Source, a Attestation, opts Options) (*Result, error) {
	return run(ctx, config, ref, src, &a, opts)
}

// run signs or, with an attestation, attests.
func run(ctx context.Context, config Config, ref name.Reference, src attach.Source, a *Attestation, opts Options) (*Result, error) {
	if err := config.check(); err != nil {
		return nil, fmt.Errorf("signing: %w: %w", ErrInput, err)
	}
	desc, _, err := attach.Resolve(ctx, src, ref)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", ref, err)
	}
	targets, err := targetsOf(ctx, src, desc, opts)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", ref, err)
	}
	repository := attach.LogicalName(ref.Context()) // what the gate compares with
	payloads := make([][]byte, len(targets))        // before anything is logged, which is for ever
	for i, t := range targets {
		if payloads[i], err = a.statement(t.Digest, repository, config.clock()()); err != nil {
			return nil, fmt.Errorf("signing %s: %w: %w", ref, ErrInput, err)
		}
	}
	s, err := newSigner(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("signing %s: %w", ref, err)
	}
	noLegacy := ""
	if s.legacyURL == "" && !config.NoLog && !opts.SkipLegacy {
		noLegacy, opts.SkipLegacy = noLogForLegacy, true
	}
	signed := make([]made, len(targets))
	progress := newCounter(opts.Progress, len(targets))
	group, groupCtx := errgroup.WithContext(ctx)
	group.SetLimit(concurrency)
	for i, t := range targets {
		group.Go(func() error {
			var err error
			if signed[i], err = s.make(groupCtx, t, payloads[i], repository, a, opts); err == nil {
				progress.done(Signing)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return nil, fmt.Errorf("signing %s: %w", ref, err)
	}
	result := &Result{
		Repository: repository, Digest: desc.Digest.String(), PredicateType: a.predicateType(),
		Identity: s.identity, KeyHint: s.hint, Verified: config.Root != nil, NoLegacy: noLegacy,
	}
	for _, m := range signed {
		written, err := m.write(ctx, src, s.now())
		if err != nil {
			result.Incomplete = err.Error()
			return result, fmt.Errorf("signing %s: %w", ref, err)
		}
		result.Signatures = append(result.Signatures, written)
		progress.done(Writing)
	}
	return result, nil
}

// noLogForLegacy is a reason not to write what nobody could verify.
const noLogForLegacy = "the signing config names no log of Rekor v1, whose signed timestamps cosign 2, podman and skopeo want"

func (c Config) check() error {
	switch {
	case c.Token == nil && c.Key == nil:
		return errors.New("neither a token nor a key to sign with")
	case c.Token != nil && c.Key != nil:
		return errors.New("both a token and a key to sign with")
	case c.NoLog && c.Key == nil:
		return errors.New("a certificate is valid for ten minutes: its signature needs a log, or nobody could verify it later")
	case c.Signing == nil && !c.NoLog:
		return errors.New("no signing config")
	case c.Key == nil:
		return nil
	}
	return keys.Check(c.Key.Public())
}

// checkSimpleSigning refuses keys that can't make the .sig form.
func (c Config) checkSimpleSigning(opts Options) error {
	if c.Key == nil || opts.SkipLegacy || keys.Hash(c.Key.Public()) != 0 {
		return nil
	}
	// hashedrekord takes only the prehashed variant, which podman and cosign don't know.
	return errors.New("an Ed25519 key can't make .sig signatures, use an ECDSA key or leave them out")
}

func (c Config) clock() func() time.Time {
	if c.Now == nil {
		return time.Now
	}
	return c.Now
}

// target is one digest to sign.
type target struct {
	v1.Descriptor
	platform string
}

// targetsOf lists what is signed: the manifests in an index first, then what the reference named.
func targetsOf(ctx context.Context, src attach.Source, desc v1.Descriptor, opts Options) ([]target, error) {
	var targets []target
	if desc.MediaType.IsIndex() && !opts.SkipPlatforms {
		children, _, err := attach.Children(ctx, src, desc.Digest)
		if err != nil {
			return nil, err
		}
		seen := map[v1.Hash]bool{}
		for _, child := range children {
			if !isPlatform(child) || seen[child.Digest] {
				continue
			}
			seen[child.Digest] = true
			t := target{Descriptor: child}
			if child.Platform != nil {
				t.platform = child.Platform.String()
			}
			targets = append(targets, t)
		}
	}
	if len(targets) >= maxTargets {
		return nil, fmt.Errorf("the index holds %d manifests, limit %d", len(targets), maxTargets-1)
	}
	return append(targets, target{Descriptor: desc}), nil
}

// isPlatform leaves out what nobody runs: buildkit's attestation manifests, which stand in the index with the platform unknown/unknown.
func isPlatform(child v1.Descriptor) bool {
	if !child.MediaType.IsImage() && !child.MediaType.IsIndex() {
		return false
	}
	if child.Annotations["vnd.docker.reference.type"] == "attestation-manifest" {
		return false
	}
	return child.Platform == nil || child.Platform.OS != "unknown" || child.Platform.Architecture != "unknown"
}
