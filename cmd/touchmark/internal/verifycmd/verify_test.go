package verifycmd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/coretest"
)

// A command that decides takes a host's configuration in the place of a policy and trust roots.
func TestRulesOfAHost(t *testing.T) {
	sigstore := coretest.New(t)
	host := coretest.NewRegistry(t, true)
	signed := coretest.Push(t, host+"/acme/app:signed", coretest.Image(t, 1))
	unsigned := coretest.Push(t, host+"/acme/app:unsigned", coretest.Image(t, 2))
	commandtest.Sign(t, sigstore, signed)

	home := t.TempDir()
	t.Setenv("HOME", home)
	t.Setenv("XDG_CONFIG_HOME", filepath.Join(home, "config"))
	dir := filepath.Join(home, "config", "touchmark")
	for name, text := range map[string]string{
		"config.yaml":         "policy: policy.d\n",
		"policy.d/rules.yaml": strings.ReplaceAll(commandtest.Policy, "registry.acme.example", host),
		"trust/acme.json":     string(sigstore.TrustedRootJSON(t)),
	} {
		if err := os.MkdirAll(filepath.Dir(filepath.Join(dir, name)), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(dir, "config.yaml")
	for _, tt := range []struct {
		args   []string
		status int
		says   string
	}{
		{[]string{"verify", "--config", config, signed.String()}, 0, "alice@acme.example"},
		{[]string{"verify", "--config", config, unsigned.String()}, exit.StatusRefused, "is not signed"},
		{[]string{"explain", "--config", config, unsigned.String()}, exit.StatusRefused, "is not signed"},
		{[]string{"verify", "--config", config, "--policy", filepath.Join(dir, "policy.d"), signed.String()}, exit.StatusUsage, "--config"},
		{[]string{"verify", "--config", config, "--trusted-root", filepath.Join(dir, "trust/acme.json"), signed.String()}, exit.StatusUsage, "--config"},
		{[]string{"verify", "--config", filepath.Join(dir, "none.yaml"), signed.String()}, exit.StatusUsage, "none.yaml"},
	} {
		status, out, errs := touchmark(t, tt.args...)
		if status != tt.status || !strings.Contains(out+errs, tt.says) {
			t.Errorf("%v: exit status %d, want %d and %q:\n%s%s", tt.args, status, tt.status, tt.says, out, errs)
		}
	}
}

// touchmark runs a command, and returns its exit status and what it printed.
func touchmark(t *testing.T, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	return commandtest.Run(t, []*cobra.Command{NewVerify(), NewExplain()}, args...)
}
