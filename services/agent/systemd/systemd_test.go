package systemd

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/hostconfig"
)

func options(t *testing.T, user bool) Options {
	t.Helper()
	d := hostconfig.System("/")
	if user {
		var err error
		d, err = hostconfig.User(func(name string) string { return map[string]string{"HOME": "/home/alice"}[name] }, 1000)
		if err != nil {
			t.Fatal(err)
		}
		d.Listen = "127.0.0.1:7999"
	}
	return Options{Program: "/usr/bin/env", Config: hostconfig.New(d.File, d), User: user}
}

// systemd itself finds nothing wrong with the units.
func TestSystemdReadsThem(t *testing.T) {
	analyze := coretest.RequireTool(t, "systemd-analyze")
	for _, user := range []bool{false, true} {
		units, err := Units(options(t, user))
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		args := []string{"--man=no", "verify"}
		if user {
			args = append([]string{"--user"}, args...)
		}
		for _, u := range units {
			path := filepath.Join(dir, u.Name)
			if err := os.WriteFile(path, u.Content, 0o644); err != nil {
				t.Fatal(err)
			}
			args = append(args, path)
		}
		cmd := exec.CommandContext(t.Context(), analyze, args...)
		cmd.Env = append(os.Environ(), "XDG_RUNTIME_DIR="+t.TempDir())
		out, err := cmd.CombinedOutput()
		for line := range strings.Lines(string(out)) {
			if strings.Contains(line, "touchmark") {
				t.Errorf("user %v: %s", user, line)
			}
		}
		if err != nil {
			t.Errorf("user %v: systemd-analyze: %v\n%s", user, err, out)
		}
	}
}

func TestUnits(t *testing.T) {
	for _, c := range []struct {
		user        bool
		has, hasNot []string
	}{
		{false, []string{
			"ExecStart=/usr/bin/env agent --config /etc/touchmark/config.yaml\n", "ListenStream=/run/touchmark/agent.sock\n", "ListenStream=127.0.0.1:7467\n",
			"SocketMode=0666\n", "CapabilityBoundingSet=\n", "ProtectSystem=strict\n", "Before=podman.service podman-auto-update.service",
		}, []string{"DynamicUser", "ProcSubset=pid\n", "--user"}},
		{true, []string{
			"ExecStart=/usr/bin/env agent --user --config /home/alice/.config/touchmark/config.yaml\n", "ListenStream=/run/user/1000/touchmark/agent.sock\n",
			"ListenStream=127.0.0.1:7999\n", "SocketMode=0600\n", "WantedBy=default.target\n",
		}, []string{"StateDirectory", "CapabilityBoundingSet", "Before="}},
	} {
		units, err := Units(options(t, c.user))
		if err != nil {
			t.Fatal(err)
		}
		var all strings.Builder
		for _, u := range units {
			all.Write(u.Content)
		}
		for _, want := range c.has {
			if !strings.Contains(all.String(), want) {
				t.Errorf("user %v: the units lack %q:\n%s", c.user, want, all.String())
			}
		}
		for _, unwanted := range c.hasNot {
			if strings.Contains(all.String(), "\n"+unwanted) || unwanted == "--user" && strings.Contains(all.String(), unwanted) {
				t.Errorf("user %v: the units have %q", c.user, unwanted)
			}
		}
	}
	for _, program := range []string{"touchmark", "/usr/bin/touch mark", "/usr/bin/%n", "/usr/bin/x\nExecStartPre=/bin/sh", ""} {
		o := options(t, false)
		o.Program = program
		if _, err := Units(o); err == nil {
			t.Errorf("a unit was written for %q", program)
		}
	}
}
