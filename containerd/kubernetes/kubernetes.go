// Package kubernetes writes the manifests by which a cluster installs Touchmark on
// its nodes, and watches that they enforce.
//
// There are two DaemonSets, of one image. touchmark-install runs "touchmark install
// containerd" on each node, as an init container, and then "touchmark doctor
// containerd": a pod is ready while its node enforces. touchmark-agent runs the
// agent that the verifiers ask. They are two so that the agent stays where it is
// while an update pulls the new image, which the agent has to admit.
//
// The pods see the directories that they need and no more, each at the node's own
// path: there is no mount of the node's root, no host PID namespace, no
// privileged container, no capability and no token of the API server. That is not
// to say that they could do no harm: who writes containerd's bin_dir, or speaks to
// its socket, can become root of the node.
//
// Containers are not judged when they are made (NRI): containerd would make none
// without the agent, and so not the agent's own either. Where that is wanted, the
// agent is a service of the node.
//
// No secret is written. Credentials for registries are in a Secret that exists, of
// which only the name is.
package kubernetes

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"text/template"

	"github.com/google/go-containerregistry/pkg/name"
	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/containerd/distribution"
)

// maxFiles bounds the files of a ConfigMap, in bytes: the API server takes 1 MiB
// for the whole object.
const maxFiles = 900 << 10

// Listen is where the doctor serves on each node.
const Listen = "127.0.0.1:7469"

// Options say what to write.
type Options struct {
	// Image is Touchmark's own, by its digest: with touchmark, touchmark-containerd
	// and touchmark-predicates in PATH.
	Image string
	// Distribution of the nodes; empty for a plain containerd.
	Distribution distribution.Name
	Namespace    string // empty for touchmark-system
	Mode         string // "observe" or "enforce"
	Policies     []File
	Roots        []File // trusted_root.json files; acme.json or acme.jsonl is the trust root acme
	PullSecret   string // a Secret of the type kubernetes.io/dockerconfigjson
	Listen       string // HOST:PORT of the doctor; empty for [Listen]
	Uninstall    bool   // put the nodes back
}

// File is what the ConfigMap has.
type File struct {
	Name string
	Text []byte
}

// paths are a node's.
type paths struct {
	Settings  string // of containerd
	Verifiers string
	Run       string // with containerd's socket
	Mark      string // a file by which the distribution is known; "" for none
}

// layouts are the distributions on which a pod can install.
var layouts = map[distribution.Name]paths{
	distribution.Plain:   {"/etc/containerd", verifiers, "/run/containerd", ""},
	distribution.Kubeadm: {"/etc/containerd", verifiers, "/run/containerd", ""},
	distribution.EKS:     {"/etc/containerd", verifiers, "/run/containerd", "/usr/bin/nodeadm"},
	distribution.K3s:     {"/var/lib/rancher/k3s/agent/etc/containerd", verifiers, "/run/k3s/containerd", ""},
	distribution.RKE2:    {"/var/lib/rancher/rke2/agent/etc/containerd", verifiers, "/run/k3s/containerd", ""},
}

const verifiers = "/opt/containerd/image-verifier/bin"

// Supported reports whether a pod can install on a distribution's nodes. On others
// nothing can, see Manual of containerd/install.
func Supported(d distribution.Name) bool {
	_, ok := layouts[d]
	return ok
}

var (
	// label is a name of Kubernetes' (RFC 1123).
	label = regexp.MustCompile(`\A[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?\z`)
	// fileName is a key of a ConfigMap, as far as we make them.
	fileName = regexp.MustCompile(`\A[A-Za-z0-9][A-Za-z0-9._-]{0,62}\z`)
)

//go:embed manifests.yaml.tmpl
var manifests string

// Render writes the manifests. An error names the option.
func Render(o Options) ([]byte, error) {
	if o.Distribution == "" {
		o.Distribution = distribution.Plain
	}
	if o.Namespace == "" {
		o.Namespace = "touchmark-system"
	}
	if o.Listen == "" {
		o.Listen = Listen
	}
	host, port, err := check(o)
	if err != nil {
		return nil, err
	}
	data, err := configMap(o)
	if err != nil {
		return nil, err
	}
	t, err := template.New("").Funcs(template.FuncMap{"q": quote}).Parse(manifests)
	if err != nil {
		return nil, err
	}
	args := install(o)
	var out bytes.Buffer
	err = t.Execute(&out, struct {
		Options
		Paths           paths
		Data, Args, Sum string
		Host            string
		Port            int
	}{o, layouts[o.Distribution], data, args, fmt.Sprintf("%x", sha256.Sum256([]byte(args+data)))[:16], host, port})
	return out.Bytes(), err
}

