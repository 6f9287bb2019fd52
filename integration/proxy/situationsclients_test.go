package proxy_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
)

// everything is the value of TOUCHMARK_MATRIX with which every client is asked about all situations.
const everything = "all"

// matrixClient is a client that pulls images through the proxies.
type matrixClient struct {
	name string
	pull func(*situations.Image) lab.Result
	// words are by what it lets its user tell outcomes apart.
	words map[gate.Outcome]string
	// mute are outcomes that it tells without the sentence that came with them.
	mute []gate.Outcome
	// few says that it is asked about a share of the situations, because a pull by it is dear.
	few bool
	// unasked are situations that it is asked about with everything else only, and why.
	unasked map[string]string
}

// clients are the clients. The test is skipped, or fails, where one of them is missing.
func (f *fronts) clients(t *testing.T) []matrixClient {
	t.Helper()
	crane, dir := lab.Command{Program: lab.Tool(t, "crane-v0.22.1")}, t.TempDir()
	debian, containerd := f.debian(t), f.containerd(t)
	shown := map[gate.Outcome]string{gate.OutcomeRefused: "denied: ", gate.OutcomeUndecided: "503 Service Unavailable"}
	return []matrixClient{
		{
			name: "crane",
			pull: func(i *situations.Image) lab.Result {
				return crane.Run(t, "pull", "--insecure", "--platform", "linux/amd64", f.reference(i), filepath.Join(dir, i.Name))
			},
			words:   map[gate.Outcome]string{gate.OutcomeRefused: "DENIED: ", gate.OutcomeUndecided: "UNAVAILABLE: "},
			unasked: map[string]string{"registry-silent": "it asks three times, and waits for 8 seconds each time"},
		},
		{
			name: "skopeo",
			pull: func(i *situations.Image) lab.Result {
				return debian.Root().Run(t, "skopeo", "copy", "-q", "docker://"+i.Reference(), "dir:/root/"+i.Name)
			},
			words: shown, mute: []gate.Outcome{gate.OutcomeUndecided},
		},
		{
			name: "podman",
			pull: func(i *situations.Image) lab.Result {
				return debian.Root().Run(t, "podman", "pull", "-q", "--retry", "0", i.Reference())
			},
			words: shown, mute: []gate.Outcome{gate.OutcomeUndecided}, few: true,
		},
		{
			name: "containerd",
			pull: func(i *situations.Image) lab.Result {
				return containerd.Ctr(t, "images", "pull", "--hosts-dir", hostsDir(i.Site), i.Reference())
			},
			// It asks by HEAD, whose answer has no sentence.
			words: map[gate.Outcome]string{gate.OutcomeRefused: "403 Forbidden", gate.OutcomeUndecided: "503 Service Unavailable"},
			mute:  []gate.Outcome{gate.OutcomeRefused, gate.OutcomeUndecided}, few: true,
		},
	}
}

// debian is a host with podman 5 and skopeo, whose registries.conf has the proxies in the place of the registry.
func (f *fronts) debian(t *testing.T) *lab.Host {
	t.Helper()
	h := lab.NewHost(t, lab.Debian13)
	conf := ""
	for _, i := range f.Images {
		conf += fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", i.Repository, f.hosts[i.Site]+strings.TrimPrefix(i.Repository, f.Registry))
	}
	h.Write(t, "/etc/containers/registries.conf", conf)
	h.Write(t, "/etc/containers/policy.json", `{"default": [{"type": "insecureAcceptAnything"}]}`)
	return h
}

// containerd is a host with containerd, and a directory of hosts.toml for each site, which has its proxy in the place of the registry.
func (f *fronts) containerd(t *testing.T) *lab.Containerd {
	t.Helper()
	c := lab.NewContainerd(t)
	c.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	for site, host := range f.hosts {
		c.Write(t, hostsDir(site)+"/"+f.Registry+"/hosts.toml", fmt.Sprintf("server = \"http://%s\"\n", host))
	}
	c.Start(t)
	return c
}

func hostsDir(site *situations.Site) string { return "/etc/hosts.d/" + site.Name }

// asked are the situations that a client is asked about: all of them, or one for each outcome and code.
func (p matrixClient) asked(images []*situations.Image) (asked []*situations.Image) {
	if os.Getenv("TOUCHMARK_MATRIX") == everything {
		return images
	}
	seen := make(map[situations.Want]bool)
	for _, i := range images {
		want, _ := i.At("proxy")
		want = situations.Want{Outcome: want.Outcome, Code: want.Code}
		if p.unasked[i.Name] == "" && !(p.few && seen[want]) {
			seen[want] = true
			asked = append(asked, i)
		}
	}
	return asked
}

// check says what is wrong with what a client made of a situation.
func (p matrixClient) check(i *situations.Image) error {
	want, _ := i.At("proxy")
	r := p.pull(i)
	if (r.Status == 0) != (want.Outcome == gate.OutcomeAdmitted) {
		return fmt.Errorf("want %q, %s; status is %d: %s", want.Outcome, want.Code, r.Status, r.Output())
	}
	if r.Status == 0 {
		return nil
	}
	said := strings.ReplaceAll(r.Output(), `\"`, `"`)
	for outcome, text := range p.words {
		if want.Outcome == "" && outcome != gate.OutcomeRefused {
			continue // it may fail in any other way
		}
		if strings.Contains(said, text) != (outcome == want.Outcome) {
			return fmt.Errorf("want %q, %s; it says %s", want.Outcome, want.Code, said)
		}
	}
	for _, outcome := range p.mute {
		if outcome == want.Outcome {
			return nil
		}
	}
	if !strings.Contains(said, want.Says) {
		return fmt.Errorf("it says %s; want it to say %q", said, want.Says)
	}
	return nil
}
