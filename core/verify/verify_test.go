package verify_test

import (
	"errors"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestEveryFormIsAccepted is the control for everything else in this package.
func TestEveryFormIsAccepted(t *testing.T) {
	w := newWorld(t)
	for name, options := range forms(w) {
		result := requireAccepted(t, name, w.input(t, w.sign(t, options)))
		if result.Signer.Identity == nil || *result.Signer.Identity != alice || result.Signer.Key != "" {
			t.Errorf("%s: signer is %+v", name, result.Signer)
		}
		wantTimes := 1
		if options.Log == nil && !options.WithoutTimestamp {
			wantTimes = 2 // the log's promise and the timestamp
		}
		if len(result.Times) != wantTimes {
			t.Errorf("%s: times are %v, want %d", name, result.Times, wantTimes)
		}
		for _, at := range result.Times {
			if !at.Time.Equal(coretest.Start) {
				t.Errorf("%s: time is %v, want %v", name, at, coretest.Start)
			}
		}
		if len(result.Entries) != 1 || !result.Entries[0].Included {
			t.Errorf("%s: entries are %+v", name, result.Entries)
		}
		for _, c := range result.Checks {
			if !c.Passed {
				t.Errorf("%s: accepted although %q failed", name, c.Name)
			}
		}
	}
	key := coretest.NewKey(t)
	for name, options := range map[string]coretest.SignOptions{
		"key, Rekor v1": {Key: key}, "key, Rekor v2": {Key: key, Log: w.V2}, "key, simple signing": {Key: key, Content: coretest.SimpleSigning},
		"key, message signature": {Key: key, Content: coretest.MessageSignature}, "key, no time": {Key: key, Log: w.V2, WithoutTimestamp: true},
	} {
		in := w.input(t, w.sign(t, options))
		in.Signer = verify.Keyed(verify.Key{Name: "release", Public: key.Public()})
		if result := requireAccepted(t, name, in); result.Signer.Key != "release" || result.Signer.Identity != nil {
			t.Errorf("%s: signer is %+v", name, result.Signer)
		}
	}
}

// TestA052_Questions: a question that makes no sense is an error of its own
// kind, never an answer.
func TestA052_Questions(t *testing.T) {
	w := newWorld(t)
	key := verify.Key{Name: "k", Public: coretest.NewKey(t).Public()}
	good := w.input(t, w.sign(t, coretest.SignOptions{}))
	requireAccepted(t, "question", good)
	for name, change := range map[string]func(*verify.Input){
		"nothing":               func(in *verify.Input) { *in = verify.Input{} },
		"no evidence":           func(in *verify.Input) { in.Evidence = nil },
		"nobody expected":       func(in *verify.Input) { in.Signer = verify.Expected{} },
		"no identities":         func(in *verify.Input) { in.Signer = verify.Keyless() },
		"no keys":               func(in *verify.Input) { in.Signer = verify.Keyed() },
		"no root":               func(in *verify.Input) { in.Root = nil },
		"no root, log ignored":  func(in *verify.Input) { in.Root, in.InsecureIgnoreLog = nil, true },
		"no root for a key":     func(in *verify.Input) { in.Root, in.Signer = nil, verify.Keyed(key) },
		"no digest":             func(in *verify.Input) { in.Artifact = verify.Digest{} },
		"no digest value":       func(in *verify.Input) { in.Artifact.Value = nil },
		"empty digest":          func(in *verify.Input) { in.Artifact.Value = []byte{} },
		"short digest":          func(in *verify.Input) { in.Artifact.Value = in.Artifact.Value[:31] },
		"long digest":           func(in *verify.Input) { in.Artifact.Value = append(in.Artifact.Value[:32:32], 0) },
		"SHA-1":                 func(in *verify.Input) { in.Artifact = verify.Digest{Algorithm: "sha1", Value: make([]byte, 20)} },
		"algorithm in capitals": func(in *verify.Input) { in.Artifact.Algorithm = "SHA256" },
		"digest of another algorithm's length": func(in *verify.Input) {
			in.Artifact.Algorithm = "sha512"
		},
	} {
		in := good
		change(&in)
		result, err := verify.Verify(in)
		if !errors.Is(err, verify.ErrInput) || result != nil {
			t.Errorf("%s: result %v, error %v", name, result, err)
		}
	}
}

// TestLIB44_A125_AnotherTrustRoot: the same identity and issuer, certified and logged
// by another Sigstore, whole or in part.
func TestLIB44_A125_AnotherTrustRoot(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	for _, tt := range []struct {
		name string
		with func(s *coretest.Sigstore)
		want verify.Code
	}{
		{"the same Sigstore", func(*coretest.Sigstore) {}, ""},
		{"another one", func(s *coretest.Sigstore) { *s = *other.Sigstore }, verify.CodeUntrustedLog},
		{"another CA", func(s *coretest.Sigstore) { s.CA = other.CA }, verify.CodeUntrustedCA},
		{"another certificate log", func(s *coretest.Sigstore) { s.CTLog = other.CTLog }, verify.CodeSCT},
		{"another log", func(s *coretest.Sigstore) { s.V2 = other.V2 }, verify.CodeUntrustedLog},
		{"another timestamp authority", func(s *coretest.Sigstore) { s.TSA = other.TSA }, verify.CodeTimestamp},
	} {
		mixed := *w.Sigstore
		tt.with(&mixed)
		e := mixed.SignDigest(t, digest, coretest.SignOptions{Identity: alice, Log: mixed.V2})
		requireCode(t, tt.name, w.input(t, e), tt.want)
	}
	// An empty trust root trusts nobody.
	in := w.input(t, w.sign(t, coretest.SignOptions{}))
	in.Root = &trust.Root{Name: "empty"}
	requireCode(t, "empty root", in, verify.CodeUntrustedLog)
}

// TestLIB41_A031_Clock: the verifier's clock has no say where time is authenticated.
func TestLIB41_A031_Clock(t *testing.T) {
	w := newWorld(t)
	e := w.sign(t, coretest.SignOptions{Log: w.V2})
	for _, years := range []int{-10, 0, 10, 100} { // every certificate has expired after ten
		in := w.input(t, e)
		in.Now = in.Now.AddDate(years, 0, 0)
		requireAccepted(t, in.Now.String(), in)
		in.Artifact = verify.SHA256(otherDigest)
		requireCode(t, in.Now.String(), in, verify.CodeWrongArtifact)
	}
}
