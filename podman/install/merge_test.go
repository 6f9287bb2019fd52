package install_test

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/podman/install"
	"github.com/touchmark/touchmark/podman/policyjson"
	"github.com/touchmark/touchmark/podman/registriesd"
)

// shapes are policy.json as distributions and administrators write it, and none.
func shapes(t *testing.T) map[string]*policyjson.File {
	t.Helper()
	out := map[string]*policyjson.File{"none": nil}
	files, err := filepath.Glob("testdata/policies/*.json")
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range files {
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		f, err := policyjson.Parse(data, path)
		if err != nil {
			t.Fatal(err)
		}
		out[strings.TrimSuffix(filepath.Base(path), ".json")] = f
	}
	if len(out) < 13 {
		t.Fatalf("%d shapes", len(out))
	}
	return out
}

// images are names of the docker transport, tagged and by digest.
func images() []string {
	var out []string
	for _, registry := range []string{
		"docker.io", "quay.io", "ghcr.io", "registry.example", "registry.example:5000", "registry.example:443", "other.example",
		"registry.redhat.io", "registry.access.redhat.com", "localhost:5000",
	} {
		for _, path := range []string{"library/busybox", "acme/app", "acme/base", "acme/tools", "acme/tools/deep/er", "acme/both", "acme/attached", "acmes/app", "openshift-release-dev/x", "app"} {
			out = append(out, registry+"/"+path+":1.0", registry+"/"+path+"@sha256:"+strings.Repeat("a", 64))
		}
	}
	return out
}

// others are transports besides docker, with scopes.
var others = [][2]string{
	{"containers-storage", "[overlay@/var/lib/containers/storage]registry.example/acme/app:1.0"}, {"dir", "/srv/images/x"}, {"dir", "/tmp/x"}, {"oci", "/tmp/x"},
	{"oci-archive", "/tmp/x.tar"}, {"docker-archive", ""}, {"docker-daemon", "app:1"}, {"tarball", ""}, {"atomic", "registry.example/acme/app:1.0"}, {"sif", "/x.sif"}, {"ostree", "x"},
}

const countersigned = `{"type":"signedBy","keyType":"GPGKeys","keyPath":"/etc/touchmark/podman/countersign.gpg","signedIdentity":{"type":"matchRepository"}}`

func ours(t *testing.T) policyjson.Requirement {
	t.Helper()
	r, err := policyjson.ParseRequirement("ours", []byte(countersigned))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// demand is what a rule demands: whatever it has besides "accept anything";
// who rejects demands what cannot be had.
func demand(rule []policyjson.Requirement) (demands []policyjson.Requirement, rejects bool) {
	for _, r := range rule {
		switch r.Type {
		case policyjson.Accept:
		case policyjson.Reject:
			rejects = true
		default:
			demands = append(demands, r)
		}
	}
	return demands, rejects
}

// weaker reports whether a rule admits something that another does not.
func weaker(after, before []policyjson.Requirement) bool {
	a, rejectsAfter := demand(after)
	b, rejectsBefore := demand(before)
	if rejectsAfter {
		return false
	}
	return rejectsBefore || slices.ContainsFunc(b, func(r policyjson.Requirement) bool { return !slices.ContainsFunc(a, r.Equal) })
}

func TestPOD01_NoVerdictWeakerAndOnlyTheDeclaredStricter(t *testing.T) {
	t.Parallel()
	r := ours(t)
	scopes := [][]string{
		{"registry.example"}, {"registry.example/acme"}, {"docker.io", "registry.example/acme/app"}, {"quay.io", "ghcr.io/acme/app", "docker.io/acme"},
		{"registry.redhat.io"}, {"registry.example:5000", "other.example"}, {"registry.example", "registry.example/acme/tools"},
	}
	judged := 0
	for name, shape := range shapes(t) {
		for _, declared := range scopes {
			for _, d := range []install.Demand{
				{OtherTransports: install.Reject}, {OtherTransports: install.Keep},
				{OtherTransports: install.Keep, KeepDefault: true}, {OtherTransports: install.Reject, KeepDefault: true},
			} {
				d.Rules = map[string][]policyjson.Requirement{}
				for _, s := range declared {
					d.Rules[s] = []policyjson.Requirement{r}
				}
				merged := install.Merge(shape, d)
				if again := install.Merge(merged, d); !again.Equal(merged) {
					t.Errorf("%s: merging again changes it", name)
				}
				if _, err := policyjson.Parse(merged.JSON(), "merged"); err != nil {
					t.Fatal(err)
				}
				at := fmt.Sprintf("%s, scopes %v, keep default %v, other transports %s", name, declared, d.KeepDefault, d.OtherTransports)
				for _, image := range images() {
					judged++
					after, from := merged.Effective("docker", image)
					inScope := slices.ContainsFunc(declared, func(s string) bool { return registriesd.Within(image, s) })
					if demands, rejects := demand(after); inScope && !rejects && !slices.ContainsFunc(demands, r.Equal) {
						t.Errorf("%s: %s: %s does not demand our key", at, image, from)
					}
					if shape == nil { // without policy.json clients refuse everything
						if _, rejects := demand(after); !inScope && !rejects {
							t.Errorf("%s: %s is admitted", at, image)
						}
						continue
					}
					before, was := shape.Effective("docker", image)
					if weaker(after, before) {
						t.Errorf("%s: %s: weaker than before", at, image)
					}
					fallsThrough := was == "default" || was == `transports.docker[""]`
					if stricter := weaker(before, after); stricter && !inScope && (d.KeepDefault || !fallsThrough) {
						t.Errorf("%s: %s: stricter, but not declared", at, image)
					}
					if demands, rejects := demand(after); !inScope && !d.KeepDefault && fallsThrough && !rejects && len(demands) == 0 {
						t.Errorf("%s: %s: accepted without anything", at, image)
					}
				}
				if shape != nil {
					holdOthers(t, at, shape, merged, d)
				}
			}
		}
	}
	t.Logf("%d images judged", judged)
}

// holdOthers holds the other transports.
func holdOthers(t *testing.T, at string, before, merged *policyjson.File, d install.Demand) {
	t.Helper()
	for _, o := range others {
		was, whence := before.Effective(o[0], o[1])
		is, _ := merged.Effective(o[0], o[1])
		if weaker(is, was) {
			t.Errorf("%s: %s:%s: weaker than before", at, o[0], o[1])
		}
		if same := !weaker(was, is); !same && (d.OtherTransports == install.Keep || o[0] == "containers-storage" || whence != "default") {
			t.Errorf("%s: %s:%s: stricter", at, o[0], o[1])
		}
		if demands, rejects := demand(is); d.OtherTransports == install.Reject && whence == "default" && o[0] != "containers-storage" && !rejects && len(demands) == 0 {
			t.Errorf("%s: %s:%s: POD-07: left open", at, o[0], o[1])
		}
	}
}
