package podmandoctor_test

import (
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// site is a host on which touchmark was installed by touchmark install podman, with its real agent.
type site struct {
	*lab.Host
	registry, good, bad string
	agent               *lab.Process
}

// release is a policy that admits what lies in app/good and nothing else: nobody has the key.
const release = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: good}
spec:
  images: [{glob: "%[1]s/app/good"}]
  authorities: [{name: all, static: {action: pass}}]
---
apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "%[1]s/app/bad"}]
  authorities:
  - name: team
    key:
      data: |
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEFS1ZJnpNP2quo/tYAitjLALcnNnJ
        QOkMGbdif0kjPrOAdX8GiCm1PraYQl4Rhk7u7qLXWbRnNPBapw/Zu+QJkg==
        -----END PUBLIC KEY-----
`

func newSite(t *testing.T) *site {
	t.Helper()
	s := &site{Host: lab.NewHost(t, lab.Debian12), registry: coretest.NewRegistry(t, true)}
	s.good, s.bad = s.registry+"/app/good:1", s.registry+"/app/bad:1"
	coretest.Push(t, s.good, coretest.Image(t, 1))
	coretest.Push(t, s.bad, coretest.Image(t, 2))
	s.Write(t, registriesConf, fmt.Sprintf("[[registry]]\nlocation = %q\ninsecure = true\n", s.registry))
	s.Write(t, policyJSON, `{"default": `+accept+`}`)
	s.Write(t, "/root/release.yaml", fmt.Sprintf(release, s.registry))
	return s
}

// install has the administrator install touchmark, and start the agent.
func (s *site) install(t *testing.T) {
	t.Helper()
	address := lab.FreeAddress(t)
	s.Root().Must(t, 0, lab.Program(), "install", "podman", "--yes", "--policy", "/root/release.yaml", "--scope", s.registry, "--listen", address)
	s.agent = s.Root().Serve(t, "http://"+address+"/healthz", "agent")
}

// doctor runs touchmark doctor podman on the host and returns its report.
func (s *site) doctor(t *testing.T, status int, flags ...string) doctor.Report {
	t.Helper()
	out := s.Root().Must(t, status, append([]string{lab.Program(), "doctor", "podman", "-o", "json"}, flags...)...)
	var r doctor.Report
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		t.Fatalf("%v\n%s", err, out.Output())
	}
	return r
}

func (s *site) copies(t *testing.T, image string) bool {
	t.Helper()
	r := s.Root().Run(t, "skopeo", "copy", "--quiet", "docker://"+image, "dir:/var/tmp/"+strings.ReplaceAll(t.Name(), "/", "-"))
	return r.Status == 0
}

// TestInstalled is the command from end to end: before it is installed, after, with the agent away, and proven by pulling.
func TestInstalled(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	if r := s.doctor(t, 1, "--scope", s.registry); !r.Has("default-accepts") || !s.copies(t, s.bad) {
		t.Errorf("before it is installed:\n%s", codes(&r))
	}
	s.install(t)
	if r := s.doctor(t, 0); r.Enforcing != doctor.Yes || len(unexpected(r)) > 0 {
		t.Errorf("installed: %s\n%s", r.Enforcing, codes(&r))
	}
	r := s.doctor(t, 0, "--probe", "--probe-good", s.good)
	if len(r.Tried) != 3 || r.Tried[0].Admitted || r.Tried[1].Admitted || !r.Tried[2].Admitted {
		t.Errorf("probe: %+v", r.Tried)
	}
	if r := s.doctor(t, 0, "--probe-unsigned", s.bad, "--probe-client", "podman"); len(r.Tried) != 1 || r.Tried[0].Admitted {
		t.Errorf("probe with podman: %+v", r.Tried)
	}
	// Nothing is an answer that was not one: an image that is not there, and one that should be refused and is not.
	if r := s.doctor(t, 3, "--probe-unsigned", s.registry+"/app/bad:none"); !r.Has("probe-failed") {
		t.Errorf("a probe that fails: %s", codes(&r))
	}
	if r := s.doctor(t, 1, "--probe-unsigned", s.good); !r.Has("probe-admitted") {
		t.Errorf("a probe that is admitted: %s", codes(&r))
	}
	if r := s.doctor(t, 3, "--probe-good", s.bad, "--probe-unsigned", s.bad); !r.Has("probe-refused") {
		t.Errorf("a probe that is refused: %s", codes(&r))
	}
	metrics := s.Root().Must(t, 0, lab.Program(), "doctor", "podman", "-o", "prometheus").Stdout
	for _, line := range []string{"touchmark_enforcing 1\n", "touchmark_doctor_findings{code=\"agent-down\",severity=\"broken\"} 0\n"} {
		if !strings.Contains(metrics, line) {
			t.Errorf("metrics lack %q", line)
		}
	}
	s.agent.Kill()
	if r := s.doctor(t, 3); !r.Has("agent-down") || s.copies(t, s.good) {
		t.Errorf("without the agent:\n%s", codes(&r))
	}
}

// unexpected are the findings that are not about the machine which the tests run on.
func unexpected(r doctor.Report) (out []doctor.Finding) {
	for _, f := range r.Findings {
		if f.Code != "clock-unsynchronised" && f.Code != "docker-present" {
			out = append(out, f)
		}
	}
	return out
}

// TestConfigWritable: whoever can write the policies decides what is admitted.
func TestConfigWritable(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.install(t)
	if s.copies(t, s.bad) {
		t.Fatal("the unsigned image gets in")
	}
	s.Root().Must(t, 0, "chmod", "0777", "/etc/touchmark/policy.d")
	rewrite := fmt.Sprintf("cat >/etc/touchmark/policy.d/mine <<'E'\n%sE\nmv -f /etc/touchmark/policy.d/mine /etc/touchmark/policy.d/release.yaml", strings.ReplaceAll(fmt.Sprintf(release, s.registry), "app/good", "**"))
	before, err := os.ReadFile(s.Path("/etc/touchmark/policy.d/release.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	s.Bob().Must(t, 0, "sh", "-ec", strings.ReplaceAll(rewrite, "app/bad", "app/none"))
	got := false
	for range 60 { // the agent looks every few seconds
		if got = s.copies(t, s.bad); got {
			break
		}
		s.Root().Must(t, 0, "sleep", "0.25")
	}
	if !got {
		t.Error("the image does not get in: this is no way past the policy")
	}
	s.Write(t, "/etc/touchmark/policy.d/release.yaml", string(before))
	if r := s.doctor(t, 1); !r.Has("config-writable") {
		t.Errorf("writable policies:\n%s", codes(&r))
	}
	s.Root().Must(t, 0, lab.Program(), "doctor", "podman", "--fix")
	if r := s.Bob().Run(t, "sh", "-ec", rewrite); r.Status == 0 {
		t.Error("bob can still write the policy after --fix")
	}
}

// TestFixAfterRestore: a package's update, or a tool, that puts back policy.json as it was is met by installing again.
func TestFixAfterRestore(t *testing.T) {
	t.Parallel()
	s := newSite(t)
	s.install(t)
	s.Write(t, policyJSON, `{"default": `+accept+`}`)
	s.Root().Must(t, 0, "rm", ours)
	if r := s.doctor(t, 1); !r.Has("default-accepts") || !s.copies(t, s.bad) {
		t.Errorf("with policy.json as it was:\n%s", codes(&r))
	}
	if r := s.doctor(t, 0, "--fix"); len(unexpected(r)) > 0 || s.copies(t, s.bad) || !s.copies(t, s.good) {
		t.Errorf("after --fix:\n%s", codes(&r))
	}
}
