package tlog

import (
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
)

// The sentences with a MUST of three of C2SP's specifications, each with what it
// asks for. Those of tlog-cosignature are in TestLIB17_Cosignatures.

// must is one sentence, with notes that keep it and notes that break it.
type must struct {
	sentence string
	opens    map[string]string
	fails    map[string]string
}

func (m must) hold(t *testing.T, v *Verifier, want Checkpoint) {
	t.Helper()
	for name, note := range m.opens {
		if got, err := v.Open(note); err != nil || got.Root != want.Root || got.Size != want.Size {
			t.Errorf("%q: %s: opened %+v (%v), want %+v", m.sentence, name, got, err, want)
		}
	}
	for name, note := range m.fails {
		if got, err := v.Open(note); err == nil || got != (Checkpoint{}) {
			t.Errorf("%q: %s: opened %+v (%v), want nothing but an error", m.sentence, name, got, err)
		}
	}
}

// TestMUST_SignedNote is c2sp.org/signed-note.
func TestMUST_SignedNote(t *testing.T) {
	for kind, key := range map[string]crypto.Signer{"ECDSA": newECDSA(t, elliptic.P256()), "Ed25519": newEd25519(t)} {
		t.Run(kind, func(t *testing.T) {
			cp := Checkpoint{Origin: origin, Size: 5, Root: [32]byte{1, 2, 3}}
			s := newSigner(t, origin, key)
			good := sign(t, s, cp.Text())
			text, line, _ := strings.Cut(good, "\n\n")
			text += "\n"
			named := func(name string) string {
				if kind == "Ed25519" {
					return sign(t, newSigner(t, name, key), cp.Text())
				}
				return strings.Replace(good, "— "+origin, "— "+name, 1)
			}
			stranger := newSigner(t, origin, newEd25519(t)) // the log's name, another key and ID
			byStranger := strings.TrimPrefix(sign(t, stranger, text), text+"\n")
			// Another name, and the log's key ID.
			sameID := signatureLine("other.example", s.KeyHash(), make([]byte, 64))
			forged := signatureLine(origin, s.KeyHash(), make([]byte, 64))
			unknown := func(n, size int) (lines string) {
				for i := range n {
					lines += signatureLine(fmt.Sprintf("unknown.example/%d", i), 7, make([]byte, size))
				}
				return lines
			}
			for _, m := range []must{
				{"The text MUST be ignored unless the note is signed by a trusted key and the signature has been verified.",
					map[string]string{"signed": good},
					map[string]string{"unsigned": text, "no signature lines": text + "\n", "signed by a stranger": text + "\n" + byStranger,
						"another text": strings.Replace(good, "\n5\n", "\n6\n", 1), "a signature of zeros": text + "\n" + forged}},
				{"Signed notes MUST be valid UTF-8 and MUST NOT contain any ASCII control characters (those below U+0020) other than newline.",
					map[string]string{"letters beyond ASCII": sign(t, s, strings.Replace(text, origin, "løg.example", 1)), "a name beyond ASCII": good + signatureLine("wïtness.example", 7, make([]byte, 64))},
					map[string]string{"invalid UTF-8 in the text": sign(t, s, strings.Replace(text, origin, "log\xff", 1)), "an overlong newline": sign(t, s, strings.Replace(text, origin, "log\xc0\x8a", 1)),
						"a surrogate": sign(t, s, strings.Replace(text, origin, "log\xed\xa0\x80", 1)), "invalid UTF-8 in a name": good + signatureLine("w\xff", 7, make([]byte, 64)),
						"a return": strings.ReplaceAll(good, "\n", "\r\n"), "a tab in a name": good + signatureLine("w\tx", 7, make([]byte, 64)), "NUL in the text": sign(t, s, strings.Replace(text, origin, "log\x00", 1)),
						"unit separator in the text": sign(t, s, strings.Replace(text, origin, "log\x1f", 1))}},
				{"Key names MUST be non-empty and MUST NOT contain any Unicode spaces or plus (U+002B) characters.",
					map[string]string{"a name with a path": good + signatureLine("witness.example/a-b_c~1", 7, make([]byte, 64))},
					map[string]string{"an empty name": good + signatureLine("", 7, make([]byte, 64)), "a space": good + signatureLine("a b", 7, make([]byte, 64)), "a no-break space": good + signatureLine("a\u00a0b", 7, make([]byte, 64)),
						"an em space": good + signatureLine("a\u2003b", 7, make([]byte, 64)), "an ideographic space": good + signatureLine("a\u3000b", 7, make([]byte, 64)), "a plus": good + signatureLine("a+b", 7, make([]byte, 64))}},
				{"Verifiers SHOULD apply a maximum limit to the number of signatures in a note (or, equivalently, to the overall size of a note), but MUST accept at least up to 16 signatures.",
					map[string]string{"16, the log's first": good + unknown(15, 64), "16, the log's last": text + "\n" + unknown(15, 64) + line, "16 of ML-DSA-44's size": good + unknown(15, 8+2420), "16 of ML-DSA-87's size": good + unknown(15, 8+4627)},
					map[string]string{"a thousand": good + unknown(1000, 64), "a megabyte": good + unknown(10, 100_000)}},
				{"Verifiers MUST ignore signatures from unknown keys, even if they share a name or ID (but not both) with a known key.",
					map[string]string{"the log's name first": text + "\n" + byStranger + line, "the log's name last": good + byStranger, "the log's ID first": text + "\n" + sameID + line, "the log's ID last": good + sameID,
						"an unknown algorithm": good + signatureLine("other.example", 9, []byte{1}) + signatureLine("third.example", 9, make([]byte, 300))},
					map[string]string{"nothing but those": text + "\n" + byStranger + sameID}},
				{"If the key name and ID match a known key, verifiers MUST verify the signature. If a signature from a known key fails to verify, clients SHOULD reject the whole note.",
					map[string]string{"it verifies": good},
					map[string]string{"it does not": text + "\n" + forged, "one doesn't, and then one does": text + "\n" + forged + line,
						"an empty one": text + "\n" + signatureLine(origin, s.KeyHash(), nil), "another name's": named("other.example")}},
				{"If no signature from a known key verifies successfully, clients MUST reject the note.",
					map[string]string{"one does": good + byStranger},
					map[string]string{"16 strangers": text + "\n" + unknown(16, 64), "a stranger under the log's name": text + "\n" + byStranger}},
			} {
				m.hold(t, s.Verifier(), cp)
			}
		})
	}
}

