package doctor

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

const (
	// pullTimeout bounds one pull: images to probe with should be small.
	pullTimeout = 2 * time.Minute
	// maxSaid is how much of a client's words is repeated, in bytes.
	maxSaid = 2 << 10
)

// Probe says what to pull.
type Probe struct {
	// Unsigned is an image that must be refused. "" makes one up, and gives it a
	// name in each declared scope: it is served on loopback by this process, and
	// a registries.conf for this one pull leads there. So the client's own
	// reading of policy.json is seen to refuse it; the agent, the lookaside and
	// the host's registries.conf are not part of that.
	Unsigned string
	// Good is an image that must be admitted; "" for none.
	Good string
	// Client is the program: a path or name of skopeo or podman; "" is whichever
	// there is, in this order.
	Client string
}

// Tried is one pull of a probe.
type Tried struct {
	Image string `json:"image"`
	// Admitted is what happened, and Want what should have; Unknown says that the
	// pull failed for another reason than policy.json.
	Admitted bool   `json:"admitted"`
	Want     bool   `json:"want"`
	Unknown  bool   `json:"unknown,omitempty"`
	Said     string `json:"said,omitempty"` // by the client, if it failed
}

// Probe has the client of this very host pull what is to be refused, and what
// is to be admitted, into a storage that is thrown away, and adds what happened
// to the report. An error says that nothing could be tried.
func (r *Report) Probe(ctx context.Context, c Config, p Probe) error {
	if c.Host.Root != "" {
		return errors.New("probing: only the host that this runs on can be probed")
	}
	pull, err := newPuller(p.Client)
	if err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	if p.Unsigned != "" {
		r.tried(pull.pull(ctx, p.Unsigned, "", false))
	} else if err := r.probeMadeUp(ctx, c.Intent, pull); err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	if p.Good != "" {
		r.tried(pull.pull(ctx, p.Good, "", true))
	}
	r.conclude()
	return nil
}

// tried adds what a pull showed.
func (r *Report) tried(t Tried) {
	r.Tried = append(r.Tried, t)
	code, message := "", ""
	switch {
	case t.Unknown:
		code, message = "probe-failed", "the pull failed for another reason than a refusal: "+t.Said
	case t.Admitted && !t.Want:
		code, message = "probe-admitted", "it was pulled, and must be refused"
	case !t.Admitted && t.Want:
		code, message = "probe-refused", "it was refused, and must be admitted: "+t.Said
	default:
		return
	}
	known := cause(code)
	r.Findings = append(r.Findings, Finding{Code: code, Severity: known.Severity, Where: t.Image, Message: message, Remedy: known.Remedy})
}

// probeMadeUp pulls an unsigned image of our own under a name in each scope.
func (r *Report) probeMadeUp(ctx context.Context, intent Intent, pull *puller) error {
	location, stop, err := serveUnsigned()
	if err != nil {
		return err
	}
	defer stop()
	names := make([]string, 0, len(intent.Scopes)+1)
	for _, scope := range intent.Scopes {
		names = append(names, sample(scope))
	}
	if !intent.OthersAccepted {
		names = append(names, sample(""))
	}
	for _, image := range names {
		conf := fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", image, location)
		r.tried(pull.pull(ctx, image+":1", conf, false))
	}
	return nil
}

// serveUnsigned serves a small image that nobody has signed, on loopback.
func serveUnsigned() (repository string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: askTimeout}
	go func() { _ = server.Serve(l) }() // ends when it is closed
	stop = func() { _ = server.Close() }
	repository = l.Addr().String() + "/unsigned"
	image, err := random.Image(64, 1)
	if err == nil {
		var ref name.Tag
		if ref, err = name.NewTag(repository + ":1"); err == nil {
			err = remote.Write(ref, image)
		}
	}
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("serving an image: %w", err)
	}
	return repository, stop, nil
}

// puller is a client.
type puller struct{ program, kind string }

func newPuller(client string) (*puller, error) {
	candidates := []string{"skopeo", "podman"}
	if client != "" {
		candidates = []string{client}
	}
	for _, c := range candidates {
		kind := filepath.Base(c)
		if kind != "skopeo" && kind != "podman" {
			return nil, fmt.Errorf("%s: neither skopeo nor podman", c)
		}
		if program, err := exec.LookPath(c); err == nil {
			return &puller{program, kind}, nil
		}
	}
	return nil, fmt.Errorf("there is no %s", strings.Join(candidates, " and no "))
}

// pull pulls an image, with a registries.conf of its own if that is not "".
func (p *puller) pull(ctx context.Context, image, conf string, want bool) Tried {
	t := Tried{Image: image, Want: want}
	dir, err := os.MkdirTemp("", "touchmark-probe-")
	if err != nil {
		t.Unknown, t.Said = true, err.Error()
		return t
	}
	defer func() { _ = os.RemoveAll(dir) }() // a temporary directory
	ctx, cancel := context.WithTimeout(ctx, pullTimeout)
	defer cancel()
	args, env := p.command(dir, image), os.Environ()
	if conf != "" {
		file := filepath.Join(dir, "registries.conf")
		if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
			t.Unknown, t.Said = true, err.Error()
			return t
		}
		env = append(env, "CONTAINERS_REGISTRIES_CONF="+file)
		if p.kind == "skopeo" { // Debian's does not read the variable
			args = append([]string{"--registries-conf", file}, args...)
		}
	}
	cmd := exec.CommandContext(ctx, p.program, args...)
	cmd.Env = env
	cmd.WaitDelay = time.Second
	out, err := cmd.CombinedOutput()
	said := strings.TrimSpace(string(out))
	t.Admitted = err == nil
	t.Unknown = err != nil && !refusal(said)
	if err != nil {
		t.Said = said[max(0, len(said)-maxSaid):]
		if said == "" {
			t.Said = err.Error()
		}
	}
	return t
}

// command pulls into a directory that is thrown away.
func (p *puller) command(dir, image string) []string {
	if p.kind == "podman" {
		return []string{"--root", filepath.Join(dir, "root"), "--runroot", filepath.Join(dir, "run"), "--storage-driver", "vfs", "pull", "--quiet", image}
	}
	return []string{"copy", "--quiet", "docker://" + image, "dir:" + filepath.Join(dir, "image")}
}

// refusal reports whether a client's words are those of policy.json, of the
// agent through the lookaside, or of the proxy.
func refusal(said string) bool {
	for _, words := range []string{"Source image rejected", "refused by touchmark", "denied: "} {
		if strings.Contains(said, words) {
			return true
		}
	}
	return false
}
