package policy

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
)

// FuzzParse reads anything as a policy file. What is accepted must be complete:
// nothing in it may admit because something else was not understood.
func FuzzParse(f *testing.F) {
	for _, dir := range []string{"good", "bad"} {
		files, err := filepath.Glob(filepath.Join("testdata", dir, "*.yaml"))
		if err != nil || len(files) == 0 {
			f.Fatalf("no seeds in %s (%v)", dir, err)
		}
		for _, file := range files {
			data, err := os.ReadFile(file)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		o := stubbed(t)
		o.File = filepath.Join("testdata", "good", "fuzzed.yaml")
		set, err := Parse(t.Context(), data, o)
		if err != nil {
			if set != nil {
				t.Error("an error, and a set")
			}
			return
		}
		complete(t, set)
		set.Check(june, nil)
		edited, err := Edit(data, exceptionFor("registry.example/fuzzed", digestA).Change())
		if err != nil {
			return // such as documents that begin with directives
		}
		again, err := Parse(t.Context(), edited, o)
		if err != nil {
			t.Fatalf("an exception makes an accepted file unreadable: %v\n%s", err, edited)
		}
		if len(again.Policies) != len(set.Policies) || again.Enforcement.ExceptionFor("registry.example/fuzzed", digestA, june) == nil || !bytes.Contains(edited, []byte(digestA)) {
			t.Errorf("an exception changes the rest of the file:\n%s", edited)
		}
	})
}

// complete holds a set against what the gate relies on.
func complete(t *testing.T, set *Set) {
	t.Helper()
	for _, p := range set.Policies {
		if p.Name == "" || len(p.Globs) == 0 || len(p.Globs) != len(p.patterns) || len(p.Authorities) == 0 || p.Mode != Enforce && p.Mode != Observe {
			t.Errorf("incomplete policy: %+v", p)
		}
		if p.Predicate != nil && p.Predicate.program == nil {
			t.Errorf("policy %s has a predicate without a program", p.Name)
		}
		for _, a := range p.Authorities {
			ways := 0
			for _, given := range []bool{a.Static != nil, a.Key != nil, len(a.Identities) > 0, a.OpenPGP != nil} {
				if given {
					ways++
				}
			}
			if ways != 1 || a.Name == "" {
				t.Errorf("authority of %d ways: %+v", ways, a)
			}
			for _, att := range a.Attestations {
				if att.PredicateType == "" || att.Predicate != nil && att.Predicate.program == nil {
					t.Errorf("incomplete attestation: %+v", att)
				}
			}
		}
	}
	for _, x := range set.Enforcement.Exceptions {
		if !digestOnly.MatchString(x.Digest) || x.Reason == "" || x.By == "" || x.Expires.IsZero() || x.Expires.After(june.Add(MaxException)) {
			t.Errorf("incomplete exception: %+v", x)
		}
	}
	for _, r := range set.Enforcement.Revocations {
		if r.Digest == "" && r.Identity == nil && r.Key == nil {
			t.Errorf("empty revocation: %+v", r)
		}
	}
	if q := set.Enforcement.Witnesses; q.N > len(q.Witnesses) {
		t.Errorf("a quorum of %d of %d witnesses", q.N, len(q.Witnesses))
	}
}
