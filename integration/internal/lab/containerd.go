package lab

import (
	"context"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	versionapi "github.com/containerd/containerd/api/services/version/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"
)

// ContainerdVersion is the version of containerd, ctr and the shim that integration/tools.sh installs.
const ContainerdVersion = "v2.4.2"

// Places of a host with containerd: all are containerd's defaults.
const (
	ContainerdConfig = "/etc/containerd/config.toml"
	ContainerdSocket = "/run/containerd/containerd.sock"
	BinDir           = "/opt/containerd/image-verifier/bin"
	CertsD           = "/etc/containerd/certs.d" // of hosts.toml, where the configuration says so
)

// Containerd is a host of its own with a real containerd, which has its programs in /usr/local/bin, Debian's runc, and every file where a node has it. It listens on no
// network itself. Nothing of the machine's own /etc, /opt, /run and /var is read or written.
//
//	c := lab.NewContainerd(t)
//	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
//	c.Start(t)
//	r := c.Ctr(t, "images", "pull", "--plain-http", image)
//	err := c.CRI(t).Pull(image)
type Containerd struct {
	*Host
	// Program is the daemon, /usr/local/bin/containerd if it is not another one.
	Program string
	// Env is what the daemon has in its environment, KEY=value; nil is PATH and HOME.
	Env []string
	// Flags are further ones of the daemon, such as --log-level=debug.
	Flags []string

	process *Process
	earlier string // what daemons said that have ended
}

// NewContainerd makes the host. It has no config.toml and no bin_dir, and nothing runs.
func NewContainerd(tb testing.TB, options ...Option) *Containerd {
	tb.Helper()
	c := &Containerd{Host: NewHost(tb, Debian13, options...), Program: "/usr/local/bin/containerd"}
	for _, name := range []string{"containerd", "ctr", "containerd-shim-runc-v2"} {
		c.Link(tb, Tool(tb, name+"-"+ContainerdVersion), "/usr/local/bin/"+name)
	}
	c.Link(tb, touchmark, "/usr/local/bin/touchmark")
	// The CRI copies them into pods.
	c.Write(tb, "/etc/hosts", "127.0.0.1 localhost\n")
	c.Write(tb, "/etc/resolv.conf", "")
	return c
}

// Link makes a symbolic link on the host, and the directories above it.
func (h *Host) Link(tb testing.TB, target, path string) {
	tb.Helper()
	h.Root().Must(tb, 0, "mkdir", "-p", path[:strings.LastIndex(path, "/")])
	h.Root().Must(tb, 0, "ln", "-sfn", target, path)
}

// Install installs a program of this machine on the host: a copy that everybody may run.
func (h *Host) Install(tb testing.TB, program, path string) {
	tb.Helper()
	text, err := os.ReadFile(program)
	if err != nil {
		tb.Fatal(err)
	}
	h.Script(tb, path, string(text))
}

// Script writes a file of the host that everybody may run.
func (h *Host) Script(tb testing.TB, path, text string) {
	tb.Helper()
	h.Write(tb, path, text)
	if err := os.Chmod(h.Path(path), 0o755); err != nil {
		tb.Fatal(err)
	}
}

// pluginNames are how configuration versions call the parts of CRI.
var pluginNames = map[int]struct{ images, runtime string }{
	2: {"io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri"},
	3: {"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"},
	4: {"io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"},
}

// ContainerdSettings is a config.toml of version 2, 3 or 4 with containerd's defaults, but for what the tests' machines need to run containers, hosts.toml in [CertsD],
// and that NRI is off. Further tables may follow; those of the CRI's images and runtime can't be opened again, their tables below can.
func ContainerdSettings(version int, further string) string {
	names := pluginNames[version]
	var b strings.Builder
	fmt.Fprintf(&b, "version = %d\n", version)
	fmt.Fprintf(&b, "[plugins.'%s']\n  disable_apparmor = true\n  restrict_oom_score_adj = true\n", names.runtime)
	if version == 2 {
		fmt.Fprintf(&b, "  sandbox_image = %q\n", PauseImage)
	} else {
		fmt.Fprintf(&b, "[plugins.'%s'.pinned_images]\n  sandbox = %q\n", names.images, PauseImage)
	}
	fmt.Fprintf(&b, "[plugins.'%s'.registry]\n  config_path = %q\n", names.images, CertsD)
	if !strings.Contains(further, "[plugins.'io.containerd.nri.v1.nri']") {
		further += "\n[plugins.'io.containerd.nri.v1.nri']\n  disable = true\n"
	}
	return b.String() + further
}

// Start starts containerd and waits until it answers. It ends with the host at the latest.
func (c *Containerd) Start(tb testing.TB) {
	tb.Helper()
	args := append([]string{c.Program, "--config", ContainerdConfig}, c.Flags...)
	if c.Env != nil {
		args = append(append([]string{"env", "-i"}, c.Env...), args...)
	}
	conn := c.dial(tb)
	defer conn.Close()
	c.process = c.Root().launch(tb, nil, func() bool {
		ctx, cancel := context.WithTimeout(tb.Context(), time.Second)
		defer cancel()
		_, err := versionapi.NewVersionClient(conn).Version(ctx, &emptypb.Empty{})
		return err == nil
	}, args...)
}

// dial prepares a connection to containerd's socket, which need not exist yet.
func (c *Containerd) dial(tb testing.TB) *grpc.ClientConn {
	tb.Helper()
	conn, err := grpc.NewClient("unix://"+c.Address(),
		grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithConnectParams(grpc.ConnectParams{MinConnectTimeout: time.Second}))
	if err != nil {
		tb.Fatal(err)
	}
	return conn
}

// Address is the path of containerd's socket, from outside of the host.
func (c *Containerd) Address() string { return c.Path(ContainerdSocket) }

// Stop ends containerd as systemd does. Containers run on.
func (c *Containerd) Stop() { c.end(syscall.SIGTERM) }

// Kill ends containerd without warning. Containers run on.
func (c *Containerd) Kill() { c.end(syscall.SIGKILL) }

func (c *Containerd) end(sig syscall.Signal) {
	c.process.End(sig)
	c.earlier += c.process.Log()
}

// Restart ends containerd and starts it again, with the configuration as it is now.
func (c *Containerd) Restart(tb testing.TB) {
	tb.Helper()
	c.Stop()
	c.Start(tb)
}

// Log is what containerd has logged, in all its lives.
func (c *Containerd) Log() string {
	if c.process == nil {
		return ""
	}
	return c.earlier + c.process.Log()
}

// Pid is containerd's process.
func (c *Containerd) Pid() int { return c.process.pid }

// Ctr runs containerd's own client, in the namespace of CRI.
func (c *Containerd) Ctr(tb testing.TB, args ...string) Result {
	tb.Helper()
	return c.Root().Run(tb, append([]string{"ctr", "-n", "k8s.io"}, args...)...)
}

// Agent starts the host's agent, by /etc/touchmark/config.yaml, and waits until it answers at the address that this file says it listens on.
func (h *Host) Agent(tb testing.TB, address string) *Process {
	tb.Helper()
	return h.Root().Serve(tb, "http://"+address+"/healthz", "agent")
}
