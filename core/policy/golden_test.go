package policy

import (
	"context"
	"crypto"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/bundle"
)

// stub resolves and compiles what the examples refer to.
type stub struct{ tb testing.TB }

const reviewRules = "package sigstore\n\ndefault isCompliant = true\n"

func (s stub) PublicKey(_ context.Context, ref string) (crypto.PublicKey, error) {
	switch ref {
	case "awskms:///alias/release", filepath.Join("testdata", "good", "release.pub"):
		return ed25519Key(s.tb), nil
	}
	return nil, fmt.Errorf("reading key %s: no such key", ref)
}

func (s stub) Fetch(_ context.Context, ref string) ([]byte, error) {
	switch ref {
	case "https://policies.acme.example/review.rego", filepath.Join("testdata", "good", "rules", "review.rego"):
		return []byte(reviewRules), nil
	case filepath.Join("testdata", "good", "vendor.gpg"):
		return []byte("a keyring"), nil
	}
	return nil, fmt.Errorf("fetching %s: answered 404 Not Found", ref)
}

func (s stub) Compile(_ context.Context, source string) (Program, error) {
	if strings.Contains(source, "syntax error") {
		return nil, errors.New("line 1: syntax error")
	}
	return s, nil
}

func (s stub) Evaluate(context.Context, []byte) error { return nil }

func stubbed(tb testing.TB) Options {
	s := stub{tb}
	o := atJune()
	o.Evaluators, o.Resolve = map[string]Evaluator{"rego": s, "cue": s}, s
	return o
}

func good(name string) string { return filepath.Join("testdata", "good", name) }

// TestEveryField reads a policy that has every field, and finds each where the
// gate looks for it.
func TestEveryField(t *testing.T) {
	set, err := Load(t.Context(), good("policy.yaml"), stubbed(t))
	if err != nil {
		t.Fatal(err)
	}
	p := set.Policies[0]
	if p.Name != "every-field" || p.Mode != Observe || p.Predicate == nil || p.Predicate.Language != "cue" || len(p.Globs) != 2 || len(p.Authorities) != 6 {
		t.Errorf("the policy is %+v", p)
	}
	key, kms, file, keyless, own, static := p.Authorities[0], p.Authorities[1], p.Authorities[2], p.Authorities[3], p.Authorities[4], p.Authorities[5]
	if key.Key == nil || key.KeyHash != crypto.SHA512 || !key.RequireLog || key.LogURL != "https://log.acme.example" || key.LogTrustRoot != "acme" || key.TrustRoot != "acme" || key.Format != bundle.FormLegacy {
		t.Errorf("the key is %+v", key)
	}
	if diff := cmp.Diff([]Source{{Repository: "registry.example/signatures", TagPrefix: "prod-"}}, key.Sources); diff != "" {
		t.Error(diff)
	}
	if kms.Key == nil || kms.RequireLog || file.Key == nil {
		t.Errorf("the keys from elsewhere are %+v and %+v", kms, file)
	}
	if keyless.CAURL != "https://ca.acme.example" || keyless.TrustRoot != "acme" || !keyless.InsecureIgnoreSCT || len(keyless.Identities) != 2 ||
		!keyless.RequireTimestamp || keyless.TimestampTrustRoot != "acme" || keyless.RequireLog || keyless.Format != bundle.FormBundle {
		t.Errorf("the keyless authority is %+v", keyless)
	}
	var types []string
	for _, a := range keyless.Attestations {
		types = append(types, fmt.Sprintf("%s %s %s", a.Name, a.PredicateType, a.Predicate.Language))
	}
	want := []string{
		"provenance https://slsa.dev/provenance/v1 cue", "own https://acme.example/review/v1 rego",
		"reviewed https://cosign.sigstore.dev/attestation/v1 rego",
	}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Error(diff)
	}
	if keyless.Attestations[1].Predicate.Source != reviewRules {
		t.Errorf("the remote program is %q", keyless.Attestations[1].Predicate.Source)
	}
	if len(own.CACert) != 2 || own.CACert[1].Subject.CommonName != "root" {
		t.Errorf("the certificate authority is %v", own.CACert)
	}
	if static.Name != "authority-5" || static.Static == nil || static.Static.Pass || static.Static.Message == "" {
		t.Errorf("the static authority is %+v", static)
	}
}

