package containerdnri

import (
	"net"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// TestCTRD10_ContainersOfPresentImages: what no verifier was asked about is refused when a container is to be made of it, and what is admitted runs.
func TestCTRD10_ContainersOfPresentImages(t *testing.T) {
	h := newHost(t, withNRI(""), "").boot(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	unsigned := h.world.Registry + "/team/unsigned:1"
	image := lab.Busybox(t, "unsigned")
	coretest.Push(t, unsigned, image)
	id, err := image.ConfigName()
	if err != nil {
		t.Fatal(err)
	}
	p := h.pod(t, nil)

	if err := h.cri.Pull(signed); err != nil {
		t.Fatal(err)
	}
	running := p.runs(t, signed)
	if err := h.cri.Pull(unsigned); err != nil { // this node has no verifier
		t.Fatal(err)
	}
	p.refused(t, unsigned, unsigned, "refused by touchmark", "is not signed")
	p.refused(t, id.String(), unsigned, "is not signed") // the kubelet names it by its ID
	p.refused(t, id.String(), "", "is not signed")
	p.refused(t, id.String(), id.String(), "is not signed")
	h.none(t, running)

	// ctr --local asks nobody.
	local, _ := h.push(t, "team/local:1", "local", false)
	if r := h.Ctr(t, "images", "pull", "--local", "--plain-http", local); r.Status != 0 {
		t.Fatal(r.Output())
	}
	p.refused(t, local, local, "is not signed")

	// Imported, under a name that its registry does not have, and under one that is signed there.
	imported := h.world.Registry + "/team/imported:1"
	h.importAs(t, imported, lab.Busybox(t, "imported"))
	p.refused(t, imported, imported, "touchmark cannot decide", "team/imported")
	h.importAs(t, h.world.Registry+"/team/signed:2", lab.Busybox(t, "not what was signed"))
	p.refused(t, h.world.Registry+"/team/signed:2", signed, "touchmark")

	// A tag that was signed, and leads elsewhere by now.
	moved, _ := h.push(t, "team/moved:1", "before", true)
	if err := h.cri.Pull(moved); err != nil {
		t.Fatal(err)
	}
	still := p.runs(t, moved)
	h.push(t, "team/moved:1", "after", false)
	if err := h.cri.Pull(moved); err != nil {
		t.Fatal(err)
	}
	p.refused(t, moved, moved, "is not signed")
	h.none(t, running, still)

	// An index, of which one platform runs.
	multi := h.world.Registry + "/team/index:1"
	coretest.Push(t, multi, index(t, "index"))
	if err := h.cri.Pull(multi); err != nil {
		t.Fatal(err)
	}
	p.refused(t, multi, multi, "is not signed")
	h.sign(t, multi)
	p.runs(t, multi)

	if s := h.part(t); s.Refused < 6 || s.Admitted < 3 || !strings.HasPrefix(s.Peer, "containerd") {
		t.Errorf("the status says %+v", s)
	}
	if r := h.Root().Run(t, "touchmark", "why", unsigned); !strings.Contains(r.Output(), "containerd-nri") {
		t.Errorf("why says: %s", r.Output())
	}
	if r := h.Root().Run(t, "touchmark", "report"); !strings.Contains(r.Output(), "containerd-nri") {
		t.Errorf("report says: %s", r.Output())
	}
	if metrics := h.metrics(t); !strings.Contains(metrics, `touchmark_part_connected{part="containerd NRI"} 1`) {
		t.Errorf("metrics: %s", metrics)
	}
}

// TestCTRD14_KilledAndStalled: while the agent is dead, hangs or starts again, no container is created that it has not admitted, not even the first one; those that run go on.
func TestCTRD14_KilledAndStalled(t *testing.T) {
	h := newHost(t, withNRI(""), "").boot(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	unsigned, _ := h.push(t, "team/unsigned:1", "unsigned", false)
	for _, image := range []string{signed, unsigned} {
		if err := h.cri.Pull(image); err != nil {
			t.Fatal(err)
		}
	}
	p := h.pod(t, nil)
	running := p.runs(t, signed)
	survives := func() {
		t.Helper()
		if said, err := h.cri.Exec(running, "/bin/busybox", "cat", "/message"); err != nil || said != "signed" {
			t.Errorf("the container that ran: %q, %v", said, err)
		}
	}
	left := []string{running}
	for range 3 {
		h.agent.Kill()
		for range 3 { // the first one is the one that NRI 0.12.3 would let through
			p.refused(t, unsigned, unsigned, "touchmark")
			p.refused(t, signed, signed, "touchmark")
		}
		survives()
		h.none(t, left...)
		h.serve(t)
		p.refused(t, unsigned, unsigned, "is not signed")
		left = append(left, p.runs(t, signed))
		survives()
	}
	for range 2 {
		h.agent.Suspend()
		for range 3 {
			p.refused(t, unsigned, unsigned, "touchmark")
		}
		h.none(t, left...)
		survives()
		h.agent.Resume()
		h.connected(t)
		p.refused(t, unsigned, unsigned, "is not signed")
		left = append(left, p.runs(t, signed))
	}

	// containerd starts again: nothing is created before the plugin is back.
	h.Kill()
	h.Start(t)
	h.cri = h.CRI(t)
	p.refused(t, unsigned, unsigned, "touchmark")
	h.connected(t)
	p.runs(t, signed)
	survives()
}

// TestCTRD14_Required: what is created while the agent is down, by containerd's configuration and the pod's annotations. This is the rule for critical pods of docs/containerd.md.
func TestCTRD14_Required(t *testing.T) {
	const tolerates = "tolerate-missing-plugins.noderesource.dev"
	h := newHost(t, withNRI("    tolerate_missing_plugins_annotation = \""+tolerates+"\"\n"), "").boot(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	unsigned, _ := h.push(t, "team/unsigned:1", "unsigned", false)
	for _, image := range []string{signed, unsigned} {
		if err := h.cri.Pull(image); err != nil {
			t.Fatal(err)
		}
	}
	plain, critical := h.pod(t, nil), h.pod(t, map[string]string{tolerates: "true"})
	// While there is an agent, it decides about both.
	critical.refused(t, unsigned, unsigned, "is not signed")
	critical.runs(t, signed)
	h.agent.Kill()
	plain.refused(t, signed, signed, "touchmark") // fails, and containerd notices that the plugin is gone
	plain.refused(t, signed, signed, "required plugin", "touchmark", "not present")
	critical.runs(t, unsigned)

	// Without required_plugins everything is created: the doctor says so.
	h.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, "\n[plugins.'io.containerd.nri.v1.nri']\n  disable = false\n"))
	h.Restart(t)
	h.cri = h.CRI(t)
	plain.runs(t, unsigned)
	h.serve(t)
	plain.refused(t, unsigned, unsigned, "is not signed")
}

// TestCTRD14_SlowRegistry: a registry that does not answer has containers refused in time, with the reason; when it answers, the next attempt works, without a restart of anything.
func TestCTRD14_SlowRegistry(t *testing.T) {
	h := newHost(t, withNRI(""), "").boot(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	if err := h.cri.Pull(signed); err != nil {
		t.Fatal(err)
	}
	// The node looks for evidence at a place that accepts connections and says nothing.
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	hosts := lab.CertsD + "/" + strings.Replace(h.world.Registry, ":", "_", 1) + "_/hosts.toml"
	h.Write(t, hosts, "server = \"http://"+silent.Addr().String()+"\"\n")
	p := h.pod(t, nil)
	begin := time.Now()
	p.refused(t, signed, signed, "touchmark cannot decide: no answer from "+silent.Addr().String())
	if took := time.Since(begin); took > 2*time.Second {
		t.Errorf("after %s, and NRI waits for 2s", took)
	}
	if s := h.part(t); !s.Connected {
		t.Errorf("the plugin was dropped: %+v", s)
	}
	h.Root().Must(t, 0, "rm", strings.TrimSuffix(hosts, "/hosts.toml")+"/hosts.toml")
	p.runs(t, signed)
}

// TestCTRD14_Observe: a node that only observes starts everything, and its report has what enforcing would refuse.
func TestCTRD14_Observe(t *testing.T) {
	h := newHost(t, withNRI(""), "  observe: true\n").boot(t)
	unsigned, _ := h.push(t, "team/unsigned:1", "unsigned", false)
	if err := h.cri.Pull(unsigned); err != nil {
		t.Fatal(err)
	}
	h.pod(t, nil).runs(t, unsigned)
	if r := h.Root().Run(t, "touchmark", "report"); !strings.Contains(r.Output(), "would not be admitted") || !strings.Contains(r.Output(), "team/unsigned") || !strings.Contains(r.Output(), "containerd-nri") {
		t.Errorf("report says: %s", r.Output())
	}
}
