package oracles

import (
	"context"
	"crypto"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	ggcrstatic "github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/sigstore/cosign/v2/pkg/cosign"
	ociremote "github.com/sigstore/cosign/v2/pkg/oci/remote"
	"github.com/sigstore/cosign/v2/pkg/oci/static"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/tuf" //lint:ignore SA1019 cosign 2 takes its keys' status from it

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/predicate"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// layer is one layer of a .sig or .att image, as a registry holds it.
type layer struct {
	content     []byte
	annotations map[string]string
}

// legacyDemand is what is asked of legacy evidence, in both verifiers' words.
type legacyDemand struct {
	name        string
	key         crypto.PublicKey // nil for alice's identity
	log, stamp  bool
	attestation bool
}

// cosignLab is one image, beside which evidence of all kinds is laid for both verifiers, each under tags of its own.
type cosignLab struct {
	*coretest.Sigstore
	image name.Digest
	root  *trust.Root
	laid  int
}

func newCosignLab(tb testing.TB) *cosignLab {
	tb.Helper()
	l := &cosignLab{Sigstore: coretest.New(tb), image: coretest.Push(tb, coretest.NewRegistry(tb, true)+"/acme/app:1", coretest.Image(tb, 1))}
	l.root = l.TrustedRoot(tb)
	return l
}

// lay pushes an image of layers and returns the prefix of its tag.
func (l *cosignLab) lay(tb testing.TB, attestation bool, layers []layer) (prefix string) {
	tb.Helper()
	l.laid++
	prefix = fmt.Sprintf("n%d-", l.laid)
	mediaType, suffix := types.MediaType(bundle.MediaTypeSimpleSigning), ".sig"
	if attestation {
		mediaType, suffix = bundle.MediaTypeDSSE, ".att"
	}
	image := mutate.MediaType(empty.Image, types.OCIManifestSchema1)
	var err error
	for _, one := range layers {
		if image, err = mutate.Append(image, mutate.Addendum{Layer: ggcrstatic.NewLayer(one.content, mediaType), Annotations: one.annotations}); err != nil {
			tb.Fatal(err)
		}
	}
	tag := l.image.Context().Tag(prefix + "sha256-" + l.image.DigestStr()[len("sha256:"):] + suffix)
	if err := remote.Write(tag, image); err != nil {
		tb.Fatal(err)
	}
	return prefix
}

// find is what ours finds under a prefix.
func (l *cosignLab) find(tb testing.TB, prefix string, attestation bool) attach.Found {
	tb.Helper()
	digest, err := v1.NewHash(l.image.DigestStr())
	if err != nil {
		tb.Fatal(err)
	}
	find := attach.Find
	if attestation {
		find = attach.FindWithAttestations
	}
	found, err := find(tb.Context(), attach.Source{Repository: l.image.Context(), TagPrefix: prefix}, digest)
	if err != nil {
		tb.Fatal(err)
	}
	return found
}

// ours returns nil if one piece of what was found is accepted.
func (l *cosignLab) ours(found attach.Found, d legacyDemand) error {
	sum, err := hex.DecodeString(l.image.DigestStr()[len("sha256:"):])
	if err != nil {
		return err
	}
	in := verify.Input{Artifact: verify.SHA256([32]byte(sum)), Root: l.root, Now: coretest.Start}
	if d.attestation {
		in.PredicateType = predicate.Vuln
	}
	if d.key != nil {
		in.Signer, in.InsecureIgnoreLog = verify.Keyed(verify.Key{Name: "key", Public: d.key}), !d.log
	} else {
		matcher, err := identity.NewMatcher(identity.Spec{Issuer: alice.Issuer, Subject: alice.SAN.Value})
		if err != nil {
			return err
		}
		in.Signer, in.Require.InsecureNoLog = verify.Keyless(matcher), !d.log
	}
	if d.stamp {
		in.Require.Timestamps = 1
	}
	refusals := []error{errors.New("not one piece of evidence is accepted")}
	for _, located := range found.Evidence {
		err := located.Err
		if err == nil {
			in.Evidence = located.Evidence
			if _, err = verify.Verify(in); err == nil {
				return nil
			}
		}
		refusals = append(refusals, err)
	}
	return errors.Join(refusals...)
}

// theirs is cosign 2 without the log's API. It does what VerifyImageSignatures and VerifyImageAttestations do, which its command and policy-controller call,
// but one layer after the other: cosign verifies each in a goroutine of its own, and one in which it panics would end the test.
func (l *cosignLab) theirs(ctx context.Context, prefix string, d legacyDemand) (err error) {
	opts := &cosign.CheckOpts{
		RegistryClientOpts: []ociremote.Option{ociremote.WithPrefix(prefix)}, Offline: true, IgnoreTlog: !d.log, UseSignedTimestamps: d.stamp,
		RekorPubKeys: &cosign.TrustedTransparencyLogPubKeys{Keys: map[string]cosign.TransparencyLogPubKey{
			hex.EncodeToString(l.V1.ID[:]): {PubKey: l.V1.Key.Public(), Status: tuf.Active},
		}},
		TSACertificate: l.TSA.Leaf, TSAIntermediateCertificates: []*x509.Certificate{l.TSA.Intermediate}, TSARootCertificates: []*x509.Certificate{l.TSA.Root},
	}
	if d.key != nil {
		if opts.SigVerifier, err = signature.LoadVerifier(d.key, crypto.SHA256); err != nil {
			return err
		}
	} else {
		opts.Identities = []cosign.Identity{{Issuer: alice.Issuer, Subject: alice.SAN.Value}}
		opts.RootCerts, opts.IntermediateCerts = x509.NewCertPool(), x509.NewCertPool()
		opts.RootCerts.AddCert(l.CA.Root)
		opts.IntermediateCerts.AddCert(l.CA.Intermediate)
		opts.CTLogPubKeys = &cosign.TrustedTransparencyLogPubKeys{Keys: map[string]cosign.TransparencyLogPubKey{
			hex.EncodeToString(l.CTLog.ID[:]): {PubKey: l.CTLog.Key.Public(), Status: tuf.Active},
		}}
	}
	digest, err := v1.NewHash(l.image.DigestStr())
	if err != nil {
		return err
	}
	tagOf, verifyOne := ociremote.SignatureTag, cosign.VerifyImageSignature
	opts.ClaimVerifier = cosign.SimpleClaimVerifier
	if d.attestation {
		tagOf, verifyOne = ociremote.AttestationTag, cosign.VerifyBlobAttestation
		opts.ClaimVerifier = cosign.IntotoSubjectClaimVerifier
	}
	tag, err := tagOf(l.image, opts.RegistryClientOpts...)
	if err != nil {
		return err
	}
	signatures, err := ociremote.Signatures(tag, opts.RegistryClientOpts...)
	if err != nil {
		return err
	}
	layers, err := signatures.Get()
	if err != nil {
		return err
	}
	refusals := []error{errors.New("not one signature is accepted")}
	for _, one := range layers {
		err := verifyLayer(func() error {
			copied, err := static.Copy(one)
			if err == nil {
				_, err = verifyOne(ctx, copied, digest, opts)
			}
			return err
		})
		if err == nil {
			return nil
		}
		refusals = append(refusals, err)
	}
	return errors.Join(refusals...)
}

// verifyLayer makes a panic of cosign a refusal.
func verifyLayer(verify func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("cosign panics: %v", p)
		}
	}()
	return verify()
}

// asLayer is evidence as it lies in a registry.
func asLayer(tb testing.TB, e *bundle.Evidence) layer {
	tb.Helper()
	if e.Payload != nil {
		annotations, err := bundle.LegacyAnnotations(e)
		if err != nil {
			tb.Fatal(err)
		}
		return layer{e.Payload.Text, annotations}
	}
	annotations, err := bundle.LegacyAttestationAnnotations(e)
	if err != nil {
		tb.Fatal(err)
	}
	return layer{e.Envelope.Text, annotations}
}
