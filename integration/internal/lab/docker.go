package lab

import (
	"os"
	"testing"
)

// DockerVersion is a Docker that integration/tools.sh installs.
type DockerVersion string

const (
	// Docker26 is Debian 13's: dockerd 26.1 and its client, and containerd 1.7.
	Docker26 DockerVersion = "Docker 26.1"
	// Docker29 is a dockerd of the newest line, whose own numbers are others, with containerd 2.4.2 and the older client.
	Docker29 DockerVersion = "Docker 29"
)

// The directory and the program; integration/tools.sh has them, too.
const (
	docker26 = "docker-13-1"
	docker29 = "dockerd-v2.0.0-beta.24"
)

// Docker is a host with a real Docker, which starts a containerd of its own. The host has a network of its own, in which dockerd makes no bridge and no rules.
//
//	d := lab.NewDocker(t, lab.Docker26)
//	d.Reach(t, registry)
//	d.Start(t, "--storage-driver=vfs")
//	r := d.Root().Run(t, "docker", "pull", image)
type Docker struct {
	*Host
}

// NewDocker makes the host. dockerd does not run, and has no daemon.json.
func NewDocker(tb testing.TB, version DockerVersion) *Docker {
	tb.Helper()
	d := &Docker{NewHost(tb, Debian13, OwnNetwork)}
	packages := Tool(tb, docker26)
	programs := map[string]string{"docker": packages + "/usr/bin/docker"}
	if version == Docker26 {
		programs["dockerd"] = packages + "/usr/sbin/dockerd"
		for _, name := range []string{"containerd", "containerd-shim-runc-v2"} {
			programs[name] = packages + "/usr/bin/" + name
		}
	} else {
		programs["dockerd"] = Tool(tb, docker29)
		for _, name := range []string{"containerd", "containerd-shim-runc-v2"} {
			programs[name] = Tool(tb, name+"-"+ContainerdVersion)
		}
	}
	for name, program := range programs {
		d.Link(tb, program, "/usr/local/bin/"+name)
	}
	d.Write(tb, "/etc/resolv.conf", "")
	return d
}

// Start starts dockerd, with what stands in /etc/docker/daemon.json and these flags, and waits until it answers. It ends with the host at the latest.
func (d *Docker) Start(tb testing.TB, flags ...string) {
	tb.Helper()
	d.Root().launch(tb, nil, func() bool {
		_, err := os.Stat(d.Path("/run/docker.sock"))
		return err == nil && d.Root().Run(tb, "docker", "version").Status == 0
	}, append([]string{"dockerd", "--bridge=none", "--iptables=false", "--ip6tables=false", "--ip-forward=false", "--userland-proxy=false"}, flags...)...)
}
