package proxy_test

import (
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Robots are called as Harbor calls them.
const (
	libraryRobot = "robot$library+puller"
	teamRobot    = "robot$team-a+ci"
	scannedRobot = "robot$scanned+puller"
	guardedRobot = "robot$guarded+puller"
)

// harborImages are in Harbor, with or without the signature that the policy wants.
var harborImages = []string{
	"library/app:signed", "library/app:unsigned", "library/busy:signed", "library/veiled:signed", "team-a/sub/app:signed", "scanned/app:signed", "guarded/app:unsigned", "hidden/app:signed",
}

// harborRules wants it everywhere.
const harborRules = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "**"}]
  authorities: [{key: {kms: release.pub}}]
`

// harborProxy is proxy.yaml: before one Harbor, clients are passed through at a name of their own; at the proxy's own name, the proxy has an account of the
// project library, or of the system, and clients that are called as Harbor's robots may read what those may.
const harborProxy = `listen: %[1]s
names: [proxy.acme.example]
policy: policy.yaml
registries:
- {name: harbor.acme.example, upstream: "https://%[2]s", ca: harbor.pem, hosts: [harbor.acme.example], passThrough: true}
- {name: library.acme.example, upstream: "https://%[2]s", ca: harbor.pem, prefix: library-only, credentials: {username: "robot$library+puller", passwordFile: secret}}
- {name: all.acme.example, upstream: "https://%[2]s", ca: harbor.pem, prefix: all, credentials: {dockerConfig: config.json}}
auth:
  htpasswd: users
  access:
  - {subjects: ["user:robot$library+puller"], repositories: ["library.acme.example/**", "all.acme.example/library/*"]}
  - {subjects: ["user:robot$team-a+*"], repositories: ["all.acme.example/team-a/**"]}
  - {subjects: ["user:robot$scanned+puller"], repositories: ["all.acme.example/scanned/**"]}
  - {subjects: ["user:robot$guarded+puller"], repositories: ["all.acme.example/guarded/**"]}
