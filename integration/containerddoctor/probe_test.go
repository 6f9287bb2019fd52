package containerddoctor_test

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// images are what the node has, by namespace and name.
func (n *node) images(t *testing.T) string {
	t.Helper()
	return n.Root().Must(t, 0, "ctr", "images", "ls", "-q").Stdout + n.Root().Must(t, 0, "ctr", "-n", "k8s.io", "images", "ls", "-q").Stdout
}

// tried are the outcomes of a probe, in a line each.
func tried(r *doctor.Report) string {
	var out []string
	for _, t := range r.Tried {
		what := "refused"
		if t.Unknown {
			what = "failed"
		} else if t.Admitted {
			what = "admitted"
		}
		what += " by " + t.Way
		out = append(out, what)
	}
	return strings.Join(out, ", ")
}

// A probe says what happened in each way, whatever the configuration says, and leaves nothing behind.
func TestCTRD09_Probe(t *testing.T) {
	s := newSite(t)
	for _, c := range []struct {
		name      string
		spoil     func(*testing.T, *node)
		flags     []string
		tried     string
		enforcing string
		finding   string
	}{
		{"a node that enforces", nil, []string{"--probe", "--probe-good", s.signed}, "refused by CRI, refused by transfer service, admitted by CRI, admitted by transfer service", doctor.Yes, ""},
		{"an image of one's own", nil, []string{"--probe-unsigned", s.unsigned}, "refused by CRI, refused by transfer service", doctor.Yes, ""},
		{"CRI pulls by itself", config("use_local_image_pull = true"), []string{"--probe"}, "admitted by CRI, refused by transfer service", doctor.No, "probe-admitted"},
		{"no verifiers", run("rm -r " + lab.BinDir), []string{"--probe"}, "admitted by CRI, admitted by transfer service", doctor.No, "probe-admitted"},
		{"no CRI", disabled("'io.containerd.grpc.v1.cri'"), []string{"--probe"}, "refused by transfer service", doctor.Yes, ""},
		{"what is good is refused", nil, []string{"--probe", "--probe-good", s.unsigned}, "refused by CRI, refused by transfer service, refused by CRI, refused by transfer service", doctor.Unknown, "probe-refused"},
		{"another verifier blocks", script(lab.BinDir+"/aaa", "#!/bin/sh\necho no\nexit 1\n"), []string{"--probe"}, "failed by CRI, failed by transfer service", doctor.Unknown, "probe-failed"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			n := newNode(t, s)
			if c.spoil != nil {
				c.spoil(t, n)
			}
			n.boot(t)
			before := n.images(t)
			r := n.examine(t, c.flags...)
			if tried(r) != c.tried || r.Enforcing != c.enforcing || c.finding != "" && !r.Has(c.finding) {
				t.Errorf("tried: %s\nwant:  %s\nenforcing: %s\n%s", tried(r), c.tried, r.Enforcing, codes(r))
			}
			if after := n.images(t); after != before {
				t.Errorf("the probe left behind\n%s\nof\n%s", after, before)
			}
		})
	}
}

// What was there before the probe stays.
func TestProbeKeepsImages(t *testing.T) {
	s := newSite(t)
	n := newNode(t, s)
	n.boot(t)
	n.Root().Must(t, 0, "ctr", "images", "pull", "--plain-http", s.signed)
	if err := n.CRI(t).Pull(s.signed); err != nil {
		t.Fatal(err)
	}
	before := n.images(t)
	if r := n.examine(t, "--probe-good", s.signed); r.Enforcing != doctor.Yes {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
	}
	if after := n.images(t); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
}

// A sweep that admits what was there before the verifier ends the warning.
func TestSwept(t *testing.T) {
	s := newSite(t)
	n := newNode(t, s)
	n.boot(t)
	n.Root().Must(t, 0, "ctr", "-n", "k8s.io", "images", "pull", "--local", "--plain-http", s.signed)
	run("ln -sfn "+program+" "+ours)(t, n) // installed after that
	n.warns(t, "images-unjudged")
	n.Root().Must(t, 0, "touchmark", "sweep", "containerd", "--label")
	n.warns(t)
}

