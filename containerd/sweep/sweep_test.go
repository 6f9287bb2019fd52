package sweep_test

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/containerd/node"
	"github.com/touchmark/touchmark/containerd/sweep"
	"github.com/touchmark/touchmark/core/gate"
)

// daemon is a containerd in memory: by namespace.
type daemon struct {
	images     map[string][]node.Image
	containers map[string][]node.Container
	broken     string // a name that can't be removed
	down       error
}

func (d *daemon) Namespaces(context.Context) (names []string, err error) {
	for ns := range d.images {
		names = append(names, ns)
	}
	return names, d.down
}

func (d *daemon) Images(_ context.Context, ns string) ([]node.Image, error) { return d.images[ns], nil }

func (d *daemon) Containers(_ context.Context, ns string) ([]node.Container, error) {
	return d.containers[ns], nil
}

func (d *daemon) at(ns string, image node.Image) (int, error) {
	i := slices.IndexFunc(d.images[ns], func(r node.Image) bool { return r.Name == image.Name && r.Digest == image.Digest })
	switch {
	case image.Name == d.broken:
		return 0, errors.New("the disk is full")
	case i < 0:
		return 0, fmt.Errorf("%s: %w", image.Name, fs.ErrNotExist)
	}
	return i, nil
}

func (d *daemon) Label(_ context.Context, ns string, image node.Image, labels map[string]string) error {
	i, err := d.at(ns, image)
	if err == nil {
		d.images[ns][i].Labels = labels
	}
	return err
}

func (d *daemon) Remove(_ context.Context, ns string, image node.Image) error {
	i, err := d.at(ns, image)
	if err == nil {
		d.images[ns] = slices.Delete(d.images[ns], i, i+1)
	}
	return err
}

func (d *daemon) names(ns string) (names []string) {
	for _, i := range d.images[ns] {
		names = append(names, i.Name)
	}
	return names
}

// digest is one of a letter.
func digest(letter string) string { return "sha256:" + strings.Repeat(letter, 64) }

func record(name, letter string) node.Image {
	return node.Image{Name: name, Digest: digest(letter), MediaType: "application/vnd.oci.image.manifest.v1+json"}
}

// byName refuses, cannot decide or admits, as the repository's name says.
func byName(_ context.Context, req gate.Request) gate.Verdict {
	v := gate.Verdict{Repository: req.Repository, Digest: req.Digest.String(), Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted}
	switch {
	case strings.Contains(req.Repository, "bad"):
		v.Outcome, v.Code, v.Reason = gate.OutcomeRefused, gate.CodeUnsigned, "it is not signed"
	case strings.Contains(req.Repository, "away"):
		v.Outcome, v.Code, v.Reason = gate.OutcomeUndecided, gate.CodeLookupFailed, "the registry is away"
	}
	return v
}

func newDaemon() *daemon {
	const id = "sha256:" + "1111111111111111111111111111111111111111111111111111111111111111"
	other := "sha256:" + strings.Repeat("2", 64)
	pause := record("r.example/bad/pause:1", "f")
	pause.Labels = map[string]string{"io.cri-containerd.pinned": "pinned"}
	return &daemon{
		images: map[string][]node.Image{
			"k8s.io": {
				record("docker.io/library/good:1", "a"), record("docker.io/library/good@"+digest("a"), "a"), record("docker.io/library/good:2", "b"),
				record("r.example/bad/app:1", "c"), record("r.example/bad/app@"+digest("c"), "c"), record(id, "c"),
				record("r.example/bad/copy:1", "d"), record("r.example/good/copy:1", "d"), record(other, "d"),
				record("r.example/bad/runs:1", "e"), pause, record("r.example/away/app:1", "9"),
				record("import-2026@"+digest("8"), "8"), record("sha256:"+strings.Repeat("7", 64), "7"),
			},
			"default": {record("r.example/bad/app:1", "c")},
		},
		containers: map[string][]node.Container{"k8s.io": {{ID: "one", Image: "r.example/bad/runs:1"}, {ID: "two", Image: "gone"}}},
	}
}

