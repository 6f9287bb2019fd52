package coretest

import (
	"crypto/x509"
	"crypto/x509/pkix"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/trust"
)

// Start is where the clock of a new [Sigstore] stands. It lies in the past of every machine that runs the tests: other verifiers refuse
// times that have not come yet.
var Start = time.Date(2025, 3, 1, 12, 0, 0, 0, time.UTC)

// Issuer is an OpenID Connect issuer to put into identities. Nothing listens there.
const Issuer = "https://issuer.touchmark.example"

// Email is the identity of an e-mail address under [Issuer].
func Email(address string) identity.Identity {
	return identity.Identity{SAN: identity.SAN{Kind: identity.Email, Value: address}, Issuer: Issuer}
}

// Clock is a clock that stands still until the test moves it. It is safe for concurrent use.
type Clock struct {
	mu  sync.Mutex
	now time.Time
}

// NewClock makes a clock that stands at now.
func NewClock(now time.Time) *Clock { return &Clock{now: now} }

// Now returns where the clock stands; as a method value it is what takes a func() time.Time.
func (c *Clock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

// Set moves the clock to t.
func (c *Clock) Set(t time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = t
}

// Advance moves the clock by d, backwards when d is negative.
func (c *Clock) Advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// Sigstore is everything that signs and vouches, without a network. A test may exchange its parts, also for those of another Sigstore.
type Sigstore struct {
	Clock *Clock
	CA    *CA
	CTLog *CTLog
	V1    *Log // Rekor v1: ECDSA P-256, promises and proofs
	V2    *Log // Rekor v2: Ed25519, proofs only
	TSA   *TSA
}

// New makes a Sigstore with fresh keys whose clock stands at [Start].
func New(tb testing.TB) *Sigstore {
	tb.Helper()
	clock := NewClock(Start)
	return &Sigstore{
		Clock: clock,
		CA:    NewCA(tb, clock.Now()),
		CTLog: NewCTLog(tb),
		V1:    NewLogV1(tb),
		V2:    NewLogV2(tb),
		TSA:   NewTSA(tb, clock.Now(), nil),
	}
}

// Root returns what a verifier of this Sigstore trusts, every window open from a day before [Start]. The test may change it;
// [FormatRoot] makes the file of it, with which alone it gets a digest.
func (s *Sigstore) Root() *trust.Root {
	window := trust.Window{Start: Start.Add(-24 * time.Hour)}
	return &trust.Root{
		Name: "test",
		CertificateAuthorities: []trust.CertificateAuthority{{
			URI: "https://ca.touchmark.example", Intermediates: []*x509.Certificate{s.CA.Intermediate}, Root: s.CA.Root, Window: window,
		}},
		CTLogs: []trust.Log{{BaseURL: "https://ct.touchmark.example", ID: s.CTLog.ID, Key: s.CTLog.Key.Public(), Window: window}},
		Logs: []trust.Log{
			{BaseURL: s.V1.BaseURL, ID: s.V1.ID, Key: s.V1.Key.Public(), Window: window},
			{BaseURL: s.V2.BaseURL, ID: s.V2.ID, Key: s.V2.Key.Public(), Window: window},
		},
		TimestampAuthorities: []trust.TimestampAuthority{{
			URI: "https://tsa.touchmark.example/api/v1/timestamp", Authority: s.TSA.Authority(), Window: window,
		}},
	}
}

// TrustedRootJSON returns the trusted_root.json of [Sigstore.Root].
func (s *Sigstore) TrustedRootJSON(tb testing.TB) []byte {
	tb.Helper()
	return FormatRoot(tb, s.Root())
}

// TrustedRoot returns [Sigstore.Root] as it is read from its file.
func (s *Sigstore) TrustedRoot(tb testing.TB) *trust.Root {
	tb.Helper()
	root, err := trust.Parse("test", s.TrustedRootJSON(tb))
	if err != nil {
		tb.Fatal(err)
	}
	return root
}

// FormatRoot returns root as a trusted_root.json.
func FormatRoot(tb testing.TB, root *trust.Root) []byte {
	tb.Helper()
	text, err := trust.Format(root)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

func pkixName(commonName string) pkix.Name {
	return pkix.Name{Organization: []string{"touchmark test"}, CommonName: commonName}
}
