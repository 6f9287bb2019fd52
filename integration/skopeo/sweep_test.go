package skopeo

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// TestSweep: what was pulled before there was a policy is judged by the host's agent, or by a policy file, for root and for a user.
func TestSweep(t *testing.T) {
	for _, system := range []lab.System{lab.Debian12, lab.Debian13} {
		t.Run(string(system), func(t *testing.T) {
			t.Parallel()
			w := lab.New(t, true)
			host := lab.NewHost(t, system)
			install(t, host, lab.Program(), "/usr/local/bin/touchmark", 0o755)
			install(t, host, w.Root, "/etc/touchmark/trust/acme.json", 0o644)
			install(t, host, w.Policy(t), "/etc/touchmark/policy.d/release.yaml", 0o644)
			host.Write(t, "/etc/touchmark/config.yaml", "agent: {listen: \""+lab.FreeAddress(t)+"\"}\n")
			host.Write(t, "/etc/containers/registries.conf", "[[registry]]\nprefix = \"registry.example\"\nlocation = \""+w.Registry+"\"\ninsecure = true\n\n[[registry]]\nlocation = \""+w.Registry+"\"\ninsecure = true\n")
			host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
			signed, multi, unsigned := w.Registry+"/team/signed:1", w.Image(t, "team/multi", 7), w.Registry+"/team/unsigned:1"
			coretest.Push(t, signed, lab.Busybox(t, "signed"))
			coretest.Push(t, unsigned, lab.Busybox(t, "unsigned"))
			lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, signed)
			lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, "--recursive=false", multi)

			root, user := host.Root(), host.Alice()
			for _, account := range []lab.Account{root, user} {
				for _, image := range []string{signed, multi, unsigned} {
					account.Must(t, 0, "podman", "pull", "--quiet", image)
				}
			}
			policy := []string{"--policy", "/etc/touchmark/policy.d", "--trusted-root", "/etc/touchmark/trust/acme.json"}
			outcomes(t, user, 1, policy, map[string]string{signed: "admitted", multi: "admitted", unsigned: "refused"})

			// Without an agent nothing is decided, and nothing loses its name.
			outcomes(t, root, 3, []string{"--untag"}, map[string]string{signed: "undecided", multi: "undecided", unsigned: "undecided"})
			root.Start(t, "touchmark", "agent").Find(t, regexp.MustCompile(`listening|ready|serving`))
			outcomes(t, root, 1, nil, map[string]string{signed: "admitted", multi: "admitted", unsigned: "refused"})
			r := root.Must(t, 1, "touchmark", "sweep", "podman", "--untag")
			if !strings.Contains(r.Stdout, "(untagged)") || !strings.Contains(r.Stdout, "is not signed") {
				t.Errorf("the sweep said: %s", r.Output())
			}
			outcomes(t, root, 0, nil, map[string]string{signed: "admitted", multi: "admitted", "": "local"})
			if r := root.Run(t, "podman", "run", "--rm", "--pull", "never", "--network", "none", unsigned); r.Status == 0 {
				t.Error("the refused image still runs by its name")
			}
			root.Must(t, 0, "podman", "run", "--rm", "--pull", "never", "--network", "none", signed)
			// The user's own storage is another one.
			user.Must(t, 0, "podman", "image", "exists", unsigned)
		})
	}
}

// outcomes sweeps, and compares what was said of each image, by its name.
func outcomes(t *testing.T, account lab.Account, status int, args []string, want map[string]string) {
	t.Helper()
	r := account.Must(t, status, append([]string{"touchmark", "sweep", "podman", "-o", "json"}, args...)...)
	var report struct {
		Images []struct {
			Names           []string
			Outcome, Reason string
		}
	}
	if err := json.Unmarshal([]byte(r.Stdout), &report); err != nil {
		t.Fatalf("%v\n%s", err, r.Output())
	}
	got := map[string]string{}
	for _, i := range report.Images {
		got[strings.Join(i.Names, " ")] = i.Outcome
		if i.Reason == "" {
			t.Errorf("%s is %s without a reason", i.Names, i.Outcome)
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s %s: %s\n%s", account.Name, args, diff, r.Output())
	}
}

// install copies a file of ours to the host.
func install(t *testing.T, host *lab.Host, from, to string, mode os.FileMode) {
	t.Helper()
	data, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	host.Write(t, to, string(data))
	if err := os.Chmod(host.Path(to), mode); err != nil {
		t.Fatal(err)
	}
}