// A mounted node of k3s is examined by its own places, without a daemon.
func TestMounted(t *testing.T) {
	s := newSite(t)
	n := newNode(t, s)
	const k3s = "/mnt/node/var/lib/rancher/k3s/agent/etc/containerd/config.toml"
	n.Write(t, k3s, settings("max_concurrent_downloads = 5"))
	n.Write(t, "/mnt/node/etc/touchmark/config.yaml", "policy: policy.d\n")
	n.Write(t, "/mnt/node"+policyFile, s.policy)
	r := n.examine(t, "--root", "/mnt/node")
	for _, want := range []string{
		"open cri-concurrent-downloads: /var/lib/rancher/k3s/agent/etc/containerd/config.toml: max_concurrent_downloads: is 5",
		"open bindir-missing: /opt/containerd/image-verifier/bin: it does not exist",
	} {
		if !strings.Contains(codes(r), want) {
			t.Errorf("%s is missing in\n%s", want, codes(r))
		}
	}
	if r.Has("containerd-down") || r.Has("agent-down") {
		t.Errorf("a node that is not this one is asked:\n%s", codes(r))
	}
	// The whole node, where nothing runs.
	if r := n.examine(t, "--root", "/"); r.Enforcing != doctor.Yes {
		t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
	}
}

// Fix says that a restart is needed, and --restart does it. Metrics name the cause.
func TestRestart(t *testing.T) {
	s := newSite(t)
	n := newNode(t, s)
	verifiers("max_verifiers = 0")(t, n)
	// The tests' machines have no systemd.
	n.Script(t, "/usr/local/bin/systemctl", "#!/bin/sh\n[ \"$*\" = 'restart containerd.service' ] || exit 9\nkill $(cat /run/containerd.pid)\nrm -f /run/containerd/containerd.sock\nsetsid containerd >/dev/null 2>&1 </dev/null &\n")
	n.Script(t, "/usr/local/bin/start", "#!/bin/sh\necho $$ >/run/containerd.pid\nexec /usr/local/bin/containerd \"$@\"\n")
	n.Program = "/usr/local/bin/start"
	n.boot(t)
	n.getsIn(t, byCtr)
	metrics := n.Root().Run(t, "touchmark", "doctor", "containerd", "-o", "prometheus")
	if metrics.Status != 1 || !strings.Contains(metrics.Stdout, `touchmark_enforcing{client="containerd",cause="verifiers-none"} 0`) || !strings.Contains(metrics.Stdout, `touchmark_doctor_findings{client="containerd",code="verifiers-none",severity="open"} 1`) {
		t.Errorf("status %d\n%s", metrics.Status, metrics.Output())
	}
	fixed := n.Root().Run(t, "touchmark", "doctor", "containerd", "--fix")
	if fixed.Status != 3 || !strings.Contains(fixed.Stderr, "to do: restart containerd (--restart)") || !strings.Contains(fixed.Stdout, "config-changed") {
		t.Errorf("--fix: status %d\n%s", fixed.Status, fixed.Output())
	}
	n.getsIn(t, byCtr) // it still runs by what it read
	fixed = n.Root().Run(t, "touchmark", "doctor", "containerd", "--fix", "--restart", "--probe", "--probe-good", s.signed)
	if fixed.Status != 0 || !strings.Contains(fixed.Stderr, "fixed: containerd was restarted") || !strings.Contains(fixed.Stdout, "enforcing: yes") {
		t.Errorf("--restart: status %d\n%s", fixed.Status, fixed.Output())
	}
	n.enforces(t)
}

// Who can write the trust roots decides whose word counts.
func TestTrustWritable(t *testing.T) {
	s := newSite(t)
	n := newNode(t, s)
	run("chmod 0666 /etc/touchmark/trust/acme.json")(t, n)
	n.boot(t)
	// Another Sigstore, of the same name, signs for mallory.
	address := strings.TrimPrefix(s.Stack.URL, "http://")
	s.Stack.Kill()
	data := s.Dir + "/mallory"
	stack := lab.Start(t, "/healthz", "up", "--data", data, "--listen", address, "--insecure-dev-issuer")
	lab.Touchmark(t, 0, "sign", "--server", stack.URL, "--as", alice, "--trusted-root", data+"/trust/trusted_root.json", s.unsigned)
	n.alice(t, "cat > /etc/touchmark/trust/acme.json <<'END'\n"+file(t, data+"/trust/trusted_root.json")+"\nEND")
	n.reagent(t)
	n.getsIn(t, byCtr)
	n.Write(t, "/etc/touchmark/trust/acme.json", s.root)
	n.reagent(t)
	if r := n.examine(t); r.Enforcing != doctor.No || !r.Has("trust-writable") {
		t.Fatalf("enforcing: %s\n%s", r.Enforcing, codes(r))
	}
	n.Root().Must(t, 0, "touchmark", "doctor", "containerd", "--fix")
	if says := n.pull(t, byCtr, s.unsigned); !strings.Contains(says, "refused by touchmark") {
		t.Errorf("what mallory signed: %q", says)
	}
}
