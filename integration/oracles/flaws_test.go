package oracles

import (
	"bytes"
	"crypto"
	"slices"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// flaw makes an acceptable draft wrong in one thing. What covers that thing is made anew, so that the check named by the code is the only one that can refuse it:
// the test knows, as the same draft without the flaw is accepted.
type flaw struct {
	name   string
	code   verify.Code
	insist func(*shape) // shapes in which the flaw can be; nil: all
	do     func(*draft)
	// lenient says why sigstore-go may accept it all the same. Without a reason it must refuse, too.
	lenient string
}

func keyless(s *shape)  { s.keyed = false }
func keyed(s *shape)    { s.keyed = true }
func envelope(s *shape) { s.message = false }
func message(s *shape)  { s.message = true }
func rekor1(s *shape)   { s.v2 = false }
func rekor2(s *shape)   { s.v2 = true }

// both insists on everything that its arguments insist on.
func both(insists ...func(*shape)) func(*shape) {
	return func(s *shape) {
		for _, insist := range insists {
			if insist != nil {
				insist(s)
			}
		}
	}
}

func usually(s *shape) { s.demand, s.proofless = usual, false }

// allFlaws are all flaws, in a fixed order.
func allFlaws() []flaw {
	all := slices.Concat(contentFlaws, signerFlaws, certificateFlaws, logFlaws, timeFlaws, requirementFlaws)
	for i := range all {
		switch all[i].code {
		case verify.CodeLog, verify.CodeUntrustedLog, verify.CodeTimestamp, verify.CodeNoTime, verify.CodeSCT: // these are about the one entry, timestamp or promise
			all[i].insist = both(usually, all[i].insist)
		}
	}
	return all
}

// payload replaces the statement, and has it signed.
func payload(change func(d *draft, statement string) string) func(*draft) {
	return func(d *draft) {
		e := d.evidence.Envelope
		e.Payload = []byte(change(d, string(e.Payload)))
		d.sign()
	}
}

// replaced is payload with one text in the place of another.
func replaced(old, new string) func(*draft) {
	return payload(func(d *draft, statement string) string {
		changed := strings.Replace(statement, old, new, 1)
		if changed == statement {
			d.tb.Fatalf("%s is not in the statement", old)
		}
		return changed
	})
}

// otherDigest is that of another image.
func (d *draft) otherDigest() (sum [32]byte) { return [32]byte(d.flip(d.digest[:])) }

const kindVersion = "sigstore-go reads the kind from the body; kindVersion, which nothing signs, is not looked at"

const callersBusiness = "sigstore-go hands the predicate to its caller, who must look"

var contentFlaws = []flaw{
	{"payload that is no JSON", verify.CodeMalformed, envelope, payload(func(*draft, string) string { return "signed" }), ""},
	{"payload that is an array", verify.CodeMalformed, envelope, payload(func(_ *draft, s string) string { return "[" + s + "]" }), ""},
	{"statement without subject", verify.CodeMalformed, envelope, payload(func(d *draft, s string) string {
		return s[:strings.Index(s, `"subject":[`)+11] + s[strings.Index(s, `],"predicateType"`):]
	}), ""},
	{"statement with a duplicate key", verify.CodeMalformed, envelope, replaced("{", `{"predicateType":"x",`),
		"protojson refuses duplicates of known fields only, and sigstore-go reads the predicate as a free structure"},
	{"statement with a duplicate key in the predicate", verify.CodeMalformed, envelope, replaced(`"predicate":{}`, `"predicate":{"a":1,"a":2}`), "protojson lets the last of two win in a free structure"},
	{"statement of an unknown version", verify.CodeMalformed, envelope, replaced("Statement/v1", "Statement/v2"), "sigstore-go does not read _type"},
	{"statement with something behind it", verify.CodeMalformed, envelope, payload(func(_ *draft, s string) string { return s + "{}" }), ""},
	{"payload of another type", verify.CodeUnsupported, envelope, func(d *draft) {
		if d.shape.intoto {
			d.shape.intoto = false // such an entry says in-toto
		}
		d.evidence.Envelope.PayloadType = []string{"application/json", "application/vnd.in-toto+json;v=1", "text/plain"}[d.random.IntN(3)]
		d.sign()
	}, ""},
	{"entry of a kind for files", verify.CodeUnsupported, both(envelope, rekor1), func(d *draft) {
		// A hashedrekord for the digest that the envelope's signature is over: the log takes it, but an envelope is not logged so.
		copied := *d.evidence
		copied.Envelope = nil
		copied.Payload = &bundle.Payload{Text: bundle.PAE(d.evidence.Envelope.PayloadType, d.evidence.Envelope.Payload), Signature: d.evidence.Signature()}
		body := coretest.EntryBody(d.tb, &copied, d.digest, d.key.Public(), false)
		d.evidence.Entries = nil
		d.enter(body)
	}, ""},
	{"entry of an unknown version", verify.CodeUnsupported, nil, func(d *draft) { d.entry().Version = "0.0.9" }, kindVersion},
	{"entry of an unknown kind", verify.CodeUnsupported, nil, func(d *draft) { d.entry().Kind = []string{"rekord", "cose", "x", "alpine"}[d.random.IntN(4)] }, kindVersion},
	{"statement about another image", verify.CodeWrongArtifact, envelope, func(d *draft) {
		d.evidence.Envelope.Payload = coretest.Statement(d.otherDigest(), d.shape.predicate, "")
		d.sign()
	}, ""},
	{"another image asked about", verify.CodeWrongArtifact, nil, func(d *draft) { d.ask.digest = verify.SHA256(d.otherDigest()) }, ""},
	{"digest under another algorithm's name", verify.CodeWrongArtifact, envelope, replaced(`{"sha256":`, `{"sha512":`), ""},
	{"digest of another image as hint", verify.CodeWrongArtifact, message, func(d *draft) {
		sum := d.otherDigest()
		d.evidence.Message.Digest = sum[:]
	}, ""},
	{"hint cut off", verify.CodeWrongArtifact, message, func(d *draft) { d.evidence.Message.Digest = d.evidence.Message.Digest[:31] }, ""},
	{"attestation of another type", verify.CodePredicate, envelope, func(d *draft) { d.ask.predicateType = "https://spdx.dev/Document" }, callersBusiness},
	{"attestation where a signature is wanted", verify.CodePredicate, both(envelope, func(s *shape) { s.predicate = "https://slsa.dev/provenance/v1" }),
		func(d *draft) { d.ask.predicateType = "" }, callersBusiness},
	{"signature where an attestation is wanted", verify.CodePredicate, message, func(d *draft) { d.ask.predicateType = "https://spdx.dev/Document" }, callersBusiness},
	{"type in capitals", verify.CodePredicate, both(envelope, func(s *shape) { s.predicate = "https://slsa.dev/provenance/v1" }),
		func(d *draft) { d.ask.predicateType = strings.ToUpper(d.ask.predicateType) }, callersBusiness},
}

// resigned puts another signature into the place of the good one, and makes what covers it.
func resigned(make func(d *draft, message []byte) []byte) func(*draft) {
	return func(d *draft) {
		if e := d.evidence.Envelope; e != nil {
			e.Signature = make(d, bundle.PAE(e.PayloadType, e.Payload))
		} else {
			d.evidence.Message.Signature = make(d, nil)
		}
		d.cover()
	}
}

// by is a signature over the message, or the image's digest, by another key of the same kind.
func by(key func(*draft) crypto.Signer) func(*draft, []byte) []byte {
	return func(d *draft, message []byte) []byte {
		if message == nil {
			return d.signDigest(key(d), d.digest)
		}
		return coretest.Signature(d.tb, key(d), message)
	}
}

func stranger(d *draft) crypto.Signer { return d.cast.others[d.shape.algorithm] }

var signerFlaws = []flaw{
	{"signature by a key that isn't certified", verify.CodeSignature, keyless, resigned(by(stranger)), ""},
	{"signature with a flipped bit", verify.CodeSignature, keyless, resigned(func(d *draft, _ []byte) []byte { return d.flip(d.evidence.Signature()) }), ""},
	{"signature of another message", verify.CodeSignature, both(keyless, envelope), resigned(func(d *draft, message []byte) []byte {
		return coretest.Signature(d.tb, d.key, d.flip(message))
	}), ""},
	{"signature of the payload without its type", verify.CodeSignature, both(keyless, envelope), resigned(func(d *draft, _ []byte) []byte {
		return coretest.Signature(d.tb, d.key, d.evidence.Envelope.Payload)
	}), ""},
	{"signature with a byte behind it", verify.CodeSignature, keyless, resigned(func(d *draft, _ []byte) []byte { return append(bytes.Clone(d.evidence.Signature()), 0) }), ""},
	{"signed by another key", verify.CodeKey, keyed, resigned(by(stranger)), ""},
	{"another key expected", verify.CodeKey, keyed, func(d *draft) { d.ask.key = stranger(d).Public() }, ""},
	{"key's signature with a flipped bit", verify.CodeKey, keyed, resigned(func(d *draft, _ []byte) []byte { return d.flip(d.evidence.Signature()) }), ""},
	{"key's signature of another message", verify.CodeKey, both(keyed, envelope), resigned(func(d *draft, message []byte) []byte {
		return coretest.Signature(d.tb, d.key, d.flip(message))
	}), ""},
	{"key's time was over", verify.CodeKeyExpired, both(keyed, withTime), func(d *draft) {
		end := d.s.Clock.Now().Add(-d.some())
		d.ask.keyWindow = &trust.Window{Start: end.Add(-time.Hour), End: end}
	}, ""},
	{"key's time had not come", verify.CodeKeyExpired, both(keyed, withTime), func(d *draft) {
		start := d.s.Clock.Now().Add(d.some())
		d.ask.keyWindow = &trust.Window{Start: start, End: start.Add(time.Hour)}
	}, ""},
	{"somebody else expected", verify.CodeIdentity, keyless, func(d *draft) {
		d.ask.subject = []string{"bob@acme.example", "Alice@acme.example", "alice@acme.example.", "lice@acme.example", "alice@acme.exampl"}[d.random.IntN(5)]
	}, ""},
	{"another issuer expected", verify.CodeIdentity, keyless, func(d *draft) {
		d.ask.issuer = []string{coretest.Issuer + "/", strings.Replace(coretest.Issuer, "https", "http", 1), "https://issuer.example", strings.ToUpper(coretest.Issuer)}[d.random.IntN(4)]
	}, ""},
	{"certificate where a key is wanted", verify.CodeWrongSignerKind, keyless, func(d *draft) {
		d.ask.issuer, d.ask.subject, d.ask.key = "", "", d.key.Public()
	}, ""},
	{"key where a certificate is wanted", verify.CodeWrongSignerKind, keyed, func(d *draft) {
		d.ask.issuer, d.ask.subject, d.ask.key = campaignIssuer, campaignSubject, nil
	}, ""},
}

// withTime insists on an authenticated time.
func withTime(s *shape) { s.timestamp = true }