func check(o Options) (host string, port int, err error) {
	if ref, err := name.NewDigest(o.Image, name.StrictValidation); err != nil || !strings.HasPrefix(ref.DigestStr(), "sha256:") {
		return "", 0, fmt.Errorf("image: %q is not an image by its digest, as REGISTRY/NAME@sha256:...", o.Image)
	}
	if !Supported(o.Distribution) {
		return "", 0, fmt.Errorf("distribution: no pod can install on nodes of %q", o.Distribution)
	}
	if !label.MatchString(o.Namespace) {
		return "", 0, fmt.Errorf("namespace: %q is not a name of Kubernetes", o.Namespace)
	}
	if o.PullSecret != "" && !label.MatchString(o.PullSecret) {
		return "", 0, fmt.Errorf("pull secret: %q is not a name of Kubernetes", o.PullSecret)
	}
	host, text, err := net.SplitHostPort(o.Listen)
	if err == nil {
		port, err = strconv.Atoi(text)
	}
	if err != nil || net.ParseIP(host) == nil || port < 1 || port > 65535 {
		return "", 0, fmt.Errorf("listen: %q is not ADDRESS:PORT", o.Listen)
	}
	if net.ParseIP(host).IsUnspecified() {
		host = "127.0.0.1" // where the kubelet looks
	}
	switch {
	case o.Uninstall:
		return host, port, nil
	case o.Mode != "observe" && o.Mode != "enforce":
		return "", 0, fmt.Errorf("mode: %q is neither observe nor enforce", o.Mode)
	case len(o.Policies) == 0:
		return "", 0, errors.New("policy: none is given, so nothing would be admitted")
	}
	return host, port, nil
}

// configMap is the data of the ConfigMap, indented.
func configMap(o Options) (string, error) {
	data, size := make(map[string]string), 0
	for prefix, files := range map[string][]File{"policy-": o.Policies, "root-": o.Roots} {
		for _, f := range files {
			key := prefix + f.Name
			if !fileName.MatchString(f.Name) {
				return "", fmt.Errorf("%s%q: is not a name of letters, digits, '-', '_' and '.'", prefix, f.Name)
			}
			if _, ok := data[key]; ok {
				return "", fmt.Errorf("%s: stands twice", key)
			}
			if bytes.Contains(f.Text, []byte("PRIVATE KEY")) {
				return "", fmt.Errorf("%s: holds a private key, which belongs into no ConfigMap", key)
			}
			data[key] = string(f.Text)
			size += len(key) + len(f.Text)
		}
	}
	if size > maxFiles {
		return "", fmt.Errorf("policies and trust roots: %d bytes, at most %d go into a ConfigMap", size, maxFiles)
	}
	text, err := yaml.Marshal(data)
	if err != nil {
		return "", err
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	for i, line := range lines {
		if line != "" {
			lines[i] = "  " + line
		}
	}
	return strings.Join(lines, "\n"), nil
}

// install is what the init container runs, as the elements of a list in YAML.
func install(o Options) string {
	args := []string{"uninstall", "containerd", "--yes"}
	if !o.Uninstall {
		// A copy, since a link would lead into the pod; and its own image is needed at boot.
		args = []string{"install", "containerd", "--yes", "--copy", "--mode", o.Mode, "--boot-image", o.Image}
		for _, f := range sorted(o.Policies) {
			args = append(args, "--policy", "/files/policy-"+f.Name)
		}
		for _, f := range sorted(o.Roots) {
			args = append(args, "--trusted-root", strings.TrimSuffix(f.Name, path.Ext(f.Name))+"=/files/root-"+f.Name)
		}
	}
	for i, a := range args {
		args[i] = quote(a)
	}
	return strings.Join(args, ", ")
}

func sorted(files []File) []File {
	return slices.SortedFunc(slices.Values(files), func(a, b File) int { return strings.Compare(a.Name, b.Name) })
}

// quote is a text in YAML: JSON's is one, and says the same.
func quote(text string) string {
	out, err := json.Marshal(text)
	if err != nil {
		return `""` // a string always has JSON
	}
	return string(out)
}
