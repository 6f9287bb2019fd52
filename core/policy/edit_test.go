package policy

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/identity"
)

var (
	digestA = "sha256:" + strings.Repeat("a", 64)
	digestB = "sha256:" + strings.Repeat("b", 64)
	june    = time.Date(2027, 6, 1, 12, 0, 0, 0, time.UTC)
)

func atJune() Options { return Options{Now: func() time.Time { return june }} }

func exceptionFor(repository, digest string) Exception {
	return Exception{Repository: repository, Digest: digest, Reason: "release 7 must go out", By: "alice", Expires: time.Date(2027, 6, 30, 23, 59, 59, 0, time.UTC)}
}

// TestEdit writes each kind of entry, and reads it back as it was meant.
func TestEdit(t *testing.T) {
	file, err := Edit(nil,
		exceptionFor("registry.example/acme/app", digestA).Change(),
		Pin{Repository: "docker.io/library/alpine", Digest: digestB, By: "alice", Review: june}.Change(),
		RevocationEntry{Digest: digestB, Reason: "a miner"}.Change(),
		RevocationEntry{Identity: &identity.Spec{Issuer: "https://login.acme.example", SubjectRegExp: `.*@acme\.example`}, From: june, Until: june.Add(time.Hour), Reason: "stolen token"}.Change(),
		RevocationEntry{KeyPEM: publicPEM(t, ed25519Key(t)), Reason: "lost laptop"}.Change(),
	)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Parse(t.Context(), file, atJune())
	if err != nil {
		t.Fatalf("%v\n%s", err, file)
	}
	e := set.Enforcement
	if diff := cmp.Diff([]Exception{exceptionFor("registry.example/acme/app", digestA)}, e.Exceptions); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff([]Pin{{Repository: "docker.io/library/alpine", Digest: digestB, By: "alice", Review: june}}, e.Pins); diff != "" {
		t.Error(diff)
	}
	if len(e.Revocations) != 3 || e.Revocations[0].Digest != digestB || e.Revocations[1].Identity == nil || !e.Revocations[1].From.Equal(june) ||
		!e.Revocations[1].Until.Equal(june.Add(time.Hour)) || e.Revocations[2].Key == nil {
		t.Errorf("revocations are %+v", e.Revocations)
	}
}

// TestEditKeeps: what is not changed stays as it was written.
func TestEditKeeps(t *testing.T) {
	before := `# the site's policy
---
` + keyed + `---
# what we make exceptions of
apiVersion: touchmark.dev/v1alpha1
kind: Enforcement
spec:
  # seen by bob
  exceptions:
  # the old one
  - image: sha256:cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc # c
    expires: 2027-06-10
    by: bob
    reason: old
  index: either
---
` + strings.TrimPrefix(release, "\n")
	after, err := Edit([]byte(before), exceptionFor("", digestA).Change())
	if err != nil {
		t.Fatal(err)
	}
	want := strings.Replace(before, "    reason: old\n", "    reason: old\n  - image: "+digestA+"\n    reason: release 7 must go out\n    by: alice\n    expires: 2027-06-30\n", 1)
	want = strings.Replace(want, "  # seen by bob\n  exceptions:\n  # the old one\n", "  # seen by bob\n  exceptions:\n    # the old one\n", 1)
	want = indentList(want)
	if diff := cmp.Diff(want, string(after)); diff != "" {
		t.Error(diff)
	}
	// The same image again replaces the entry.
	longer := exceptionFor("", digestA)
	longer.Expires, longer.Reason = longer.Expires.Add(24*time.Hour), "still"
	twice, err := Edit(after, longer.Change())
	if err != nil {
		t.Fatal(err)
	}
	set, err := Parse(t.Context(), twice, atJune())
	if err != nil {
		t.Fatalf("%v\n%s", err, twice)
	}
	if n := len(set.Enforcement.Exceptions); n != 2 || set.Enforcement.Exceptions[1].Reason != "still" {
		t.Errorf("%d exceptions: %+v", n, set.Enforcement.Exceptions)
	}
	// A revocation never replaces another.
	revoked := []byte(nil)
	for _, r := range []RevocationEntry{
		{Identity: &identity.Spec{Issuer: "i", Subject: "s"}, Reason: "all of it"},
		{Identity: &identity.Spec{Issuer: "i", Subject: "s"}, From: june, Reason: "some of it"},
	} {
		if revoked, err = Edit(revoked, r.Change()); err != nil {
			t.Fatal(err)
		}
	}
	if n := strings.Count(string(revoked), "subject: s"); n != 2 {
		t.Errorf("%d revocations, want 2:\n%s", n, revoked)
	}
}

// indentList indents the entries of spec.exceptions as the YAML library does.
func indentList(text string) string {
	lines := strings.Split(text, "\n")
	inside := false
	for i, line := range lines {
		switch {
		case line == "  exceptions:":
			inside = true
		case line == "  index: either":
			inside = false
		case inside && !strings.HasPrefix(line, "    #"):
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n")
}

// TestEditRefuses: a file that is not understood is not changed.
func TestEditRefuses(t *testing.T) {
	for _, text := range []string{"{", "kind: Enforcement\n", "kind: Enforcement\nspec: {exceptions: x}\n", "kind: Enforcement\nspec: 1\n"} {
		if out, err := Edit([]byte(text), exceptionFor("", digestA).Change()); err == nil {
			t.Errorf("%q becomes\n%s", text, out)
		}
	}
	for _, text := range []string{"", "\n", "# nothing\n", keyed, strings.TrimSuffix(keyed, "\n"), "---\n" + keyed} {
		out, err := Edit([]byte(text), exceptionFor("", digestA).Change())
		if err != nil {
			t.Errorf("%q: %v", text, err)
			continue
		}
		if _, err := Parse(t.Context(), out, atJune()); err != nil {
			t.Errorf("%q: %v\n%s", text, err, out)
		}
	}
}

// TestA061_EditLosesNothing: what YAML takes for the beginning of a document,
// and a reader of lines does not, would be dropped with all that stands behind it.
func TestA061_EditLosesNothing(t *testing.T) {
	own := site("{mode: enforce}")
	for _, sep := range []string{"---\n", "\r\n---\r\n", "--- # the others\n", "...\n---\n"} {
		file, err := Edit([]byte(own+sep+release), exceptionFor("", digestA).Change())
		if err != nil {
			t.Errorf("%q: %v", sep, err)
			continue
		}
		if set, err := Parse(t.Context(), file, atJune()); err != nil || len(set.Policies) != 1 || len(set.Enforcement.Exceptions) != 1 {
			t.Errorf("%q: read back as %+v (%v)", sep, set, err)
		}
	}
	for _, sep := range []string{"\r---\r", "\u0085---\u0085", "\u2028---\n", "\u2029---\n"} {
		if file, err := Edit([]byte(own+sep+release), exceptionFor("", digestA).Change()); err == nil || !strings.Contains(err.Error(), "line break") {
			t.Errorf("%q: error is %v, want one about the line break\n%s", sep, err, file)
		}
	}
}
