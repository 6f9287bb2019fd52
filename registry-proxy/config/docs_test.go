package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/registry-proxy/config"
)

var snippet = regexp.MustCompile("(?s)```yaml\n(.*?)```")

// Whatever docs/proxy.md shows can be started. Parts of a file are shown without the rest that least has.
func TestManual(t *testing.T) {
	text, err := os.ReadFile("../../docs/proxy.md")
	if err != nil {
		t.Fatal(err)
	}
	files, policies := 0, 0
	for _, m := range snippet.FindAllStringSubmatch(string(text), -1) {
		shown := m[1]
		if strings.Contains(shown, "kind: ") {
			file := filepath.Join(t.TempDir(), "policy.yaml")
			if err := os.WriteFile(file, []byte(shown), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := policy.Load(t.Context(), file, policy.Options{}); err != nil {
				t.Errorf("%v:\n%s", err, shown)
			}
			policies++
			continue
		}
		if !strings.Contains(shown, "registries:") {
			shown += least
		}
		if _, err := config.Parse([]byte(shown), "/etc/touchmark/proxy.yaml"); err != nil {
			t.Errorf("%v:\n%s", err, shown)
		}
		files++
	}
	if files < 8 || policies == 0 {
		t.Errorf("found %d configurations and %d policies", files, policies)
	}
}
