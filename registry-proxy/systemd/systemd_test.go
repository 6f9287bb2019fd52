package systemd_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/systemd"
)

func TestUnit(t *testing.T) {
	text, err := systemd.Unit(systemd.Options{Program: "/usr/bin/touchmark", Config: "/etc/touchmark/proxy.yaml", Writes: []string{"/srv/cache"}})
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ExecStart=/usr/bin/touchmark proxy --config /etc/touchmark/proxy.yaml\n", "ReadWritePaths=-/srv/cache\n", "Type=notify\n", "StateDirectory=touchmark-proxy\nCacheDirectory=touchmark-proxy\nLogsDirectory=touchmark-proxy\n"} {
		if !strings.Contains(string(text), want) {
			t.Errorf("%q is not in it", want)
		}
	}
	for _, o := range []systemd.Options{
		{Program: "touchmark", Config: "/p.yaml"},
		{Program: "/t", Config: "/p y.yaml"},
		{Program: "/t", Config: "/p.yaml", Writes: []string{"/a;b"}},
		{Program: "/t%i", Config: "/p.yaml"},
	} {
		if _, err := systemd.Unit(o); err == nil {
			t.Errorf("%+v: no error", o)
		}
	}
}

func TestMayWrite(t *testing.T) {
	o := systemd.Options{Writes: []string{"/srv/cache/"}}
	for file, want := range map[string]bool{
		"/var/lib/touchmark-proxy/key": true, "/var/cache/touchmark-proxy/a/b": true, "/var/log/touchmark-proxy/decisions.jsonl": true, "/srv/cache/x": true,
		"/etc/touchmark/key": false, "/var/lib/touchmark-proxy-2/key": false, "/var/lib/touchmark-proxy/../key": false, "/srv/cache": false,
	} {
		if o.MayWrite(file) != want {
			t.Errorf("%s: %v", file, !want)
		}
	}
}

// systemd itself finds nothing wrong with the unit.
func TestUnitIsSystemds(t *testing.T) {
	analyze := coretest.RequireTool(t, "systemd-analyze")
	text, err := systemd.Unit(systemd.Options{Program: "/bin/true", Config: "/etc/hostname"})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), systemd.Service)
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), analyze, "verify", "--recursive-errors=no", "--man=no", file).CombinedOutput()
	if err != nil || strings.Contains(string(out), "touchmark-proxy") {
		t.Errorf("%v\n%s", err, out)
	}
}
