package airgap

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// distribution starts the reference registry, which has no referrers API, checks that a manifest's blobs are there, and mounts blobs. It returns host and port.
func distribution(t *testing.T) string {
	t.Helper()
	program, dir := lab.Tool(t, "registry-v3.1.2"), t.TempDir()
	config := filepath.Join(dir, "config.yml")
	text := fmt.Sprintf("version: 0.1\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: \"127.0.0.1:0\", secret: x}\n", filepath.Join(dir, "data"))
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(program, "serve", config)
	cmd.Env = append(os.Environ(), "OTEL_TRACES_EXPORTER=none")
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cmd.Process.Kill(); cmd.Wait() })
	listening := regexp.MustCompile(`listening on (127\.0\.0\.1:[0-9]+)`)
	for lines := bufio.NewScanner(stderr); lines.Scan(); {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			go io.Copy(io.Discard, stderr)
			return m[1]
		}
	}
	t.Fatal("the registry ended, or does not say where it listens")
	return ""
}

// A registry with other rules than go-containerregistry's: everything arrives, a second repository gets the blobs by mounts, and a second copy sends nothing.
func TestDistribution(t *testing.T) {
	w := newWorld(t, true, false)
	w.signed(t, "acme/app", 1)
	host := distribution(t)
	type summary struct {
		Signatures, Attestations, SBOMs, Manifests, Blobs int
		BytesSent, BytesSkipped                           int64
	}
	run := func(from, to string) summary {
		t.Helper()
		out := lab.Touchmark(t, 0, "copy", "-o", "json", "--trusted-root", w.Root, "--certificate-identity", "alice@acme.example",
			"--certificate-oidc-issuer", w.Stack.URL, from, to).Stdout
		var s summary
		if err := json.Unmarshal([]byte(out), &s); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
		if s.Signatures != 8 || s.Attestations != 1 || s.SBOMs != 1 {
			t.Errorf("%s to %s: %+v", from, to, s)
		}
		return s
	}
	first := run(w.Registry+"/acme/app:1", host+"/acme/app:1")
	again := run(w.Registry+"/acme/app:1", host+"/acme/app:1")
	if first.BytesSent == 0 || again.BytesSent != 0 {
		t.Errorf("sent %d, the second time %d", first.BytesSent, again.BytesSent)
	}
	mounted := run(host+"/acme/app:1", host+"/team/app:1")
	if mounted.BytesSent == 0 || mounted.BytesSent >= first.BytesSent || mounted.BytesSkipped == 0 { // manifests can't be mounted
		t.Errorf("within the registry %d bytes were sent, %d from another one", mounted.BytesSent, first.BytesSent)
	}
	back := run(host+"/team/app:1", w.inside+"/acme/app:1")
	if back.Manifests != first.Manifests || back.Blobs != first.Blobs {
		t.Errorf("there %+v, and back %+v", first, back)
	}
}
