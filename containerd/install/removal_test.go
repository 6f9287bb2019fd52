package install_test

import (
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/containerd/config"
	"github.com/touchmark/touchmark/containerd/install"
	"github.com/touchmark/touchmark/core/hostfiles"
)

// Who leaves a file that has containerd require the plugin is told what that means once
// the agent is gone; containerd is to be restarted where its configuration is changed.
func TestRemoval_WhatIsLeft(t *testing.T) {
	t.Parallel()
	h := node(t, "kubeadm")
	o := options(h, config.Newest())
	o.NRI = true
	apply(t, o)
	dropIn := h.Path("/etc/containerd/conf.d/99-touchmark.toml")
	if text, err := os.ReadFile(dropIn); err != nil || !strings.Contains(string(text), "required_plugins") {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, c := range []struct {
		edited         hostfiles.Edited
		warns, restart bool
	}{
		{hostfiles.Edited{}, false, true},
		{hostfiles.Edited{Leave: []string{h.Path("/etc/touchmark/policy.d/release.yaml")}}, false, true},
		{hostfiles.Edited{Leave: []string{dropIn, h.Config()}}, true, false},
	} {
		p, err := install.Removal(h, c.edited)
		if err != nil {
			t.Fatal(err)
		}
		notes := strings.Join(p.Notes, "\n")
		if strings.Contains(notes, dropIn+" still has containerd require Touchmark's NRI plugin") != c.warns || p.Restart != c.restart {
			t.Errorf("%+v: restart %v, notes %q", c.edited, p.Restart, notes)
		}
	}
}
