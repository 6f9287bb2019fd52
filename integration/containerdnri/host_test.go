package containerdnri

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	goruntime "runtime"
	"strings"
	"testing"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	runtime "k8s.io/cri-api/pkg/apis/runtime/v1"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice = "alice@acme.example"

// host is a host with a real containerd and CRI, whose agent has the NRI plugin.
type host struct {
	*lab.Containerd
	world   *lab.World
	address string // the agent's, on loopback
	agent   *lab.Process
	cri     *lab.CRI
	pods    int
}

// withNRI is containerd's configuration: NRI, and the plugin required; further lines of the validator may follow.
func withNRI(further string) string {
	return lab.ContainerdSettings(3, `
[plugins.'io.containerd.nri.v1.nri']
  disable = false
  socket_path = "/run/nri/nri.sock"
  [plugins.'io.containerd.nri.v1.nri'.default_validator]
    enable = true
    required_plugins = ["touchmark"]
`+further)
}

// newHost makes a host on which images of the world's registry must be signed by alice. Nothing runs yet. The pause image is not pulled, and so nobody is asked about it.
func newHost(t testing.TB, containerdConfig, further string) *host {
	t.Helper()
	w := lab.New(t, true)
	h := &host{Containerd: lab.NewContainerd(t), world: w, address: lab.FreeAddress(t)}
	for from, to := range map[string]string{w.Root: "/etc/touchmark/trust/private.json", w.Policy(t): "/etc/touchmark/policy.d/release.yaml"} {
		text, err := os.ReadFile(from)
		if err != nil {
			t.Fatal(err)
		}
		h.Write(t, to, string(text))
	}
	h.Write(t, "/etc/touchmark/config.yaml", fmt.Sprintf("agent: {listen: %q}\ncontainerd:\n  nri: true\n%s\n", h.address, further))
	h.Link(t, predicates, "/usr/local/bin/touchmark-predicates")
	h.Write(t, lab.ContainerdConfig, containerdConfig)
	return h
}

// boot starts containerd, and the agent, and waits until containerd asks it.
func (h *host) boot(t testing.TB) *host {
	t.Helper()
	h.Start(t)
	h.cri = h.CRI(t)
	h.LoadPause(t)
	h.serve(t)
	return h
}

// serve starts the agent, and waits until containerd asks it.
func (h *host) serve(t testing.TB) {
	t.Helper()
	h.agent = h.Agent(t, h.address)
	h.connected(t)
}

// part is what the status of the agent says of the plugin.
type part struct {
	Name, Peer, Error string
	Connected         bool
	Admitted, Refused int
}

func (h *host) part(t testing.TB) part {
	t.Helper()
	var s struct{ Parts []part }
	r := h.Root().Run(t, "touchmark", "agent", "status", "-o", "json")
	if err := json.Unmarshal([]byte(r.Stdout), &s); err != nil || len(s.Parts) != 1 {
		t.Fatalf("status: %v: %s", err, r.Output())
	}
	return s.Parts[0]
}

func (h *host) connected(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !h.part(t).Connected; time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("the plugin does not connect: %+v\n%s", h.part(t), h.agent.Log())
		}
	}
}

// push pushes an image with a text of its own, and has alice sign it if it is to be.
func (h *host) push(t testing.TB, repository, text string, signed bool) (image, digest string) {
	t.Helper()
	image = h.world.Registry + "/" + repository
	digest = coretest.Push(t, image, lab.Busybox(t, text)).DigestStr()
	if signed {
		h.sign(t, image)
	}
	return image, digest
}

func (h *host) sign(t testing.TB, image string) {
	t.Helper()
	lab.Touchmark(t, 0, "sign", "--server", h.world.Stack.URL, "--as", alice, "--trusted-root", h.world.Root, image)
}

