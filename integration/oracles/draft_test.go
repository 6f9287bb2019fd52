package oracles

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"fmt"
	"math/big"
	mathrand "math/rand/v2"
	"testing"
	"time"

	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// shape is how evidence is made. Every combination that [newShape] draws is acceptable.
type shape struct {
	message   bool // a signature of the manifest; otherwise an envelope
	v2        bool // in the Rekor v2 log
	keyed     bool
	promise   bool // with a SET; Rekor v1 only
	timestamp bool
	intoto    bool // logged as intoto 0.0.2; Rekor v1 envelopes only
	predicate string
	proofless bool // in version 0.1 a promise is enough
	demand    demand
	algorithm int // index into cast.keys
	mediaType string
}

const (
	mediaTypeV01 = "application/vnd.dev.sigstore.bundle+json;version=0.1"
	mediaTypeV02 = "application/vnd.dev.sigstore.bundle+json;version=0.2"
)

// newShape draws a shape and lets a flaw insist on some of it.
func newShape(random *mathrand.Rand, insist func(*shape)) shape {
	chance := func(percent int) bool { return random.IntN(100) < percent }
	s := shape{message: chance(40), v2: chance(50), keyed: chance(30), promise: chance(70), timestamp: chance(70), intoto: chance(20), algorithm: p256}
	switch {
	case chance(6):
		s.algorithm = p384
	case chance(6):
		s.algorithm = rsa2048
	case chance(3):
		s.algorithm = ed25519Key
	}
	if chance(30) {
		s.predicate = "https://slsa.dev/provenance/v1"
	}
	s.mediaType = []string{bundle.MediaTypeV03, mediaTypeV01, mediaTypeV02}[random.IntN(3)]
	s.proofless = s.mediaType == mediaTypeV01 && chance(30)
	if chance(20) {
		s.demand = demand(random.IntN(int(notOld) + 1))
	}
	if insist != nil {
		insist(&s)
	}
	s.reconcile()
	// What does not go together.
	if s.message && s.algorithm != rsa2048 {
		s.algorithm = p256 // signed over a SHA-256
	}
	if s.v2 && s.algorithm == ed25519Key {
		s.algorithm = p256 // a v2 log takes Ed25519ph only
	}
	if s.message {
		s.predicate = ""
	}
	if s.v2 {
		s.promise, s.intoto = false, false
	}
	if s.message {
		s.intoto = false
	}
	if !s.keyed && !s.promise {
		s.timestamp = true
	}
	if (!s.promise || s.demand == twoLogs) && s.mediaType == mediaTypeV01 {
		s.mediaType = bundle.MediaTypeV03
	}
	s.proofless = s.proofless && s.mediaType == mediaTypeV01
	return s
}

// Keys that signers have, by place in [cast.keys].
const (
	p256 = iota
	p384
	rsa2048
	ed25519Key
)

// cast is who takes part: a Sigstore, another one that nobody trusts, and keys. Drafts share it and change copies only.
type cast struct {
	sigstore, foreign *coretest.Sigstore
	keys, others      []crypto.Signer
	secondTSA         *coretest.TSA
	secondCTLog       *coretest.CTLog
	witnesses         []witness // three that are known, and three strangers
	root              readRoot
	donated           [][]byte // see donors
}

func newCast(tb testing.TB) *cast {
	tb.Helper()
	c := &cast{sigstore: coretest.New(tb), foreign: coretest.New(tb), keys: newKeys(tb), others: newKeys(tb)}
	c.secondTSA, c.secondCTLog, c.witnesses = coretest.NewTSA(tb, coretest.Start, nil), coretest.NewCTLog(tb), newWitnesses(tb)
	c.root = mustReadRoot(tb, coretest.FormatRoot(tb, c.trusted()))
	return c
}

// trusted is the trust root: of the Sigstore, with a second authority and a second certificate log.
func (c *cast) trusted() *trust.Root {
	root := c.sigstore.Root()
	tsa, log := root.TimestampAuthorities[0], root.CTLogs[0]
	tsa.URI, tsa.Authority = "https://tsa2.touchmark.example", c.secondTSA.Authority()
	log.BaseURL, log.ID, log.Key = "https://ct2.touchmark.example", c.secondCTLog.ID, c.secondCTLog.Key.Public()
	root.TimestampAuthorities, root.CTLogs = append(root.TimestampAuthorities, tsa), append(root.CTLogs, log)
	return root
}

func newKeys(tb testing.TB) []crypto.Signer {
	tb.Helper()
	second, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	third, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		tb.Fatal(err)
	}
	_, fourth, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		tb.Fatal(err)
	}
	return []crypto.Signer{coretest.NewKey(tb), second, third, fourth}
}

