package gate

import (
	"encoding/hex"
	"errors"
	"fmt"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/openpgp"
	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/verify"
)

// Codes of attempts that are the gate's, beside those of core/verify.
const (
	AttemptFormat    verify.Code = "unwanted-format"       // the authority wants evidence of the other form
	AttemptRevoked   verify.Code = "revoked-signer"        // the site revoked signatures by this signer
	AttemptPredicate verify.Code = "predicate-unsatisfied" // the attestation does not satisfy the policy's predicate
)

// attempt verifies one piece of evidence for one authority: as a signature of
// the image, or as an attestation.
func (s *search) attempt(located attach.Located, digest v1.Hash, p *policy.Policy, a *policy.Authority, wanted *policy.Attestation) (Attempt, *verify.Result) {
	out := Attempt{Policy: p.Name, Authority: a.Name}
	predicateType := ""
	if wanted != nil {
		out.Attestation, predicateType = wanted.Name, wanted.PredicateType
	}
	if a.Format != "" && a.Format != located.Evidence.Form {
		out.Code, out.Reason = AttemptFormat, fmt.Sprintf("it is a %s signature, wanted is a %s one", located.Evidence.Form, a.Format)
		return out, nil
	}
	result, err := s.verify(located, digest, a, predicateType)
	out.Root = s.expected[a].rootName
	var refused *verify.Error
	switch {
	case err == nil:
		out.Checks, out.Signer, out.Entries, out.Times = result.Checks, &result.Signer, result.Entries, result.Times
		if why := s.revoked(result); why != "" {
			out.Code, out.Reason = AttemptRevoked, why
		} else {
			out.Accepted = true
		}
	case errors.As(err, &refused):
		out.Code, out.Reason, out.Checks, out.Signer = refused.Code, plain(refused.Error()), refused.Checks, refused.Signer
	default:
		out.Code, out.Reason = verify.CodeUnsupported, plain(err.Error())
	}
	for i := range out.Checks {
		out.Checks[i].Value, out.Checks[i].Want = plain(out.Checks[i].Value), plain(out.Checks[i].Want)
	}
	return out, result
}

// verify asks core/verify, or for the one form of evidence that is not
// Sigstore's, core/openpgp.
func (j *judgement) verify(located attach.Located, digest v1.Hash, a *policy.Authority, predicateType string) (*verify.Result, error) {
	start := time.Now()
	defer func() { j.spent += time.Since(start) }()
	e := j.expected[a]
	require := e.require
	if age := j.policies.Enforcement.MaxSignatureAge; age > 0 {
		require.NotBefore = j.now.Add(-age)
	}
	if a.OpenPGP != nil {
		if require.Quorum > 0 {
			err := errors.New("witnesses are asked for, and an OpenPGP signature is in no log")
			return nil, &verify.Error{Code: verify.CodeUnwitnessable, Check: "OpenPGP signature", Err: err}
		}
		return openpgp.Verify(located.Evidence, j.req.Repository, digest.String(), a.OpenPGP.Keyring, a.Name, j.now, require.NotBefore)
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(digest.Hex)); err != nil {
		return nil, err
	}
	return verify.Verify(verify.Input{
		Evidence: located.Evidence, Artifact: verify.SHA256(sum), Signer: e.signer, PredicateType: predicateType, Now: j.now,
		Root: e.root, LogRoot: e.logRoot, TimestampRoot: e.stampRoot, Require: require,
		InsecureIgnoreSCT: a.InsecureIgnoreSCT, InsecureIgnoreLog: e.ignoreLog,
	})
}

// accept records what an authority accepted; if it lacks nothing more, its
// policy is satisfied, but for a predicate of the policy's own.
func (s *search) accept(p *policy.Policy, a *policy.Authority, located attach.Located, result *verify.Result, wanted *policy.Attestation) {
	if p.Predicate != nil {
		s.match(p, a).add(located, result, wanted)
		return
	}
	for _, found := range s.found[a] {
		if !found {
			return
		}
	}
	s.settle(p, a)
}

// settle takes a satisfied policy off the open ones.
func (s *search) settle(p *policy.Policy, a *policy.Authority) {
	for i, o := range s.open {
		if o == p {
			s.open = append(s.open[:i:i], s.open[i+1:]...)
			break
		}
	}
	s.satisfied(p, a)
}
