package containerdnri

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// swept runs a sweep, and returns the outcomes by the first name of each image, "NAMESPACE NAME".
func (h *host) swept(t testing.TB, status int, args ...string) map[string]string {
	t.Helper()
	r := h.Root().Must(t, status, append([]string{"touchmark", "sweep", "containerd", "-o", "json"}, args...)...)
	var report struct {
		Images []struct {
			Namespace, Outcome string
			Names, IDs         []string
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("%v: %s", err, r.Output())
	}
	found := make(map[string]string)
	for _, i := range report.Images {
		found[i.Namespace+" "+append(i.Names, i.IDs...)[0]] = i.Outcome
	}
	return found
}

// TestCTRD10_Sweep: what lies in a real containerd is judged again, labelled and removed, by the agent and by a policy file.
func TestCTRD10_Sweep(t *testing.T) {
	h := newHost(t, lab.ContainerdSettings(3, ""), "")
	h.Start(t)
	h.cri = h.CRI(t)
	h.LoadPause(t)
	signed, _ := h.push(t, "team/signed:1", "signed", true)
	unsigned, _ := h.push(t, "team/unsigned:1", "unsigned", false)
	running, _ := h.push(t, "team/running:1", "running", false)
	multi := h.world.Registry + "/team/index:1"
	coretest.Push(t, multi, index(t, "index"))
	h.sign(t, multi)
	for _, image := range []string{signed, unsigned, running, multi} {
		if err := h.cri.Pull(image); err != nil {
			t.Fatal(err)
		}
	}
	imported := h.world.Registry + "/team/imported:1"
	h.importAs(t, imported, lab.Busybox(t, "imported"))
	if r := h.Root().Run(t, "ctr", "images", "pull", "--local", "--plain-http", unsigned); r.Status != 0 { // into another namespace
		t.Fatal(r.Output())
	}
	p := h.pod(t, nil)
	id, err := p.create(t, running, running)
	if err == nil {
		err = h.cri.Start(id)
	}
	if err != nil {
		t.Fatal(err)
	}

	all := map[string]string{
		"k8s.io " + signed: "admitted", "k8s.io " + unsigned: "refused", "k8s.io " + running: "refused", "k8s.io " + multi: "admitted",
		"k8s.io " + imported: "undecided", "k8s.io " + lab.PauseImage: "refused", "default " + unsigned: "refused",
	}
	undecided := map[string]string{}
	for image := range all {
		undecided[image] = "undecided"
	}
	equal := func(what string, want, got map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", what, diff)
		}
	}
	// Without an agent nothing is decided, and nothing is removed.
	equal("no agent", undecided, h.swept(t, 3, "--remove"))
	h.agent = h.Agent(t, h.address)
	equal("agent", all, h.swept(t, 1))
	equal("policy", all, h.swept(t, 1, "--policy", "/etc/touchmark/policy.d", "--trusted-root", "/etc/touchmark/trust/private.json"))
	equal("one namespace", map[string]string{"default " + unsigned: "refused"}, h.swept(t, 1, "--namespace", "default"))

	// Only what is refused is removed, and nothing that a container is made from.
	r := h.Root().Must(t, 3, "touchmark", "sweep", "containerd", "--label", "--remove")
	for _, says := range []string{"is not signed", "(removed)", "not removed, since a container is made from it", "not removed, since it is pinned by CRI"} {
		if !strings.Contains(r.Stdout, says) {
			t.Errorf("the report does not say %q:\n%s", says, r.Output())
		}
	}
	delete(all, "k8s.io "+unsigned)
	delete(all, "default "+unsigned)
	equal("removed", all, h.swept(t, 1))
	if h.cri.Has(unsigned) || !h.cri.Has(running) || !h.cri.Has(imported) {
		t.Errorf("CRI has: unsigned %t, running %t, imported %t", h.cri.Has(unsigned), h.cri.Has(running), h.cri.Has(imported))
	}
	if r := h.Ctr(t, "images", "ls", "name=="+running); !strings.Contains(r.Stdout, "touchmark.dev/verdict=refused") || !strings.Contains(r.Stdout, "touchmark.dev/judged=") {
		t.Errorf("the label is not there: %s", r.Stdout)
	}
	if said, err := h.cri.Exec(id, "/bin/busybox", "cat", "/message"); err != nil || said != "running" {
		t.Errorf("%q, %v", said, err)
	}
	h.Root().Must(t, 3, "touchmark", "sweep", "containerd", "--remove", "--in-use") // the pause image
	if h.cri.Has(running) {
		t.Error("an image in use was not removed with --in-use")
	}
	if said, err := h.cri.Exec(id, "/bin/busybox", "cat", "/message"); err != nil || said != "running" {
		t.Errorf("the container whose image was removed: %q, %v", said, err)
	}
	if r := h.Root().Run(t, "touchmark", "sweep", "containerd", "--namespace", "moby"); r.Status != 3 || !strings.Contains(r.Output(), "moby") {
		t.Errorf("%s", r.Output())
	}
	for _, args := range [][]string{{"--in-use"}, {"--trusted-root", "x"}, {"-o", "yaml"}, {"one"}} {
		h.Root().Must(t, 2, append([]string{"touchmark", "sweep", "containerd"}, args...)...)
	}
	if r := h.Alice().Run(t, "touchmark", "sweep", "containerd"); r.Status != 3 || !strings.Contains(r.Output(), "run as root") {
		t.Errorf("a user: %s", r.Output())
	}
	h.Stop()
	if r := h.Root().Run(t, "touchmark", "sweep", "containerd"); r.Status != 3 || !strings.Contains(r.Output(), "asking containerd at /run/containerd/containerd.sock: ") {
		t.Errorf("no containerd: %s", r.Output())
	}
}

// TestCTRD10_SweepAfterATagMoved: what a container is made from is kept although its name leads elsewhere by now, and what the name leads to is not in use.
func TestCTRD10_SweepAfterATagMoved(t *testing.T) {
	h := newHost(t, lab.ContainerdSettings(3, ""), "")
	h.Start(t)
	h.cri = h.CRI(t)
	h.agent = h.Agent(t, h.address)
	h.LoadPause(t)
	p := h.pod(t, nil)
	image, used := h.push(t, "team/moved:1", "before", false)
	if err := h.cri.Pull(image); err != nil {
		t.Fatal(err)
	}
	running := p.runs(t, image)
	h.push(t, "team/moved:1", "after", false)
	if err := h.cri.Pull(image); err != nil {
		t.Fatal(err)
	}
	h.Root().Must(t, 3, "touchmark", "sweep", "containerd", "--remove")
	left := h.Ctr(t, "images", "ls").Stdout
	if !strings.Contains(left, "/team/moved@"+used) || strings.Contains(left, "/team/moved:1") {
		t.Errorf("%s is in use; left are\n%s", used, left)
	}
	h.none(t, running)
}
