package containerddoctor_test

import "testing"

// otherMounts starts containerd with mounts of its own, as a unit may.
func otherMounts(mount string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		n.Script(t, "/usr/local/bin/start", "#!/bin/sh\nexec unshare -m sh -c '"+mount+"; exec /usr/local/bin/containerd \"$@\"' sh \"$@\"\n")
		n.Program = "/usr/local/bin/start"
	}
}

// ownMounts has containerd see what everybody sees.
func ownMounts(_ *testing.T, n *node) { n.Program = "/usr/local/bin/containerd" }

// Mounts of its own that leave bin_dir alone are no cause.
func TestOtherMountsOfContainerd(t *testing.T) {
	n := newNode(t, newSite(t))
	otherMounts("mount -t tmpfs tmpfs /mnt")(t, n)
	n.boot(t)
	n.enforces(t)
	n.warns(t)
}
