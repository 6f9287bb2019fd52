package lab

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	cri "k8s.io/cri-api/pkg/apis/runtime/v1"
)

// PauseImage is the name of the image of the containers that hold pods together, in [ContainerdSettings]. [Containerd.LoadPause] imports it.
const PauseImage = "lab.example/pause:1"

// CRI is a client of containerd's CRI, as the kubelet is one.
type CRI struct {
	Images  cri.ImageServiceClient
	Runtime cri.RuntimeServiceClient

	tb   testing.TB
	node *Containerd
}

// CRI connects, and waits until the CRI is ready to be used.
func (c *Containerd) CRI(tb testing.TB) *CRI {
	tb.Helper()
	conn := c.dial(tb)
	tb.Cleanup(func() { conn.Close() })
	k := &CRI{Images: cri.NewImageServiceClient(conn), Runtime: cri.NewRuntimeServiceClient(conn), tb: tb, node: c}
	for deadline := time.Now().Add(serveTimeout); ; time.Sleep(10 * time.Millisecond) {
		ctx, cancel := k.context()
		_, err := k.Runtime.Version(ctx, &cri.VersionRequest{})
		cancel()
		if err == nil {
			return k
		}
		if code := status.Code(err); code == codes.Unimplemented || time.Now().After(deadline) {
			tb.Fatalf("connecting to the CRI: %v\n%s", err, c.Log())
		}
	}
}

// context bounds a call, also where the test is being cleaned up.
func (k *CRI) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(context.WithoutCancel(k.tb.Context()), commandTimeout)
}

// Pull pulls an image, without credentials, and returns the error that the kubelet would show.
func (k *CRI) Pull(image string) error {
	k.tb.Helper()
	return k.PullAs(image, nil)
}

// PullAs pulls an image with credentials, which the kubelet takes from a pod's imagePullSecrets or its providers.
func (k *CRI) PullAs(image string, auth *cri.AuthConfig) error {
	ctx, cancel := k.context()
	defer cancel()
	_, err := k.Images.PullImage(ctx, &cri.PullImageRequest{Image: &cri.ImageSpec{Image: image}, Auth: auth})
	return err
}

// Has reports whether the CRI knows an image.
func (k *CRI) Has(image string) bool {
	k.tb.Helper()
	ctx, cancel := k.context()
	defer cancel()
	r, err := k.Images.ImageStatus(ctx, &cri.ImageStatusRequest{Image: &cri.ImageSpec{Image: image}})
	if err != nil {
		k.tb.Fatal(err)
	}
	return r.GetImage() != nil
}

// RemoveImage removes an image. One that is not there is no error.
func (k *CRI) RemoveImage(image string) {
	k.tb.Helper()
	ctx, cancel := k.context()
	defer cancel()
	if _, err := k.Images.RemoveImage(ctx, &cri.RemoveImageRequest{Image: &cri.ImageSpec{Image: image}}); err != nil {
		k.tb.Fatal(err)
	}
}

// LoadPause imports [PauseImage], so that a pod starts without a pull of it.
func (c *Containerd) LoadPause(tb testing.TB) {
	tb.Helper()
	c.Import(tb, PauseImage, Pause(tb))
}

// Pause is an image whose container does nothing until it is ended.
func Pause(tb testing.TB) v1.Image {
	tb.Helper()
	image, err := mutate.Config(Busybox(tb, "pause"), v1.Config{Cmd: []string{"/bin/busybox", "sleep", "86400"}})
	if err != nil {
		tb.Fatal(err)
	}
	return image
}

// Import imports an image under a name, and waits until the CRI knows it. containerd asks no verifier about it.
func (c *Containerd) Import(tb testing.TB, as string, image v1.Image) {
	tb.Helper()
	file := filepath.Join(tb.TempDir(), "image.tar")
	tag, err := name.NewTag(as)
	if err == nil {
		err = tarball.WriteToFile(file, tag, image)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if r := c.Ctr(tb, "images", "import", file); r.Status != 0 {
		tb.Fatalf("importing %s: %s", as, r.Output())
	}
	k := c.CRI(tb)
	for deadline := time.Now().Add(serveTimeout); !k.Has(as); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			tb.Fatalf("the CRI does not know %s, which was imported", as)
		}
	}
}

// Pod is a pod.
type Pod struct {
	ID     string
	cri    *CRI
	config *cri.PodSandboxConfig
}

// Pod starts a pod with the network of the host, which ends with the test. [Containerd.LoadPause] comes first, unless PauseImage is to be pulled.
func (k *CRI) Pod(podName string) (*Pod, error) {
	k.tb.Helper()
	return k.pod(podName, cri.NamespaceMode_NODE)
}

// PodOnBridge starts a pod with a network of its own, where [Containerd.CNI] has set that up; else it is like Pod.
func (k *CRI) PodOnBridge(podName string) (*Pod, error) {
	k.tb.Helper()
	return k.pod(podName, cri.NamespaceMode_POD)
}

