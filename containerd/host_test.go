package containerd_test

import (
	"testing"

	"github.com/touchmark/touchmark/containerd"
)

func TestHost(t *testing.T) {
	for _, c := range []struct{ root, path, at, within string }{
		{"", "/etc/x", "/etc/x", "/etc/x"},
		{"/", "/etc/x", "/etc/x", "/etc/x"},
		{"/mnt", "/etc/x", "/mnt/etc/x", "/etc/x"},
		{"/mnt/", "/etc/x", "/mnt/etc/x", "/etc/x"},
		{"/mnt", "/mnt/etc/x", "/mnt/etc/x", "/etc/x"},
		{"/mnt", "/mnt", "/mnt", "/"},
		{"/mnt", "/mntother/x", "/mnt/mntother/x", "/mntother/x"},
	} {
		h := containerd.Host{Root: c.root}
		if got := h.Path(c.path); got != c.at {
			t.Errorf("%q: path of %s: %s, want %s", c.root, c.path, got, c.at)
		}
		if got := h.Within(c.path); got != c.within {
			t.Errorf("%q: within %s: %s, want %s", c.root, c.path, got, c.within)
		}
	}
	h := containerd.Host{Root: "/mnt"}
	for got, want := range map[string]string{
		h.Config(): "/mnt/etc/containerd/config.toml", h.DropIns(): "/mnt/etc/containerd/conf.d", h.BinDir(): "/mnt/opt/containerd/image-verifier/bin",
		h.CertsD(): "/mnt/etc/containerd/certs.d", h.Address(): "/mnt/run/containerd/containerd.sock", h.Touchmark(): "/mnt/etc/touchmark",
		h.SystemdUnits(): "/mnt/etc/systemd/system",
	} {
		if got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
