package install

import (
	"strings"
	"testing"
)

func TestTakeOut(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ before, table, after, says string }{
		"version 2": {
			"version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n  [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n    # hub\n    [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n      endpoint = [\n        \"https://m.example\",\n      ]\n  [plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\n    a = ['b']\n",
			"registry.mirrors",
			"version = 2\n[plugins.\"io.containerd.grpc.v1.cri\".registry]\n# touchmark:   [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors]\n    # hub\n# touchmark:     [plugins.\"io.containerd.grpc.v1.cri\".registry.mirrors.\"docker.io\"]\n# touchmark:       endpoint = [\n# touchmark:         \"https://m.example\",\n# touchmark:       ]\n  [plugins.\"io.containerd.grpc.v1.cri\".registry.headers]\n    a = ['b']\n",
			"",
		},
		"a dotted key": {
			"version = 3\n[plugins.'io.containerd.cri.v1.images']\nregistry.auths.'https://r.example'.auth = 'x'\nsnapshotter = 'native'\n", "registry.auths",
			"version = 3\n[plugins.'io.containerd.cri.v1.images']\n# touchmark: registry.auths.'https://r.example'.auth = 'x'\nsnapshotter = 'native'\n", "",
		},
		"another table": {
			"[plugins.cri.registry.mirrors.x]\nendpoint = []\n[plugins.cri.registry.configs.x.tls]\nca_file = 'f'\n", "registry.configs",
			"[plugins.cri.registry.mirrors.x]\nendpoint = []\n# touchmark: [plugins.cri.registry.configs.x.tls]\n# touchmark: ca_file = 'f'\n", "",
		},
		"an inline table": {"[plugins.cri]\nregistry = {mirrors = {x = {endpoint = []}}, config_path = 'x'}\n", "registry.mirrors", "", "by hand"},
	} {
		got, err := takeOut([]byte(c.before), c.table)
		if name == "an inline table" { // it stays: whoever asks sees that it does
			if err == nil && strings.Contains(string(got), mark) {
				t.Errorf("%s: %s", name, got)
			}
			continue
		}
		if err != nil || string(got) != c.after {
			t.Errorf("%s: %v\n%s", name, err, got)
		}
	}
}

func TestEnable(t *testing.T) {
	t.Parallel()
	before := "version = 3\ndisabled_plugins = [\"io.containerd.image-verifier.v1.bindir\", # why\n  \"io.containerd.snapshotter.v1.btrfs\"]\nroot = '/x'\n[grpc]\naddress = '/y'\n"
	want := "version = 3\ndisabled_plugins = ['io.containerd.snapshotter.v1.btrfs']\n# touchmark: disabled_plugins = [\"io.containerd.image-verifier.v1.bindir\", # why\n# touchmark:   \"io.containerd.snapshotter.v1.btrfs\"]\nroot = '/x'\n[grpc]\naddress = '/y'\n"
	got, err := enable([]byte(before), "io.containerd.image-verifier.v1.bindir")
	if err != nil || string(got) != want {
		t.Errorf("%v\n%s", err, got)
	}
}
