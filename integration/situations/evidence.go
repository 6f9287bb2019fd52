package situations

import (
	"crypto"
	"crypto/rand"
	"crypto/sha512"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

// longAgo is when an old signature was made, before now.
const longAgo = 60 * 24 * time.Hour

// dress lays beside an image what its facts say.
func (b *builder) dress(tb testing.TB, i *Image, subject name.Digest) {
	tb.Helper()
	f := i.Facts
	at := b.now
	if f.Get("signed") == "60-days-ago" {
		at = at.Add(-longAgo)
	}
	b.private.Clock.Set(at)
	b.second.Clock.Set(at)
	b.dressMore(tb, i, subject)
	if f.Get("signer") == "nobody" {
		return
	}
	switch f.Get("form") {
	case "openpgp":
		reference := i.Repository + ":" + tag
		if f.Get("damage") == "other-repository" {
			reference = i.Repository + "-other:" + tag
		}
		path := lookasideRoot + "/" + i.path(b.Registry) + "@" + strings.Replace(subject.DigestStr(), ":", "=", 1) + "/signature-1"
		b.server.lookaside.Store(path, b.vendors[f.Get("signer")].sign(tb, reference, subject.DigestStr(), at))
	case "notation":
		b.writeReferrer(tb, i, subject, "application/vnd.cncf.notary.signature", []byte("not for us"))
	default:
		about := sum(tb, subject)
		if f.Get("damage") == "other-image" {
			about[0] ^= 1
		}
		e := b.evidence(tb, i, f, about)
		b.damage(tb, i, f, e, about)
		b.write(tb, i, subject, e)
	}
}

// evidence makes what the facts say about the image with this digest, a part of
// i.
func (b *builder) evidence(tb testing.TB, i *Image, f Facts, digest [32]byte) *bundle.Evidence {
	tb.Helper()
	s := *b.private
	switch f.Get("root") {
	case "second":
		s = *b.second
	case "own":
		s.CA = b.own
	}
	o := coretest.SignOptions{
		Identity: people[f.Get("signer")], Key: b.keys[f.Get("signer")], Reference: i.Repository,
		PredicateType: predicateTypes[f.Get("about")], Predicate: predicates[f.Get("predicate")],
		WithoutTimestamp: f.Get("time") == "none", WithoutLog: f.Get("log") == "none",
	}
	switch f.Get("form") {
	case "message":
		o.Content = coretest.MessageSignature
	case "legacy":
		o.Content = coretest.SimpleSigning
	case "legacy-attestation":
		o.Content = coretest.LegacyAttestation
	}
	switch f.Get("log") {
	case "v2":
		o.Log = s.V2
	case "other":
		o.Log = b.second.V1
	}
	if f.Get("time") == "other-authority" {
		s.TSA = b.second.TSA
	}
	now := s.Clock.Now()
	switch certificate := f.Get("certificate"); {
	case certificate == "expired":
		o.Certificate = append(o.Certificate, coretest.ValidFor(now.Add(-2*time.Hour), now.Add(-time.Hour)))
	case certificate == "without-sct" || f.Get("root") == "own":
		o.Certificate = append(o.Certificate, coretest.PromisedBy())
	case certificate == "other-certificate-log":
		o.Certificate = append(o.Certificate, coretest.PromisedBy(b.second.CTLog))
	case certificate == "old-authority":
		s.CA = b.old
	case certificate == "second-authority":
		s.CA = b.second.CA
	}
	e := s.SignDigest(tb, digest, o)
	if hash := keySpecs[f.Get("signer")].hash; hash == crypto.SHA512 {
		// Over another hash than the key's own, which no log takes.
		digest := sha512.Sum512(bundle.PAE(e.Envelope.PayloadType, e.Envelope.Payload))
		signature, err := o.Key.Sign(rand.Reader, digest[:], hash)
		if err != nil {
			tb.Fatal(err)
		}
		e.Envelope.Signature, e.Entries, e.Timestamps = signature, nil, nil
	}
	if f.Get("log") == "v1-proof" {
		e.Entries[0].SET, e.Entries[0].IntegratedTime = nil, 0
	}
	for _, w := range cosigners[f.Get("cosigned")] {
		p := e.Entries[0].Proof
		p.Checkpoint = b.witnesses[w].Cosign(tb, p.Checkpoint, now)
	}
	return e
}

// damage changes good evidence.
func (b *builder) damage(tb testing.TB, i *Image, f Facts, e *bundle.Evidence, digest [32]byte) {
	tb.Helper()
	switch f.Get("damage") {
	case "signature":
		signature := e.Signature()
		signature[len(signature)-1] ^= 1
	case "other-entry":
		e.Entries = b.evidence(tb, i, f, digest).Entries
	}
}
