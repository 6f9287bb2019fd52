package proxycmd

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/commandtest"
	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
)

func TestProxyServesUntilItIsStopped(t *testing.T) {
	s := coretest.New(t)
	policyFile, rootFile := commandtest.PolicyAndRoot(t, s)
	host := coretest.NewRegistry(t, true)
	good := coretest.Push(t, host+"/app:good", coretest.Image(t, 1))
	coretest.Push(t, host+"/app:bad", coretest.Image(t, 2))
	evidence := s.SignDigest(t, coretest.Digest(t, coretest.Image(t, 1)), coretest.SignOptions{Identity: coretest.Email("alice@acme.example")})
	body, err := bundle.Marshal(evidence)
	if err != nil {
		t.Fatal(err)
	}
	subject := v1.Descriptor{MediaType: "application/vnd.oci.image.manifest.v1+json", Size: 1}
	if subject.Digest, err = v1.NewHash(good.DigestStr()); err != nil {
		t.Fatal(err)
	}
	repo, err := name.NewRepository(host + "/app")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := attach.WriteBundle(t.Context(), attach.Source{Repository: repo}, subject, body, "https://sigstore.dev/cosign/sign/v1", s.Clock.Now()); err != nil {
		t.Fatal(err)
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, logWriter := io.Pipe()
	ended := make(chan error, 1)
	go func() {
		cmd := New()
		cmd.SetArgs([]string{"--upstream", "http://" + host, "--name", "registry.acme.example", "--policy", policyFile, "--trusted-root", rootFile, "--listen", "127.0.0.1:0"})
		cmd.SetErr(logWriter)
		cmd.SilenceUsage = true
		ended <- cmd.ExecuteContext(ctx)
		logWriter.Close()
	}()
	lines := bufio.NewScanner(log)
	if !lines.Scan() {
		t.Fatal("it said nothing: ", <-ended)
	}
	var ready struct{ Msg, URL, Registry string }
	if err := json.Unmarshal(lines.Bytes(), &ready); err != nil || ready.URL == "" || ready.Registry != "registry.acme.example" {
		t.Fatalf("first line is %s", lines.Text())
	}
	go io.Copy(io.Discard, log)
	for tag, want := range map[string]int{"good": http.StatusOK, "bad": http.StatusForbidden, "none": http.StatusNotFound} {
		resp, err := http.Get(ready.URL + "/v2/app/manifests/" + tag)
		if err != nil {
			t.Fatal(err)
		}
		answer, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != want {
			t.Errorf("%s: got %d %s, want %d", tag, resp.StatusCode, answer, want)
		}
	}
	stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}

func TestProxyNamesWhatIsWrong(t *testing.T) {
	s := coretest.New(t)
	policyFile, rootFile := commandtest.PolicyAndRoot(t, s)
	broken := filepath.Join(t.TempDir(), "broken.yaml")
	if err := os.WriteFile(broken, []byte("kind: ClusterImagePolicy\nnonsense: true\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	named := commandtest.WriteFile(t, "named.yaml", strings.Replace(commandtest.Policy, "keyless:\n", "keyless:\n      trustRootRef: private\n", 1))
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	good := []string{"--upstream", "https://registry.acme.example", "--policy", policyFile, "--trusted-root", rootFile, "--listen", "127.0.0.1:0"}
	for _, c := range []struct {
		name   string
		change []string // behind the good ones, so they win
		status int
		want   string
	}{
		{"policy missing", []string{"--policy", ""}, exit.StatusUsage, "--policy is missing, and there is no --config"},
		{"policy not there", []string{"--policy", "/nowhere/policy.yaml"}, exit.StatusUsage, "/nowhere/policy.yaml"},
		{"policy broken", []string{"--policy", broken}, exit.StatusUsage, broken},
		{"root not there", []string{"--trusted-root", "/nowhere/root.json"}, exit.StatusUsage, "/nowhere/root.json"},
		{"root that the policy names not given", []string{"--policy", named}, exit.StatusUsage, "or give it by --trusted-root private=FILE"},
		{"root broken", []string{"--trusted-root", "other=" + broken}, exit.StatusUsage, broken},
		{"root with a broken chain", []string{"--trusted-root", "other=" + commandtest.BrokenRoot(t, s)}, exit.StatusUsage, "trusted root other: certificateAuthorities[0].certChain"},
		{"upstream missing", []string{"--upstream", ""}, exit.StatusUsage, "--upstream"},
		{"upstream without scheme", []string{"--upstream", "registry.acme.example"}, exit.StatusUsage, "--upstream"},
		{"upstream with credentials", []string{"--upstream", "https://u:secret@registry.acme.example"}, exit.StatusUsage, "upstream"},
		{"upstream plain", []string{"--upstream", "http://registry.acme.example"}, exit.StatusUsage, "--allow-http-registry"},
		{"name", []string{"--name", "library"}, exit.StatusUsage, `"library"`},
		{"certificate without key", []string{"--tls-cert", policyFile}, exit.StatusUsage, "--tls-cert"},
		{"certificate broken", []string{"--tls-cert", policyFile, "--tls-key", rootFile}, exit.StatusUsage, policyFile},
		{"address", []string{"--listen", "127.0.0.1:99999"}, exit.StatusUsage, "127.0.0.1:99999"},
		{"address that is taken", []string{"--listen", taken.Addr().String()}, exit.StatusUndecided, taken.Addr().String()},
		{"everybody", []string{"--listen", "0.0.0.0:0"}, exit.StatusUsage, "--anonymous"},
		{"everybody, in the clear", []string{"--listen", "0.0.0.0:0", "--anonymous"}, exit.StatusUsage, "--insecure-http"},
		{"file and flags", []string{"--config", "proxy.yaml"}, exit.StatusUsage, "--upstream does not go with --config"},
		{"unit without a file", []string{"--systemd"}, exit.StatusUsage, "--config"},
	} {
		cmd := New()
		cmd.SetArgs(append(append([]string{}, good...), c.change...))
		cmd.SetErr(io.Discard)
		cmd.SilenceUsage, cmd.SilenceErrors = true, true
		err := cmd.ExecuteContext(t.Context())
		if err == nil || exit.Status(err) != c.status || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "secret") {
			t.Errorf("%s: got %v, want status %d and %q", c.name, err, c.status, c.want)
		}
	}
}
