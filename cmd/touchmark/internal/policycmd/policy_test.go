package policycmd

import (
	"encoding/json"
	"io"
	"log"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/copycmd"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/verifycmd"
	"github.com/touchmark/touchmark/core/coretest"
)

const checkedPolicy = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.example/acme/**"}]
  authorities:
  - keyless:
      identities: [{issuer: "https://login.acme.example", subject: alice@acme.example}]
`

// TestPolicyCheck: 0 for a policy without warnings, 1 for one with, 2 for one
// that is refused.
func TestPolicyCheck(t *testing.T) {
	for _, tt := range []struct {
		name, text string
		status     int
		want       string
	}{
		{"good", checkedPolicy, 0, "policies: 1"},
		{"notes only", strings.Replace(checkedPolicy, "spec:", "spec:\n  mode: warn", 1), 0, "only observes"},
		{"warning", strings.Replace(checkedPolicy, "subject: alice@acme.example", `subjectRegExp: ".*"`, 1), 1, "everybody"},
		{"typo", strings.Replace(checkedPolicy, "subject:", "subjct:", 1), 2, "did you mean subject"},
		{"empty", "", 2, "no policy"},
	} {
		file := commandtest.WriteFile(t, "policy.yaml", tt.text)
		status, out, errs := command(t, "policy", "check", file)
		if status != tt.status || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: exit status %d, %s%s; want %d and %q", tt.name, status, out, errs, tt.status, tt.want)
		}
		if tt.status == 2 {
			if !strings.Contains(errs, file) {
				t.Errorf("%s: the error does not name the file: %s", tt.name, errs)
			}
			continue
		}
		var result checkResult
		status, out, _ = command(t, "policy", "check", "-o", "json", filepath.Dir(file))
		if err := json.Unmarshal([]byte(out), &result); err != nil || status != tt.status || result.Policies != 1 {
			t.Errorf("%s: exit status %d, JSON %s: %v", tt.name, status, out, err)
		}
	}
}

// TestPolicyCheckOfRoots: the chains of all trust roots are looked at, though no image is judged.
func TestPolicyCheckOfRoots(t *testing.T) {
	s := coretest.New(t)
	file := commandtest.WriteFile(t, "policy.yaml", checkedPolicy)
	good := commandtest.WriteFile(t, "trusted_root.json", string(s.TrustedRootJSON(t)))
	if status, out, errs := command(t, "policy", "check", file, "--trusted-root", good); status != 0 {
		t.Errorf("exit status %d, %s%s", status, out, errs)
	}
	status, out, errs := command(t, "policy", "check", file, "--trusted-root", "acme="+commandtest.BrokenRoot(t, s))
	if status != 2 || !strings.Contains(errs, "trusted root acme: certificateAuthorities[0].certChain") {
		t.Errorf("exit status %d, %s%s", status, out, errs)
	}
}

// TestPolicyTest decides about images in a registry, records what it answered,
// and comes to the same verdicts from the recording when the registry is gone.
func TestPolicyTest(t *testing.T) {
	sigstore := coretest.New(t)
	server := httptest.NewServer(registry.New(registry.WithReferrersSupport(true), registry.Logger(log.New(io.Discard, "", 0))))
	t.Cleanup(server.Close)
	host := strings.TrimPrefix(server.URL, "http://")
	signed := coretest.Push(t, host+"/acme/app:signed", coretest.Image(t, 1))
	coretest.Push(t, host+"/acme/app:unsigned", coretest.Image(t, 2))
	commandtest.Sign(t, sigstore, signed)

	root := commandtest.WriteFile(t, "trusted_root.json", string(sigstore.TrustedRootJSON(t)))
	rules := commandtest.WriteFile(t, "policy.yaml", strings.NewReplacer("registry.example", host, "https://login.acme.example", coretest.Issuer).Replace(checkedPolicy))
	expect := func(text string) string {
		return commandtest.WriteFile(t, "expectations.yaml", "images:\n"+strings.ReplaceAll(text, "HOST", host))
	}
	good := expect(`
- {image: HOST/acme/app:signed, expect: admitted, policy: release, signer: alice@acme.example}
- {image: HOST/acme/app:unsigned, expect: refused, code: unsigned}
- {image: HOST/other/app:1, expect: undecided}
`)
	recorded := filepath.Join(t.TempDir(), "evidence")
	flags := []string{"--policy", rules, "--trusted-root", root}
	try := func(file string, more ...string) (int, string, string) {
		return command(t, append(append([]string{"policy", "test", file}, flags...), more...)...)
	}
	if status, out, errs := try(good, "--record", recorded); status != 0 {
		t.Fatalf("exit status %d: %s%s", status, out, errs)
	}
	for _, tt := range []struct {
		status     int
		text, want string
	}{
		{1, "- {image: HOST/acme/app:signed, expect: refused}", "admitted, want refused"},
		{1, "- {image: HOST/acme/app:unsigned, expect: admitted}", "refused, want admitted"},
		{1, "- {image: HOST/acme/app:unsigned, expect: refused, code: revoked}", "want revoked"},
		{1, "- {image: HOST/acme/app:unsigned, expect: refused, reason: because}", "does not say"},
		{1, "- {image: HOST/acme/app:signed, expect: admitted, policy: other}", "policy other"},
		{1, "- {image: HOST/acme/app:signed, expect: admitted, signer: mallory@acme.example}", "mallory"},
		{3, "- {image: HOST/acme/app:missing, expect: admitted}", "undecided, want admitted"},
		{2, "- {image: HOST/acme/app:signed, expect: yes}", "expect"},
		{2, "- {image: HOST/acme/app:signed, expects: admitted}", "expects"},
		{2, "", "images"},
	} {
		if status, out, errs := try(expect(tt.text)); status != tt.status || !strings.Contains(out+errs, tt.want) {
			t.Errorf("%s: exit status %d, %s%s; want %d and %q", tt.text, status, out, errs, tt.status, tt.want)
		}
	}

	layout := filepath.Join(t.TempDir(), "layout")
	if status, _, errs := command(t, "copy", "--insecure-skip-verify", host+"/acme/app:signed", "oci:"+layout+":app"); status != 0 {
		t.Fatalf("copying to a layout: exit status %d: %s", status, errs)
	}
	server.Close()
	inLayout := expect("- {image: 'oci:" + layout + ":app', repository: HOST/acme/app, expect: admitted, signer: alice@acme.example}")
	if status, out, errs := try(inLayout); status != 0 {
		t.Errorf("from a layout: exit status %d: %s%s", status, out, errs)
	}
	if status, out, errs := try(good, "--offline", recorded); status != 0 {
		t.Errorf("offline: exit status %d: %s%s", status, out, errs)
	}
	if status, out, _ := try(good); status != 3 {
		t.Errorf("without the registry and the recording: exit status %d: %s", status, out)
	}
	if status, out, _ := try(expect("- {image: HOST/acme/app:new, expect: refused}"), "--offline", recorded); status != 3 || !strings.Contains(out, "not in the recording") {
		t.Errorf("what was not recorded: exit status %d: %s", status, out)
	}
	// A recording is trusted no more than a registry.
	tamper(t, recorded, digestHex(t, signed))
	if status, out, _ := try(good, "--offline", recorded); status == 0 {
		t.Errorf("a changed recording is believed: %s", out)
	}
}

func digestHex(t *testing.T, image name.Digest) string {
	t.Helper()
	return strings.TrimPrefix(image.DigestStr(), "sha256:")
}

// tamper changes what was recorded of the manifest with a digest.
func tamper(t *testing.T, dir, digest string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(dir, "*.json"))
	if err != nil || len(files) == 0 {
		t.Fatalf("nothing is recorded: %v", err)
	}
	for _, file := range files {
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		var kept recording
		if err := json.Unmarshal(text, &kept); err != nil {
			t.Fatal(err)
		}
		if strings.Contains(strings.ToLower(string(text)), "authorization") || kept.Status != 200 && kept.Status != 404 {
			t.Errorf("%s: keeps %s", file, text)
		}
		if strings.Contains(string(kept.Body), digest) || strings.HasSuffix(kept.URL, "/signed") {
			kept.Body = append(kept.Body, ' ')
		}
		if text, err = json.Marshal(kept); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// command runs a command, and returns its exit status and what it printed.
func command(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, []*cobra.Command{NewPolicy(), NewAllow(), NewPin(), NewRevoke(), verifycmd.NewExplain(), copycmd.New()}, args...)
}