func run(t *testing.T, c sweep.Config) *sweep.Report {
	t.Helper()
	r, err := sweep.Run(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// What is one image is asked about once, under each of its repositories.
func TestRun(t *testing.T) {
	got := run(t, sweep.Config{Containerd: newDaemon(), Decide: byName})
	bad := sweep.Image{Outcome: gate.OutcomeRefused, Code: gate.CodeUnsigned, Reason: "it is not signed"}
	image := func(i sweep.Image, namespace, repository, letter string, names, ids []string) sweep.Image {
		i.Namespace, i.Repository, i.Digest, i.Names, i.IDs = namespace, repository, digest(letter), names, ids
		return i
	}
	ok := sweep.Image{Outcome: gate.OutcomeAdmitted, Code: gate.CodeAdmitted}
	local := sweep.Image{Outcome: "local", Reason: "it has no name with a registry, so that no policy is about it"}
	runs, pinned := bad, bad
	runs.InUse, pinned.Pinned = true, true
	ones, twos := []string{"sha256:" + strings.Repeat("1", 64)}, []string{"sha256:" + strings.Repeat("2", 64)}
	want := &sweep.Report{Namespaces: []string{"default", "k8s.io"}, Images: []sweep.Image{
		image(bad, "default", "r.example/bad/app", "c", []string{"r.example/bad/app:1"}, nil),
		image(ok, "k8s.io", "docker.io/library/good", "a", []string{"docker.io/library/good:1", "docker.io/library/good@" + digest("a")}, nil),
		image(ok, "k8s.io", "docker.io/library/good", "b", []string{"docker.io/library/good:2"}, nil),
		image(local, "k8s.io", "", "8", []string{"import-2026@" + digest("8")}, nil),
		image(sweep.Image{Outcome: gate.OutcomeUndecided, Code: gate.CodeLookupFailed, Reason: "the registry is away"}, "k8s.io", "r.example/away/app", "9", []string{"r.example/away/app:1"}, nil),
		image(bad, "k8s.io", "r.example/bad/app", "c", []string{"r.example/bad/app:1", "r.example/bad/app@" + digest("c")}, ones),
		image(bad, "k8s.io", "r.example/bad/copy", "d", []string{"r.example/bad/copy:1"}, twos),
		image(pinned, "k8s.io", "r.example/bad/pause", "f", []string{"r.example/bad/pause:1"}, nil),
		image(runs, "k8s.io", "r.example/bad/runs", "e", []string{"r.example/bad/runs:1"}, nil),
		image(ok, "k8s.io", "r.example/good/copy", "d", []string{"r.example/good/copy:1"}, twos),
		image(local, "k8s.io", "", "7", []string{}, []string{"sha256:" + strings.Repeat("7", 64)}),
	}}
	if diff := cmp.Diff(want, got, cmpopts.IgnoreUnexported(sweep.Image{})); diff != "" {
		t.Error(diff)
	}
	if got.Count(gate.OutcomeRefused) != 5 || got.Count(gate.OutcomeUndecided) != 1 || got.Kept() != 0 {
		t.Errorf("%d refused, %d undecided, %d kept", got.Count(gate.OutcomeRefused), got.Count(gate.OutcomeUndecided), got.Kept())
	}
}

// Refused images alone are removed; not undecided ones, none in use, none that is pinned, and no common ID that an admitted image has, too.
func TestRemove(t *testing.T) {
	for name, c := range map[string]struct {
		config sweep.Config
		gone   []string // of k8s.io
		kept   int
	}{
		"all": {gone: []string{"r.example/bad/app:1", "r.example/bad/app@" + digest("c"), "sha256:" + strings.Repeat("1", 64), "r.example/bad/copy:1"}, kept: 2},
		"in use, too": {config: sweep.Config{InUse: true}, kept: 1,
			gone: []string{"r.example/bad/app:1", "r.example/bad/app@" + digest("c"), "sha256:" + strings.Repeat("1", 64), "r.example/bad/copy:1", "r.example/bad/runs:1"}},
		"another namespace": {config: sweep.Config{Namespaces: []string{"default"}}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDaemon()
			before := d.names("k8s.io")
			c.config.Containerd, c.config.Decide = d, byName
			r := run(t, c.config)
			c.config.Remove(t.Context(), r)
			want := slices.DeleteFunc(before, func(n string) bool { return slices.Contains(c.gone, n) })
			if diff := cmp.Diff(want, d.names("k8s.io")); diff != "" {
				t.Error(diff)
			}
			if r.Kept() != c.kept {
				t.Errorf("%d are said to be kept, want %d: %+v", r.Kept(), c.kept, r.Images)
			}
		})
	}
}

// What changes in between is no error, and what fails is said.
func TestRemoveFails(t *testing.T) {
	d := newDaemon()
	c := sweep.Config{Containerd: d, Decide: byName, Namespaces: []string{"default", "k8s.io"}, InUse: true}
	r := run(t, c)
	d.images["default"][0].Digest = digest("0") // the name leads elsewhere by now
	d.broken = "r.example/bad/runs:1"
	c.Remove(t.Context(), r)
	if len(d.images["default"]) != 1 {
		t.Error("a name that had moved was removed")
	}
	var said []string
	for _, i := range r.Images {
		if i.Kept != "" {
			said = append(said, i.Kept)
		}
	}
	if len(said) != 2 || !strings.Contains(said[0], "pinned") || said[1] != "not removed: the disk is full" {
		t.Errorf("kept: %q", said)
	}
}

func TestLabel(t *testing.T) {
	d := newDaemon()
	c := sweep.Config{Containerd: d, Decide: byName, Now: func() time.Time { return time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC) }}
	r := run(t, c)
	c.Label(t.Context(), r)
	for _, i := range d.images["k8s.io"] {
		want := map[string]string{"touchmark.dev/judged": "2026-01-02T03:04:05Z"}
		switch {
		case strings.Contains(i.Name, "bad"), strings.HasSuffix(i.Name, "1111"):
			want["touchmark.dev/verdict"] = "refused"
		case strings.Contains(i.Name, "away"):
			want["touchmark.dev/verdict"] = "undecided"
		case strings.Contains(i.Name, "good"):
			want["touchmark.dev/verdict"] = "admitted"
		case strings.HasSuffix(i.Name, "2222"): // of one image that is admitted and one that is not
			want = nil
		default:
			want["touchmark.dev/verdict"] = "local"
		}
		if diff := cmp.Diff(want, i.Labels); diff != "" {
			t.Errorf("%s: %s", i.Name, diff)
		}
	}
}

func TestErrors(t *testing.T) {
	d := newDaemon()
	if _, err := sweep.Run(t.Context(), sweep.Config{Containerd: d, Decide: byName, Namespaces: []string{"moby"}}); err == nil || !strings.Contains(err.Error(), `"moby"`) {
		t.Errorf("a namespace that does not exist: %v", err)
	}
	d.down = errors.New("containerd is down")
	if _, err := sweep.Run(t.Context(), sweep.Config{Containerd: d, Decide: byName}); !errors.Is(err, d.down) {
		t.Errorf("%v", err)
	}
}
