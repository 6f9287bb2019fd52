package policy

import (
	"strings"
	"testing"
)

const release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: release
  uid: 1234
spec:
  mode: enforce
  images:
  - glob: "registry.example/acme/**"
  authorities:
  - name: team
    keyless:
      url: https://ca.example
      trustRootRef: private
      identities:
      - issuer: https://login.acme.example
        subjectRegExp: .*@acme\.example
status:
  conditions: []
`

func TestParse(t *testing.T) {
	set, err := Parse(t.Context(), []byte(release+"---\n"+strings.Replace(release, "name: release", "name: second", 1)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(set.Policies) != 2 || set.Policies[0].Name != "release" || set.Policies[0].Authorities[0].TrustRoot != "private" {
		t.Errorf("read %+v", set.Policies[0])
	}
	if n := len(set.For("registry.example/acme/app")); n != 2 {
		t.Errorf("%d policies match, want 2", n)
	}
	if n := len(set.For("registry.example/acmeapp")); n != 0 {
		t.Errorf("%d policies match a repository outside the glob", n)
	}
}

// TestLIB38_UnknownAndUnsupportedFields changes one thing in a policy that is
// accepted, and expects an error that names it.
func TestLIB38_UnknownAndUnsupportedFields(t *testing.T) {
	if _, err := Parse(t.Context(), []byte(release), Options{}); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct{ name, old, new, want string }{
		{"typo", "issuer:", "isuer:", "isuer"},
		{"unknown field", "  mode: enforce", "  mood: enforce", "mood"},
		{"unsupported", "  mode: enforce", "  match: [{}]", "not supported"},
		{"duplicate key", "  mode: enforce", "  mode: enforce\n  mode: warn", "already defined"},
		{"mode", "mode: enforce", "mode: off", "mode"},
		{"kind", "kind: ClusterImagePolicy", "kind: ImagePolicy", "kind"},
		{"version", "v1beta1", "v2", "apiVersion"},
		{"name", "  name: release\n", "", "metadata.name"},
		{"no glob", `glob: "registry.example/acme/**"`, `glob: ""`, "glob"},
		{"tag in glob", "acme/**", "acme/app:1", "tag"},
		{"tag in a short glob", "registry.example/acme/**", "alpine:3", "tag"},
		{"upper-case host", "registry.example/acme/**", "Registry.example/acme/**", "lower case"},
		{"upper-case path", "registry.example/acme/**", "registry.example/Acme/**", "lower case"},
		{"scheme in glob", "registry.example/acme/**", "https://registry.example/acme/**", "empty part"},
		{"slash before", "registry.example/acme/**", "/acme/**", "empty part"},
		{"slash behind", "registry.example/acme/**", "registry.example/acme/", "empty part"},
		{"digest in glob", "acme/**", "acme/app@sha256:00", "digest"},
		{"odd glob", "acme/**", "acme/(a|b)", "character"},
		{"no subject", "        subjectRegExp: .*@acme\\.example\n", "", "subject"},
		{"both issuers", "        subjectRegExp", "        issuerRegExp: x\n        subjectRegExp", "issuerRegExp"},
		{"bad expression", `.*@acme\.example`, `"("`, "subjectRegExp"},
		{"escaping the anchor", `.*@acme\.example`, `"x)|(.*"`, "subjectRegExp"},
		{"two ways", "    keyless:", "    static: {action: pass}\n    keyless:", "exactly one"},
		{"no authority", release[strings.Index(release, "  authorities:"):strings.Index(release, "status:")], "", "authorities"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			text := strings.Replace(release, tt.old, tt.new, 1)
			if text == release {
				t.Fatal("the policy was not changed")
			}
			if _, err := Parse(t.Context(), []byte(text), Options{}); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error is %v, want one that names %q", err, tt.want)
			}
		})
	}
}

func TestLIB37_EmptyFile(t *testing.T) {
	for _, text := range []string{"", "\n", "# nothing\n", "---\n"} {
		if _, err := Parse(t.Context(), []byte(text), Options{}); err == nil {
			t.Errorf("%q is accepted", text)
		}
	}
	if _, err := Load(t.Context(), t.TempDir(), Options{}); err == nil {
		t.Error("a directory is accepted")
	}
}

// TestA061_Globs holds the meaning of globs, which is policy-controller's for
// repositories.
func TestA061_Globs(t *testing.T) {
	for _, tt := range []struct {
		glob, repository string
		want             bool
	}{
		{"**", "a.example/x", true},
		{"**", "docker.io/library/x", true},
		{"*", "docker.io/library/x", true},
		{"*", "docker.io/acme/x", false},
		{"*/*", "docker.io/acme/x", true},
		{"*/*", "a.example/x", false},
		{"busybox", "docker.io/library/busybox", true},
		{"acme/x", "docker.io/acme/x", true},
		{"index.docker.io/library/*", "docker.io/library/x", true},
		{"docker.io/library/*", "docker.io/library/x", true},
		{"docker.io/busybox", "docker.io/library/busybox", true},
		{"docker.io/*", "docker.io/library/x", true},
		{"docker.io/*", "docker.io/acme/x", false},
		{"docker.io/**", "docker.io/library/x", true},
		{"docker.io/**", "docker.io/acme/x", true},
		{"docker.io/a**", "docker.io/acme/x", true},
		{"registry-1.docker.io/acme/*", "docker.io/acme/x", true},
		{"a.example/*", "a.example/x", true},
		{"a.example/*", "a.example/x/y", false},
		{"a.example/**", "a.example/x/y", true},
		{"a.example/x*", "a.example/xy", true},
		{"a.example/x*", "a.example/x/y", false},
		{"a.example/x", "a.example/xy", false},
		{"a.example/x", "b.a.example/x", false},
		{"a.example/x", "aXexample/x", false},
		{"a.example/**/z", "a.example/x/y/z", true},
		{"a.example/**/z", "a.example/z", false},
		{"*.example/x", "a.example/x", true},
		{"*.example/x", "a.b.example/x", true},
		{"**/x", "a.example/x", true},
		{"a.example:5000/x", "a.example:5000/x", true},
		{"a.example:443/x", "a.example/x", true},
		{"docker.io:443/busybox", "docker.io/library/busybox", true},
		{"a.example:443*/x", "a.example/x", false},
		{"localhost/x", "localhost/x", true},
		{"a.example/*/y", "a.example/../y", true}, // no repository name has "..", whatever a glob says
	} {
		pat, err := compileGlob(tt.glob)
		if err != nil {
			t.Errorf("%q: %v", tt.glob, err)
			continue
		}
		if got := pat.matches(tt.repository); got != tt.want {
			t.Errorf("glob %q matches %q: %v, want %v", tt.glob, tt.repository, got, tt.want)
		}
	}
}
