// Package containerdinstall installs Touchmark on hosts with a real
// containerd, by the command, and holds what the kubelet and ctr see from then on
// against what they should: before, after, without a network, and when it is
// uninstalled again.
package containerdinstall