// draft is a question in the making: evidence, and what a verifier is asked about it. A new one is acceptable; a flaw changes it, and makes anew whatever covers
// what it changed.
type draft struct {
	tb     testing.TB
	random *mathrand.Rand
	cast   *cast
	s      coretest.Sigstore // a copy, whose parts a flaw may exchange
	shape  shape
	log    *coretest.Log
	key    crypto.Signer

	artifact []byte
	digest   [32]byte
	evidence *bundle.Evidence
	spec     []func(*coretest.CertificateSpec)
	root     *trust.Root // what is trusted; nil for the cast's own
	ask      sample      // all but bundle and root
}

const (
	campaignIssuer  = coretest.Issuer
	campaignSubject = "alice@acme.example"
)

func newDraft(tb testing.TB, random *mathrand.Rand, c *cast, insist func(*shape)) *draft {
	tb.Helper()
	d := &draft{tb: tb, random: random, cast: c, s: *c.sigstore, shape: newShape(random, insist)}
	d.artifact = fmt.Appendf(nil, "artifact %d", random.Uint64())
	d.digest = sha256.Sum256(d.artifact)
	d.s.V1, d.s.V2 = freshLog(tb, c.sigstore.V1), freshLog(tb, c.sigstore.V2)
	d.log = d.s.V1
	if d.shape.v2 {
		d.log = d.s.V2
	}
	for range random.IntN(12) { // so that trees have different sizes
		d.log.Add(tb, []byte(`{"kind":"filler"}`), d.s.Clock.Now())
	}
	d.key = c.keys[d.shape.algorithm]
	d.ask = sample{digest: verify.SHA256(d.digest), predicateType: d.shape.predicate, issuer: campaignIssuer, subject: campaignSubject}
	d.demands()
	d.evidence = &bundle.Evidence{Form: bundle.FormBundle, MediaType: bundle.MediaTypeV03}
	if d.shape.keyed {
		d.ask.issuer, d.ask.subject, d.ask.key = "", "", d.key.Public()
		d.evidence.KeyHint = "key"
	} else {
		d.certify()
	}
	if d.shape.message {
		d.evidence.Message = &bundle.Message{DigestAlgorithm: "sha256", Digest: bytes.Clone(d.digest[:])}
	} else {
		d.evidence.Envelope = &bundle.Envelope{
			PayloadType: "application/vnd.in-toto+json", Payload: coretest.Statement(d.digest, d.shape.predicate, ""),
		}
	}
	d.sign()
	return d
}

// freshLog is a log with the same key and names, and few leaves.
func freshLog(tb testing.TB, log *coretest.Log) *coretest.Log {
	tb.Helper()
	fresh := coretest.NewLogV1(tb)
	if !log.Promises {
		fresh = coretest.NewLogV2(tb)
	}
	fresh.Key, fresh.ID = log.Key, log.ID
	return fresh
}

// certify makes a new certificate with d.spec and further changes.
func (d *draft) certify(changes ...func(*coretest.CertificateSpec)) {
	d.tb.Helper()
	d.spec = append(d.spec, changes...)
	serial := func(c *coretest.CertificateSpec) { c.Template.SerialNumber = big.NewInt(d.random.Int64()) }
	spec := append([]func(*coretest.CertificateSpec){serial}, d.spec...)
	d.evidence.Certificates = [][]byte{d.s.Certificate(d.tb, coretest.Email(campaignSubject), d.key.Public(), spec...)}
}

// recertify makes a new certificate, and what covers it.
func (d *draft) recertify(changes ...func(*coretest.CertificateSpec)) {
	d.tb.Helper()
	d.certify(changes...)
	d.cover()
}

// sign signs what the evidence holds with d.key, and makes what covers the signature.
func (d *draft) sign() {
	d.tb.Helper()
	if e := d.evidence.Envelope; e != nil {
		e.Signature = coretest.Signature(d.tb, d.key, bundle.PAE(e.PayloadType, e.Payload))
	} else {
		m := d.evidence.Message
		sum := sha256.Sum256(nil)
		if copy(sum[:], m.Digest); len(m.Digest) != len(sum) {
			d.tb.Fatal("signing a digest of another length")
		}
		m.Signature = d.signDigest(d.key, sum)
	}
	d.cover()
}

func (d *draft) signDigest(key crypto.Signer, sum [32]byte) []byte {
	d.tb.Helper()
	signature, err := key.Sign(rand.Reader, sum[:], crypto.SHA256)
	if err != nil {
		d.tb.Fatal(err)
	}
	return signature
}

