package policycmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/core/policy"
)

// TestExceptions makes each kind of decision about an image, and reads it back
// from the file.
func TestExceptions(t *testing.T) {
	host := coretest.NewRegistry(t, true)
	image := coretest.Push(t, host+"/acme/app:7", coretest.Image(t, 1))
	index := coretest.Push(t, host+"/acme/multi:7", mutate.AppendManifests(empty.Index,
		mutate.IndexAddendum{Add: coretest.Image(t, 2)}, mutate.IndexAddendum{Add: coretest.Image(t, 3)}))
	key, err := keys.Generate(keys.P256)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	public := filepath.Join(dir, "old.pub")
	text, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(public, text, 0o644); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "exceptions.yaml")
	for _, args := range [][]string{
		{"allow", host + "/acme/app:7", "--reason", "not signed yet", "--expires", "14d", "--by", "alice"},
		{"pin", host + "/acme/multi:7", "--review", "2099-01-01"},
		{"revoke", index.String(), "--reason", "a miner"},
		{"revoke", "--certificate-identity", "alice@acme.example", "--certificate-oidc-issuer", "https://login.acme.example", "--from", "2027-03-01", "--until", "2027-03-01", "--reason", "stolen"},
		{"revoke", "--key", public, "--reason", "lost"},
	} {
		status, out, errs := command(t, append(args, "--policy", file)...)
		if status != 0 {
			t.Fatalf("%v: exit status %d: %s", args, status, errs)
		}
		if strings.HasSuffix(args[1], ":7") && !strings.Contains(out, args[1]+" is ") {
			t.Errorf("%v does not say what the tag stands for: %s", args, out)
		}
	}
	info, err := os.Stat(file)
	if err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v; want mode 0644", info, err)
	}
	set, err := policy.Load(t.Context(), file, policy.Options{})
	if err != nil {
		t.Fatal(err)
	}
	e := set.Enforcement
	if len(e.Exceptions) != 1 || e.Exceptions[0].Digest != image.DigestStr() || e.Exceptions[0].By != "alice" {
		t.Errorf("exceptions are %+v", e.Exceptions)
	}
	if len(e.Pins) != 3 || e.Pins[0].Digest != index.DigestStr() {
		t.Errorf("pins are %+v", e.Pins)
	}
	if len(e.Revocations) != 5 || e.RevocationOf(index.DigestStr()) == nil || e.RevocationOf(e.Pins[1].Digest) == nil || e.Revocations[3].Identity == nil || e.Revocations[4].Key == nil {
		t.Errorf("revocations are %+v", e.Revocations)
	}

	before, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		status int
		args   []string
		want   string
	}{
		{2, []string{"allow", image.String(), "--reason", "r", "--expires", "91d"}, "90 days"},
		{2, []string{"allow", image.String(), "--reason", "r", "--expires", "2020-01-01"}, "over already"},
		{2, []string{"allow", image.String(), "--reason", "r", "--expires", "soon"}, "days from now such as 14d"},
		{2, []string{"allow", image.String(), "--expires", "1d"}, "--reason"},
		{2, []string{"allow", image.String(), "--reason", "r"}, "--expires"},
		{2, []string{"allow", host + "/acme/*", "--reason", "r", "--expires", "1d"}, "image"},
		{3, []string{"allow", host + "/acme/app:missing", "--reason", "r", "--expires", "1d"}, "resolving"},
		{3, []string{"pin", "127.0.0.1:1/acme/app:7"}, "resolving"},
		{2, []string{"revoke", "--reason", "r"}, "exactly one"},
		{2, []string{"revoke", image.String()}, "--reason"},
		{2, []string{"revoke", image.String(), "--from", "2027-01-01", "--reason", "r"}, "--from"},
		{2, []string{"revoke", image.String(), "--key", public, "--reason", "r"}, "exactly one"},
		{2, []string{"revoke", "--certificate-identity", "alice@acme.example", "--reason", "r"}, "--certificate-oidc-issuer is missing"},
		{2, []string{"revoke", "--certificate-oidc-issuer", "https://login.acme.example", "--reason", "r"}, "--certificate-identity is missing"},
		{2, []string{"revoke", "--key", file, "--reason", "r"}, "--key"},
		{2, []string{"revoke", "--key", public, "--from", "2027-02-01", "--until", "2027-01-01", "--reason", "r"}, "until lies before from"},
	} {
		status, _, errs := command(t, append(tt.args, "--policy", file)...)
		if status != tt.status || !strings.Contains(errs, tt.want) {
			t.Errorf("%v: exit status %d, %s; want %d and %q", tt.args, status, errs, tt.status, tt.want)
		}
	}
	after, err := os.ReadFile(file)
	if err != nil || !bytes.Equal(before, after) {
		t.Errorf("a refused change changed the file: %v", err)
	}
}

// TestExceptionsWithoutRegistry: who knows the digest can decide in an outage.
func TestExceptionsWithoutRegistry(t *testing.T) {
	file := filepath.Join(t.TempDir(), "exceptions.yaml")
	digest := "sha256:" + strings.Repeat("a", 64)
	status, _, errs := command(t, "revoke", "127.0.0.1:1/acme/app@"+digest, "--reason", "a miner", "--policy", file)
	if status != 0 || !strings.Contains(errs, "several platforms") {
		t.Fatalf("exit status %d: %s", status, errs)
	}
	set, err := policy.Load(t.Context(), file, policy.Options{})
	if err != nil || set.Enforcement.RevocationOf(digest) == nil {
		t.Errorf("the image is not revoked: %v", err)
	}
}

// TestExceptionsAreEnforced goes through an image's life: refused, excepted,
// revoked all the same.
func TestExceptionsAreEnforced(t *testing.T) {
	host := coretest.NewRegistry(t, true)
	image := coretest.Push(t, host+"/acme/app:7", coretest.Image(t, 1)).String()
	root := commandtest.WriteFile(t, "trusted_root.json", string(coretest.New(t).TrustedRootJSON(t)))
	dir := t.TempDir()
	rules := strings.ReplaceAll(checkedPolicy, "registry.example", host)
	if err := os.WriteFile(filepath.Join(dir, "release.yaml"), []byte(rules), 0o644); err != nil {
		t.Fatal(err)
	}
	verdict := func() (int, string) {
		t.Helper()
		status, out, errs := command(t, "explain", image, "--policy", dir, "--trusted-root", root)
		return status, out + errs
	}
	file := filepath.Join(dir, "exceptions.yaml")
	for _, tt := range []struct {
		args   []string
		status int
		want   string
	}{
		{nil, 1, "unsigned"},
		{[]string{"allow", image, "--reason", "not signed yet", "--expires", "7d", "--by", "alice"}, 0, "allowed-by-exception"},
		{[]string{"pin", image}, 0, "allowed-by-exception"},
		{[]string{"revoke", image, "--reason", "holds a miner"}, 1, "holds a miner"},
	} {
		if tt.args != nil {
			if status, _, errs := command(t, append(tt.args, "--policy", file)...); status != 0 {
				t.Fatalf("%v: exit status %d: %s", tt.args, status, errs)
			}
		}
		if status, said := verdict(); status != tt.status || !strings.Contains(said, tt.want) {
			t.Errorf("after %v: exit status %d, %s; want %d and %q", tt.args, status, said, tt.status, tt.want)
		}
	}
}
