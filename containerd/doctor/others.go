package doctor

import (
	"context"
	"slices"
	"strings"
)

// programDirs are where distributions and administrators put programs.
var programDirs = []string{"/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin"}

// otherContainerds are the sockets of containerds that distributions and Docker
// bring.
var otherContainerds = []string{
	"/run/containerd/containerd.sock", "/run/k3s/containerd/containerd.sock", "/run/docker/containerd/containerd.sock",
	"/var/snap/microk8s/common/run/containerd.sock", "/run/k0s/containerd.sock",
}

// dockers is containerd's namespace of Docker's containers and, where it keeps them
// there, images.
const dockers = "moby"

// checkOthers names what else pulls images on the node. None of it asks a verifier,
// and nothing in containerd can make it.
func checkOthers(ctx context.Context, s *snapshot) {
	s.checkKubelet()
	address := s.address()
	own := false
	for _, socket := range otherContainerds {
		path := s.At(socket)
		switch {
		case path == address || !s.Exists(path):
		case strings.Contains(socket, "/docker/"):
			own = true
			s.Find("docker-own", path, "dockerd keeps a containerd of its own there")
		default:
			s.Find("containerd-other", path, "another containerd listens there")
		}
	}
	if s.Daemon != nil && s.daemonErr == nil {
		if namespaces, err := s.Daemon.Namespaces(ctx); err == nil && slices.Contains(namespaces, dockers) {
			s.Find("docker-shared", address, "it has Docker's namespace, %s", dockers)
		} else if !own && (s.Exists(s.At("/run/docker.sock")) || s.program("dockerd") != "") {
			s.Find("docker-shared", s.At("/run/docker.sock"), "dockerd is here, and has no containerd of its own")
		}
	}
	if path := s.program("nerdctl"); path != "" {
		s.Find("nerdctl-present", path, "it pulls by itself")
	}
	if path := s.program("buildkitd"); path != "" || s.Exists(s.At("/run/buildkit/buildkitd.sock")) {
		if path == "" {
			path = s.At("/run/buildkit/buildkitd.sock")
		}
		s.Find("buildkit-present", path, "it pulls what Dockerfiles name by itself")
	}
	if path := s.program("ctr"); path != "" {
		s.notes = append(s.notes, "root can pull without verifiers, by "+s.Name(path)+" images pull --local, and import archives unjudged")
	}
}

// program is the path of a program; "" if it is not there.
func (s *snapshot) program(name string) string {
	for _, dir := range programDirs {
		if path := s.At(dir + "/" + name); s.Exists(path) {
			return path
		}
	}
	return ""
}

// same reports whether two paths lead to the same file, as /var/run and /run do.
func (s *snapshot) same(a, b string) bool {
	ra, _, errA := s.Resolve(a)
	rb, _, errB := s.Resolve(b)
	return errA == nil && errB == nil && ra == rb
}
