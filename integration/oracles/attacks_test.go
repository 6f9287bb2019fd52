package oracles

import (
	"bytes"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/sct"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/verify"
)

// world is a Sigstore, the good evidence that an attack starts from, and what else an attacker can have.
type world struct {
	tb       testing.TB
	s        *coretest.Sigstore
	foreign  *coretest.Sigstore // another one, which nobody trusts
	digest   [32]byte
	evidence *bundle.Evidence
	opts     coretest.SignOptions
}

func (w *world) sign(opts coretest.SignOptions) { w.evidence = w.s.SignDigest(w.tb, w.digest, opts) }

// certified signs with a changed certificate.
func (w *world) certified(changes ...func(*coretest.CertificateSpec)) {
	w.opts.Certificate = changes
	w.sign(w.opts)
}

// entry is the evidence's log entry.
func (w *world) entry() *bundle.Entry { return &w.evidence.Entries[0] }

// relog logs another body for the same signature, with right promise and proof.
func (w *world) relog(body []byte) {
	w.evidence.Entries[0] = w.s.V1.Add(w.tb, body, w.s.Clock.Now())
}

// attack changes good evidence. Some are no attacks but good twins.
type attack struct {
	name string
	good bool
	do   func(w *world)
}

// unknownCritical is an extension that no verifier knows.
var unknownCritical = pkix.Extension{Id: asn1.ObjectIdentifier{1, 2, 3}, Critical: true, Value: []byte{5, 0}}

var attacks = []attack{
	{"none", true, func(*world) {}},
	{"A001 entry of another image", false, func(w *world) {
		w.evidence.Entries = w.s.SignDigest(w.tb, [32]byte{9}, w.opts).Entries
	}},
	{"A007 entry of another signature of the same image", false, func(w *world) {
		w.evidence.Entries = w.s.SignDigest(w.tb, w.digest, w.opts).Entries
	}},
	{"A004 garbage promise", false, func(w *world) { w.entry().SET = []byte("garbage") }},
	{"A004 promise of a foreign log", false, func(w *world) { w.entry().SET = w.foreign.V1.Promise(w.tb, *w.entry()) }},
	{"A009 checkpoint of a foreign log", false, func(w *world) {
		p := w.entry().Proof
		p.Checkpoint = w.foreign.V1.Checkpoint(w.tb, tlog.Checkpoint{Origin: w.s.V1.Origin, Size: uint64(p.TreeSize), Root: [32]byte(p.RootHash)})
	}},
	{"A009 checkpoint without signature", false, func(w *world) {
		p := w.entry().Proof
		p.Checkpoint, _, _ = strings.Cut(p.Checkpoint, "\n\n")
		p.Checkpoint += "\n\n"
	}},
	{"A013 body with another order of fields", false, func(w *world) {
		var body struct {
			Kind       string          `json:"kind"`
			APIVersion string          `json:"apiVersion"`
			Spec       json.RawMessage `json:"spec"`
		}
		if err := json.Unmarshal(w.entry().Body, &body); err != nil {
			w.tb.Fatal(err)
		}
		text, err := json.Marshal(body)
		if err != nil {
			w.tb.Fatal(err)
		}
		if bytes.Equal(text, w.entry().Body) {
			w.tb.Fatal("the order is the same")
		}
		w.entry().Body = text
	}},
	{"A015 proof for the next index", false, func(w *world) { w.entry().Proof.Index++ }},
	{"A015 another index in the log", false, func(w *world) { w.entry().LogIndex++ }},
	{"A016 root of a tree of one's own", false, func(w *world) {
		own := *w.entry()
		p := *own.Proof
		leaf := tlog.LeafHash(own.Body)
		p.Index, p.TreeSize, p.Hashes, p.RootHash = 0, 1, nil, leaf[:]
		own.Proof = &p
		w.evidence.Entries[0] = own
	}},
	{"A022 time only in the entry", false, func(w *world) { w.entry().SET, w.evidence.Timestamps = nil, nil }},
	{"A024 backdated", false, func(w *world) { w.entry().IntegratedTime -= 60 }},
	{"A032 only a foreign authority's time", false, func(w *world) {
		w.entry().SET = nil
		w.evidence.Timestamps = [][]byte{w.foreign.TSA.Stamp(w.tb, w.evidence.Signature(), w.s.Clock.Now())}
	}},
	{"LIB-13 only our authority's time", true, func(w *world) { w.entry().SET, w.entry().IntegratedTime = nil, 0 }},
	{"LIB-11 signed in the certificate's last second", true, func(w *world) {
		w.certified(coretest.ValidFor(w.s.Clock.Now().Add(-time.Minute), w.s.Clock.Now()))
	}},
	{"LIB-11 signed a second after the certificate", false, func(w *world) {
		w.certified(coretest.ValidFor(w.s.Clock.Now().Add(-time.Minute), w.s.Clock.Now().Add(-time.Second)))
	}},
	{"LIB-11 signed a second before the certificate", false, func(w *world) {
		w.certified(coretest.ValidFor(w.s.Clock.Now().Add(time.Second), w.s.Clock.Now().Add(time.Minute)))
	}},
	{"LIB-25 certificate of a foreign authority", false, func(w *world) { w.certified(func(c *coretest.CertificateSpec) { c.CA = w.foreign.CA }) }},
	{"LIB-25 unknown critical extension", false, func(w *world) { w.certified(coretest.WithExtension(unknownCritical)) }},
	{"LIB-25 no code signing", false, func(w *world) { w.certified(func(c *coretest.CertificateSpec) { c.Template.ExtKeyUsage = nil }) }},
	{"LIB-25 server authentication", false, func(w *world) {
		w.certified(func(c *coretest.CertificateSpec) {
			c.Template.ExtKeyUsage = []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}
		})
	}},
	{"LIB-27 no SCT", false, func(w *world) { w.certified(coretest.PromisedBy()) }},
	{"LIB-27 SCT of a foreign log", false, func(w *world) { w.certified(coretest.PromisedBy(w.foreign.CTLog)) }},
	{"LIB-27 SCT of another certificate", false, func(w *world) {
		other := w.s.CTLog.SCT(w.tb, w.s.CA.Intermediate.RawTBSCertificate, w.s.CA.Key.Public(), w.s.Clock.Now())
		w.certified(func(c *coretest.CertificateSpec) { c.SCTs = func([]sct.SCT) []sct.SCT { return []sct.SCT{other} } })
	}},
	{"A056 SCT for another issuer of the same name", false, func(w *world) {
		// The log promises under the issuer's name; only the key hash differs.
		w.certified(func(c *coretest.CertificateSpec) { c.SCTs = w.promisedFor(w.foreign.CA, c) })
	}},
	{"A056 SCT made again for the issuer itself", true, func(w *world) {
		w.certified(func(c *coretest.CertificateSpec) { c.SCTs = w.promisedFor(w.s.CA, c) })
	}},
	{"LIB-27 malformed SCT list", false, func(w *world) {
		w.certified(func(c *coretest.CertificateSpec) { c.SCTList = []byte{4, 3, 0, 1, 0} })
	}},
	{"LIB-28 SCT from before the log's window", false, func(w *world) {
		w.certified(func(c *coretest.CertificateSpec) { c.SCTTime = coretest.Start.Add(-48 * time.Hour) })
	}},
	{"A051 statement without subject", false, func(w *world) {
		w.resign([]byte(`{"_type":"https://in-toto.io/Statement/v1","subject":[],"predicateType":"https://sigstore.dev/cosign/sign/v1","predicate":{}}`))
	}},
	{"A043 payload that is no statement", false, func(w *world) { w.resign([]byte(`[]`)) }},
	{"LIB-01 statement about another image", false, func(w *world) { w.resign(coretest.Statement([32]byte{9}, "", "")) }},
}

