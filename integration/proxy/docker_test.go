package proxy_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// docker is a Docker that reaches the site, and nothing else, and has what is printed for it.
func (s *site) docker(t *testing.T, version lab.DockerVersion) *lab.Docker {
	t.Helper()
	d := lab.NewDocker(t, version)
	d.Reach(t, s.registryAddress)
	d.Reach(t, s.proxyAddress)
	s.install(t, d.Host, "docker")
	d.Write(t, "/etc/hosts", strings.ReplaceAll(hosts, "127.0.0.1 localhost", lab.OutsideAddress))
	d.Write(t, "/etc/ssl/certs/ca-certificates.crt", s.read(t, "ca.pem")) // of the registry, and whoever else is asked
	return d
}

// noDaemonJSON leaves Docker as it was before there was a containerd image store.
func noDaemonJSON(t *testing.T, d *lab.Docker) {
	t.Helper()
	d.Root().Must(t, 0, "rm", "/etc/docker/daemon.json")
}

// Whichever image store Docker has: by the proxy's own name it gets what alice has signed. Users log in, and are told why they don't get the rest, or that it is forbidden.
func TestDocker_ByTheProxysOwnName(t *testing.T) {
	t.Parallel()
	s := newSite(t, "auth: {htpasswd: users}\n", func(s *site) {
		hash, err := bcrypt.GenerateFromPassword([]byte("alice"), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		s.write(t, "users", "alice:"+string(hash)+"\n")
	})
	for store, driver := range map[string]string{"graphdriver": "vfs", "containerd": "native"} {
		t.Run(store, func(t *testing.T) {
			d := s.docker(t, lab.Docker26)
			if store == "graphdriver" {
				noDaemonJSON(t, d)
			}
			d.Start(t, "--storage-driver="+driver)
			root := d.Root()
			if r := root.Run(t, "docker", "pull", s.proxy+"/library/web:signed"); r.Status == 0 || !deniedText.MatchString(r.Output()) {
				t.Errorf("without a login: status %d: %s", r.Status, r.Output())
			}
			if r := root.Run(t, "docker", "login", "-u", "alice", "-p", "wrong", s.proxy); r.Status == 0 || !deniedText.MatchString(r.Output()) {
				t.Errorf("login with another password: status %d: %s", r.Status, r.Output())
			}
			root.Must(t, 0, "docker", "login", "-u", "alice", "-p", "alice", s.proxy)
			for tag, told := range tags {
				if told != "" && store == "containerd" {
					told = "403 Forbidden" // it asks by HEAD, whose answer has no text
				}
				r := root.Run(t, "docker", "pull", s.proxy+"/library/web:"+tag)
				if (r.Status == 0) != (told == "") || !strings.Contains(r.Output(), told) {
					t.Errorf("%s: status %d: %s", tag, r.Status, r.Output())
				}
			}
		})
	}
}

// A mirror enforces nothing: refused by it, Docker asks Docker Hub itself.
func TestDocker_AMirrorIsNoEnforcement(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	d := s.docker(t, lab.Docker26)
	d.Write(t, "/etc/docker/daemon.json", fmt.Sprintf(`{"registry-mirrors": ["https://%s"]}`, s.hub))
	d.Start(t, "--storage-driver=vfs")
	root := d.Root()
	if r := root.Run(t, "docker", "pull", "web:unsigned"); r.Status == 0 {
		t.Fatalf("Docker Hub does not run yet: %s", r.Output())
	}
	if r := root.Run(t, "docker", "pull", "web:signed"); r.Status != 0 {
		t.Errorf("by the mirror alone: %s", r.Output())
	}
	hub := root.Start(t, "env", "OTEL_TRACES_EXPORTER=none", lab.Tool(t, "registry-v3.1.2"), "serve", s.registryFile(t, lab.OutsideAddress+":443"))
	hub.Find(t, regexp.MustCompile("listening on"))
	if r := root.Run(t, "docker", "pull", "web:unsigned"); r.Status != 0 {
		t.Errorf("Docker has learned to stop when a mirror refuses: %s", r.Output())
	}
	if !strings.Contains(s.running.Log(), "docker.io/library/web is not signed") {
		t.Errorf("the mirror was not asked:\n%s", s.running.Log())
	}
}

// With the printed files, Docker from 28 on asks the proxy in the registry's place. An older one does not read hosts.toml, and asks the registry.
func TestPrinted_Docker(t *testing.T) {
	t.Parallel()
	s := newSite(t, "")
	for version, reads := range map[lab.DockerVersion]bool{lab.Docker26: false, lab.Docker29: true} {
		t.Run(string(version), func(t *testing.T) {
			d := s.docker(t, version)
			d.Start(t, "--storage-driver=native")
			for tag, told := range tags {
				r := d.Root().Run(t, "docker", "pull", s.registry+"/library/web:"+tag)
				if !reads {
					told = ""
				}
				if (r.Status == 0) != (told == "") || !strings.Contains(r.Output(), told) {
					t.Errorf("%s: status %d: %s", tag, r.Status, r.Output())
				}
			}
		})
	}
}