cache: {dir: cache, size: 1GiB}
decisions: {file: decisions.jsonl}
metrics: {listen: %[3]s}
`

// harborSite is Harbor, a proxy before it, and clients, on a host from which Harbor's storage has an address that may be redirected to.
type harborSite struct {
	*harbor
	host   *lab.Containerd
	via    http.RoundTripper // to Harbor, from the test
	dir    string            // of the proxy's files
	port   string            // of the proxy
	proxy  *lab.Process
	images map[string]v1.Image // as in harborImages
}

// newHarborSite starts it.
func newHarborSite(t *testing.T) *harborSite {
	t.Helper()
	key := coretest.NewKey(t)
	leaf := coretest.Issue(t, &x509.Certificate{
		Subject: pkix.Name{CommonName: "harbor"}, NotAfter: time.Now().Add(time.Hour), DNSNames: []string{"localhost"}, IPAddresses: []net.IP{net.ParseIP(lab.OutsideAddress)},
	}, nil, key.Public(), key)
	robots := []string{libraryRobot, teamRobot, scannedRobot, guardedRobot, "robot$proxy", "robot$pusher"}
	s := &harborSite{harbor: newHarbor(t, tls.Certificate{Certificate: [][]byte{leaf.Raw}, PrivateKey: key, Leaf: leaf}, robots...), host: lab.NewContainerd(t, lab.OwnNetwork)}
	s.via, s.dir, s.images = trusting(leaf), t.TempDir(), map[string]v1.Image{}
	address, metrics := lab.FreeAddress(t), lab.FreeAddress(t)
	s.port = port(address)
	var users strings.Builder
	for _, robot := range robots {
		hash, err := bcrypt.GenerateFromPassword([]byte(secretOf(robot)), bcrypt.MinCost)
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&users, "%s:%s\n", robot, hash)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	public, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	certificate := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf.Raw}))
	for file, text := range map[string]string{
		"harbor.pem": certificate, "users": users.String(), "secret": secretOf(libraryRobot) + "\n", "policy.yaml": harborRules,
		"release.key": string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})),
		"release.pub": string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: public})),
		"config.json": fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, s.address, basic("robot$proxy")),
		"proxy.yaml":  fmt.Sprintf(harborProxy, address, s.address, metrics),
	} {
		if err := os.WriteFile(filepath.Join(s.dir, file), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.host.Write(t, "/etc/hosts", "127.0.0.1 localhost proxy.acme.example harbor.acme.example\n")
	s.host.Write(t, "/etc/ssl/certs/harbor.pem", certificate) // for those who go to the token service themselves
	s.host.Write(t, "/etc/containers/policy.json", `{"default":[{"type":"insecureAcceptAnything"}]}`)
	s.host.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, ""))
	s.host.Forward(t, strings.Replace(s.address, "localhost", "127.0.0.1", 1))
	s.host.Reach(t, strings.Replace(strings.TrimPrefix(s.storage, "https://"), lab.OutsideAddress, "127.0.0.1", 1))
	s.host.Start(t)
	s.push(t)
	s.proxy = s.host.Root().Serve(t, "http://"+metrics+"/readyz", "proxy", "--config", filepath.Join(s.dir, "proxy.yaml"))
	return s
}

// basic is a robot's name and password as HTTP and docker's file have them.
func basic(robot string) string {
	return base64.StdEncoding.EncodeToString([]byte(robot + ":" + secretOf(robot)))
}

// push fills Harbor as robots do that may, and has the rules of its projects find fault with what is there.
func (s *harborSite) push(t *testing.T) {
	t.Helper()
	auth, via := remote.WithAuth(&authn.Basic{Username: "robot$pusher", Password: secretOf("robot$pusher")}), remote.WithTransport(s.via)
	sign := []string{lab.Program(), "sign", "--key", filepath.Join(s.dir, "release.key"), "--tlog-upload=false"}
	var pushes []func() error
	for i, image := range harborImages {
		ref, err := name.ParseReference(s.address + "/" + image)
		if err != nil {
			t.Fatal(err)
		}
		pushed := coretest.Image(t, int64(i+1))
		s.images[image] = pushed
		pushes = append(pushes, func() error { return remote.Write(ref, pushed, auth, via) })
		if strings.HasSuffix(image, ":signed") && image != "library/busy:signed" {
			sign = append(sign, ref.String())
		}
	}
	if err := together(pushes...); err != nil {
		t.Fatal(err)
	}
	s.must(t, "/home/pusher", lab.Tool(t, "crane-v0.22.1"), "auth", "login", "-u", "robot$pusher", "-p", secretOf("robot$pusher"), s.address)
	s.must(t, "/home/pusher", sign...)
	s.forbid(s.digest(t, "scanned/app:signed"), vulnerableThere)
	s.forbid(s.digest(t, "guarded/app:unsigned"), unsignedThere)
	// A Harbor that does not know a bundle for a signature finds that it is not signed itself.
	veiled, err := name.NewDigest(s.address + "/library/veiled@" + s.digest(t, "library/veiled:signed"))
	if err != nil {
		t.Fatal(err)
	}
	evidence, err := remote.Referrers(veiled, auth, via)
	if err != nil {
		t.Fatal(err)
	}
	manifest, err := evidence.IndexManifest()
	if err != nil || len(manifest.Manifests) != 1 {
		t.Fatalf("%v has %d signatures: %v", veiled, len(manifest.Manifests), err)
	}
	s.forbid(manifest.Manifests[0].Digest.String(), unsignedThere)
}

// digest is that of an image of harborImages.
func (s *harborSite) digest(t *testing.T, image string) string {
	t.Helper()
	return fmt.Sprintf("sha256:%x", coretest.Digest(t, s.images[image]))
}

// run runs a client whose logins lie in a directory.
func (s *harborSite) run(t *testing.T, home string, args ...string) lab.Result {
	t.Helper()
	return s.host.Root().Run(t, append([]string{"env", "HOME=" + home, "DOCKER_CONFIG=" + home, "REGISTRY_AUTH_FILE=" + home + "/auth.json"}, args...)...)
}

// must does so, and fails the test if the client fails.
func (s *harborSite) must(t *testing.T, home string, args ...string) {
	t.Helper()
	if r := s.run(t, home, args...); r.Status != 0 {
		t.Fatalf("%v: status %d: %s", args, r.Status, r.Output())
	}
}

// harborWay is how clients get to Harbor's images.
type harborWay struct {
	name, host, prefix string
	others             *regexp.Regexp // what robots of other projects are told
}

const proxysAccount, passedThrough = "the proxy's account", "passed through"

// ways are the two, of which each client goes both.
func (s *harborSite) ways() []harborWay {
	return []harborWay{
		{proxysAccount, "proxy.acme.example:" + s.port, "all/", regexp.MustCompile("this proxy does not let you read that repository")},
		{passedThrough, "harbor.acme.example:" + s.port, "", regexp.MustCompile("(?i)unauthorized|credentials are missing or wrong")},
	}
}

// harborAsked is what a robot pulls, and what its client says if it does not get it.
type harborAsked struct {
	robot, image string
	told         string
	status       string // in the place of that, from who asks by HEAD
}

// othersProject is told to those who have no business there; which words that are depends on the way.
const othersProject = "another's project"

// harborAsks are answered in the same way by whichever way one asks.
var harborAsks = []harborAsked{
	{libraryRobot, "library/app:signed", "", ""},
	{libraryRobot, "library/app:unsigned", "is not signed; policy release wants a signature", "403 Forbidden"},
	{teamRobot, "team-a/sub/app:signed", "", ""},
	{scannedRobot, "scanned/app:signed", "current image with 3 vulnerabilities cannot be pulled", "412 Precondition Failed"},
	{guardedRobot, "guarded/app:unsigned", unsignedThere, "412 Precondition Failed"},
	{teamRobot, "library/app:signed", othersProject, ""},
}

// harborClient is a stock client that logs in, if that is a thing of its own, and pulls, or verifies what it could.
type harborClient struct {
	name  string
	login []string
	pull  func(t *testing.T, home, image, robot string) lab.Result
	heads bool // it asks by HEAD
	asks  []harborAsked
}

// clients are those that can be had. Some are asked about little, because they take long, or show no more of it than others.
func (s *harborSite) clients(t *testing.T) []harborClient {
	t.Helper()
	crane, cosign, oras := lab.Tool(t, "crane-v0.22.1"), lab.Tool(t, "cosign-v3.1.3"), lab.Tool(t, "oras-v1.3.6")
	few := []harborAsked{harborAsks[0], harborAsks[3]}
	return []harborClient{
		{"crane", []string{crane, "auth", "login"}, func(t *testing.T, home, image, _ string) lab.Result {
			return s.run(t, home, crane, "pull", "--insecure", image, home+"/image.tar")
		}, false, harborAsks},
		{"cosign", []string{crane, "auth", "login"}, func(t *testing.T, home, image, _ string) lab.Result {
			return s.run(t, home, cosign, "verify", "--allow-http-registry", "--key", filepath.Join(s.dir, "release.pub"), "--insecure-ignore-tlog", image)
		}, false, few},
		{"oras", []string{oras, "login", "--plain-http"}, func(t *testing.T, home, image, _ string) lab.Result {
			return s.run(t, home, oras, "copy", "--from-plain-http", "--to-oci-layout", image, home+"/layout:1")
		}, false, few},
		{"skopeo", []string{"skopeo", "login", "--tls-verify=false"}, func(t *testing.T, home, image, _ string) lab.Result {
			return s.run(t, home, "skopeo", "copy", "-q", "--src-tls-verify=false", "docker://"+image, "dir:"+home+"/image")
		}, false, harborAsks},
		{"podman", []string{"podman", "login", "--tls-verify=false"}, func(t *testing.T, home, image, _ string) lab.Result {
			return s.run(t, home, "podman", "pull", "-q", "--retry", "0", "--tls-verify=false", image)
		}, false, few},
		{"containerd", nil, func(t *testing.T, _, image, robot string) lab.Result {
			return s.host.Ctr(t, "images", "pull", "--plain-http", "--user", robot+":"+secretOf(robot), image)
		}, true, harborAsks},
	}
}

// asks has a client pull what it is to.
func (s *harborSite) asks(t *testing.T, c harborClient, way harborWay) {
	t.Helper()
	loggedIn := map[string]bool{}
	for _, a := range c.asks {
		home := "/home/" + c.name + way.prefix + a.robot
		if c.login != nil && !loggedIn[a.robot] {
			s.must(t, home, append(c.login, "-u", a.robot, "-p", secretOf(a.robot), way.host)...)
			loggedIn[a.robot] = true
		}
		r := c.pull(t, home, way.host+"/"+way.prefix+a.image, a.robot)
		said, wanted := r.Output(), a.told == ""
		told := strings.Contains(said, a.told) || c.heads && strings.Contains(said, a.status)
		if a.told == othersProject {
			told = way.others.MatchString(said)
		}
		if (r.Status == 0) != wanted || !wanted && !told {
			t.Errorf("%s, %s, %s: status %d, want %q: %s", way.name, a.robot, a.image, r.Status, a.told, said)
		}
		if strings.HasPrefix(a.status, "412") && strings.Contains(strings.ToLower(said), "denied") {
			t.Errorf("%s, %s: what a rule of Harbor's own forbids is told as %s", way.name, a.image, said)
		}
	}
}

// PX-17, PX-25: before a Harbor, with an account of the proxy's own and with those of its clients.
func TestPX17_PX25_Harbor(t *testing.T) {
	t.Parallel()
	s := newHarborSite(t)
	t.Run("clients", func(t *testing.T) {
		for _, way := range s.ways() {
			for _, c := range s.clients(t) {
				if c.name == "oras" && way.name == passedThrough {
					continue // it goes to no token service at a loopback address
				}
				t.Run(c.name+", "+way.name, func(t *testing.T) {
					t.Parallel()
					s.asks(t, c, way)
				})
			}
		}
	})
	t.Run("answers", s.answers)
	t.Run("traces", s.traces)
}
