package containerddoctor_test

import (
	"strings"
	"testing"
	"time"

	containerddoctor "github.com/touchmark/touchmark/containerd/doctor"
	containerdnode "github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// open is a cause that lets the unsigned image in.
type open struct {
	code string
	// spoil makes a node that enforces one that does not, before containerd starts.
	spoil func(*testing.T, *node)
	// way is how the unsigned image is pulled then; "" is ctr.
	way string
	// late is done when everything runs.
	late func(*testing.T, *node)
	// prove shows by other means that the unsigned image gets in, and leaves the node as it was.
	prove func(*testing.T, *node)
	// by hand: what --fix cannot do.
	byHand func(*testing.T, *node)
	// alone says that no agent runs.
	alone bool
}

const (
	admitsAll = "#!/bin/sh\nexit 0\n"
	above     = "/opt/containerd/image-verifier"
	// forger is a touchmark that turns every verdict round.
	forger = "#!/bin/sh\n/usr/local/lib/touchmark/touchmark \"$@\" | sed 's/\"outcome\": *\"refused\"/\"outcome\":\"admitted\"/'\n"
)

var opens = []open{
	{code: "bindir-missing", spoil: run("rm -r " + lab.BinDir)},
	{code: "bindir-empty", spoil: run("rm " + ours)},
	{code: "bindir-unset", spoil: verifiers("bin_dir = ''")},
	{code: "bindir-relative", spoil: verifiers("bin_dir = 'verifiers'")},
	{code: "bindir-elsewhere", spoil: verifiers("bin_dir = '/opt/verifiers'")},
	{code: "bindir-writable", spoil: run("chmod 0777 " + lab.BinDir), prove: func(t *testing.T, n *node) {
		n.alice(t, "ln -sfn /bin/true "+ours)
		n.getsIn(t, byCRI)
		n.Link(t, program, ours)
	}},
	{code: "bindir-above-writable", spoil: run("chown alice " + above), prove: func(t *testing.T, n *node) {
		n.alice(t, "cd "+above+"; mv bin bin.old; mkdir bin")
		n.getsIn(t, byCRI)
		n.alice(t, "cd "+above+"; rmdir bin; mv bin.old bin")
	}},
	{code: "verifier-missing", spoil: all(run("rm "+ours), script(lab.BinDir+"/scanner", admitsAll))},
	{code: "verifier-missing", spoil: otherMounts("mount -t tmpfs -o mode=0755 tmpfs /opt"), byHand: ownMounts},
	{code: "verifier-missing", spoil: otherMounts("mount -t tmpfs -o mode=0755 tmpfs " + lab.BinDir), byHand: ownMounts},
	{code: "verifier-impostor", spoil: all(run("rm "+ours), script(ours, admitsAll))},
	{code: "verifier-cut", spoil: all(verifiers("max_verifiers = 1"), script(lab.BinDir+"/scanner", admitsAll))},
	{code: "verifier-writable", spoil: run("chmod 0777 " + program), prove: replaced(program, admitsAll)},
	{code: "verifier-disabled", spoil: disabled("'io.containerd.image-verifier.v1.bindir'")},
	{code: "verifiers-none", spoil: verifiers("max_verifiers = 0"), way: byCRI},
	{code: "touchmark-writable", alone: true, spoil: all(standalone, run("chmod 0777 /usr/local/bin/touchmark")), prove: replaced("/usr/local/bin/touchmark", forger)},
	{code: "path-writable", alone: true, spoil: all(standalone, run(`
		mkdir -p /usr/local/lib/verifier /srv/bin
		mv `+program+` /usr/local/lib/verifier/
		ln -sfn /usr/local/lib/verifier/touchmark-containerd `+ours+`
		chmod 0777 /srv/bin`), func(_ *testing.T, n *node) {
		n.Env = []string{"HOME=/root", "PATH=/srv/bin:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
	}), prove: func(t *testing.T, n *node) {
		n.alice(t, "cat > /srv/bin/touchmark <<'END'\n"+forger+"\nEND\nchmod 0755 /srv/bin/touchmark")
		n.getsIn(t, byCtr)
		n.alice(t, "rm /srv/bin/touchmark")
	}},
	{code: "environment-config", alone: true, spoil: all(
		write("/srv/config.yaml", "policy: policy.yaml\nagent: {socket: /srv/none.sock}\n"), write("/srv/policy.yaml", passing("mine", "**")),
		func(_ *testing.T, n *node) {
			n.Env = []string{"HOME=/root", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", "TOUCHMARK_CONFIG=/srv/config.yaml"}
		},
	), byHand: func(t *testing.T, n *node) { n.Env = nil; n.agent = n.Agent(t, n.address) }},

	{code: "containerd-config-writable", spoil: run("chmod 0666 " + lab.ContainerdConfig), prove: func(t *testing.T, n *node) {
		before := n.read(t, lab.ContainerdConfig)
		n.alice(t, "printf \"[plugins.'io.containerd.image-verifier.v1.bindir']\\n  max_verifiers = 0\\n\" >> "+lab.ContainerdConfig)
		n.Restart(t)
		n.getsIn(t, byCtr)
		n.Write(t, lab.ContainerdConfig, before)
		n.Restart(t)
	}},
	{code: "dropin-not-imported", spoil: all(verifiers("max_verifiers = 0"),
		write("/etc/containerd/conf.d/99-touchmark.toml", "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 10\n"))},
	{code: "dropin-overridden", spoil: all(
		write(lab.ContainerdConfig, "version = 3\nimports = ['/etc/containerd/conf.d/*.toml']\n"+oneDirectory),
		write("/etc/containerd/conf.d/99-touchmark.toml", "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 10\n"),
		write("/etc/containerd/conf.d/zz-site.toml", "version = 3\n[plugins.'io.containerd.image-verifier.v1.bindir']\nmax_verifiers = 0\n")), byHand: run("rm /etc/containerd/conf.d/zz-site.toml")},

	{code: "cri-local-pull", way: byCRI, spoil: config("use_local_image_pull = true")},
	{code: "cri-snapshot-annotations", way: byCRI, spoil: config("disable_snapshot_annotations = false")},
	{code: "cri-discard-layers", way: byCRI, spoil: config("discard_unpacked_layers = true")},
	{code: "cri-concurrent-downloads", way: byCRI, spoil: config("max_concurrent_downloads = 5")},
	{code: "cri-sync-fs", way: byCRI, spoil: config("image_pull_with_sync_fs = true")},
	{code: "cri-mirrors", way: byCRI, spoil: write(lab.ContainerdConfig, settings("", "[plugins.'io.containerd.cri.v1.images'.registry.mirrors.'other.example']\nendpoint = ['https://mirror.example']\n"))},
	{code: "cri-configs", way: byCRI, spoil: write(lab.ContainerdConfig, settings("", "[plugins.'io.containerd.cri.v1.images'.registry.configs.'other.example'.auth]\nusername = 'a'\npassword = 'b'\n"))},
	{code: "cri-auths", way: byCRI, spoil: write(lab.ContainerdConfig, settings("", "[plugins.'io.containerd.cri.v1.images'.registry.auths.'https://other.example']\nusername = 'a'\npassword = 'b'\n"))},

	{code: "verifier-not-loaded", spoil: disabled("'io.containerd.image-verifier.v1.bindir'"), late: config("")},
	{code: "containerd-socket-writable", late: run("chmod 0711 /run/containerd; chmod 0666 " + lab.ContainerdSocket), prove: func(t *testing.T, n *node) {
		n.Install(t, lab.Tool(t, "ctr-"+lab.ContainerdVersion), "/usr/bin/ctr")
		n.alice(t, "/usr/bin/ctr images pull --local --plain-http "+n.site.unsigned)
		n.Root().Must(t, 0, "ctr", "images", "rm", n.site.unsigned)
	}, byHand: func(t *testing.T, n *node) {}},

	{code: "agent-foreign", alone: true, late: all(aliceAgent, run("chmod 0755 /run/touchmark; chown root /run/touchmark")), byHand: func(t *testing.T, n *node) {
		n.agent.Kill()
		run("rm -f /run/touchmark/agent.sock")(t, n)
		n.agent = n.Agent(t, n.address)
	}},
	{code: "agent-socket-writable", spoil: run("mkdir -p /run/touchmark; chmod 0777 /run/touchmark"), prove: func(t *testing.T, n *node) {
		n.agent.Kill()
		n.alice(t, "rm -f /run/touchmark/agent.sock || mv /run/touchmark/agent.sock /run/touchmark/old.sock")
		aliceAgent(t, n)
		n.getsIn(t, byCtr)
		n.agent.Kill()
		run("rm -f /run/touchmark/agent.sock")(t, n)
		n.agent = n.Agent(t, n.address)
	}},
	{code: "agent-observing", spoil: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy+"  mode: warn\n") }, byHand: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy); n.reagent(t) }},
	{code: "observing", spoil: func(t *testing.T, n *node) { n.configure(t, "standalone: false, observe: true") }, byHand: func(t *testing.T, n *node) { n.configure(t, "standalone: false"); n.reagent(t) }},

	{code: "config-writable", alone: true, spoil: run("chmod 0666 " + configYAML), prove: func(t *testing.T, n *node) {
		before := n.read(t, configYAML)
		n.Alice().Write(t, "/home/alice/policy.yaml", passing("mine", "**"))
		n.alice(t, "printf 'policy: /home/alice/policy.yaml\n' > "+configYAML)
		n.getsIn(t, byCtr)
		n.Write(t, configYAML, before)
		n.agent = n.Agent(t, n.address)
	}},
	{code: "policy-writable", spoil: run("chmod 0777 /etc/touchmark/policy.d"), prove: func(t *testing.T, n *node) {
		n.alice(t, "mv /etc/touchmark/policy.d/release.yaml /etc/touchmark/policy.d/old; cat > /etc/touchmark/policy.d/mine.yaml <<'END'\n"+passing("mine", "**")+"\nEND")
		n.reagent(t)
		n.getsIn(t, byCtr)
		n.alice(t, "cd /etc/touchmark/policy.d; mv old release.yaml; rm mine.yaml")
		n.reagent(t)
	}},
	{code: "kubelet-elsewhere", spoil: write("/var/lib/kubelet/config.yaml", "kind: KubeletConfiguration\ncontainerRuntimeEndpoint: unix:///run/containerd/containerd.sock\nimageServiceEndpoint: unix:///run/snapshotter/images.sock\n"), prove: snapshotter, byHand: run("rm /var/lib/kubelet/config.yaml")},
	{code: "kubelet-elsewhere", spoil: write("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///run/containerd/containerd.sock --image-service-endpoint=unix:///run/snapshotter/images.sock\"\n"),
		prove: snapshotter, byHand: write("/var/lib/kubelet/kubeadm-flags.env", "KUBELET_KUBEADM_ARGS=\"--container-runtime-endpoint=unix:///var/run/containerd/containerd.sock\"\n# --image-service-endpoint=unix:///run/snapshotter/images.sock\n")},
	{code: "proxy-as-mirror", way: byCRI, spoil: proxied(func(n *node) map[string]string {
		return map[string]string{n.site.Registry: "server = 'http://" + n.site.Registry + "'\n[host.'http://" + n.site.proxy + "']\n"}
	}), byHand: proxied(atProxy)},
	{code: "proxy-missing", way: byCRI, spoil: proxied(func(n *node) map[string]string {
		return map[string]string{n.site.Registry: "server = 'http://" + n.site.Registry + "'\n"}
	}), byHand: proxied(atProxy)},
	{code: "proxy-bypassed", way: byCRI, spoil: proxied(func(n *node) map[string]string {
		return map[string]string{"_default": "server = 'http://" + n.site.proxy + "'\n", n.site.Registry: "server = 'http://" + n.site.Registry + "'\n"}
	}), byHand: func(t *testing.T, n *node) { run("rm -r /etc/containerd/certs.d/"+n.site.Registry)(t, n) }},
	{code: "proxy-unusable", way: byCRI, spoil: proxied(func(n *node) map[string]string {
		return map[string]string{n.site.Registry: "server = 'http://" + n.site.Registry + "'\n[host.'http://" + n.site.proxy + "']\ncapabilities = ['pulls']\n"}
	}), byHand: proxied(atProxy)},
	{code: "proxy-overridden", way: byCRI, spoil: all(proxied(atProxy), config("use_local_image_pull = true", "# "), func(t *testing.T, n *node) {
		n.Write(t, lab.ContainerdConfig, strings.Replace(settings("use_local_image_pull = true", oneDirectory), "'/etc/containerd/certs.d'", "'/etc/containerd/first.d:/etc/containerd/certs.d'", 1))
		n.Write(t, "/etc/containerd/first.d/"+n.site.Registry+"/hosts.toml", "server = 'http://"+n.site.Registry+"'\n")
	}), byHand: run("rm -r /etc/containerd/first.d")},
	{code: "proxy-path-list", way: byCRI, spoil: all(proxied(atProxy), func(t *testing.T, n *node) {
		n.Write(t, lab.ContainerdConfig, strings.Replace(settings("", oneDirectory), "'/etc/containerd/certs.d'", "'/etc/containerd/certs.d:/etc/docker/certs.d'", 1))
	}), byHand: config("")},
	{code: "policy-passes", spoil: write(policyFile, passing("all", "**")), byHand: func(t *testing.T, n *node) { n.Write(t, policyFile, n.site.policy); n.reagent(t) }},
}

