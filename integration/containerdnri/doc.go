// Package containerdnri holds what Touchmark does on a node besides containerd's image verifiers against a real containerd 2.4.2 with CRI: the client of its API
// (containerd/node), sweeps of what lies there, and the NRI plugin, which is killed, stopped and restarted while containers are created.
package containerdnri
