package doctorcmd

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/core/coretest"
)

// What the doctor finds of a proxy's files, as a person, a script and an alert are told.
func TestDoctorProxy(t *testing.T) {
	policyFile, _ := commandtest.PolicyAndRoot(t, coretest.New(t))
	file := filepath.Join(filepath.Dir(policyFile), "proxy.yaml")
	text := "policy: policy.yaml\ntrust: [{name: acme, file: trusted_root.json}]\nmetrics: {listen: \"127.0.0.1:9465\"}\nregistries: [{name: registry.acme.example, upstream: \"https://registry.acme.example\"}]\n"
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	doctor := func(args ...string) (status int, out, errs string) {
		t.Helper()
		var stdout, stderr bytes.Buffer
		status = console.Run(t.Context(), commandtest.Root(New()), append([]string{"doctor", "proxy", "--config", file}, args...), &stdout, &stderr)
		return status, stdout.String(), stderr.String()
	}
	for _, c := range []struct {
		name   string
		mode   os.FileMode // of proxy.yaml
		args   []string
		status int
		want   string // of standard output, or standard error
	}{
		{"good", 0o644, []string{"--files-only"}, 0, "enforcing: yes (registry.acme.example)"},
		{"as a metric", 0o644, []string{"--files-only", "-o", "prometheus"}, 0, `touchmark_enforcing{client="proxy",cause=""} 1`},
		{"writable", 0o666, []string{"--files-only"}, 1, "config-writable"},
		{"writable, as JSON", 0o666, []string{"--files-only", "-o", "json"}, 1, `"code": "config-writable"`},
		{"writable, as a metric", 0o666, []string{"--files-only", "-o", "prometheus"}, 1, `touchmark_enforcing{client="proxy",cause="config-writable"} 0`},
		{"fixed", 0o666, []string{"--files-only", "--fix"}, 0, "undo: chmod 0666 " + file},
		{"not running", 0o644, []string{"--metrics-url", "http://127.0.0.1:1", "--url", "http://127.0.0.1:1"}, 3, "proxy-down"},
		{"no such file", 0o644, []string{"--files-only", "--config", file + ".old"}, 3, "config-missing"},
		{"no such format", 0o644, []string{"-o", "xml"}, 2, "--output"},
		{"a probe of nothing", 0o644, []string{"--files-only", "--probe-good", "a"}, 2, "--files-only"},
		{"no authority", 0o644, []string{"--ca", file + ".old"}, 2, "--ca: "},
		{"half a login", 0o644, []string{"--probe-user", "ci"}, 2, "probe-password-file"},
		{"no password", 0o644, []string{"--probe-user", "ci", "--probe-password-file", file + ".old"}, 2, "probe-password-file"},
	} {
		if err := os.Chmod(file, c.mode); err != nil {
			t.Fatal(err)
		}
		status, out, errs := doctor(c.args...)
		if status != c.status || !strings.Contains(out+errs, c.want) {
			t.Errorf("%s: status %d\n%s%s", c.name, status, out, errs)
		}
	}
}
