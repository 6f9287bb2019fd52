package oracles

import (
	"crypto"
	"crypto/x509"
	"slices"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// stampOnly insists on evidence whose time is the timestamp's alone.
func stampOnly(s *shape) { s.keyed, s.promise, s.timestamp = false, false, true }

// stamped is a flaw of the timestamp.
func stamped(make func(d *draft) []byte) func(*draft) {
	return func(d *draft) { d.evidence.Timestamps = [][]byte{make(d)} }
}

// specified is stamped by the right authority, with something wrong.
func specified(change func(d *draft, spec *coretest.TimestampSpec)) func(*draft) {
	return stamped(func(d *draft) []byte {
		spec := coretest.TimestampSpec{Message: d.evidence.Signature(), Time: d.s.Clock.Now()}
		change(d, &spec)
		return d.s.TSA.Response(d.tb, spec)
	})
}

var timeFlaws = []flaw{
	{"timestamp of another authority", verify.CodeTimestamp, stampOnly, stamped(func(d *draft) []byte {
		return d.cast.foreign.TSA.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now())
	}), ""},
	{"timestamp of another signature", verify.CodeTimestamp, stampOnly, stamped(func(d *draft) []byte {
		return d.s.TSA.Stamp(d.tb, d.flip(d.evidence.Signature()), d.s.Clock.Now())
	}), ""},
	{"timestamp of the payload", verify.CodeTimestamp, stampOnly, stamped(func(d *draft) []byte { return d.s.TSA.Stamp(d.tb, d.digest[:], d.s.Clock.Now()) }), ""},
	{"timestamp by the right name with another key", verify.CodeTimestamp, stampOnly, stamped(func(d *draft) []byte {
		impostor := *d.s.TSA
		impostor.Key = d.cast.foreign.TSA.Key
		return impostor.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now())
	}), ""},
	{"timestamp with an imprint of SHA-1", verify.CodeTimestamp, stampOnly, specified(func(_ *draft, s *coretest.TimestampSpec) { s.Imprint = crypto.SHA1 }),
		"sigstore-go takes whatever hash the authority used"},
	{"timestamp signed over SHA-1", verify.CodeTimestamp, stampOnly, specified(func(_ *draft, s *coretest.TimestampSpec) { s.Digest = crypto.SHA1 }),
		"sigstore-go takes whatever hash the authority used"},
	{"timestamp that isn't granted", verify.CodeTimestamp, stampOnly, specified(func(d *draft, s *coretest.TimestampSpec) { s.Status = 1 + d.random.IntN(5) }), ""},
	{"timestamp without signature", verify.CodeTimestamp, stampOnly, specified(func(_ *draft, s *coretest.TimestampSpec) { s.SignerInfos = -1 }), ""},
	{"timestamp signed twice", verify.CodeTimestamp, stampOnly, specified(func(_ *draft, s *coretest.TimestampSpec) { s.SignerInfos = 2 }), "RFC 3161 section 2.4.2 demands exactly one"},
	{"timestamp whose signature has a flipped bit", verify.CodeTimestamp, stampOnly, specified(func(d *draft, s *coretest.TimestampSpec) {
		s.Signer = func(i *coretest.SignerInfo) { i.Signature = d.flip(i.Signature) }
	}), ""},
	{"timestamp with another message digest", verify.CodeTimestamp, stampOnly, specified(func(d *draft, s *coretest.TimestampSpec) {
		s.Attributes = func(attributes []coretest.Attribute) []coretest.Attribute {
			attributes[1].Value = append(slices.Clone(attributes[1].Value[:2]), d.flip(attributes[1].Value[2:])...)
			return attributes
		}
	}), ""},
	{"timestamp that doesn't name its certificate", verify.CodeTimestamp, stampOnly, specified(func(_ *draft, s *coretest.TimestampSpec) {
		s.Attributes = func(attributes []coretest.Attribute) []coretest.Attribute { return attributes[:2] }
	}), "RFC 3161 section 2.4.1 demands the attribute"},
	{"timestamp cut off", verify.CodeTimestamp, stampOnly, func(d *draft) {
		d.evidence.Timestamps[0] = d.evidence.Timestamps[0][:len(d.evidence.Timestamps[0])-1-d.random.IntN(9)]
	}, ""},
	{"timestamp of an authority without the use", verify.CodeTimestamp, stampOnly, func(d *draft) {
		bad := coretest.NewTSA(d.tb, d.s.Clock.Now(), nil, func(leaf *x509.Certificate) {
			leaf.ExtraExtensions, leaf.ExtKeyUsage = nil, []x509.ExtKeyUsage{x509.ExtKeyUsageCodeSigning}
		})
		d.evidence.Timestamps = [][]byte{bad.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now())}
		d.trusting(func(r *trust.Root) { r.TimestampAuthorities[0].Authority = bad.Authority() })
	}, ""},
	{"authority's time was over", verify.CodeTimestamp, stampOnly, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.TimestampAuthorities[0].Window.End = d.s.Clock.Now().Add(-d.some()) })
	}, ""},
	{"authority's time had not come", verify.CodeTimestamp, stampOnly, func(d *draft) {
		d.trusting(func(r *trust.Root) { r.TimestampAuthorities[0].Window.Start = d.s.Clock.Now().Add(d.some()) })
	}, ""},
	{"authority's certificate had expired", verify.CodeTimestamp, stampOnly, func(d *draft) {
		now := d.s.Clock.Now()
		bad := coretest.NewTSA(d.tb, now, nil, func(leaf *x509.Certificate) { leaf.NotAfter = now.Add(-d.some()) })
		d.evidence.Timestamps = [][]byte{bad.Stamp(d.tb, d.evidence.Signature(), now)}
		d.trusting(func(r *trust.Root) { r.TimestampAuthorities[0].Authority = bad.Authority() })
	}, ""},
	{"no time at all", verify.CodeNoTime, stampOnly, func(d *draft) { d.evidence.Timestamps = nil }, ""},
	{"time without a promise", verify.CodeNoTime, both(stampOnly, rekor1), func(d *draft) {
		d.evidence.Timestamps, d.entry().IntegratedTime = nil, d.s.Clock.Now().Unix()
	}, ""},
	{"time without a promise in a v2 log", verify.CodeNoTime, both(stampOnly, rekor2), func(d *draft) {
		d.evidence.Timestamps, d.entry().IntegratedTime = nil, d.s.Clock.Now().Add(time.Minute).Unix()
	}, ""},
}
