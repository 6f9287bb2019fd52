package oracles

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

// cosignProgram is the cosign that integration/tools.sh installs.
const cosignProgram = "cosign-v3.1.3"

// BenchmarkVerifyBlobCommand measures "verify-blob" of a file from the start of the process to its verdict, touchmark's and cosign's by turns, both with a trust root in a file
// and without a network. It reports the fastest run and the resident memory at its peak.
func BenchmarkVerifyBlobCommand(b *testing.B) {
	dir := b.TempDir()
	touchmark, peak := filepath.Join(dir, "touchmark"), filepath.Join(dir, "peak")
	for program, source := range map[string]string{touchmark: "./cmd/touchmark", peak: "./integration/oracles/testdata/peak/main.go"} {
		build := exec.CommandContext(b.Context(), "go", "build", "-trimpath", "-o", program, source)
		build.Dir = filepath.Join("..", "..")
		if out, err := build.CombinedOutput(); err != nil {
			b.Fatalf("building %s: %v\n%s", source, err, out)
		}
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		b.Fatal(err)
	}
	cosign := filepath.Join(cache, "touchmark", "tools", cosignProgram)
	if _, err := os.Stat(cosign); err != nil {
		b.Skipf("run integration/tools.sh: %v", err)
	}
	s := coretest.New(b)
	file := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			b.Fatal(err)
		}
		return path
	}
	image := coretest.Image(b, 1)
	manifest, err := image.RawManifest()
	if err != nil {
		b.Fatal(err)
	}
	text, err := bundle.Marshal(s.SignDigest(b, coretest.Digest(b, image), coretest.SignOptions{Identity: coretest.Email(campaignSubject), Content: coretest.MessageSignature}))
	if err != nil {
		b.Fatal(err)
	}
	args := []string{
		"verify-blob", "--bundle", file("bundle.json", text), "--trusted-root", file("trusted_root.json", s.TrustedRootJSON(b)),
		"--certificate-identity", campaignSubject, "--certificate-oidc-issuer", campaignIssuer, file("artifact", manifest),
	}
	for _, program := range []struct{ name, path string }{{"touchmark", touchmark}, {"cosign", cosign}} {
		b.Run(program.name, func(b *testing.B) {
			var times []time.Duration
			out, err := exec.CommandContext(b.Context(), peak, append([]string{program.path}, args...)...).CombinedOutput()
			if err != nil {
				b.Fatalf("%s: %v\n%s", program.name, err, out)
			}
			memory, err := strconv.Atoi(string(out))
			if err != nil {
				b.Fatal(err)
			}
			for b.Loop() {
				command := exec.CommandContext(b.Context(), program.path, args...)
				start := time.Now()
				if out, err := command.CombinedOutput(); err != nil {
					b.Fatalf("%s: %v\n%s", program.name, err, out)
				}
				times = append(times, time.Since(start))
			}
			b.ReportMetric(float64(slices.Min(times).Microseconds())/1e3, "ms-at-best")
			b.ReportMetric(float64(memory)/1024, "MiB-resident")
			b.ReportMetric(0, "ns/op") // the mean says more of the machine than of the program
		})
	}
}
