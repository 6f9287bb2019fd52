package nri

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/containerd/nri/pkg/adaptation"
	"github.com/containerd/nri/pkg/api"
	validator "github.com/containerd/nri/plugins/default-validator"

	"github.com/touchmark/touchmark/core/gate"
)

// runtime is a container runtime with NRI of the version in go.mod, and this plugin required.
type runtime struct {
	*adaptation.Adaptation
	socket string
}

func newRuntime(t *testing.T, socket string) *runtime {
	t.Helper()
	sync := func(ctx context.Context, cb adaptation.SyncCB) error {
		_, err := cb(ctx, nil, nil)
		return err
	}
	update := func(context.Context, []*api.ContainerUpdate) ([]*api.ContainerUpdate, error) { return nil, nil }
	r, err := adaptation.New("containerd", "v2.4.2", sync, update, adaptation.WithSocketPath(socket), adaptation.WithPluginPath(t.TempDir()),
		adaptation.WithPluginConfigPath(t.TempDir()), adaptation.WithDefaultValidator(&validator.DefaultValidatorConfig{Enable: true, RequiredPlugins: []string{Index + "-" + Name}}))
	if err == nil {
		err = r.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Stop)
	return &runtime{r, socket}
}

// socketPath is a short one.
func socketPath(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nri")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return filepath.Join(dir, "nri.sock")
}

// create asks for a container of an image, for a pod that has it as written.
func (r *runtime) create(id string, image *api.Image, written string) error {
	c := &api.Container{Id: id, Name: "app", Image: image, Annotations: map[string]string{}}
	if written != "" {
		c.Annotations[imageName] = written
	}
	_, err := r.CreateContainer(context.Background(), &adaptation.CreateContainerRequest{Pod: &api.PodSandbox{Name: "pod", Namespace: "default"}, Container: c})
	return err
}

// asks waits until the runtime asks the plugin, which is a moment after it is connected: the plugin refuses one container then.
func (r *runtime) asks(t *testing.T, p *Plugin) {
	t.Helper()
	eventually(t, "connected", func() bool { return p.Status().Connected })
	eventually(t, "asked", func() bool {
		err := r.create("of no image", nil, "")
		return err != nil && strings.Contains(err.Error(), "does not say which image")
	})
}

func image(name string) *api.Image {
	return &api.Image{Name: name, Digest: "sha256:" + strings.Repeat("a", 64), ConfigDigest: "sha256:" + strings.Repeat("b", 64)}
}

// start runs a plugin, and returns how to end it.
func start(t *testing.T, socket string, decide func(context.Context, gate.Request, string) gate.Verdict) (*Plugin, func()) {
	t.Helper()
	p := New(Config{Socket: socket, Decide: decide})
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() { p.Run(ctx); close(done) }()
	stop := func() { cancel(); <-done }
	t.Cleanup(stop)
	return p, stop
}

// eventually waits for what takes a moment.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ticks := time.NewTicker(5 * time.Millisecond)
	defer ticks.Stop()
	end := time.After(time.Minute)
	for !ok() {
		select {
		case <-ticks.C:
		case <-end:
			t.Fatalf("%s: not within a minute", what)
		}
	}
}

// admitGood admits repositories that have "good" in their names, and counts questions.
func admitGood(asked *[]string) func(context.Context, gate.Request, string) gate.Verdict {
	return func(_ context.Context, req gate.Request, repository string) gate.Verdict {
		*asked = append(*asked, fmt.Sprintf("%s %s %.10s %t", req.Repository, repository, req.Digest, req.ParentsKnown))
		v := gate.Verdict{Repository: req.Repository, Digest: req.Digest.String(), Outcome: gate.OutcomeAdmitted}
		switch {
		case strings.Contains(req.Repository, "away"):
			return gate.Undecided(req, gate.CodeLookupFailed, fmt.Errorf("the registry is\naway"))
		case !strings.Contains(req.Repository, "good"):
			v.Outcome, v.Reason = gate.OutcomeRefused, req.Repository+" is not signed"
		}
		return v
	}
}

