package config_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/containerd/config"
)

// program writes a program that stands for containerd.
func program(t *testing.T, script string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "containerd")
	must(t, os.WriteFile(path, []byte("#!/bin/sh\n"+script+"\n"), 0o700))
	return path
}

func TestDump(t *testing.T) {
	c, err := config.Dump(t.Context(), program(t, `[ "$*" = "--config /etc/x.toml config dump" ] || exit 9
echo 'a warning' >&2
cat <<END
version = 3
disabled_plugins = ['io.containerd.nri.v1.nri']
[grpc]
address = '/run/x.sock'
[plugins.'io.containerd.cri.v1.images']
max_concurrent_downloads = 10
END`), "/etc/x.toml", config.Release{Major: 2, Minor: 1})
	if err != nil {
		t.Fatal(err)
	}
	if c.Address != "/run/x.sock" || !c.NRI.Disabled || len(c.CRI.LocalPull) != 1 || c.CRI.LocalPull[0].Name != "max_concurrent_downloads" || c.CRI.Sandbox() != "registry.k8s.io/pause:3.10" {
		t.Errorf("%+v", c)
	}
	// 1.7 prints version 2.
	c, err = config.Dump(t.Context(), program(t, `printf 'version = 2\n[plugins."io.containerd.grpc.v1.cri"]\nsandbox_image = "a"\n'`), "", config.Release{Major: 1, Minor: 7})
	if err != nil || c.CRI.Sandbox() != "a" || !c.Verifier.Disabled || c.CRI.Transfers {
		t.Errorf("%+v, %v", c, err)
	}
	for name, c := range map[string]struct{ script, want string }{
		"fails":     {`echo 'time=x level=warning msg="something"' >&2; echo 'containerd: no such thing' >&2; exit 1`, "config dump: containerd: no such thing"},
		"is silent": {"exit 3", "config dump: exit status 3"},
		"no TOML":   {"echo '[x'", "containerd config dump:1:3: toml"},
		"floods":    {"head -c 3000000 /dev/zero", "more than 1048576 bytes"},
	} {
		if _, err := config.Dump(t.Context(), program(t, c.script), "x", config.Newest()); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %s", name, err, c.want)
		}
	}
	if _, err := config.Dump(t.Context(), "/nowhere/containerd", "x", config.Newest()); err == nil || !strings.Contains(err.Error(), "/nowhere/containerd") {
		t.Error(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := config.Dump(ctx, program(t, "exec sleep 60"), "x", config.Newest()); err == nil || !strings.Contains(err.Error(), "deadline") {
		t.Error(err)
	}
}
