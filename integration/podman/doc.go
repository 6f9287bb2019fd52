// Package podman holds tests of Touchmark on hosts with podman, skopeo and
// buildah: the built command, and Debian 12's and Debian 13's real clients, each
// on a host of its own (lab.Host), where they read their configuration from the
// places that they always read.
package podman