func (k *CRI) pod(podName string, network cri.NamespaceMode) (*Pod, error) {
	k.tb.Helper()
	security := &cri.LinuxSandboxSecurityContext{NamespaceOptions: &cri.NamespaceOption{Network: network}}
	p := &Pod{cri: k, config: &cri.PodSandboxConfig{
		Metadata:     &cri.PodSandboxMetadata{Name: podName, Namespace: "default", Uid: podName},
		LogDirectory: "/var/log/pods/" + podName,
		Linux:        &cri.LinuxPodSandboxConfig{SecurityContext: security},
	}}
	ctx, cancel := k.context()
	defer cancel()
	r, err := k.Runtime.RunPodSandbox(ctx, &cri.RunPodSandboxRequest{Config: p.config})
	if err != nil {
		return nil, err
	}
	p.ID = r.GetPodSandboxId()
	k.tb.Cleanup(p.Remove)
	return p, nil
}

// Address is the pod's own, empty if it has the host's network.
func (p *Pod) Address() (string, error) {
	ctx, cancel := p.cri.context()
	defer cancel()
	r, err := p.cri.Runtime.PodSandboxStatus(ctx, &cri.PodSandboxStatusRequest{PodSandboxId: p.ID})
	return r.GetStatus().GetNetwork().GetIp(), err
}

// Remove stops and removes the pod with its containers. It may be called again.
func (p *Pod) Remove() {
	ctx, cancel := p.cri.context()
	defer cancel()
	// What can't be removed ends with the host.
	_, _ = p.cri.Runtime.StopPodSandbox(ctx, &cri.StopPodSandboxRequest{PodSandboxId: p.ID})
	_, _ = p.cri.Runtime.RemovePodSandbox(ctx, &cri.RemovePodSandboxRequest{PodSandboxId: p.ID})
}

// Create creates a container of the pod, and returns its ID. A command of nil is the image's own.
func (p *Pod) Create(container, image string, command ...string) (string, error) {
	ctx, cancel := p.cri.context()
	defer cancel()
	r, err := p.cri.Runtime.CreateContainer(ctx, &cri.CreateContainerRequest{
		PodSandboxId: p.ID, SandboxConfig: p.config,
		Config: &cri.ContainerConfig{
			Metadata: &cri.ContainerMetadata{Name: container}, Image: &cri.ImageSpec{Image: image},
			Command: command, LogPath: container + ".log", Linux: &cri.LinuxContainerConfig{},
		},
	})
	return r.GetContainerId(), err
}

// Start starts a container that was created.
func (k *CRI) Start(id string) error {
	ctx, cancel := k.context()
	defer cancel()
	_, err := k.Runtime.StartContainer(ctx, &cri.StartContainerRequest{ContainerId: id})
	return err
}

// Exec runs a command in a container that runs, and returns what it said.
func (k *CRI) Exec(id string, command ...string) (string, error) {
	ctx, cancel := k.context()
	defer cancel()
	r, err := k.Runtime.ExecSync(ctx, &cri.ExecSyncRequest{ContainerId: id, Cmd: command, Timeout: int64(commandTimeout.Seconds())})
	if err == nil && r.GetExitCode() != 0 {
		err = fmt.Errorf("exit status %d: %s", r.GetExitCode(), r.GetStderr())
	}
	return string(r.GetStdout()), err
}

// State is that of a container: CONTAINER_RUNNING, for instance.
func (k *CRI) State(id string) string {
	k.tb.Helper()
	ctx, cancel := k.context()
	defer cancel()
	r, err := k.Runtime.ContainerStatus(ctx, &cri.ContainerStatusRequest{ContainerId: id})
	if err != nil {
		k.tb.Fatal(err)
	}
	return r.GetStatus().GetState().String()
}

// Stop stops and removes a container.
func (k *CRI) Stop(id string) error {
	ctx, cancel := k.context()
	defer cancel()
	if _, err := k.Runtime.StopContainer(ctx, &cri.StopContainerRequest{ContainerId: id}); err != nil {
		return err
	}
	_, err := k.Runtime.RemoveContainer(ctx, &cri.RemoveContainerRequest{ContainerId: id})
	return err
}

// Run creates and starts a container of the pod, waits until its process has ended, and returns what it wrote.
func (p *Pod) Run(container, image string, command ...string) (string, error) {
	id, err := p.Create(container, image, command...)
	if err != nil {
		return "", err
	}
	if err := p.cri.Start(id); err != nil {
		return "", err
	}
	for deadline := time.Now().Add(serveTimeout); p.cri.State(id) != cri.ContainerState_CONTAINER_EXITED.String(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return "", fmt.Errorf("container %s does not end", container)
		}
	}
	return p.Log(container)
}

// Log is what a container wrote, without the times and the streams.
func (p *Pod) Log(container string) (string, error) {
	text, err := os.ReadFile(p.cri.node.Path(filepath.Join(p.config.GetLogDirectory(), container+".log")))
	if err != nil {
		return "", err
	}
	var said strings.Builder
	for line := range strings.Lines(string(text)) {
		// 2026-01-02T15:04:05.999999999Z stdout F text; P is a line that goes on.
		fields := strings.SplitN(strings.TrimSuffix(line, "\n"), " ", 4)
		if len(fields) != 4 {
			return "", fmt.Errorf("the log of %s has a line %q", container, line)
		}
		said.WriteString(fields[3])
		if fields[2] == "F" {
			said.WriteByte('\n')
		}
	}
	return said.String(), nil
}
