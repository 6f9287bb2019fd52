// Package verify is the algorithm: does this evidence prove that one of the
// expected signers signed this image?
//
// [Verify] takes evidence (core/bundle), the image's digest, a trust root
// (core/trust) and the expected signer, and returns what was verified or an
// [*Error] whose [Code] names the check that failed. It makes every check of
// the Sigstore client specification, in one fixed order, and these rules hold
// throughout:
//
//   - What a log entry is about is never read from the entry: its body is
//     rebuilt from the digest, signature and key that were verified here, and
//     the body that came with the evidence must be equal to it.
//   - Time comes from signed sources only: RFC 3161 timestamps, and the
//     integrated time of a Rekor v1 entry whose signed entry timestamp was
//     verified. A certificate must have been valid at every one of them.
//   - Keys come from the trust root or from the policy, selected by the
//     evidence's hints at most. Authorities that come with the evidence are
//     ignored.
//   - Thresholds count distinct keys of logs, authorities and witnesses, not
//     entries, timestamps and signatures ([Requirements]).
//
// There is no I/O, no clock (see [Input.Now]) and no logging, no argument is
// changed, and equal inputs give equal results, to the letter. All inputs but
// the evidence are trusted. A [trust.Root] may be shared by many goroutines.
package verify

import (
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
)

// PredicateImageSignature is the in-toto predicate type with which cosign 3
// says "this image is signed", as opposed to an attestation about it.
const PredicateImageSignature = "https://sigstore.dev/cosign/sign/v1"

// Input is what [Verify] decides on. Evidence, Artifact and Signer are
// required.
type Input struct {
	// Evidence is untrusted.
	Evidence *bundle.Evidence
	// Artifact is the digest of what must have been signed.
	Artifact Digest
	// Signer is who must have signed it.
	Signer Expected
	// Root is the trust root. It may be nil only for keys with
	// InsecureIgnoreLog.
	Root *trust.Root
	// LogRoot and TimestampRoot are the trust roots of signature logs and of
	// timestamp authorities; nil is Root.
	LogRoot, TimestampRoot *trust.Root
	// Require says what the evidence must hold beyond a good signature.
	Require Requirements
	// PredicateType selects what the evidence must say. Empty means a signature
	// of the image: a message signature, a simple-signing payload, or a
	// statement with [PredicateImageSignature]. Otherwise it is the exact
	// predicate type of an in-toto attestation.
	PredicateType string
	// Now is consulted only where a key signed and nothing says when: whether the
	// key, and the log that holds the signature, are valid then.
	Now time.Time
	// InsecureIgnoreSCT admits certificates that are in no certificate log.
	InsecureIgnoreSCT bool
	// InsecureIgnoreLog admits signatures by keys that are in no signature log.
	// It has no effect on certificates (see [Requirements]).
	InsecureIgnoreLog bool
}

// Digest is a digest of an artifact. An image's is the SHA-256 of its manifest.
type Digest struct {
	Algorithm string // "sha256", "sha384" or "sha512"
	Value     []byte
}

// SHA256 is the digest of an image's manifest.
func SHA256(sum [32]byte) Digest { return Digest{Algorithm: "sha256", Value: sum[:]} }

// String is the digest as OCI writes it.
func (d Digest) String() string { return fmt.Sprintf("%s:%x", d.Algorithm, d.Value) }

// Expected is who must have signed. Make one with [Keyless] or [Keyed]; the
// zero value expects nobody and is refused.
type Expected struct {
	identities []*identity.Matcher
	keys       []Key
}

// Keyless expects a Fulcio certificate of an identity that one of the matchers
// matches.
func Keyless(identities ...*identity.Matcher) Expected { return Expected{identities: identities} }

// Keyed expects a signature by one of the keys.
func Keyed(keys ...Key) Expected { return Expected{keys: keys} }

// Key is a public key that may sign: ECDSA P-256, P-384 or P-521, Ed25519, or
// RSA with 2048, 3072 or 4096 bits. An RSA signature by it may be PKCS #1 v1.5 or
// PSS; by a certificate's key, and where a Rekor v2 log holds it, only the
// former, as with the reference.
type Key struct {
	Name   string // for verdicts
	Public crypto.PublicKey
	// Hash is what signatures are over: SHA-256, SHA-384 or SHA-512; 0 is the one
	// that goes with the key, or SHA-256. Ed25519 signs texts unhashed.
	Hash   crypto.Hash
	Window *trust.Window // nil if the key is valid for ever
}

// ErrInput is wrapped by errors about the trusted part of the [Input]. They are
// the caller's mistakes, not evidence refused.
var ErrInput = errors.New("verification input")

// Verify checks the evidence. The error is an [*Error] if the evidence is
// refused; it wraps [ErrInput] if the question itself makes no sense.
func Verify(in Input) (*Result, error) {
	if err := in.check(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrInput, err)
	}
	r := &run{Input: in}

	// What was signed is this artifact, and it says what is wanted of it.
	if err := r.checkArtifact(); err != nil {
		return nil, err
	}
	// The key: of a certificate that has a code-signing leaf's profile, or one
	// of those expected. The signature verifies with it.
	if err := r.checkSignature(); err != nil {
		return nil, err
	}
	// Enough distinct logs hold exactly this signature by exactly this key.
	if err := r.checkEntries(); err != nil {
		return nil, err
	}
	// When the signature existed, on the word of logs and timestamp authorities.
	if err := r.checkTimes(); err != nil {
		return nil, err
	}
	if r.leaf != nil {
		// A trusted authority issued the certificate, which was valid at every
		// one of those times, and a certificate log holds it.
		if err := r.checkChain(); err != nil {
			return nil, err
		}
		if err := r.checkSCT(); err != nil {
			return nil, err
		}
	}
	// Only now is the signer known; is it one that is wanted?
	if err := r.checkSigner(); err != nil {
		return nil, err
	}
	return &r.result, nil
}

