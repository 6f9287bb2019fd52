package proxy_test

import (
	"path/filepath"
	"regexp"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// client is a real client that begins each pull with nothing of the image.
type client struct {
	name   string
	pull   puller
	forget func(t *testing.T) // removes the image
}

// brokenOff is what crane says when the replica died that it was reading a layer from. It does not continue, as all others do: who uses it
// has it run again.
var brokenOff = regexp.MustCompile("unexpected EOF|connection reset by peer")

// clients are on hosts that have what "touchmark client-config" prints, but for crane, which knows no such file.
func (f *fleet) clients() []client {
	t := f.t
	t.Helper()
	w := &world{file: f.files[0], host: f.balancer.address}

	host := lab.NewHost(t, lab.Debian13)
	host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	w.install(t, host, "podman")
	root := host.Root()

	crane := func(t *testing.T) lab.Result {
		c := lab.Command{Program: lab.Tool(t, "crane-v0.22.1")}
		return c.Run(t, "pull", "--insecure", f.balancer.address+"/web:signed", filepath.Join(t.TempDir(), "image.tar"))
	}
	return append([]client{
		{"crane", func(t *testing.T) string {
			r := crane(t)
			if brokenOff.MatchString(r.Output()) {
				r = crane(t)
			}
			return said(r)
		}, func(*testing.T) {}},
		{"skopeo", func(t *testing.T) string {
			return said(root.Run(t, "skopeo", "copy", "--retry-times", "3", "docker://"+signedImage, "oci:/root/copy"))
		}, func(t *testing.T) { root.Must(t, 0, "rm", "-rf", "/root/copy") }},
		{"podman", func(t *testing.T) string { return said(root.Run(t, "podman", "pull", signedImage)) },
			func(t *testing.T) { root.Must(t, 0, "podman", "rmi", "--all", "--force") }},
	}, f.node().clients()...)
}

// node is a host with containerd, which is a client in two ways.
type node struct {
	*lab.Containerd
	cri *lab.CRI
}

// namespace is containerd's for ctr. In the CRI's, "k8s.io", the CRI would give images more names.
const namespace = "lab"

func (f *fleet) node() *node {
	f.t.Helper()
	n := &node{Containerd: lab.NewContainerd(f.t)}
	n.Write(f.t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	(&world{file: f.files[0], host: f.balancer.address}).install(f.t, n.Host, "containerd")
	n.Start(f.t)
	n.cri = n.CRI(f.t)
	return n
}

func (n *node) ctr(t *testing.T, namespace string, args ...string) lab.Result {
	t.Helper()
	return n.Root().Run(t, append([]string{"ctr", "-n", namespace}, args...)...)
}

// clients are ctr, which has the transfer service pull, and CRI, as the kubelet has it.
func (n *node) clients() []client {
	return []client{
		{"ctr", func(t *testing.T) string {
			return said(n.ctr(t, namespace, "images", "pull", "--hosts-dir", lab.CertsD, signedImage))
		}, func(t *testing.T) { n.ctr(t, namespace, "images", "rm", "--sync", signedImage) }},
		{"CRI", func(t *testing.T) string {
			if err := n.cri.Pull(signedImage); err != nil {
				return err.Error()
			}
			return ""
		}, func(*testing.T) { n.cri.RemoveImage(signedImage) }},
	}
}

// said is all that a client said if it failed.
func said(r lab.Result) string {
	if r.Status == 0 {
		return ""
	}
	return r.Output()
}