// pod starts a pod with annotations.
func (h *host) pod(t testing.TB, annotations map[string]string) *pod {
	t.Helper()
	h.pods++
	name := fmt.Sprintf("pod%d", h.pods)
	p := &pod{host: h, config: &runtime.PodSandboxConfig{
		Metadata: &runtime.PodSandboxMetadata{Name: name, Namespace: "default", Uid: name}, Annotations: annotations, LogDirectory: "/var/log/pods/" + name,
		Linux: &runtime.LinuxPodSandboxConfig{SecurityContext: &runtime.LinuxSandboxSecurityContext{NamespaceOptions: &runtime.NamespaceOption{Network: runtime.NamespaceMode_NODE}}},
	}}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.cri.Runtime.RunPodSandbox(ctx, &runtime.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		t.Fatalf("starting a pod: %v\n%s", err, h.Log())
	}
	p.id = r.GetPodSandboxId()
	return p
}

// pod is a pod with the network of the host. It ends with the host.
type pod struct {
	host       *host
	id         string
	config     *runtime.PodSandboxConfig
	containers int
}

// create creates a container as the kubelet does: of an image that is there, by what CRI calls it, for a pod that has it as written.
func (p *pod) create(t testing.TB, image, written string) (string, error) {
	t.Helper()
	p.containers++
	name := fmt.Sprintf("c%d", p.containers)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := p.host.cri.Runtime.CreateContainer(ctx, &runtime.CreateContainerRequest{PodSandboxId: p.id, SandboxConfig: p.config, Config: &runtime.ContainerConfig{
		Metadata: &runtime.ContainerMetadata{Name: name}, Image: &runtime.ImageSpec{Image: image, UserSpecifiedImage: written},
		Command: []string{"/bin/busybox", "sleep", "86400"}, LogPath: name + ".log", Linux: &runtime.LinuxContainerConfig{},
	}})
	return r.GetContainerId(), err
}

// runs creates and starts a container, and fails the test if it does not run. As the kubelet does, it tries again for a while: a refusal is given again for a second.
func (p *pod) runs(t testing.TB, image string) (id string) {
	t.Helper()
	id, err := p.create(t, image, image)
	for deadline := time.Now().Add(10 * time.Second); err != nil && time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		id, err = p.create(t, image, image)
	}
	if err == nil {
		err = p.host.cri.Start(id)
	}
	if err != nil {
		t.Fatalf("running %s: %v\n%s", image, err, p.host.agent.Log())
	}
	return id
}

// refused creates a container, and fails the test unless the error says all of this.
func (p *pod) refused(t testing.TB, image, written string, says ...string) {
	t.Helper()
	id, err := p.create(t, image, written)
	if err == nil {
		t.Errorf("a container %s of %s was created", id, image)
		return
	}
	for _, s := range says {
		if !strings.Contains(err.Error(), s) {
			t.Errorf("a container of %s is refused with\n%v\nwant %q", image, err, s)
		}
	}
}

// none fails the test if there are containers besides these: what was refused must not be left.
func (h *host) none(t testing.TB, but ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	r, err := h.cri.Runtime.ListContainers(ctx, &runtime.ListContainersRequest{})
	if err != nil || len(r.GetContainers()) != len(but) {
		t.Errorf("containers %v, %v; want %q", r.GetContainers(), err, but)
	}
}

// importAs imports an image under a name, past every verifier.
func (h *host) importAs(t testing.TB, name string, image v1.Image) {
	t.Helper()
	h.Import(t, name, image)
	for deadline := time.Now().Add(30 * time.Second); !h.cri.Has(name); time.Sleep(10 * time.Millisecond) { // CRI learns of it by an event
		if time.Now().After(deadline) {
			t.Fatalf("CRI does not learn of %s", name)
		}
	}
}

// index is an index whose image runs on this machine.
func index(t testing.TB, text string) v1.ImageIndex {
	return mutate.AppendManifests(empty.Index, mutate.IndexAddendum{
		Add: lab.Busybox(t, text), Descriptor: v1.Descriptor{Platform: &v1.Platform{OS: "linux", Architecture: goruntime.GOARCH}},
	})
}

// metrics are the agent's.
func (h *host) metrics(t testing.TB) string {
	t.Helper()
	client := http.Client{Timeout: time.Minute, Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", h.Path("/run/touchmark/agent.sock"))
	}}}
	resp, err := client.Get("http://agent/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
