package distribution_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/touchmark/touchmark/containerd"
	"github.com/touchmark/touchmark/containerd/distribution"
)

// --data-dir is what k3s takes for it: a flag before config.yaml, that before the environment.
func TestCTRD09_DataDir(t *testing.T) {
	const (
		flag   = "[Service]\nExecStart=/usr/local/bin/k3s server --data-dir=/flag\n"
		plain  = "[Service]\nExecStart=/usr/local/bin/k3s server\n"
		system = "/etc/systemd/system/k3s.service"
		file   = "/etc/rancher/k3s/config.yaml"
	)
	for what, c := range map[string]struct {
		files map[string]string
		want  string
	}{
		"nothing":                     {map[string]string{system: plain}, rancher + "k3s"},
		"a flag":                      {map[string]string{system: flag}, "/flag"},
		"config.yaml":                 {map[string]string{system: plain, file: "data-dir: /file\n"}, "/file"},
		"its short name":              {map[string]string{file: "d: /file\n"}, "/file"},
		"a drop-in":                   {map[string]string{file: "data-dir: /file\n", file + ".d/10.yml": "data-dir: /first\n", file + ".d/20.yaml": "data-dir: /last\n"}, "/last"},
		"a flag and config.yaml":      {map[string]string{system: flag, file: "data-dir: /file\n"}, "/flag"},
		"another config.yaml":         {map[string]string{system: "[Service]\nExecStart=k3s server -c /srv/k3s.yaml\n", "/srv/k3s.yaml": "data-dir: /other\n", file: "data-dir: /file\n"}, "/other"},
		"the unit's environment":      {map[string]string{system: plain, system + ".env": "K3S_TOKEN='x'\nK3S_DATA_DIR='/env'\n"}, "/env"},
		"/etc/default":                {map[string]string{"/etc/default/k3s": "K3S_DATA_DIR=/env\n"}, "/env"},
		"a drop-in of the unit":       {map[string]string{system: plain, system + ".d/10-disk.conf": "[Service]\nEnvironment=\"K3S_DATA_DIR=/env\"\n"}, "/env"},
		"config.yaml and environment": {map[string]string{system + ".env": "K3S_DATA_DIR=/env\n", file: "data-dir: /file\n"}, "/file"},
		"config.yaml of an agent":     {map[string]string{"/etc/systemd/system/k3s-agent.service": "[Service]\nExecStart=k3s agent --data-dir /agent\n"}, "/agent"},
		"not absolute":                {map[string]string{file: "data-dir: file\n"}, rancher + "k3s"},
		"no text":                     {map[string]string{file: "data-dir: [/file]\n"}, rancher + "k3s"},
		"no YAML":                     {map[string]string{file: "data-dir: /file\n[\n"}, rancher + "k3s"},
		"RKE2's":                      {map[string]string{"/etc/rancher/rke2/config.yaml": "data-dir: /rke2\n"}, rancher + "k3s"},
		"one that is not there yet":   {map[string]string{file: "data-dir: /new\n"}, rancher + "k3s"},
	} {
		h := containerd.Host{Root: t.TempDir()}
		c.files[c.want+"/agent/etc/containerd/config.toml"] = "version = 3\n"
		for path, text := range c.files {
			path = h.Path(path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if d := distribution.Detect(h); d.Name != distribution.K3s || d.Config != c.want+"/agent/etc/containerd/config.toml" {
			t.Errorf("%s: %s, %s; want %s", what, d.Name, d.Config, c.want)
		}
	}
}
