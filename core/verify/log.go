package verify

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"net/url"
	"regexp"
	"strings"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/tlog"
	"github.com/touchmark/touchmark/core/tlog/entry"
	"github.com/touchmark/touchmark/core/trust"
)

// minLogs is how many distinct logs of the trust root must hold the signature.
const minLogs = 1

// checkEntries checks every entry that is in a log of the trust root, and that
// there are enough of them. Entries in other logs are ignored: they prove
// nothing, and a signer may well use more logs than this verifier knows.
func (r *run) checkEntries() error {
	if r.Root == nil {
		r.pass(checkEntry, "not asked for", "")
		return nil
	}
	logs := make(map[[32]byte]bool)
	for _, e := range r.Evidence.Entries {
		log := r.Root.FindLog(e.LogID)
		if log == nil {
			continue
		}
		if err := r.checkLogEntry(e, log); err != nil {
			return err
		}
		logs[log.ID] = true
	}
	if len(logs) >= minLogs || r.leaf == nil && r.InsecureIgnoreLog {
		return nil
	}
	found := "no log entry"
	if n := len(r.Evidence.Entries); n > 0 {
		found = fmt.Sprintf("an entry in log %x", r.Evidence.Entries[0].LogID)
	}
	return r.fail(CodeUntrustedLog, checkEntry, found, "a log of trust root "+r.Root.Name,
		fmt.Errorf("it has %s, but none in a log of the trust root %s", found, r.Root.Name))
}

// checkLogEntry checks one entry: that it is about this very signature, and
// that the log holds it.
func (r *run) checkLogEntry(e bundle.Entry, log *trust.Log) error {
	body, v2, err := r.rebuildBody(e)
	if err != nil {
		var unsupported *unsupportedEntry
		if errors.As(err, &unsupported) {
			return r.refuse(CodeUnsupported, checkEntry, "%w", err)
		}
		return r.refuse(CodeLogEntry, checkEntry, "%w", err)
	}
	// The leaf that is proven below is the rebuilt one. The body that came with
	// the evidence is compared so that it can't say anything else to a reader.
	if !bytes.Equal(body, e.Body) {
		return r.refuse(CodeLogEntry, checkEntry, "the %s %s entry is not about this signature, digest and key", e.Kind, e.Version)
	}
	r.pass(checkEntry, fmt.Sprintf("%s %s, index %d", e.Kind, e.Version, e.LogIndex), "")

	verified := LogEntry{Log: log.BaseURL, Index: e.LogIndex}
	switch {
	case e.SET == nil && e.Proof == nil:
		return r.refuse(CodeLog, checkProof, "the log entry has neither a promise nor a proof")
	case v2 && e.Proof == nil:
		return r.refuse(CodeLog, checkProof, "the Rekor v2 entry has no inclusion proof")
	case v2 && e.SET != nil:
		return r.refuse(CodeLog, checkProof, "the Rekor v2 entry has a signed entry timestamp, which such logs don't make")
	}
	if e.SET != nil {
		if err := r.checkPromise(e, body, log); err != nil {
			return err
		}
	} else {
		r.unwindowed = append(r.unwindowed, log)
	}
	if e.Proof != nil {
		if err := checkInclusion(e, body, log, v2); err != nil {
			return r.refuse(CodeLog, checkProof, "%w", err)
		}
		verified.Included = true
		if e.SET == nil && !v2 {
			// Only the promise covers the index over all shards.
			verified.Index = e.Proof.Index
		}
		r.pass(checkProof, fmt.Sprintf("index %d of %d leaves", e.Proof.Index, e.Proof.TreeSize), "")
	}
	r.result.Entries = append(r.result.Entries, verified)
	return nil
}

