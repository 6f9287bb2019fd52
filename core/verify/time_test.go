package verify_test

import (
	"crypto"
	"crypto/x509"
	"slices"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestA023_A024_LIB10_NoAuthenticatedTime: what nobody signed says nothing of
// when, however plausible it is.
func TestA023_A024_LIB10_NoAuthenticatedTime(t *testing.T) {
	w := newWorld(t)
	for name, e := range map[string]*bundle.Evidence{
		"v1 entry with proof only": withoutPromise(w.sign(t, coretest.SignOptions{WithoutTimestamp: true})),
		"v2 entry":                 w.sign(t, coretest.SignOptions{Log: w.V2, WithoutTimestamp: true}),
	} {
		for _, at := range []int64{0, coretest.Start.Unix(), 1} {
			c := clone(e)
			c.Entries[0].IntegratedTime = at
			in := w.input(t, c)
			requireCode(t, name, in, verify.CodeNoTime)
			in.InsecureIgnoreLog = true // is about keys; a certificate still needs its time
			requireCode(t, name+", log ignored", in, verify.CodeNoTime)
			c.Timestamps = [][]byte{w.TSA.Stamp(t, c.Signature(), coretest.Start)}
			requireAccepted(t, name+" with a timestamp", w.input(t, c))
		}
	}
	backdated := w.sign(t, coretest.SignOptions{WithoutTimestamp: true})
	backdated.Entries[0].IntegratedTime -= 3600
	in := w.input(t, backdated)
	in.InsecureIgnoreLog = true
	requireCode(t, "backdated under the old promise", in, verify.CodeLog)
}

// TestLIB11_A025_CertificateValidity: a certificate must have been valid at
// every authenticated time; both of its bounds are inside.
func TestLIB11_A025_CertificateValidity(t *testing.T) {
	w := newWorld(t)
	start, end := coretest.Start, coretest.Start.Add(10*time.Minute)
	stamp := func(e *bundle.Evidence, times ...time.Time) *bundle.Evidence {
		c := clone(e)
		c.Timestamps = nil
		for _, at := range times {
			c.Timestamps = append(c.Timestamps, w.TSA.Stamp(t, c.Signature(), at))
		}
		return c
	}
	v2 := w.sign(t, coretest.SignOptions{Log: w.V2})
	v1 := w.sign(t, coretest.SignOptions{WithoutTimestamp: true})
	inside := start.Add(time.Minute)
	for _, tt := range []struct {
		name string
		e    *bundle.Evidence
		want verify.Code
	}{
		{"inside", stamp(v2, inside), ""},
		{"at notBefore", stamp(v2, start), ""},
		{"at notAfter", stamp(v2, end), ""},
		{"before notBefore", stamp(v2, start.Add(-time.Second)), verify.CodeUntrustedCA},
		{"after notAfter", stamp(v2, end.Add(time.Second)), verify.CodeUntrustedCA},
		{"two inside", stamp(v2, inside, start), ""},
		{"one inside, one after", stamp(v2, inside, end.Add(time.Second)), verify.CodeUntrustedCA},
		{"one after, one inside", stamp(v2, end.Add(time.Second), inside), verify.CodeUntrustedCA},
		{"one inside, one before", stamp(v2, inside, start.Add(-time.Hour)), verify.CodeUntrustedCA},
		{"promise inside, timestamp after", stamp(v1, end.Add(time.Hour)), verify.CodeUntrustedCA},
		{"promise inside, timestamp inside", stamp(v1, inside), ""},
	} {
		requireCode(t, tt.name, w.input(t, tt.e), tt.want)
	}
	// The promise's own time decides in the same way.
	for at, want := range map[time.Time]verify.Code{start: "", end: "", start.Add(-time.Second): verify.CodeUntrustedCA, end.Add(time.Second): verify.CodeUntrustedCA} {
		e := clone(v1)
		e.Entries = []bundle.Entry{w.V1.Add(t, v1.Entries[0].Body, at)}
		requireCode(t, "promise at "+at.String(), w.input(t, e), want)
	}
}

// TestA027_A032_LIB29_LIB30_Timestamps is about timestamps where nothing else
// says when.
func TestA027_A028_A032_LIB29_LIB30_Timestamps(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	e := w.sign(t, coretest.SignOptions{Log: w.V2, WithoutTimestamp: true})
	good := w.TSA.Stamp(t, e.Signature(), coretest.Start)
	noEKU := coretest.NewTSA(t, coretest.Start, nil, func(leaf *x509.Certificate) { leaf.ExtraExtensions = nil })
	spec := coretest.TimestampSpec{Message: e.Signature(), Time: coretest.Start}
	with := func(change func(*coretest.TimestampSpec)) []byte {
		s := spec
		change(&s)
		return w.TSA.Response(t, s)
	}
	for _, tt := range []struct {
		name   string
		stamps [][]byte
		root   func(*trust.Root)
		want   verify.Code
	}{
		{"good", [][]byte{good}, nil, ""},
		{"over another message", [][]byte{w.TSA.Stamp(t, []byte("other"), coretest.Start)}, nil, verify.CodeTimestamp},
		{"over the artifact", [][]byte{w.TSA.Stamp(t, digest[:], coretest.Start)}, nil, verify.CodeTimestamp},
		{"of an unknown authority", [][]byte{other.TSA.Stamp(t, e.Signature(), coretest.Start)}, nil, verify.CodeTimestamp},
		{"of an unknown authority, and a good one", [][]byte{other.TSA.Stamp(t, e.Signature(), coretest.Start), good}, nil, ""},
		{"of an unknown authority that embeds the known one", [][]byte{other.TSA.Response(t, coretest.TimestampSpec{
			Message: e.Signature(), Time: coretest.Start, Embed: []*x509.Certificate{w.TSA.Leaf, other.TSA.Leaf}})}, nil, verify.CodeTimestamp},
		{"of the known one that embeds a forged certificate", [][]byte{with(func(s *coretest.TimestampSpec) {
			s.Embed = []*x509.Certificate{other.TSA.Leaf, w.TSA.Leaf}
		})}, nil, verify.CodeTimestamp},
		{"of the known one that embeds its own certificate", [][]byte{with(func(s *coretest.TimestampSpec) {
			s.Embed = []*x509.Certificate{w.TSA.Leaf}
		})}, nil, ""},
		{"of a trusted certificate without its extended key usage", [][]byte{noEKU.Stamp(t, e.Signature(), coretest.Start)},
			func(r *trust.Root) { r.TimestampAuthorities[0].Authority = noEKU.Authority() }, verify.CodeTimestamp},
		{"with a SHA-1 imprint", [][]byte{with(func(s *coretest.TimestampSpec) { s.Imprint = crypto.SHA1 })}, nil, verify.CodeTimestamp},
		{"without signingCertificateV2", [][]byte{with(func(s *coretest.TimestampSpec) {
			s.Attributes = func(a []coretest.Attribute) []coretest.Attribute { return a[:2] }
		})}, nil, verify.CodeTimestamp},
		{"rejected", [][]byte{with(func(s *coretest.TimestampSpec) { s.Status = 2 })}, nil, verify.CodeTimestamp},
		{"garbage", [][]byte{[]byte("garbage")}, nil, verify.CodeTimestamp},
		{"empty", [][]byte{{}}, nil, verify.CodeTimestamp},
		{"with a byte more", [][]byte{append(slices.Clone(good), 0)}, nil, verify.CodeTimestamp},
		{"none", nil, nil, verify.CodeNoTime},
		{"32 times the same", slices.Repeat([][]byte{good}, 32), nil, ""},
		{"no authority is trusted", [][]byte{good}, func(r *trust.Root) { r.TimestampAuthorities = nil }, verify.CodeTimestamp},
		{"outside its authority's window", [][]byte{good}, func(r *trust.Root) {
			r.TimestampAuthorities[0].Window.End = coretest.Start.Add(-time.Second)
		}, verify.CodeTimestamp},
		{"at the end of its authority's window", [][]byte{good}, func(r *trust.Root) { r.TimestampAuthorities[0].Window.End = coretest.Start }, ""},
		{"at the start of its authority's window", [][]byte{good}, func(r *trust.Root) { r.TimestampAuthorities[0].Window.Start = coretest.Start }, ""},
		{"of a retired authority beside one that covers the time", [][]byte{good}, func(r *trust.Root) {
			r.TimestampAuthorities[0].Window.End = coretest.Start.Add(-time.Second)
			r.TimestampAuthorities = append(r.TimestampAuthorities, other.root.TimestampAuthorities[0])
		}, verify.CodeTimestamp},
		{"of one of two authorities", [][]byte{good}, func(r *trust.Root) {
			r.TimestampAuthorities = append(other.root.TimestampAuthorities[:1:1], r.TimestampAuthorities...)
		}, ""},
		{"of one authority in two windows", [][]byte{good}, func(r *trust.Root) {
			old := r.TimestampAuthorities[0]
			old.Window.End = coretest.Start.Add(-time.Second)
			r.TimestampAuthorities = []trust.TimestampAuthority{old, r.TimestampAuthorities[0]}
		}, ""},
	} {
		c := clone(e)
		c.Timestamps = tt.stamps
		in := w.input(t, c)
		if tt.root != nil {
			in.Root = w.Root()
			tt.root(in.Root)
		}
		requireCode(t, "timestamp "+tt.name, in, tt.want)
	}
}

// TestA029_LIB31_KeyWindow: a long-lived key counts within its window only.
func TestA029_LIB31_KeyWindow(t *testing.T) {
	w := newWorld(t)
	key, second := coretest.NewKey(t), coretest.NewKey(t)
	window := func(start, end time.Duration) *trust.Window {
		return &trust.Window{Start: coretest.Start.Add(start), End: coretest.Start.Add(end)}
	}
	timed := w.sign(t, coretest.SignOptions{Key: key})
	stamped := w.sign(t, coretest.SignOptions{Key: key, Log: w.V2})
	timeless := w.sign(t, coretest.SignOptions{Key: key, Log: w.V2, WithoutTimestamp: true})
	in := func(e *bundle.Evidence, keys ...verify.Key) verify.Input {
		i := w.input(t, e)
		i.Signer = verify.Keyed(keys...)
		return i
	}
	for _, tt := range []struct {
		name   string
		window *trust.Window
		want   verify.Code
	}{
		{"no window", nil, ""},
		{"inside", window(-time.Hour, time.Hour), ""},
		{"ends with the signature", window(-time.Hour, 0), ""},
		{"begins with the signature", window(0, time.Hour), ""},
		{"ended before", window(-time.Hour, -time.Second), verify.CodeKeyExpired},
		{"begins after", window(time.Second, time.Hour), verify.CodeKeyExpired},
	} {
		k := verify.Key{Name: "release", Public: key.Public(), Window: tt.window}
		requireCode(t, "promise: "+tt.name, in(timed, k), tt.want)
		requireCode(t, "timestamp: "+tt.name, in(stamped, k), tt.want)
		requireCode(t, "by the verifier's clock: "+tt.name, in(timeless, k), tt.want)
		// What is authenticated goes before the verifier's clock.
		later := in(timed, k)
		later.Now = later.Now.AddDate(10, 0, 0)
		requireCode(t, "ten years later: "+tt.name, later, tt.want)
		// The window of another key, even one of the same name, says nothing.
		namesake := verify.Key{Name: "release", Public: second.Public(), Window: window(-time.Hour, time.Hour)}
		requireCode(t, "beside a namesake: "+tt.name, in(timed, namesake, k), tt.want)
		expired := verify.Key{Name: "release", Public: second.Public(), Window: window(-time.Hour, -time.Minute)}
		requireCode(t, "beside an expired namesake: "+tt.name, in(timed, expired, k), tt.want)
	}
	expired := in(timeless, verify.Key{Name: "release", Public: key.Public(), Window: window(-time.Hour, time.Hour)})
	expired.Now = expired.Now.AddDate(10, 0, 0)
	requireCode(t, "expired by the verifier's clock", expired, verify.CodeKeyExpired)
}

// TestA027_CAWindow: an authority is relied on within its own window only.
func TestA027_CAWindow(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{})
	for _, tt := range []struct {
		start, end time.Duration
		want       verify.Code
	}{
		{-time.Hour, time.Hour, ""}, {0, 0, ""}, {time.Second, time.Hour, verify.CodeUntrustedCA}, {-time.Hour, -time.Second, verify.CodeUntrustedCA},
	} {
		in := w.input(t, e)
		in.Root = w.Root()
		in.Root.CertificateAuthorities[0].Window = trust.Window{Start: coretest.Start.Add(tt.start), End: coretest.Start.Add(tt.end)}
		requireCode(t, in.Root.CertificateAuthorities[0].Window.String(), in, tt.want)
	}
}
