package doctor_test

import (
	"testing"

	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
)

// Where the kubelet pulls from is said by its flags before its configuration.
func TestCTRD09_KubeletFlags(t *testing.T) {
	const (
		flags  = "/var/lib/kubelet/kubeadm-flags.env"
		file   = "/var/lib/kubelet/config.yaml"
		here   = "unix:///run/containerd/containerd.sock"
		others = "unix:///run/other.sock"
	)
	for what, c := range map[string]struct {
		files map[string]string
		want  bool
	}{
		"nothing":             {nil, false},
		"the usual":           {map[string]string{flags: `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=` + here + ` --pod-infra-container-image=x"`}, false},
		"an image service":    {map[string]string{flags: `KUBELET_KUBEADM_ARGS="--container-runtime-endpoint=` + here + ` --image-service-endpoint=` + others + `"`}, true},
		"in two words":        {map[string]string{flags: `KUBELET_KUBEADM_ARGS="--image-service-endpoint ` + others + `"`}, true},
		"without quotes":      {map[string]string{"/etc/default/kubelet": "KUBELET_EXTRA_ARGS=--image-service-endpoint=" + others}, true},
		"another runtime":     {map[string]string{"/etc/sysconfig/kubelet": "KUBELET_EXTRA_ARGS='--container-runtime-endpoint=" + others + "'\n"}, true},
		"a comment":           {map[string]string{"/etc/default/kubelet": "# KUBELET_EXTRA_ARGS=--image-service-endpoint=" + others}, false},
		"the file":            {map[string]string{file: "imageServiceEndpoint: " + others}, true},
		"a flag over a file":  {map[string]string{file: "imageServiceEndpoint: " + others, flags: "X=--image-service-endpoint=" + here}, false},
		"extra over kubeadm":  {map[string]string{flags: "X=--image-service-endpoint=" + others, "/etc/default/kubelet": "Y=--image-service-endpoint=" + here}, false},
		"a socket's own name": {map[string]string{flags: "X=--image-service-endpoint=/run/containerd/containerd.sock"}, false},
	} {
		r := examine(t, containerddoctor.Config{Host: host(t, c.files)})
		if r.Has("kubelet-elsewhere") != c.want {
			t.Errorf("%s: want %t\n%s", what, c.want, text(r))
		}
	}
}