// checkPromise verifies a Rekor v1 signed entry timestamp and takes the
// integrated time from it.
func (r *run) checkPromise(e bundle.Entry, body []byte, log *trust.Log) error {
	key, ok := log.Key.(*ecdsa.PublicKey)
	if !ok {
		return r.refuse(CodeLog, checkProof, "the log %s does not make signed entry timestamps", log.BaseURL)
	}
	promise := entry.Promise{Body: body, IntegratedTime: e.IntegratedTime, LogIndex: e.LogIndex, LogID: e.LogID}
	if err := promise.Verify(key, e.SET); err != nil {
		return r.refuse(CodeLog, checkProof, "%w", err)
	}
	at := time.Unix(e.IntegratedTime, 0).UTC()
	if !log.Window.Contains(at) {
		return r.fail(CodeUntrustedLog, checkProof, at.Format(time.RFC3339), log.Window.String(),
			fmt.Errorf("the log %s is trusted %s, but the entry is of %s", log.BaseURL, log.Window, at.Format(time.RFC3339)))
	}
	r.result.Times = append(r.result.Times, Time{Time: at, Source: "log", URI: log.BaseURL})
	r.pass(checkProof, "signed entry timestamp of "+at.Format(time.RFC3339), "")
	return nil
}

// originV1 is the form of a Rekor v1 checkpoint's origin: the log's name and
// the tree's ID.
var originV1 = regexp.MustCompile(`^(\S+) - [0-9]+$`)

// checkInclusion verifies the inclusion proof of a body against the checkpoint
// that came with it, and that checkpoint's signature.
func checkInclusion(e bundle.Entry, body []byte, log *trust.Log, v2 bool) error {
	p := e.Proof
	origin, _, _ := strings.Cut(p.Checkpoint, "\n")
	name := ""
	if m := originV1.FindStringSubmatch(origin); m != nil && !v2 {
		// A v1 log signs under a name that private deployments often leave at
		// its default; the key, which is in the trust root, decides.
		name = m[1]
	} else if m == nil && v2 {
		u, err := url.Parse(log.BaseURL)
		if err != nil || u.Hostname() == "" {
			return fmt.Errorf("the trust root's baseUrl of the log, %q, names no host", log.BaseURL)
		}
		name = u.Hostname()
	} else {
		return fmt.Errorf("checkpoint: its origin %q is not one of the entry's kind of log", origin)
	}
	verifier, err := tlog.NewVerifier(name, log.Key)
	if err != nil {
		return err
	}
	cp, err := verifier.Open(p.Checkpoint)
	if err != nil {
		return err
	}
	switch {
	case v2 && cp.Origin != name:
		return fmt.Errorf("checkpoint: its origin is %q, want %q", cp.Origin, name)
	case v2 && p.Index != e.LogIndex:
		return fmt.Errorf("inclusion proof: it is for index %d, the entry has %d", p.Index, e.LogIndex)
	case uint64(p.TreeSize) != cp.Size || !bytes.Equal(p.RootHash, cp.Root[:]):
		return errors.New("inclusion proof: its tree is not the checkpoint's")
	}
	return tlog.VerifyInclusion(tlog.LeafHash(body), uint64(p.Index), p.Hashes, cp)
}

// unsupportedEntry is the error for kinds of entries that are not read.
type unsupportedEntry struct{ kind, version string }

func (u *unsupportedEntry) Error() string {
	return fmt.Sprintf("log entries of kind %q %q are not supported for this form of evidence", u.kind, u.version)
}

// rebuildBody makes the body that a log must hold for this evidence, from what
// was verified here, in the kind and version that the entry claims to have.
// v2 says that the kind is one of Rekor v2.
func (r *run) rebuildBody(e bundle.Entry) (body []byte, v2 bool, err error) {
	ev := r.Evidence
	switch e.Kind + " " + e.Version {
	case entry.KindHashedRekord + " " + entry.V002:
		body, err = r.rebuildV2()
		return body, true, err
	case entry.KindHashedRekord + " " + entry.V001:
		if ev.Envelope != nil {
			break // the reference refuses it: an envelope is logged as dsse or intoto
		}
		hash, digest := crypto.SHA256, []byte(nil)
		if ev.Message != nil {
			if hash, err = hashByName(ev.Message.DigestAlgorithm); err != nil {
				return nil, false, err
			}
			digest = ev.Message.Digest
		} else {
			sum := sha256.Sum256(ev.Payload.Text)
			digest = sum[:]
		}
		verifier, err := r.verifierPEM()
		if err != nil {
			return nil, false, err
		}
		body, err = entry.HashedRekordV001(hash, digest, ev.Signature(), verifier)
		return body, false, err
	case entry.KindDSSE + " " + entry.V001, entry.KindIntoto + " " + entry.V002:
		if ev.Envelope == nil {
			break
		}
		body, err = r.rebuildEnvelope(e)
		return body, false, err
	}
	return nil, false, &unsupportedEntry{e.Kind, e.Version}
}

