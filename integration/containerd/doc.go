// Package containerd tests the enforcement in containerd with a real containerd 2.4
// and ctr, which integration/tools.sh installs: pulls through the transfer service,
// and what their user sees.
package containerd
