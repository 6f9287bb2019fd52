package containerddoctor_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// nri is a section of NRI's configuration.
func nri(lines, validator string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		n.configure(t, "standalone: false, nri: true")
		n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, "\n[plugins.'io.containerd.nri.v1.nri']\n"+lines+"\n  [plugins.'io.containerd.nri.v1.nri'.default_validator]\n"+validator+"\n"))
	}
}

// makes has CRI make a container of an image that was imported, past all verifiers: nil if it was made.
func (n *node) makes(t *testing.T, container string) error {
	t.Helper()
	k := n.CRI(t)
	pod, err := k.Pod(container)
	if err != nil {
		return fmt.Errorf("no pod: %w", err)
	}
	defer pod.Remove()
	_, err = pod.Create(container, n.site.unsigned, "/true")
	return err
}

// connected waits until containerd asks the agent.
func (n *node) connected(t *testing.T) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		if strings.Contains(n.Root().Run(t, "touchmark", "agent", "status", "-o", "json").Stdout, `"connected": true`) {
			return
		}
	}
	t.Fatal("the agent does not connect to NRI")
}

// TestCTRD14_Doctor: where containers are to be judged when they are made, each cause has one made of an unsigned image, without the agent or with it.
func TestCTRD14_Doctor(t *testing.T) {
	s := newSite(t)
	const required = "enable = true\nrequired_plugins = ['touchmark']"
	for _, c := range []struct {
		code, answer string
		spoil        func(*testing.T, *node)
		// down: it takes the agent's end to get in.
		down bool
		// refused: nothing is made at all.
		refused bool
	}{
		{code: "nri-disabled", answer: doctor.No, spoil: nri("disable = true", required)},
		{code: "nri-not-enforced", answer: doctor.No, spoil: nri("disable = false", ""), down: true},
		{code: "nri-not-required", answer: doctor.No, spoil: nri("disable = false", "enable = true"), down: true},
		{code: "nri-no-connections", answer: doctor.Unknown, spoil: nri("disable = false\ndisable_connections = true", required), refused: true},
		{code: "nri-not-connected", answer: doctor.Unknown, spoil: nri("disable = false\nsocket_path = '/run/nri/other.sock'", required), refused: true},
	} {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			c.spoil(t, n)
			n.boot(t)
			n.LoadPause(t)
			n.Root().Must(t, 0, "ctr", "-n", "k8s.io", "images", "pull", "--local", "--plain-http", s.unsigned)
			if c.down {
				n.connected(t)
				n.agent.Kill()
			}
			if err := n.makes(t, "before"); (err != nil) != c.refused {
				t.Errorf("a container of the unsigned image: %v", err)
			}
			if c.down {
				n.agent = n.Agent(t, n.address)
				n.connected(t)
			}
			r := n.examine(t)
			if !r.Has(c.code) || r.Enforcing != c.answer {
				t.Fatalf("enforcing: %s, want %s by %s\n%s", r.Enforcing, c.answer, c.code, codes(r))
			}
			if c.refused {
				nri("disable = false", required)(t, n)
			} else {
				n.Root().Run(t, "touchmark", "doctor", "containerd", "--fix")
			}
			n.Restart(t)
			n.connected(t)
			if err := n.makes(t, "after"); err == nil || !strings.Contains(err.Error(), "refused by touchmark") {
				t.Errorf("a container of the unsigned image: %v", err)
			}
			if r := n.examine(t); r.Enforcing != doctor.Yes {
				t.Errorf("afterwards: enforcing: %s\n%s", r.Enforcing, codes(r))
			}
		})
	}
}