func (r *run) rebuildV2() ([]byte, error) {
	ev := r.Evidence
	hash, err := entry.HashFor(r.key)
	if err != nil {
		return nil, err
	}
	var digest []byte
	if ev.Message != nil {
		digest = ev.Message.Digest
	} else {
		text := ev.Payload
		h := hash.New()
		if ev.Envelope != nil {
			h.Write(bundle.PAE(ev.Envelope.PayloadType, ev.Envelope.Payload))
		} else {
			h.Write(text.Text)
		}
		digest = h.Sum(nil)
	}
	v := entry.Verifier{Key: r.key}
	if r.leaf != nil {
		v.Certificate = r.leaf.Raw
	}
	return entry.HashedRekordV002(digest, ev.Signature(), v)
}

// envelopeBody is the one part of a logged envelope's body that only the log
// knows: the hash of the JSON text that it was sent.
type envelopeBody struct {
	Spec struct {
		EnvelopeHash hashValue `json:"envelopeHash"` // dsse
		Content      struct {  // intoto
			Hash     hashValue `json:"hash"`
			Envelope struct {
				Signatures []intotoSignature `json:"signatures"`
			} `json:"envelope"`
		} `json:"content"`
	} `json:"spec"`
}

// intotoSignature is what an intoto entry repeats in the words of the client
// that made it.
type intotoSignature struct {
	KeyID     string `json:"keyid"`
	PublicKey []byte `json:"publicKey"` // PEM
}

type hashValue struct {
	Algorithm string `json:"algorithm"`
	Value     string `json:"value"`
}

func (h hashValue) sha256() (sum [32]byte, err error) {
	raw, err := hex.DecodeString(h.Value)
	if err != nil || len(raw) != len(sum) || h.Algorithm != "sha256" {
		return sum, errors.New("the log entry's envelope hash is not a SHA-256")
	}
	return [32]byte(raw), nil
}

func (r *run) rebuildEnvelope(e bundle.Entry) ([]byte, error) {
	var claimed envelopeBody
	if err := json.Unmarshal(e.Body, &claimed); err != nil {
		return nil, fmt.Errorf("the log entry's body is malformed JSON: %w", err)
	}
	verifier, err := r.verifierPEM()
	if err != nil {
		return nil, err
	}
	env := r.Evidence.Envelope
	payloadHash := sha256.Sum256(env.Payload)
	if e.Kind == entry.KindDSSE {
		envelopeHash, err := claimed.Spec.EnvelopeHash.sha256()
		if err != nil {
			return nil, err
		}
		return entry.DSSEV001(envelopeHash, payloadHash, env.Signature, verifier)
	}
	envelopeHash, err := claimed.Spec.Content.Hash.sha256()
	if err != nil {
		return nil, err
	}
	// Unlike the other kinds, this one keeps the client's own PEM text, which may
	// lack the last line break: it is taken over if it says the same.
	sigs := claimed.Spec.Content.Envelope.Signatures
	if len(sigs) != 1 || !samePEM(sigs[0].PublicKey, verifier) {
		return nil, errors.New("the log entry is about another certificate or key")
	}
	return entry.IntotoV002(envelopeHash, payloadHash, env.PayloadType, sigs[0].KeyID, env.Signature, sigs[0].PublicKey)
}

// samePEM reports whether two PEM texts hold the same single block.
func samePEM(untrusted, own []byte) bool {
	a, rest := pem.Decode(untrusted)
	b, _ := pem.Decode(own)
	return a != nil && len(rest) == 0 && a.Type == b.Type && bytes.Equal(a.Bytes, b.Bytes)
}

// verifierPEM is the signer as Rekor v1 entries hold it.
func (r *run) verifierPEM() ([]byte, error) {
	if r.leaf != nil {
		return entry.CertificatePEM(r.leaf.Raw), nil
	}
	return entry.PublicKeyPEM(r.key)
}
