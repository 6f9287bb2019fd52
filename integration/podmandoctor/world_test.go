// Package podmandoctor_test shows each way past policy.json with a real client first, and then has the doctor name it.
package podmandoctor_test

import (
	"context"
	"encoding/base64"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/registry"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/hostconfig"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/access"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
	"github.com/touchmark/touchmark/podman/lookaside"
)

const (
	acme  = "registry.acme.example" // is to be enforced
	other = "other.example"         // nothing is said of it
)

// images that tests pull. The names are logical: registries.conf leads to a registry on loopback.
const (
	good  = acme + "/app/good:1"     // admitted
	bad   = acme + "/app/bad:1"      // unsigned
	stray = other + "/app/unknown:1" // unsigned, elsewhere
)

// world is a registry, and a host that enforces what registry.acme.example holds, with an agent's lookaside.
type world struct {
	*lab.Host
	registry string // host and port
	admitted string // digest of good
	unsigned string // digest of bad
	config   *hostconfig.Config
	key      atomic.Pointer[countersign.Key]
	agent    *httptest.Server
	status   doctor.AgentStatus // that the agent gives
	down     error              // that it gives instead
	observe  atomic.Bool        // it admits anything
	// evil has the registry say that it keeps signatures itself, so that clients do not ask the agent. Then extra gives the signature for a path of the
	// registry; nil, or if extra is: there is none.
	evil         atomic.Bool
	extra        atomic.Pointer[func(path string) []byte]
	throughProxy string // host and port of the proxy that images are to come through
}

// Status makes the world its host's agent.
func (w *world) Status(context.Context) (doctor.AgentStatus, error) { return w.status, w.down }

// Admit makes it the agent's gate.
func (w *world) Admit(_ context.Context, r gate.Request) gate.Verdict {
	v := gate.Verdict{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "nobody has signed it", Repository: r.Repository, Digest: r.Digest.String(), DecidedAt: time.Now()}
	if w.observe.Load() || r.Digest.String() == w.admitted && r.Repository == acme+"/app/good" {
		v.Outcome, v.Code = gate.OutcomeAdmitted, gate.CodeAdmitted
	}
	return v
}

// newWorld starts a host that enforces. Its files are as touchmark install podman writes them.
func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{Host: lab.NewHost(t, lab.Debian12), status: doctor.AgentStatus{Enforcing: true}}
	w.registry = w.startRegistry(t)
	w.admitted = coretest.Push(t, w.registry+"/app/good:1", coretest.Image(t, 1)).DigestStr()
	w.unsigned = coretest.Push(t, w.registry+"/app/bad:1", coretest.Image(t, 2)).DigestStr()
	coretest.Push(t, w.registry+"/app/unknown:1", coretest.Image(t, 3))
	w.Write(t, "/etc/containers/registries.conf", fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n",
		acme, w.registry, other, w.registry))
	w.Write(t, "/etc/touchmark/policy.d/release.yaml", "# what it says, the tests' gate knows\n")
	w.Write(t, "/etc/touchmark/trust/acme.json", "{}\n")
	w.startAgent(t)
	w.Write(t, "/etc/touchmark/config.yaml", fmt.Sprintf("agent: {listen: %q}\npodman: {scopes: [%s]}\n", strings.TrimPrefix(w.agent.URL, "http://"), acme))
	w.loadConfig(t)
	w.installKey(t)
	w.Write(t, "/etc/containers/policy.json", policy(demand, nil))
	w.Write(t, "/etc/containers/registries.d/touchmark.yaml", w.lookasideOf(w.registry))
	return w
}

func (w *world) loadConfig(t *testing.T) {
	t.Helper()
	c, err := hostconfig.Load("", hostconfig.System(w.Path("/")))
	if err != nil {
		t.Fatal(err)
	}
	w.config = c
}

// keyFiles are a key's two halves, as package countersign keeps them.
type keyFiles struct{ secret, public []byte }

// Keys of hosts take a second to make, so all worlds have one.
var hostKey, foreign = makeKey("host.example"), makeKey("elsewhere.example")

func makeKey(host string) keyFiles {
	dir, err := os.MkdirTemp("", "key-")
	if err != nil {
		panic(err)
	}
	defer os.RemoveAll(dir)
	c := countersign.Config{Key: filepath.Join(dir, "key"), Public: filepath.Join(dir, "gpg"), Host: host}
	if _, err := countersign.Generate(context.Background(), c); err != nil {
		panic(err)
	}
	var k keyFiles
	if k.secret, err = os.ReadFile(c.Key); err == nil {
		k.public, err = os.ReadFile(c.Public)
	}
	if err != nil {
		panic(err)
	}
	return k
}

// installKey gives the host its key.
func (w *world) installKey(t *testing.T) {
	t.Helper()
	c := countersign.ForHost(w.config, keys.Options{})
	w.Write(t, "/etc/touchmark/podman/countersign.key", string(hostKey.secret))
	w.Write(t, "/etc/touchmark/podman/countersign.gpg", string(hostKey.public))
	if err := os.Chmod(c.Key, 0o600); err != nil {
		t.Fatal(err)
	}
	key, err := countersign.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	w.key.Store(key)
}

// Countersign lets tests put another key in the agent's hands.
func (w *world) Countersign(repository, digest string, now time.Time) ([]byte, error) {
	return w.key.Load().Countersign(repository, digest, now)
}