// cover stamps and logs what the evidence holds, as the shape demands.
func (d *draft) cover() {
	d.tb.Helper()
	d.stamp()
	d.evidence.Entries = nil
	d.enter(d.body())
	if d.shape.demand == twoLogs {
		d.enterOther()
	}
}

// enterOther logs the evidence in the log of the other kind, too.
func (d *draft) enterOther() {
	log, shape := d.log, d.shape
	d.shape.v2 = !d.shape.v2
	if d.log = d.s.V1; d.shape.v2 {
		d.log, d.shape.promise = d.s.V2, false
	}
	d.enter(d.body())
	d.log, d.shape = log, shape
}

func (d *draft) stamp() {
	d.evidence.Timestamps = nil
	if d.shape.timestamp {
		d.evidence.Timestamps = [][]byte{d.s.TSA.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now())}
	}
	if d.shape.demand == twoStamps {
		d.evidence.Timestamps = append(d.evidence.Timestamps, d.cast.secondTSA.Stamp(d.tb, d.evidence.Signature(), d.s.Clock.Now()))
	}
}

// body is the body of the log entry for the evidence.
func (d *draft) body() []byte { return d.bodyFor(d.evidence, d.digest, d.key.Public()) }

func (d *draft) bodyFor(e *bundle.Evidence, digest [32]byte, pub crypto.PublicKey) []byte {
	d.tb.Helper()
	if !d.shape.intoto || e.Envelope == nil {
		return coretest.EntryBody(d.tb, e, digest, pub, d.shape.v2)
	}
	verifier, err := entry.PublicKeyPEM(pub)
	if err != nil {
		d.tb.Fatal(err)
	}
	if len(e.Certificates) > 0 {
		verifier = entry.CertificatePEM(e.Certificates[0])
	}
	envelope := sha256.Sum256(coretest.EnvelopeJSON(d.tb, e.Envelope))
	body, err := entry.IntotoV002(envelope, sha256.Sum256(e.Envelope.Payload), e.Envelope.PayloadType, "", e.Envelope.Signature, verifier)
	if err != nil {
		d.tb.Fatal(err)
	}
	return body
}

// enter logs a body and takes its entry into the evidence, with the parts that the shape has.
func (d *draft) enter(body []byte) {
	d.tb.Helper()
	e := d.log.Add(d.tb, body, d.s.Clock.Now())
	if !d.shape.promise {
		e.SET = nil
		if d.log.Promises {
			e.IntegratedTime = 0
		}
	}
	d.evidence.Entries = append(d.evidence.Entries, e)
	if d.shape.demand == twoWitnesses {
		known := d.random.Perm(3)
		d.cosign(len(d.evidence.Entries)-1, known[0], 3, known[1])
	}
}

// entry is the first log entry.
func (d *draft) entry() *bundle.Entry { return &d.evidence.Entries[0] }

// trusting gives the verifier a trust root of its own.
func (d *draft) trusting(change func(*trust.Root)) {
	d.root = d.cast.trusted()
	change(d.root)
}

// input is the finished question.
type input struct {
	sample
	shape    shape
	artifact []byte
	read     readRoot
}

// finish writes the evidence down. It fails where core/bundle writes no such bundle.
func (d *draft) finish() (input, error) {
	d.tb.Helper()
	text, err := bundle.Marshal(d.evidence)
	if err != nil {
		return input{}, err
	}
	if d.shape.mediaType != bundle.MediaTypeV03 {
		text = bytes.Replace(text, []byte(bundle.MediaTypeV03), []byte(d.shape.mediaType), 1)
	}
	if d.shape.proofless {
		text = withoutProofs(d.tb, text)
	}
	in := input{sample: d.ask, shape: d.shape, artifact: d.artifact, read: d.cast.root}
	in.bundle = text
	if d.root != nil {
		in.read = mustReadRoot(d.tb, coretest.FormatRoot(d.tb, d.root))
	}
	in.sample.root = in.read.text
	return in, nil
}

// withoutProofs is a bundle of version 0.1 with promises alone.
func withoutProofs(tb testing.TB, text []byte) []byte {
	tb.Helper()
	b := readBundle(tb, text)
	b.MediaType = mediaTypeV01
	for _, e := range b.VerificationMaterial.TlogEntries {
		e.InclusionProof = nil
	}
	text, err := protojson.Marshal(b)
	if err != nil {
		tb.Fatal(err)
	}
	return text
}

// flip changes one bit.
func (d *draft) flip(b []byte) []byte {
	changed := bytes.Clone(b)
	changed[d.random.IntN(len(b))] ^= 1 << d.random.IntN(8)
	return changed
}

// some is up to an hour, at least a second.
func (d *draft) some() time.Duration { return time.Duration(1+d.random.IntN(3600)) * time.Second }