// "The ECDSA curve MUST be one of NIST P-256, NIST P-384, or NIST P-521, and
// SHOULD be NIST P-256." Here it is P-256, the one that logs have.
func TestMUST_SignedNoteCurve(t *testing.T) {
	for curve, want := range map[elliptic.Curve]bool{elliptic.P256(): true, elliptic.P224(): false, elliptic.P384(): false, elliptic.P521(): false} {
		if _, err := NewVerifier(origin, newECDSA(t, curve).Public()); (err == nil) != want {
			t.Errorf("%s: %v, want accepted %v", curve.Params().Name, err, want)
		}
	}
}

// TestMUST_Checkpoint is c2sp.org/tlog-checkpoint.
func TestMUST_Checkpoint(t *testing.T) {
	s := newSigner(t, origin, newEd25519(t))
	cp := Checkpoint{Origin: origin, Size: 5, Root: [32]byte{1, 2, 3}}
	text := cp.Text()
	of := func(origin string) string { return sign(t, s, origin+"\n"+strings.SplitN(text, "\n", 2)[1]) }
	witness := newEd25519(t)
	w := &Witness{Name: "witness.example", Key: witness.Public().(ed25519.PublicKey)}
	cosignature := signatureLine(w.Name, cosigner{w}.KeyHash(), append(make([]byte, 8), ed25519.Sign(witness, CosignedText([]byte(text), 0))...))
	for _, m := range []must{
		{"The origin MUST be non-empty",
			map[string]string{"one letter": of("o")}, map[string]string{"empty": of("")}},
		{"clients MUST NOT assume that the origin is following this format or that the URL corresponds to a reachable endpoint.",
			map[string]string{"spaces": of("the log of example - 1193050959916656506"), "a plus": of("log+1"), "a scheme": of("https://log.example"), "no URL at all": of("☃ %zz :"), "another name than the key's": of("another.example")}, nil},
		{"Extension lines, if any, MUST be non-empty.",
			map[string]string{"none": sign(t, s, text), "the one that Rekor v1 wrote": sign(t, s, text+"Timestamp: 1689177396617352539\n")},
			map[string]string{"an empty one": sign(t, s, text+"\n"), "an empty one before another": sign(t, s, text+"\nTimestamp: 1\n"), "an empty one behind another": sign(t, s, text+"Timestamp: 1\n\n")}},
		{"clients MUST ignore unknown signatures. This enables, for example, log key rotation, and witness cosigning.",
			map[string]string{"a witness that is not known": sign(t, s, text) + cosignature, "the log's next key": sign(t, s, text) + strings.TrimPrefix(sign(t, newSigner(t, origin, newEd25519(t)), text), text+"\n")},
			map[string]string{"nothing but a witness": text + "\n" + cosignature}},
	} {
		m.hold(t, s.Verifier(), cp)
	}
}

