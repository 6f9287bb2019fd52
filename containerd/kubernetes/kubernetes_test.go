package kubernetes_test

import (
	"bytes"
	"errors"
	"flag"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/containerd/distribution"
	"github.com/touchmark/touchmark/containerd/kubernetes"
)

var update = flag.Bool("update", false, "write testdata anew")

const image = "registry.example/touchmark@sha256:2ca29c9c1d948280cb14fdaf2c898deac659d206904a60f298dea2972725a5cd"

func options() kubernetes.Options {
	return kubernetes.Options{
		Image: image, Mode: "observe",
		Policies: []kubernetes.File{{Name: "release.yaml", Text: []byte("# who signs\nkind: ClusterImagePolicy\nmetadata: {name: \"a: b\"}\n\n  trailing \t\n")}},
		Roots:    []kubernetes.File{{Name: "acme.json", Text: []byte("{\"a\": \"b\"}\n")}},
	}
}

// variants are the manifests of which there are golden files.
func variants() map[string]kubernetes.Options {
	plain := options()
	rke2 := options()
	rke2.Distribution, rke2.Mode, rke2.PullSecret, rke2.Namespace, rke2.Listen = distribution.RKE2, "enforce", "registry-reader", "trust", "0.0.0.0:9000"
	eks := options()
	eks.Distribution = distribution.EKS
	away := options()
	away.Uninstall = true
	return map[string]kubernetes.Options{"plain": plain, "rke2": rke2, "eks": eks, "uninstall": away}
}

func render(t *testing.T, o kubernetes.Options) []byte {
	t.Helper()
	text, err := kubernetes.Render(o)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestGolden(t *testing.T) {
	for name, o := range variants() {
		file := filepath.Join("testdata", name+".yaml")
		got := render(t, o)
		if *update {
			if err := os.MkdirAll("testdata", 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(file, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), string(got)); diff != "" {
			t.Errorf("%s: (go test -update writes it anew)\n%s", name, diff)
		}
	}
}

// Every field is one of the API's, and each mount has its volume.
func TestFields(t *testing.T) {
	for name, o := range variants() {
		dec := yaml.NewDecoder(bytes.NewReader(render(t, o)))
		dec.KnownFields(true)
		kinds := map[string]int{}
		for {
			var doc object
			err := dec.Decode(&doc)
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			kinds[doc.Kind]++
			doc.Spec.Template.Spec.check(t, name+" "+doc.Metadata.Name)
			if doc.Kind == "DaemonSet" && doc.Spec.Selector.MatchLabels["app"] != doc.Spec.Template.Metadata.Labels["app"] {
				t.Errorf("%s: the selector selects nothing", name)
			}
			if doc.Kind == "ConfigMap" {
				want := map[string]string{"policy-release.yaml": string(o.Policies[0].Text), "root-acme.json": string(o.Roots[0].Text)}
				if diff := cmp.Diff(want, doc.Data); diff != "" {
					t.Errorf("%s: %s", name, diff)
				}
			}
		}
		want := map[string]int{"Namespace": 1, "ServiceAccount": 1, "ConfigMap": 1, "DaemonSet": 2}
		if o.Uninstall {
			want = map[string]int{"Namespace": 1, "ServiceAccount": 1, "DaemonSet": 1}
		}
		if diff := cmp.Diff(want, kinds); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
}

// check holds what pods may do, and that what they mount is there.
func (p pod) check(t *testing.T, what string) {
	t.Helper()
	volumes := map[string]bool{}
	for _, v := range p.Volumes {
		if volumes[v.Name] {
			t.Errorf("%s: the volume %s stands twice", what, v.Name)
		}
		volumes[v.Name] = true
		if v.HostPath.Path == "/" || strings.HasPrefix(v.HostPath.Path, "/var/lib/kubelet") {
			t.Errorf("%s: it mounts %s", what, v.HostPath.Path)
		}
	}
	for _, c := range append(p.InitContainers, p.Containers...) {
		for _, m := range c.VolumeMounts {
			if !volumes[m.Name] {
				t.Errorf("%s: %s: there is no volume %s", what, c.Name, m.Name)
			}
		}
		s := c.SecurityContext
		if s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation || !s.ReadOnlyRootFilesystem || len(s.Capabilities.Drop) != 1 || s.SeccompProfile.Type != "RuntimeDefault" || c.Image != image {
			t.Errorf("%s: %s: %+v", what, c.Name, s)
		}
	}
}

func TestRefused(t *testing.T) {
	for says, change := range map[string]func(*kubernetes.Options){
		"is not an image by its digest": func(o *kubernetes.Options) { o.Image = "registry.example/touchmark:1" },
		"distribution: ":                func(o *kubernetes.Options) { o.Distribution = distribution.Talos },
		"namespace: ":                   func(o *kubernetes.Options) { o.Namespace = "a\nb" },
		"pull secret: ":                 func(o *kubernetes.Options) { o.PullSecret = "A" },
		"listen: ":                      func(o *kubernetes.Options) { o.Listen = "localhost:1" },
		"mode: ":                        func(o *kubernetes.Options) { o.Mode = "warn" },
		"policy: none":                  func(o *kubernetes.Options) { o.Policies = nil },
		"is not a name of letters":      func(o *kubernetes.Options) { o.Policies[0].Name = "../x.yaml" },
		"stands twice":                  func(o *kubernetes.Options) { o.Roots = append(o.Roots, o.Roots[0]) },
		"holds a private key":           func(o *kubernetes.Options) { o.Roots[0].Text = []byte("-----BEGIN PRIVATE KEY-----") },
		"at most 921600":                func(o *kubernetes.Options) { o.Roots[0].Text = make([]byte, 1<<20) },
	} {
		o := options()
		change(&o)
		if text, err := kubernetes.Render(o); err == nil || !strings.Contains(err.Error(), says) {
			t.Errorf("%v, want it to say %q\n%s", err, says, text)
		}
	}
}

// Other policies make other pods, which install them.
func TestAChangeOfPolicyIsRolledOut(t *testing.T) {
	o := options()
	before := render(t, o)
	o.Policies[0].Text = []byte("kind: ClusterImagePolicy\n")
	sum := func(text []byte) string {
		_, rest, _ := strings.Cut(string(text), "touchmark/sum: ")
		return rest[:18]
	}
	if sum(before) == sum(render(t, o)) {
		t.Error("the pods stay")
	}
}