// promisedFor has the certificate log promise the certificate as if issuer had made it.
func (w *world) promisedFor(issuer *coretest.CA, c *coretest.CertificateSpec) func([]sct.SCT) []sct.SCT {
	return func([]sct.SCT) []sct.SCT {
		precert := coretest.Issue(w.tb, c.Template, c.CA.Intermediate, w.opts.Key.Public(), c.CA.Key)
		return []sct.SCT{w.s.CTLog.SCT(w.tb, precert.RawTBSCertificate, issuer.Key.Public(), w.s.Clock.Now())}
	}
}

// resign signs, stamps and logs another payload rightly, with the same certificate.
func (w *world) resign(payload []byte) {
	e := w.evidence.Envelope
	e.Payload = payload
	e.Signature = coretest.Signature(w.tb, w.opts.Key, bundle.PAE(e.PayloadType, payload))
	w.evidence.Timestamps = [][]byte{w.s.TSA.Stamp(w.tb, e.Signature, w.s.Clock.Now())}
	w.relog(coretest.EntryBody(w.tb, w.evidence, w.digest, w.opts.Key.Public(), false))
}

// Constructed attacks, whose pieces are all genuine: ours refuses each one, and accepts the good twins. Where sigstore-go judges otherwise is printed; it may be more
// lenient, never stricter.
func TestLIB_AttacksAgree(t *testing.T) {
	for _, a := range attacks {
		t.Run(a.name, func(t *testing.T) {
			w := &world{tb: t, s: coretest.New(t), foreign: coretest.New(t), digest: [32]byte{1}}
			w.opts = coretest.SignOptions{Identity: coretest.Email("alice@acme.example"), Key: coretest.NewKey(t)}
			w.sign(w.opts)
			a.do(w)
			text, err := bundle.Marshal(w.evidence)
			if err != nil {
				t.Logf("core/bundle writes no such bundle: %v", err)
				if a.good {
					t.Error("a good twin cannot be written")
				}
				return
			}
			s := sample{bundle: text, root: w.s.TrustedRootJSON(t), digest: verify.SHA256(w.digest)}
			our, their := mustJudge(t, s)
			ourErr, theirErr := our(text), their(text)
			if (ourErr == nil) != a.good {
				t.Errorf("ours: %v, want accepted %v", ourErr, a.good)
			}
			if ourErr == nil && theirErr != nil {
				t.Errorf("ours accepts, sigstore-go refuses: %v", theirErr)
			}
			if ourErr != nil && theirErr == nil {
				t.Logf("sigstore-go accepts; ours: %v", ourErr)
			}
		})
	}
}