// atProxy is a hosts.toml that leads to the proxy alone.
func atProxy(n *node) map[string]string {
	return map[string]string{n.site.Registry: "server = 'http://" + n.site.proxy + "'\n"}
}

// proxied leaves enforcing to the proxy: there is no verifier, and hosts.toml is all that counts.
func proxied(hosts func(*node) map[string]string) func(*testing.T, *node) {
	return func(t *testing.T, n *node) {
		run("rm -rf "+lab.BinDir+" /etc/containerd/certs.d")(t, n)
		n.flags = []string{"--proxy-only", "--proxy", n.site.proxy, "--registry", n.site.Registry}
		for registry, text := range hosts(n) {
			n.Write(t, "/etc/containerd/certs.d/"+registry+"/hosts.toml", text)
		}
	}
}

// standalone lets the verifier decide where no agent answers, by a touchmark of the node's own.
func standalone(t *testing.T, n *node) {
	n.configure(t, "standalone: true")
	run("mkdir -p /usr/local/lib/touchmark; rm /usr/local/bin/touchmark")(t, n)
	n.Install(t, lab.Program(), "/usr/local/lib/touchmark/touchmark")
	n.Install(t, lab.Program(), "/usr/local/bin/touchmark")
}

// snapshotter is another image service, by which an unsigned image gets in.
func snapshotter(t *testing.T, n *node) {
	n.Write(t, "/etc/snapshotter.toml", settings("", "[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '/none'\n")+"[grpc]\naddress = '/run/snapshotter/images.sock'\n")
	n.Root().Start(t, "containerd", "--config", "/etc/snapshotter.toml", "--root", "/var/lib/snapshotter", "--state", "/run/snapshotter")
	pullsAt(t, n.Path("/run/snapshotter/images.sock"), n.site.unsigned)
}

