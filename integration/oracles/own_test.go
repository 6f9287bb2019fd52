package oracles

import (
	"fmt"
	"testing"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// own returns bundles that core/coretest makes: every content, on both kinds of log, keyless and keyed, of one Sigstore.
func own(tb testing.TB, s *coretest.Sigstore, digest [32]byte) []sample {
	tb.Helper()
	root := s.TrustedRootJSON(tb)
	var samples []sample
	for _, content := range []coretest.Content{coretest.DSSE, coretest.MessageSignature} {
		for _, log := range []*coretest.Log{s.V1, s.V2} {
			for _, keyless := range []bool{true, false} {
				key := coretest.NewKey(tb)
				opts := coretest.SignOptions{Key: key, Content: content, Log: log}
				one := sample{
					name: fmt.Sprintf("%s %s %s", map[coretest.Content]string{coretest.DSSE: "dsse", coretest.MessageSignature: "message"}[content],
						map[bool]string{true: "rekor v1", false: "rekor v2"}[log.Promises], map[bool]string{true: "keyless", false: "keyed"}[keyless]),
					root: root, digest: verify.SHA256(digest), key: key.Public(),
				}
				if keyless {
					opts.Identity, one.key = coretest.Email("alice@acme.example"), nil
				}
				text, err := bundle.Marshal(s.SignDigest(tb, digest, opts))
				if err != nil {
					tb.Fatal(err)
				}
				one.bundle = text
				samples = append(samples, one)
			}
		}
	}
	return samples
}

// Bundles of our own: what we make, sigstore-go accepts; what is tampered with, ours refuses wherever sigstore-go does.
func TestLIB35_TamperedOwnBundles(t *testing.T) {
	s := coretest.New(t)
	samples := own(t, s, [32]byte{1})
	// Donors are all others of the same Sigstore, the same ones for another image, and the same ones of a foreign Sigstore.
	donors := make([][]byte, 0, 3*len(samples))
	for _, set := range [][]sample{samples, own(t, s, [32]byte{2}), own(t, coretest.New(t), [32]byte{1})} {
		for _, d := range set {
			donors = append(donors, d.bundle)
		}
	}
	for _, one := range samples {
		t.Run(one.name, func(t *testing.T) {
			t.Parallel()
			tamper(t, one, donors...).report(t, one)
		})
	}
}