func TestTrustRootDocument(t *testing.T) {
	set, err := Load(t.Context(), good("trustroot.yaml"), Options{})
	if err != nil {
		t.Fatal(err)
	}
	root := set.Roots[0]
	if root.Name != "acme" || len(root.CertificateAuthorities) != 1 || len(root.Logs) != 2 || len(root.CTLogs) != 1 || len(root.TimestampAuthorities) != 1 {
		t.Fatalf("the root is %+v", root)
	}
	if ca := root.CertificateAuthorities[0]; ca.URI != "https://ca.acme.example" || len(ca.Intermediates) != 1 || !ca.Window.Contains(june) {
		t.Errorf("the certificate authority is %+v", ca)
	}
	if tsa := root.TimestampAuthorities[0]; tsa.Authority.Leaf.Subject.CommonName != "tsa" {
		t.Errorf("the timestamp authority is %+v", tsa)
	}
	text, err := os.ReadFile(good("trustroot.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	before, rest, _ := strings.Cut(string(text), "    certificateAuthorities:\n")
	_, stamps, _ := strings.Cut(rest, "    timestampAuthorities:\n")
	before += "    certificateAuthorities: []\n"
	set, err = Parse(t.Context(), []byte(before+"    timestampAuthorities:\n"+stamps), Options{})
	if err != nil || len(set.Roots[0].TimestampAuthorities) != 1 {
		t.Errorf("a root of timestamp authorities alone: %v", err)
	}
	if _, err := Parse(t.Context(), []byte(before), Options{}); err == nil {
		t.Error("a root of nothing is read")
	}
}

func TestEnforcementDocument(t *testing.T) {
	set, err := Load(t.Context(), good("enforcement.yaml"), stubbed(t))
	if err != nil {
		t.Fatal(err)
	}
	e := set.Enforcement
	if e.Mode != Observe || e.Unmatched != (Unmatched{Mode: Observe}) || e.Index != IndexAndPlatform || e.Witnesses.N != 2 || len(e.Witnesses.Witnesses) != 3 || e.MaxSignatureAge != 180*24*time.Hour {
		t.Errorf("the site says %+v", e)
	}
	digest := func(c string) string { return "sha256:" + strings.Repeat(c, 64) }
	if e.RevocationOf(digest("a")) == nil || e.RevocationOf(digest("b")) != nil {
		t.Error("the wrong image is revoked")
	}
	identity, key := e.Revocations[1], e.Revocations[2]
	if identity.Identity == nil || !identity.From.Equal(time.Date(2027, 3, 1, 0, 0, 0, 0, time.UTC)) || !identity.Until.Equal(time.Date(2027, 3, 2, 12, 0, 0, 0, time.UTC)) || key.Key == nil {
		t.Errorf("revoked are %+v and %+v", identity, key)
	}
	ends := time.Date(2027, 6, 15, 23, 59, 59, 0, time.UTC)
	for _, tt := range []struct {
		repository, digest string
		at                 time.Time
		want               bool
	}{
		{"registry.example/acme/app", digest("b"), june, true},
		{"registry.example/acme/app", digest("b"), ends.Add(-time.Second), true},
		{"registry.example/acme/app", digest("b"), ends, false},
		{"registry.example/acme/other", digest("b"), june, false},
		{"registry.example/acme/app", digest("a"), june, false},
	} {
		if got := e.ExceptionFor(tt.repository, tt.digest, tt.at) != nil; got != tt.want {
			t.Errorf("exception for %s@%s at %s: %v, want %v", tt.repository, tt.digest, tt.at, got, tt.want)
		}
	}
	if e.PinFor("docker.io/library/postgres", digest("c")) == nil || e.PinFor("docker.io/library/other", digest("c")) != nil {
		t.Error("the wrong image is pinned")
	}
	if n := len(set.Policies); n != 2 {
		t.Fatalf("%d policies of OpenPGP signers, want 2", n)
	}
	red, vendor := set.Policies[0], set.Policies[1]
	if red.Mode != Enforce || !strings.Contains(string(red.Authorities[0].OpenPGP.Keyring), "PGP") || red.Authorities[0].OpenPGP.Lookaside == "" ||
		vendor.Mode != Observe || string(vendor.Authorities[0].OpenPGP.Keyring) != "a keyring" {
		t.Errorf("the signers are %+v and %+v", red, vendor)
	}
}

// TestDirectory reads several files as one set.
func TestDirectory(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	load := func() (*Set, error) { return Load(t.Context(), dir, atJune()) }
	write("20-b.yaml", strings.Replace(release, "name: release", "name: b", 1))
	write("10-a.yaml", release)
	write("exceptions.yaml", site("{index: index, exceptions: [{image: "+digestA+", reason: r, by: b, expires: 2027-06-10}]}"))
	write("more.yaml", site("{exceptions: [{image: "+digestB+", reason: r, by: b, expires: 2027-06-10}]}"))
	write("README", "not a policy")
	write(".hidden.yaml", "{")
	set, err := load()
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Policies) != 2 || set.Policies[0].Name != "release" || set.Policies[1].Name != "b" || len(set.Enforcement.Exceptions) != 2 || set.Enforcement.Index != IndexOnly {
		t.Errorf("the set is %+v, %+v", set.Policies, set.Enforcement)
	}
	first := set.Digest
	write("more.yaml", site("{exceptions: [{image: "+digestB+", reason: r, by: b, expires: 2027-06-11}]}"))
	if set, err = load(); err != nil || set.Digest == first {
		t.Errorf("another file, the same digest (%v)", err)
	}
	for _, tt := range []struct{ name, text, want string }{
		{"zz.yaml", site("{index: either}"), "zz.yaml:4: spec.index: index stands twice, first in " + filepath.Join(dir, "exceptions.yaml") + ":4"},
		{"zz.yaml", release, "zz.yaml:4: metadata.name: the name \"release\" stands twice, first in " + filepath.Join(dir, "10-a.yaml") + ":4"},
		{"zz.yaml", "", "zz.yaml: the file holds no policy"},
		{"zz.yml", release, "zz.yml: only files whose names end in .yaml are read"},
		{"zz.YAML", release, "zz.YAML: only files whose names end in .yaml are read"},
		{"zz.json", "{}", "zz.json: only files"},
	} {
		write(tt.name, tt.text)
		if _, err := load(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error is %v, want %q", tt.name, err, tt.want)
		}
		if err := os.Remove(filepath.Join(dir, tt.name)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := load(); err != nil {
		t.Errorf("the good twin is refused: %v", err)
	}
}

// TestClusterMatch: what only a cluster has is refused by name, or ignored.
func TestClusterMatch(t *testing.T) {
	const inCluster = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: p}
spec:
  match: [{resource: pods, group: "", version: v1}]
  images: [{glob: "**"}]
  authorities:
  - keyless: {identities: [{issuer: i, subject: s}]}
    source: [{signaturePullSecrets: [{name: x}]}]
  policy: {type: cue, data: x, includeSpec: true, includeObjectMeta: true, includeTypeMeta: true}
`
	_, err := Parse(t.Context(), []byte(inCluster), stubbed(t))
	for _, field := range []string{"spec.match", "signaturePullSecrets", "includeSpec", "includeObjectMeta", "includeTypeMeta"} {
		if err == nil || !strings.Contains(err.Error(), field+": is not supported") {
			t.Errorf("error is %v, want one that names %s", err, field)
		}
	}
	o := stubbed(t)
	o.IgnoreClusterMatch = true
	set, err := Parse(t.Context(), []byte(inCluster), o)
	if err != nil || len(set.Policies[0].Authorities[0].Sources) != 0 {
		t.Errorf("ignored: %+v, %v", set, err)
	}
}

var update = flag.Bool("update", false, "write the errors of testdata/bad as they are; read them before they are committed")

// TestBadFiles holds the errors of the files of testdata/bad against the
// comments that they begin with.
func TestBadFiles(t *testing.T) {
	files, err := filepath.Glob(filepath.Join("testdata", "bad", "*.yaml"))
	if err != nil || len(files) < 30 {
		t.Fatalf("%d files, want 30 at least (%v)", len(files), err)
	}
	for _, file := range files {
		data, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var want []string
		text := string(data)
		for strings.HasPrefix(text, "# want: ") {
			line, rest, _ := strings.Cut(text, "\n")
			want, text = append(want, strings.TrimPrefix(line, "# want: ")), rest
		}
		set, err := Load(t.Context(), file, stubbed(t))
		if err == nil {
			t.Errorf("%s: is accepted: %+v", file, set)
			continue
		}
		got := strings.ReplaceAll(err.Error(), filepath.Dir(file)+string(filepath.Separator), "")
		if *update {
			// Line numbers are those of the file with its comments.
			lines := "# want: " + strings.ReplaceAll(got, "\n", "\n# want: ") + "\n"
			if err := os.WriteFile(file, []byte(lines+text), 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		if diff := cmp.Diff(strings.Join(want, "\n"), got); diff != "" {
			t.Errorf("%s: %s", file, diff)
		}
	}
}
