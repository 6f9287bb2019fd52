// Package containerddoctor_test shows each way past containerd's verifiers with a real containerd first, and then has the doctor name it, and close it.
package containerddoctor_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

const alice = "alice@acme.example"

// site is a Sigstore, and a registry whose images alice must sign.
type site struct {
	*lab.World
	policy, root     string // texts
	signed, unsigned string // images
	proxy            string // host and port of a proxy that lets through what is signed
}

func newSite(t *testing.T) *site {
	t.Helper()
	w := lab.New(t, true)
	s := &site{World: w, signed: w.Registry + "/signed:1", unsigned: w.Registry + "/unsigned:1"}
	s.policy, s.root = file(t, w.Policy(t)), file(t, w.Root)
	coretest.Push(t, s.signed, coretest.Image(t, 1))
	coretest.Push(t, s.unsigned, coretest.Image(t, 2))
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, s.signed)
	s.proxy = judgingProxy(t, w.Registry)
	return s
}

// judgingProxy starts a proxy that lets the signed image through alone.
func judgingProxy(t *testing.T, registry string) string {
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: registry})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/unsigned/") {
			w.WriteHeader(http.StatusForbidden)
			fmt.Fprint(w, `{"errors":[{"code":"DENIED","message":"refused by the proxy"}]}`)
			return
		}
		forward.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

func file(t testing.TB, path string) string {
	t.Helper()
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// Files of a node.
const (
	configYAML = "/etc/touchmark/config.yaml"
	policyFile = "/etc/touchmark/policy.d/release.yaml"
	program    = "/usr/local/bin/touchmark-containerd"
	ours       = lab.BinDir + "/touchmark-containerd"
)

// node is a node that enforces, with an agent.
type node struct {
	*lab.Containerd
	site    *site
	address string // the agent's, on loopback
	agent   *lab.Process
	flags   []string // for the doctor
}

// newNode makes the files of a node that enforces. Nothing runs yet.
func newNode(t *testing.T, s *site) *node {
	t.Helper()
	n := &node{Containerd: lab.NewContainerd(t), site: s, address: lab.FreeAddress(t)}
	n.Install(t, verifier, program)
	n.Link(t, program, ours)
	n.Write(t, "/etc/touchmark/trust/acme.json", s.root)
	n.Write(t, policyFile, s.policy)
	n.configure(t, "standalone: false")
	n.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	return n
}

// configure writes config.yaml.
func (n *node) configure(t *testing.T, ofContainerd string) {
	t.Helper()
	n.Write(t, configYAML, fmt.Sprintf("policy: policy.d\nagent: {listen: %q}\ncontainerd: {%s}\n", n.address, ofContainerd))
}

// boot starts the agent and containerd.
func (n *node) boot(t *testing.T) {
	t.Helper()
	n.agent = n.Agent(t, n.address)
	n.Start(t)
}

// Ways of pulling that ask verifiers.
const (
	byCtr = "ctr"
	byCRI = "CRI"
)

// pull pulls an image, and takes it away again: "" if that worked, or else what the user is told.
func (n *node) pull(t *testing.T, way, image string) (says string) {
	t.Helper()
	if way != byCtr {
		k := n.CRI(t)
		if err := k.Pull(image); err != nil {
			return err.Error()
		}
		k.RemoveImage(image)
		return ""
	}
	if r := n.Root().Run(t, "ctr", "images", "pull", "--plain-http", image); r.Status != 0 {
		return r.Output()
	}
	n.Root().Must(t, 0, "ctr", "images", "rm", "--sync", image)
	return ""
}

// enforces holds that the signed image gets in and the unsigned one is refused, in both ways.
func (n *node) enforces(t *testing.T) {
	t.Helper()
	for _, way := range []string{byCtr, byCRI} {
		if says := n.pull(t, way, n.site.signed); says != "" {
			t.Errorf("%s: the signed image is kept out: %s", way, says)
		}
		if says := n.pull(t, way, n.site.unsigned); !strings.Contains(says, "refused by touchmark") {
			t.Errorf("%s: the unsigned image is not refused: %q", way, says)
		}
	}
}

// enforcesByProxy holds it of what CRI pulls through the proxy.
func (n *node) enforcesByProxy(t *testing.T) {
	t.Helper()
	if says := n.pull(t, byCRI, n.site.signed); says != "" {
		t.Errorf("the signed image is kept out: %s", says)
	}
	if says := n.pull(t, byCRI, n.site.unsigned); !strings.Contains(says, "refused by the proxy") {
		t.Errorf("the unsigned image is not refused: %q", says)
	}
}

// examine runs the doctor on the node.
func (n *node) examine(t *testing.T, flags ...string) *doctor.Report {
	t.Helper()
	args := append([]string{"touchmark", "doctor", "containerd", "-o", "json"}, n.flags...)
	out := n.Root().Run(t, append(args, flags...)...)
	var r doctor.Report
	if err := json.Unmarshal([]byte(out.Stdout), &r); err != nil {
		t.Fatalf("doctor: status %d: %v\n%s", out.Status, err, out.Output())
	}
	if r.ExitStatus() != out.Status {
		t.Errorf("enforcing: %s, exit status %d", r.Enforcing, out.Status)
	}
	return &r
}

func codes(r *doctor.Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.String())
	}
	return strings.Join(out, "\n")
}