// startRegistry starts a registry, which is whose images are to be judged, and so not to be relied on.
func (w *world) startRegistry(t *testing.T) (host string) {
	handler := registry.New(registry.Logger(log.New(io.Discard, "", 0)))
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if w.evil.Load() {
			// OpenShift's extension for signatures, docs/signature-protocols.md of containers/image.
			out.Header().Set("X-Registry-Supports-Signatures", "1")
			if strings.HasPrefix(r.URL.Path, "/extensions/") {
				w.serveSignatures(out, r.URL.Path)
				return
			}
		}
		handler.ServeHTTP(out, r)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://")
}

// signs has the registry give signatures.
func (w *world) signs(extra func(path string) []byte) { w.extra.Store(&extra) }

func (w *world) serveSignatures(out http.ResponseWriter, path string) {
	var blob []byte
	if extra := w.extra.Load(); extra != nil {
		blob = (*extra)(path)
	}
	if blob == nil {
		fmt.Fprint(out, `{"signatures": []}`)
		return
	}
	_, digest, _ := strings.Cut(path, "/signatures/")
	fmt.Fprintf(out, `{"signatures": [{"schemaVersion": 2, "name": "%s@%032x", "type": "atomic", "content": %q}]}`, digest, 1, base64.StdEncoding.EncodeToString(blob))
}

// startAgent serves the lookaside.
func (w *world) startAgent(t *testing.T) {
	t.Helper()
	reach := func() (*access.Access, error) { return access.Load(w.podman()) }
	handler, err := lookaside.New(lookaside.Config{
		Admitter: w, Key: w,
		Logical: func(physical string) ([]string, error) {
			a, err := reach()
			if err != nil {
				return nil, err
			}
			return a.Table().Logical(physical)
		},
		Source: func(physical string, with bool) (attach.Source, error) {
			a, err := reach()
			if err != nil {
				return attach.Source{}, err
			}
			return a.Source(physical, with)
		},
		Required: func(logical string) bool { return strings.HasPrefix(logical, acme+"/") },
	})
	if err != nil {
		t.Fatal(err)
	}
	w.agent = httptest.NewServer(handler)
	t.Cleanup(w.agent.Close)
}

// podman is where the host's files are seen from outside.
func (w *world) podman() podman.Host { return podman.Host{Root: filepath.Clean(w.Path("/"))} }

// lookasideOf is a file of registries.d that leads to the agent.
func (w *world) lookasideOf(registries ...string) string {
	var b strings.Builder
	b.WriteString("docker:\n")
	for _, r := range registries {
		fmt.Fprintf(&b, "  %s:\n    lookaside: %s/lookaside/%s\n    lookaside-staging: file:///var/lib/touchmark/staging\n", r, w.agent.URL, r)
	}
	return b.String()
}

// Requirements of policy.json.
const (
	accept = `[{"type": "insecureAcceptAnything"}]`
	reject = `[{"type": "reject"}]`
	demand = `[{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/touchmark/podman/countersign.gpg", "signedIdentity": {"type": "matchRepository"}}]`
)

// policy is a policy.json that rejects by default, with a rule for the declared scope and others.
func policy(declared string, others map[string]string) string {
	all := map[string]string{acme: declared}
	for scope, rule := range others {
		all[scope] = rule
	}
	var rules []string
	for scope, rule := range all {
		if rule != "" {
			rules = append(rules, fmt.Sprintf("%q: %s", scope, rule))
		}
	}
	return fmt.Sprintf("{\"default\": %s,\n \"transports\": {\"docker\": {%s}, \"containers-storage\": {\"\": %s}}}\n", reject, strings.Join(rules, ",\n"), accept)
}

func (w *world) doctorConfig() podmandoctor.Config {
	return podmandoctor.Config{Host: w.podman(), Intent: podmandoctor.FromConfig(w.config), Now: time.Now(), Agent: w, Live: true}
}

// examine is the doctor's report.
func (w *world) examine(t *testing.T, change func(*podmandoctor.Config)) *doctor.Report {
	t.Helper()
	c := w.doctorConfig()
	if change != nil {
		change(&c)
	}
	report, err := podmandoctor.Examine(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return report
}

// copies has skopeo fetch an image on the host, and reports whether it got it. What it says otherwise must be a refusal.
func (w *world) copies(t *testing.T, image string, flags ...string) bool {
	t.Helper()
	return w.gets(t, w.Root(), append(append([]string{"skopeo"}, flags...), "copy", "--quiet", source(image), "dir:"+w.out(t))...)
}

func source(image string) string {
	for _, transport := range []string{"oci:", "dir:", "docker-archive:", "oci-archive:"} {
		if strings.HasPrefix(image, transport) {
			return image
		}
	}
	return "docker://" + image
}

// out is a new directory's name, on the host, that everybody may make.
func (w *world) out(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp(w.Path("/var/tmp"), "image-")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return "/var/tmp/" + filepath.Base(dir) + "/d"
}

// gets runs a command of the host that fetches an image, and reports whether it succeeded. If not, it must have been policy.json.
func (w *world) gets(t *testing.T, who lab.Account, command ...string) bool {
	t.Helper()
	r := who.Run(t, command...)
	if r.Status == 0 {
		return true
	}
	if !strings.Contains(r.Output(), "Source image rejected") {
		t.Fatalf("%s: exit status %d, and it was not policy.json\n%s", strings.Join(command, " "), r.Status, r.Output())
	}
	return false
}

// keeps fails the test unless the host lets the signed image in, and the unsigned ones not.
func (w *world) keeps(t *testing.T) {
	t.Helper()
	if !w.copies(t, good) {
		t.Error("the signed image is refused")
	}
	if w.copies(t, bad) {
		t.Error("the unsigned image gets in")
	}
}

// codes are the codes of a report's findings.
func codes(r *doctor.Report) string {
	var out []string
	for _, f := range r.Findings {
		out = append(out, f.String())
	}
	return strings.Join(out, "\n")
}
