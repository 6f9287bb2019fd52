package doctor

import (
	"bytes"
	"fmt"
	"path/filepath"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/containerd/commandline"
	"github.com/touchmark/touchmark/core/configfile"
)

// kubeletConfig is the kubelet's configuration as kubeadm has it, and most others.
const kubeletConfig = "/var/lib/kubelet/config.yaml"

// kubeletFlags are where kubeadm and packages keep flags of the kubelet. The later
// ones stand later on its command line.
var kubeletFlags = []string{"/var/lib/kubelet/kubeadm-flags.env", "/etc/default/kubelet", "/etc/sysconfig/kubelet"}

// The settings that say from where the kubelet pulls, by their names in its
// configuration; the first that is set counts.
var imageServices = []string{"imageServiceEndpoint", "containerRuntimeEndpoint"}

// checkKubelet looks whether the kubelet pulls by this containerd. Snapshotters with
// an image service of their own are put before it by this setting.
func (s *snapshot) checkKubelet() {
	said := map[string][2]string{} // endpoint and where it stands, by setting
	if path := s.At(kubeletConfig); s.Exists(path) {
		data, ok := s.Read(path)
		var conf map[string]any
		if !ok {
			return
		}
		if err := yaml.Unmarshal(data, &conf); err != nil {
			s.Unreadable(path, err)
			return
		}
		for _, name := range imageServices {
			if endpoint, _ := conf[name].(string); endpoint != "" {
				said[name] = [2]string{endpoint, path + ": " + name}
			}
		}
	}
	// Flags count before the configuration. Of a kubelet that runs they are known.
	note := func(where string, args []string) {
		for name, flag := range map[string]string{"imageServiceEndpoint": "image-service-endpoint", "containerRuntimeEndpoint": "container-runtime-endpoint"} {
			if endpoint := commandline.Flag(args, flag); endpoint != "" {
				said[name] = [2]string{endpoint, where + ": --" + flag}
			}
		}
	}
	var running []string
	if s.Live {
		running = s.processes("kubelet")
	}
	for _, pid := range running {
		if text, err := configfile.Read(s.At("/proc/"+pid+"/cmdline"), maxProcess); err == nil {
			note(fmt.Sprintf("the kubelet (process %s)", pid), strings.Split(string(text), "\x00"))
		}
	}
	for _, file := range kubeletFlags {
		if path := s.At(file); len(running) == 0 && s.Exists(path) {
			if data, ok := s.Read(path); ok {
				note(path, commandline.Words(string(data)))
			}
		}
	}
	for _, name := range imageServices {
		endpoint, where := said[name][0], said[name][1]
		if endpoint == "" {
			continue
		}
		if socket := s.At(strings.TrimPrefix(endpoint, "unix://")); socket != s.address() && !s.same(socket, s.address()) {
			s.Find("kubelet-elsewhere", where, "is %s, and %s is examined", endpoint, s.Name(s.address()))
		}
		return
	}
}

// processes are the numbers of those of a name.
func (s *snapshot) processes(name string) []string {
	names, err := filepath.Glob(s.At("/proc/[0-9]*/comm"))
	if err != nil {
		return nil // the pattern is ours
	}
	var out []string
	for _, file := range names {
		if text, err := configfile.Read(file, 64); err == nil && string(bytes.TrimSpace(text)) == name { // the kernel keeps 16 bytes
			out = append(out, filepath.Base(filepath.Dir(file)))
		}
	}
	return out
}