func TestContainers(t *testing.T) {
	socket := socketPath(t)
	r := newRuntime(t, socket)
	var asked []string
	p, stop := start(t, socket, admitGood(&asked))
	r.asks(t, p)
	for name, c := range map[string]struct {
		image         *api.Image
		written       string
		asks, refusal string // one question, and what the refusal says
	}{
		"admitted":                    {image("r.example/good:1"), "r.example/good:1", "r.example/good r.example/good sha256:aaa true", ""},
		"by digest":                   {image("r.example/good@sha256:" + strings.Repeat("a", 64)), "", "r.example/good r.example/good sha256:aaa false", ""},
		"refused":                     {image("r.example/bad:1"), "r.example/bad:1", "r.example/bad r.example/bad sha256:aaa true", "refused by touchmark: r.example/bad is not signed"},
		"undecided":                   {image("r.example/away:1"), "r.example/away:1", "r.example/away r.example/away sha256:aaa true", "touchmark cannot decide: the registry is away"},
		"as the pod has it":           {image("r.example/good:1"), "r.example/bad:2", "r.example/bad r.example/bad sha256:aaa true", "r.example/bad is not signed"},
		"Docker Hub":                  {image("docker.io/library/good:1"), "good", "docker.io/library/good docker.io/library/good sha256:aaa true", ""},
		"the pod has an ID":           {image("r.example/good:1"), "sha256:" + strings.Repeat("b", 64), "r.example/good r.example/good sha256:aaa true", ""},
		"no name":                     {image("sha256:" + strings.Repeat("b", 64)), "", "", "has no name that a policy could be about"},
		"a name without a registry":   {image("import-2026:1"), "", "", "has no name that a policy could be about"},
		"no digest":                   {&api.Image{Name: "r.example/good:1"}, "r.example/good:1", "", "containerd v2.4.2 does not say which image"},
		"no image, older containerds": {nil, "r.example/good:1", "", "containerd 2.4 does"},
		"a broken digest":             {&api.Image{Name: "r.example/good:1", Digest: "sha256:\n"}, "r.example/good:1", "", "names the image's digest as"},
		"a broken name":               {image("r.example/good:1"), "r.example/go..od/../x\n", "r.example/good r.example/good sha256:aaa true", ""},
	} {
		t.Run(name, func(t *testing.T) {
			asked = nil
			err := r.create(name, c.image, c.written)
			if (err == nil) != (c.refusal == "") || err != nil && (!strings.Contains(err.Error(), c.refusal) || strings.Contains(err.Error(), "\n")) {
				t.Errorf("%v, want %q", err, c.refusal)
			}
			if got := strings.Join(asked, "; "); got != c.asks {
				t.Errorf("asked %q, want %q", got, c.asks)
			}
		})
	}
	if s := p.Status(); s.Admitted != 5 || s.Refused != 8+1 || s.Runtime != "containerd v2.4.2" || s.Error != "" {
		t.Errorf("%+v", s)
	}
	stop()
	if err := r.create("late", image("r.example/good:1"), ""); err == nil || !strings.Contains(err.Error(), "touchmark") {
		t.Errorf("without the plugin: %v", err)
	}
	p, _ = start(t, socket, admitGood(&asked))
	eventually(t, "connected again", func() bool { return p.Status().Connected })
	if err := r.create("again", image("r.example/good:1"), ""); err != nil {
		t.Error(err)
	}
}

// A validation that no creation came before is a decision of its own, and an admission is good for that very container once.
func TestValidates(t *testing.T) {
	var asked []string
	h := &handler{New(Config{Decide: admitGood(&asked)})}
	ctx := t.Context()
	good := &api.Container{Id: "one", Image: image("r.example/good:1")}
	bad := &api.Container{Id: "one", Image: image("r.example/bad:1")}
	bad.Image.Digest = "sha256:" + strings.Repeat("c", 64)
	if _, _, err := h.CreateContainer(ctx, nil, good); err != nil {
		t.Fatal(err)
	}
	if err := h.ValidateContainerAdjustment(ctx, &api.ValidateContainerAdjustmentRequest{Container: good}); err != nil || len(asked) != 1 {
		t.Errorf("%v, asked %q", err, asked)
	}
	if err := h.ValidateContainerAdjustment(ctx, &api.ValidateContainerAdjustmentRequest{Container: good}); err != nil || len(asked) != 2 {
		t.Errorf("%v, asked %q", err, asked)
	}
	if _, _, err := h.CreateContainer(ctx, nil, good); err != nil {
		t.Fatal(err)
	}
	if err := h.ValidateContainerAdjustment(ctx, &api.ValidateContainerAdjustmentRequest{Container: bad}); err == nil {
		t.Error("another image was taken for the one that was admitted")
	}
	if err := h.ValidateContainerAdjustment(ctx, &api.ValidateContainerAdjustmentRequest{}); err == nil {
		t.Error("a validation without a container")
	}
	if _, _, err := h.CreateContainer(ctx, nil, nil); err == nil {
		t.Error("a creation without a container")
	}
}

// A decision that takes long is a refusal in time, so that NRI does not drop the plugin.
func TestSlow(t *testing.T) {
	socket := socketPath(t)
	r := newRuntime(t, socket)
	p, _ := start(t, socket, func(ctx context.Context, req gate.Request, _ string) gate.Verdict {
		<-ctx.Done()
		return gate.Undecided(req, gate.CodeCancelled, context.Cause(ctx))
	})
	r.asks(t, p)
	begin := time.Now()
	err := r.create("slow", image("r.example/good:1"), "")
	if took := time.Since(begin); err == nil || !strings.Contains(err.Error(), "not within the 1.5s") || took > api.DefaultPluginRequestTimeout {
		t.Errorf("after %s: %v", took, err)
	}
	if !p.Status().Connected {
		t.Error("the plugin was dropped")
	}
}

// A runtime that goes away and comes back is found again; what is in the way is said.
func TestReconnects(t *testing.T) {
	socket := socketPath(t)
	var asked []string
	p, _ := start(t, socket, admitGood(&asked))
	eventually(t, "says why", func() bool { return strings.Contains(p.Status().Error, "there is no such socket") })
	if err := os.WriteFile(socket, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	eventually(t, "says why", func() bool { return strings.Contains(p.Status().Error, "nobody listens there") })
	if err := os.Remove(socket); err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	go func() { // a containerd that ends at once
		for conn, err := l.Accept(); err == nil; conn, err = l.Accept() {
			_ = conn.Close()
		}
	}()
	eventually(t, "says why", func() bool { return strings.Contains(p.Status().Error, "registering with containerd at "+socket) })
	_ = l.Close()
	r := newRuntime(t, socket)
	r.asks(t, p)
	if err := r.create("one", image("r.example/good:1"), ""); err != nil {
		t.Error(err)
	}
}
