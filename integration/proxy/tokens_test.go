package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// rights says who may pull what from the registries with token services. The robot may all, and pushes.
var rights = map[string]string{"team/alice": "alice", "team/bob": "bob", "team/shared": "alice bob", "team/unadmitted": "alice bob"}

// tokenRules admits all of them but one, also where another registry has them.
const tokenRules = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: team}
spec:
  images: [{glob: "registry.acme.example/team/alice"}, {glob: "registry.acme.example/team/bob"}, {glob: "registry.acme.example/team/shared"}, {glob: "registry.other.example/**"}]
  authorities: [{static: {action: pass}}]
`

// tokened is a registry that has a token service decide.
type tokened struct {
	name    string
	program func(t *testing.T) string // in the place of distribution 3
	path    string                    // of the token service on the registry's own host; empty if it has a host of its own
}

// start starts the registry with an image for each of the rights. The section is of the proxy's configuration; clients have
// to reach the token service.
func (k tokened) start(t *testing.T, own tls.Certificate) (upstream, section, host string) {
	t.Helper()
	users := map[string]string{"alice": "alice's", "bob": "bob's", "robot": "robot's"}
	tokens := lab.NewTokens(t, users, func(user, repository string) bool {
		return user == "robot" || strings.Contains(rights[repository], user)
	})
	inner := lab.FreeAddress(t)
	front := httptest.NewUnstartedServer(nil)
	front.Config.ErrorLog = log.New(io.Discard, "", 0) // of clients that try HTTPS first
	front.Start()
	t.Cleanup(front.Close)
	// go-containerregistry goes to no token service at an IP address of a private network.
	upstream = strings.Replace(strings.TrimPrefix(front.URL, "http://"), "127.0.0.1", "localhost", 1)
	realm := "http://" + upstream + k.path
	host = upstream
	options := []remote.Option{remote.WithAuth(&authn.Basic{Username: "robot", Password: "robot's"})}
	if k.path == "" {
		apart := httptest.NewUnstartedServer(tokens)
		apart.TLS = &tls.Config{Certificates: []tls.Certificate{own}}
		apart.StartTLS()
		t.Cleanup(apart.Close)
		host = strings.Replace(strings.TrimPrefix(apart.URL, "https://"), "127.0.0.1", "localhost", 1)
		realm, section = "https://"+host+"/token", fmt.Sprintf(", tokenHosts: [%q]", host)
		options = append(options, remote.WithTransport(trusting(own.Leaf)))
	}
	proxy := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: inner})
	front.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if k.path != "" && r.URL.Path == k.path {
			tokens.ServeHTTP(w, r)
			return
		}
		proxy.ServeHTTP(w, r)
	})
	c, file := lab.Distribution(t, inner, filepath.Join(t.TempDir(), "data"), tokens.Section(realm, "test"))
	if k.program != nil {
		c.Program = k.program(t)
	}
	c.Serve(t, "http://"+inner+"/", "serve", file)
	seed := int64(0)
	for repository := range rights {
		seed++
		ref, err := name.ParseReference(upstream + "/" + repository + ":1")
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, coretest.Image(t, seed), options...); err != nil {
			t.Fatal(err)
		}
	}
	return upstream, section, host
}

// asked is what a user pulls.
type asked struct{ user, repository string }

// some are for clients that take long: what is alice's, before and after she has it, and what is nobody's.
var some = []asked{{"alice", "team/alice"}, {"bob", "team/alice"}, {"bob", "team/bob"}, {"alice", "team/unadmitted"}, {"", "team/shared"}}

// allOfThem is everybody and every repository; mallory has a password for nothing.
func allOfThem() (all []asked) {
	for repository := range rights {
		for _, user := range []string{"alice", "bob", "mallory", ""} {
			all = append(all, asked{user, repository})
		}
	}
	return all
}

// pulling is a stock client: it logs in, and pulls from the proxy.
type pulling func(t *testing.T, user, repository string) lab.Result

// PX-17: clients log in through the proxy with what they have at the upstream's token service, and get what the upstream gives them if the policy
// admits it: not what another client has just got, not what a cache has from another registry, and nothing more while many ask at once.
func TestPX17_TokenServices(t *testing.T) {
	t.Parallel()
	key := coretest.NewKey(t)
	leaf := coretest.Issue(t, &x509.Certificate{Subject: pkix.Name{CommonName: "tokens"}, DNSNames: []string{"localhost"}, NotAfter: time.Now().Add(time.Hour)}, nil, key.Public(), key)
	own := tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	podman, ctr := lab.NewHost(t, lab.Debian13), lab.NewContainerd(t)
	podman.Write(t, "/etc/hosts", "127.0.0.1 localhost\n")
	podman.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	ctr.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	docker := lab.NewDocker(t, lab.Docker26)
	docker.Write(t, "/etc/hosts", "127.0.0.1 localhost\n")
	for _, h := range []*lab.Host{podman, ctr.Host, docker.Host} {
		h.Write(t, "/etc/ssl/certs/tokens.pem", certificate) // which daemons read once
	}
	ctr.Start(t)
	docker.Start(t, "--storage-driver=vfs")
	for _, k := range []tokened{
		{"distribution 3, a token service elsewhere", nil, ""},
		{"docker-registry of Debian, a token service elsewhere", func(t *testing.T) string { return coretest.RequireTool(t, "docker-registry") }, ""},
		{"as Harbor has it", nil, "/service/token"},
	} {
		t.Run(k.name, func(t *testing.T) {
			upstream, section, service := k.start(t, own)
			other := coretest.NewRegistry(t, true)
			for i := range len(rights) {
				coretest.Push(t, fmt.Sprintf("%s/copy:%d", other, i+1), coretest.Image(t, int64(i+1))) // the same layers, for everybody
			}
			dir := t.TempDir()
			policy, store := filepath.Join(dir, "team.yaml"), filepath.Join(dir, "tokens.pem")
			for file, text := range map[string]string{policy: tokenRules, store: certificate} {
				if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			address := lab.FreeAddress(t)
			w := newFronted(t, fmt.Sprintf("listen: %s\nauth: {anonymous: true}\ncache: {dir: %q, size: 1GiB}\noffline: 1h\nregistries:\n"+
				"- {name: registry.acme.example, upstream: \"http://%s\", passThrough: true, hosts: [%q], policy: %q%s}\n"+
				"- {name: registry.other.example, upstream: \"http://%s\", prefix: other, policy: %q}\n",
				address, dir+"/cache", upstream, address, policy, section, other, policy))
			_, port, _ := strings.Cut(w.host, ":")
			for i := range len(rights) {
				if err := pullWhole(fmt.Sprintf("localhost:%s/other/copy:%d", port, i+1)); err != nil {
					t.Fatal(err)
				}
			}
			byItsName := world{file: w.file, host: "localhost:" + port} // unlike the address, which stands for one registry
			byItsName.install(t, ctr.Host, "containerd")
			for _, address := range []string{service, w.host} {
				docker.Forward(t, strings.Replace(address, "localhost", "127.0.0.1", 1))
			}
			crane, skopeo := lab.Tool(t, "crane-v0.22.1"), coretest.RequireTool(t, "skopeo")
			for _, c := range []struct {
				name string
				pull pulling
				ask  []asked
			}{
				{"crane", w.local(store, crane, []string{"auth", "login"}, []string{"pull", "--insecure"}, ""), allOfThem()},
				{"skopeo", w.local(store, skopeo, []string{"login", "--tls-verify=false"}, []string{"--insecure-policy", "copy", "--src-tls-verify=false"}, "dir:"), some},
				{"podman", w.podman(podman), some},
				{"containerd", w.containerd(ctr), some},
				{"docker", w.docker(docker), some},
			} {
				for _, a := range c.ask {
					mine := a.user != "" && strings.Contains(rights[a.repository], a.user)
					want := mine && a.repository != "team/unadmitted"
					r := c.pull(t, a.user, a.repository)
					if (r.Status == 0) != want || !want && !deniedText.MatchString(r.Output()) {
						t.Errorf("%s: %q pulls %s: %d %s\nproxy: %s", c.name, a.user, a.repository, r.Status, r.Output(), w.log)
					}
					if told := strings.Contains(r.Output(), "no policy"); told != (mine && !want) && c.name != "containerd" {
						t.Errorf("%s: %q pulls %s, and is told %s", c.name, a.user, a.repository, r.Output())
					}
				}
			}
			w.manyAtOnce(t, trusting(leaf))
			if text := w.log.String(); strings.Contains(text, "alice's") || strings.Contains(text, "Bearer ey") || strings.Contains(text, "Basic ") {
				t.Error("the log has credentials")
			}
		})
	}
}