func (in Input) check() error {
	switch {
	case in.Evidence == nil:
		return errors.New("no evidence")
	case len(in.Signer.identities) == 0 && len(in.Signer.keys) == 0:
		return errors.New("nobody is expected to have signed")
	case len(in.Signer.identities) > 0 && len(in.Signer.keys) > 0:
		return errors.New("both identities and keys are expected")
	case in.Root == nil && len(in.Signer.identities) > 0:
		return errors.New("no trust root")
	case in.logRoot() == nil && in.minLogs() > 0:
		return errors.New("no trust root")
	}
	if err := in.Require.check(in); err != nil {
		return err
	}
	for i, key := range in.Signer.keys {
		switch key.Hash {
		case 0, crypto.SHA256, crypto.SHA384, crypto.SHA512:
		default:
			return fmt.Errorf("key %d: hash %s is not SHA-256, SHA-384 or SHA-512", i, key.Hash)
		}
	}
	hash, err := hashByName(in.Artifact.Algorithm)
	if err != nil {
		return fmt.Errorf("artifact digest: %w", err)
	}
	if len(in.Artifact.Value) != hash.Size() {
		return fmt.Errorf("artifact digest: has %d bytes, %s has %d", len(in.Artifact.Value), in.Artifact.Algorithm, hash.Size())
	}
	return nil
}

// run is one verification: the input, and what was established so far.
type run struct {
	Input
	result Result

	leaf  *x509.Certificate   // nil for keyed evidence
	chain []*x509.Certificate // leaf's, from the trust root; set by checkChain
	key   crypto.PublicKey    // that verified the signature
	hash  crypto.Hash         // that the signature is over
	text  []byte              // see signedText
	// expectedKey is the one of the expected keys that key is; nil for a
	// certificate's.
	expectedKey *Key
	// unwindowed are logs whose entries carry no time of their own; their
	// windows are checked once the times are known.
	unwindowed []*trust.Log
	// noQuorum is the first reason why a log entry lacks its witnesses.
	noQuorum error
}

// pass records a check that succeeded.
func (r *run) pass(check, value, want string) {
	r.result.Checks = append(r.result.Checks, Check{Name: check, Passed: true, Value: value, Want: want})
}

// fail ends the run.
func (r *run) fail(code Code, check, value, want string, err error) error {
	return &Error{
		Code: code, Check: check, Err: err,
		Checks: append(r.result.Checks, Check{Name: check, Value: value, Want: want}),
	}
}

// refuse ends the run where the cause says all there is to say.
func (r *run) refuse(code Code, check string, format string, args ...any) error {
	err := fmt.Errorf(format, args...)
	return r.fail(code, check, err.Error(), "", err)
}

// checkSigner compares the verified signer with the expected one.
func (r *run) checkSigner() error {
	if r.leaf == nil {
		return r.checkKeyWindow()
	}
	id, err := identity.FromCertificate(r.leaf)
	if err != nil {
		return r.refuse(CodeCertificate, checkIdentity, "%w", err)
	}
	r.result.Signer = Signer{Identity: &id}
	want := ""
	for i, m := range r.Signer.identities {
		if m.Matches(id) {
			r.pass(checkIdentity, r.result.Signer.String(), m.String())
			return nil
		}
		if i > 0 {
			want += " or "
		}
		want += m.String()
	}
	err = r.fail(CodeIdentity, checkIdentity, r.result.Signer.String(), want,
		fmt.Errorf("signed by %s, wanted is %s", r.result.Signer, want))
	err.(*Error).Signer = &r.result.Signer
	return err
}

// checkKeyWindow checks that the key was valid when it signed.
func (r *run) checkKeyWindow() error {
	key := r.expectedKey
	if key.Window != nil {
		times := r.result.Times
		if len(times) == 0 {
			times = []Time{{Time: r.Now, Source: "now"}}
		}
		for _, t := range times {
			if !key.Window.Contains(t.Time) {
				err := r.fail(CodeKeyExpired, checkKey, t.Time.UTC().Format(time.RFC3339), key.Window.String(),
					fmt.Errorf("%s was valid %s, but signed at %s", r.result.Signer, key.Window, t.Time.UTC().Format(time.RFC3339)))
				err.(*Error).Signer = &r.result.Signer
				return err
			}
		}
	}
	r.pass(checkKey, r.result.Signer.String(), "")
	return nil
}

// Names of the checks, in the order in which they are made.
const (
	checkArtifact    = "artifact digest"
	checkPredicate   = "statement"
	checkCertificate = "certificate profile"
	checkSignature   = "signature"
	checkEntry       = "log entry"
	checkProof       = "log proof"
	checkWitnesses   = "witnesses"
	checkTime        = "signing time"
	checkIssuance    = "certificate issuance"
	checkSCTs        = "certificate log"
	checkIdentity    = "identity"
	checkKey         = "key"
)
