package proxycmd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// The unit lets the proxy write where it has to, and is not printed where it would keep it from making its key.
func TestProxyUnit(t *testing.T) {
	dir := t.TempDir()
	for _, made := range []string{"made.key", "made.pem"} {
		if err := os.WriteFile(filepath.Join(dir, made), nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct {
		more   string
		status int
		want   string
	}{
		{"", 0, "proxy.yaml\n"},
		{"state: here\ncache: {dir: /srv/cache, size: 1GiB}\ndecisions: {file: /srv/log/decisions.jsonl}\n", 0, "ReadWritePaths=-/srv/cache\nReadWritePaths=-/srv/log\nReadWritePaths=-" + dir + "/here\n"},
		{"countersign: {key: new.key, authority: new.pem}\n", exit.StatusUsage, "countersign.key: " + dir + "/new.key is not there"},
		{"countersign: {key: made.key, authority: new.pem}\n", exit.StatusUsage, "countersign.authority: " + dir + "/new.pem is not there"},
		{"countersign: {key: \"awskms:///alias/proxy\", authority: new.pem}\n", exit.StatusUsage, "countersign.authority: "},
		{"countersign: {key: made.key, authority: made.pem}\n", 0, "proxy.yaml\n"},
		{"countersign: {key: \"awskms:///alias/proxy\", authority: made.pem}\n", 0, "proxy.yaml\n"},
		{"countersign: {key: /var/lib/touchmark-proxy/new.key, authority: /var/lib/touchmark-proxy/new.pem}\n", 0, "proxy.yaml\n"},
		{"state: here\ncountersign: {key: here/new.key, authority: here/new.pem}\n", 0, "ReadWritePaths=-" + dir + "/here\n"},
	} {
		file := filepath.Join(dir, "proxy.yaml")
		if err := os.WriteFile(file, fmt.Appendf(nil, "policy: p.yaml\nregistries: [{upstream: \"https://registry.example\"}]\n%s", c.more), 0o600); err != nil {
			t.Fatal(err)
		}
		status, out, errs := commandtest.Run(t, []*cobra.Command{New()}, "proxy", "--config", file, "--systemd")
		if status != c.status || !strings.Contains(out+errs, c.want) || status != 0 && out != "" {
			t.Errorf("%sstatus %d, want %d and %q:\n%s%s", c.more, status, c.status, c.want, out, errs)
		}
	}
}