// "A log MUST not sign any checkpoint which is inconsistent with any checkpoint it
// previously signed. Two checkpoints are inconsistent if a consistency proof can't
// be constructed from one to the other." A log keeps it with VerifyConsistency,
// and whoever has two checkpoints finds out with it.
func TestMUST_CheckpointConsistency(t *testing.T) {
	older, newer := newTree(5), newTree(9)
	if err := VerifyConsistency(older.checkpoint(), newer.checkpoint(), newer.consistency(5)); err != nil {
		t.Error(err)
	}
	forked := slices.Clone(newer)
	forked[3] = LeafHash([]byte("another"))
	if err := VerifyConsistency(older.checkpoint(), forked.checkpoint(), forked.consistency(5)); err == nil {
		t.Error("a tree in which an old leaf was replaced is consistent")
	}
	if err := VerifyConsistency(newer.checkpoint(), older.checkpoint(), newer.consistency(5)); err == nil {
		t.Error("a tree that shrank is consistent")
	}
}

// TestMUST_Proof is c2sp.org/tlog-proof. Nothing here reads that text format: bundles
// carry the same parts, and three of its sentences are about its lines alone
// ("The first line MUST be the string `c2sp.org/tlog-proof@v1`", "The next line
// MUST start with the string `index`", "[Applications] MUST NOT implicitly trust the
// extra data"). What it says of a proof holds for every proof.
func TestMUST_Proof(t *testing.T) {
	s := newSigner(t, origin, newEd25519(t))
	tr := newTree(11)
	signed, err := s.SignCheckpoint(tr.checkpoint())
	if err != nil {
		t.Fatal(err)
	}
	cp, err := s.Verifier().Open(signed)
	if err != nil {
		t.Fatal(err)
	}
	const index = 6
	proof := tr.path(index)
	if err := VerifyInclusion(tr[index], index, proof, cp); err != nil {
		t.Errorf("a Merkle inclusion proof for the entry at that index in the checkpointed tree: %v", err)
	}
	reversed := slices.Clone(proof)
	slices.Reverse(reversed)
	for sentence, err := range map[string]error{
		"the zero-based index of the entry in the log":                              VerifyInclusion(tr[index], index+1, proof, cp),
		"for the entry at the specified index in the checkpointed tree":             VerifyInclusion(tr[index+1], index, proof, cp),
		"one SHA-256 hash per line":                                                 VerifyInclusion(tr[index], index, append(slices.Clone(proof[:len(proof)-1]), proof[len(proof)-1][:20]), cp),
		"starting from the leaf's sibling hash up to the root's child hash":         VerifyInclusion(tr[index], index, reversed, cp),
		"zero or more non-empty lines, but not for a tree of eleven leaves":         VerifyInclusion(tr[index], index, nil, cp),
		"the checkpoint issued by the log is included verbatim, not an earlier one": VerifyInclusion(tr[index], index, proof, newTree(10).checkpoint()),
	} {
		if err == nil {
			t.Errorf("%q: what breaks it is accepted", sentence)
		}
	}
	one := newTree(1)
	if err := VerifyInclusion(one[0], 0, nil, one.checkpoint()); err != nil {
		t.Errorf("a tree of one leaf, whose proof has no line: %v", err)
	}
	// A checkpoint that nobody signed is no part of a proof.
	if _, err := s.Verifier().Open(cp.Text() + "\n— " + origin + " " + base64.StdEncoding.EncodeToString(make([]byte, 68)) + "\n"); !errors.Is(err, ErrNotSigned) {
		t.Errorf("an unsigned checkpoint: %v", err)
	}
}
