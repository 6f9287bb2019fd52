package containerd_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// parallel is how many pulls ask at once.
const parallel = 200

// question is how containerd asks about one image.
type question struct{ reference, digest, mediaType string }

// bench is a node with an image that alice has signed twice: by her name, and with a key.
type bench struct {
	*node
	world *lab.World
	image question
}

func newBench(b *testing.B, further string) *bench {
	b.Helper()
	w := lab.New(b, true)
	image := w.Image(b, "app", 1)
	lab.Touchmark(b, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, image)
	ref, err := name.ParseReference(image)
	if err != nil {
		b.Fatal(err)
	}
	found, err := remote.Head(ref)
	if err != nil {
		b.Fatal(err)
	}
	n := configure(b, w.Policy(b), w.Root, further)
	return &bench{node: n, world: w, image: question{image, found.Digest.String(), string(found.MediaType)}}
}

// command is the verifier as containerd starts it.
func (b *bench) command() *exec.Cmd {
	cmd := exec.Command(verifier, "-name", b.image.reference, "-digest", b.image.digest, "-stdin-media-type", "application/vnd.oci.descriptor.v1+json")
	cmd.Stdin = strings.NewReader(fmt.Sprintf(`{"mediaType":%q,"digest":%q,"size":1234}`+"\n", b.image.mediaType, b.image.digest))
	cmd.Env = []string{"PATH=" + filepath.Dir(lab.Program()) + ":" + filepath.Dir(predicates) + ":" + os.Getenv("PATH"), "TOUCHMARK_CONFIG=" + b.config}
	return cmd
}

// cosign is "cosign verify" of the same image, by its signer or by a key.
func (b *bench) cosign(t testing.TB, rules ...string) *exec.Cmd {
	t.Helper()
	args := append([]string{"verify", "--allow-http-registry", "--trusted-root", b.world.Root}, rules...)
	repository, _, _ := strings.Cut(b.image.reference[strings.IndexByte(b.image.reference, '/')+1:], ":")
	cmd := exec.Command(lab.Tool(t, "cosign-v3.1.3"), append(args, b.world.Registry+"/"+repository+"@"+b.image.digest)...)
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + b.dir}
	return cmd
}

// must runs a program that has to succeed, and says how long it took.
func must(t testing.TB, cmd *exec.Cmd) time.Duration {
	t.Helper()
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = &said, &said
	start := time.Now()
	if err := cmd.Run(); err != nil {
		t.Errorf("%s: %v\n%s", filepath.Base(cmd.Path), err, said.String())
	}
	return time.Since(start)
}

// report gives the median and the 99th percentile.
func report(b *testing.B, took []time.Duration) {
	b.Helper()
	slices.Sort(took)
	b.ReportMetric(took[len(took)/2].Seconds()*1000, "ms-median")
	b.ReportMetric(took[len(took)*99/100].Seconds()*1000, "ms-p99")
	b.ReportMetric(0, "ns/op") // the mean says more of the machine than of the program
}

// resident runs a program below a small one, of which it can't inherit a peak, and
// returns the peak of the larger of it and what it started, in MiB: the verifier, and
// "touchmark verify" where there is no agent.
func resident(b *testing.B, cmd *exec.Cmd) float64 {
	b.Helper()
	peak := filepath.Join(b.TempDir(), "peak")
	build := exec.Command("go", "build", "-trimpath", "-o", peak, "../oracles/testdata/peak/main.go")
	if out, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	below := exec.Command(peak, cmd.Args...)
	below.Stdin, below.Env = cmd.Stdin, cmd.Env
	out, err := below.CombinedOutput()
	if err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	kib, err := strconv.Atoi(string(out))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kib) / 1024
}

// From the start of the verifier's process to its answer: with an agent that knows the
// verdict; without an agent, cold; and cosign's on the same image.
func BenchmarkVerifier(b *testing.B) {
	known := newBench(b, "containerd: {standalone: false}")
	known.agent(b)
	must(b, known.command())
	alone := newBench(b, "")
	for _, c := range []struct {
		name    string
		command func() *exec.Cmd
	}{
		{"known to the agent", known.command},
		{"alone", alone.command},
		{"cosign keyless", func() *exec.Cmd {
			return known.cosign(b, "--certificate-identity", alice, "--certificate-oidc-issuer", known.world.Stack.URL)
		}},
	} {
		b.Run(c.name, func(b *testing.B) {
			var took []time.Duration
			for b.Loop() {
				took = append(took, must(b, c.command()))
			}
			report(b, took)
			peak := resident(b, c.command())
			if c.name == "alone" { // the verifier waits for what it started
				peak += resident(b, known.command())
			}
			b.ReportMetric(peak, "MiB-resident")
		})
	}
}

// As many pulls at once as a node that boots has, each with a process of its own (CTRD-11).
// In turn with them run as many programs that do nothing: so long takes a machine for
// the processes alone, whatever else it does meanwhile.
func BenchmarkParallelPulls(b *testing.B) {
	n := newBench(b, "containerd: {standalone: false}")
	n.agent(b)
	must(b, n.command())
	nothing := filepath.Join(b.TempDir(), "nothing")
	if out, err := exec.Command("go", "build", "-trimpath", "-o", nothing, "testdata/nothing.go").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, out)
	}
	var took, floor []time.Duration
	for b.Loop() {
		took = append(took, atOnce(b, n.command)...)
		floor = append(floor, atOnce(b, func() *exec.Cmd { return exec.Command(nothing) })...)
	}
	report(b, took)
	slices.Sort(floor)
	b.ReportMetric(floor[len(floor)*99/100].Seconds()*1000, "ms-p99-of-nothing")
}

// atOnce runs [parallel] processes at once, and says how long each took.
func atOnce(b *testing.B, command func() *exec.Cmd) []time.Duration {
	took := make([]time.Duration, parallel)
	var all sync.WaitGroup
	for i := range took {
		all.Go(func() { took[i] = must(b, command()) })
	}
	all.Wait()
	return took
}