// pullsAt pulls an image through the CRI of another containerd, once that answers.
func pullsAt(t *testing.T, socket, image string) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for {
		d, err := containerdnode.Dial(t.Context(), socket)
		if err == nil {
			_, err = d.CRIPull(t.Context(), image)
			_ = d.Close()
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// reagent restarts the agent.
func (n *node) reagent(t *testing.T) {
	t.Helper()
	n.agent.Kill()
	n.agent = n.Agent(t, n.address)
}

// aliceAgent has a user without rights answer the verifiers, by a policy of their own.
func aliceAgent(t *testing.T, n *node) {
	t.Helper()
	run("mkdir -p /run/touchmark; chown alice /run/touchmark")(t, n)
	a := n.Alice()
	a.Write(t, "/home/alice/config.yaml", "policy: policy.yaml\nagent: {listen: '"+n.address+"', socket: /run/touchmark/agent.sock, state: /home/alice/state}\n")
	a.Write(t, "/home/alice/policy.yaml", passing("mine", "**"))
	n.agent = a.Serve(t, "http://"+n.address+"/healthz", "agent", "--config", "/home/alice/config.yaml")
}

// newSpoiled is a node that runs, spoiled before containerd starts, or late, after it did. Alone, it has no agent.
func newSpoiled(t *testing.T, s *site, spoil func(*testing.T, *node), alone bool, late func(*testing.T, *node)) *node {
	t.Helper()
	n := newNode(t, s)
	if spoil != nil {
		spoil(t, n)
	}
	if !alone {
		n.agent = n.Agent(t, n.address)
	}
	n.Start(t)
	if late != nil {
		late(t, n)
	}
	return n
}

// TestCTRD09_Open: each cause lets the unsigned image in although Touchmark's verifier is installed, is named, and is closed.
func TestCTRD09_Open(t *testing.T) {
	s := newSite(t)
	for _, c := range opens {
		t.Run(c.code, func(t *testing.T) {
			t.Parallel()
			n := newSpoiled(t, s, c.spoil, c.alone, c.late)
			switch {
			case c.prove != nil:
				c.prove(t, n)
			case c.way != "":
				n.getsIn(t, c.way)
			default:
				n.getsIn(t, byCtr)
			}
			r := n.examine(t)
			if !r.Has(c.code) || r.Enforcing != doctor.No {
				t.Fatalf("enforcing: %s, want no by %s\n%s", r.Enforcing, c.code, codes(r))
			}
			n.close(t, c.code, c.byHand)
		})
	}
}

// close has the doctor close a cause, or does it by hand, and holds that the node enforces then.
func (n *node) close(t *testing.T, code string, byHand func(*testing.T, *node)) {
	t.Helper()
	if byHand != nil {
		byHand(t, n)
	} else if !containerddoctor.Catalog().Cause(code).Fixable {
		t.Fatalf("%s: nobody closes it", code)
	} else if r := n.Root().Run(t, append([]string{"touchmark", "doctor", "containerd", "--fix"}, n.flags...)...); r.Status == 2 {
		t.Fatal(r.Output())
	}
	n.Restart(t)
	if n.agent == nil {
		n.agent = n.Agent(t, n.address)
	}
	if n.flags == nil {
		n.enforces(t)
	} else {
		n.enforcesByProxy(t)
	}
	if r := n.examine(t); r.Enforcing != doctor.Yes {
		t.Errorf("afterwards: enforcing: %s\n%s", r.Enforcing, codes(r))
	}
}
