package doctor

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/touchmark/touchmark/core/doctor"
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

// Run has the client of this very host pull what is to be refused, and what
// is to be admitted, into a storage that is thrown away, and adds what happened
// to the report. An error says that nothing could be tried.
func (p Probe) Run(ctx context.Context, c Config, r *doctor.Report) error {
	if c.Host.Root != "" {
		return errors.New("probing: only the host that this runs on can be probed")
	}
	pull, err := newPuller(p.Client)
	if err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	if p.Unsigned != "" {
		r.Add(pull.pull(ctx, p.Unsigned, "", false))
	} else if err := probeMadeUp(ctx, c.Intent, pull, r); err != nil {
		return fmt.Errorf("probing: %w", err)
	}
	if p.Good != "" {
		r.Add(pull.pull(ctx, p.Good, "", true))
	}
	return nil
}

// probeMadeUp pulls an unsigned image of our own under a name in each scope.
func probeMadeUp(ctx context.Context, intent Intent, pull *puller, r *doctor.Report) error {
	location, stop, err := doctor.ServeUnsigned()
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
		r.Add(pull.pull(ctx, image+":1", conf, false))
	}
	return nil
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
func (p *puller) pull(ctx context.Context, image, conf string, want bool) doctor.Tried {
	t := doctor.Tried{Image: image, Want: want}
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
