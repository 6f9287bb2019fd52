package proxy_test

import (
	"archive/tar"
	"bytes"
	"cmp"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/tarball"
	"github.com/google/go-containerregistry/pkg/v1/types"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	// layers of the image that is pulled over and over.
	layers = 20
	// layerSize is large enough that a replica can be killed in the middle of a layer, in bytes.
	layerSize = 150_000
	// logicalName is the registry's, for users and policies.
	logicalName = "registry.acme.example"
	signedImage = logicalName + "/web:signed"
)

// fleet is three processes of "touchmark proxy" that know each other, in front of distribution's registry and behind a balancer.
type fleet struct {
	t                *testing.T
	files            []string // proxy.yaml of each
	addresses        []string
	replicas         []*lab.Process
	balancer         *balancer
	signed, unsigned v1.Image
}

func newFleet(t *testing.T) *fleet {
	t.Helper()
	w, f := lab.New(t, true), &fleet{t: t}
	upstream := distribution(t)
	f.signed, f.unsigned = layered(t, "signed", layers), layered(t, "unsigned", 1)
	for tag, image := range map[string]v1.Image{"signed": f.signed, "unsigned": f.unsigned} {
		ref, err := name.ParseReference(upstream + "/web:" + tag)
		if err != nil {
			t.Fatal(err)
		}
		if err := remote.Write(ref, image, remote.WithAuth(&authn.Basic{Username: "alice", Password: "alice"})); err != nil {
			t.Fatal(err)
		}
	}
	docker := t.TempDir()
	text := fmt.Sprintf(`{"auths": {%q: {"username": "alice", "password": "alice"}}}`, upstream)
	if err := os.WriteFile(filepath.Join(docker, "config.json"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	sign := lab.Command{Program: lab.Program(), Env: []string{"DOCKER_CONFIG=" + docker}}
	if r := sign.Run(t, "sign", "--server", w.Stack.URL, "--as", "alice@acme.example", upstream+"/web:signed"); r.Status != 0 {
		t.Fatal(r.Output())
	}
	f.configure(w, upstream)
	for i := range f.files {
		f.replicas = append(f.replicas, nil)
		f.start(i)
	}
	f.balancer = newBalancer(t, f.addresses)
	return f
}

// configure writes what the replicas read.
func (f *fleet) configure(w *lab.World, upstream string) {
	f.t.Helper()
	var peers []string
	for range 3 {
		f.addresses = append(f.addresses, lab.KeptAddress(f.t))
		peers = append(peers, lab.KeptAddress(f.t))
	}
	dir := f.t.TempDir()
	files := map[string]string{
		"policy.yaml":  releasePolicy(w, logicalName),
		"peers.secret": strings.Repeat("s", 64), "alice.secret": "alice",
	}
	for i := range f.addresses {
		file := fmt.Sprintf("proxy%d.yaml", i)
		files[file] = fmt.Sprintf(`listen: %s
policy: policy.yaml
trust: [{name: acme, file: %q}]
registries:
- {name: %s, upstream: "http://%s", credentials: {username: alice, passwordFile: alice.secret}}
peers: {listen: %s, urls: ["http://%s"], secretFile: peers.secret}
`, f.addresses[i], w.Root, logicalName, upstream, peers[i], strings.Join(peers, `", "http://`))
		f.files = append(f.files, filepath.Join(dir, file))
	}
	for file, text := range files {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o600); err != nil {
			f.t.Fatal(err)
		}
	}
}

// start starts one replica, which knows nothing.
func (f *fleet) start(i int) {
	f.t.Helper()
	f.replicas[i] = lab.Start(f.t, "/v2/", "proxy", "--config", f.files[i])
}

// restart restarts one as an upgrade does.
func (f *fleet) restart(i int) {
	f.t.Helper()
	f.replicas[i].End(syscall.SIGTERM)
	f.start(i)
}

// puller pulls the signed image, and returns why that failed, with all that the client said, or nothing.
type puller func(t *testing.T) string

// during pulls while one replica is restarted and another one is killed, each after so many bytes of the image as chance will have it. The dead one is started
// again afterwards.
func (f *fleet) during(pull puller) (failed string) {
	f.t.Helper()
	order := rand.Perm(len(f.replicas))
	moment := func() int64 { return 1 + rand.Int64N(layers*layerSize) }
	begun, dead, victim := make(chan struct{}), make(chan struct{}), f.replicas[order[1]]
	f.balancer.reset(mark{moment(), func() { close(begun) }}, mark{moment(), func() {
		victim.Kill()
		close(dead)
	}})
	ended := make(chan string, 1)
	go func() {
		defer close(ended)
		ended <- pull(f.t)
	}()
	select {
	case <-begun:
		f.restart(order[0])
		failed = <-ended
	case failed = <-ended:
	}
	f.balancer.reset()
	select {
	case <-dead:
	default:
		failed = cmp.Or(failed, "the pull ended before a replica was killed")
	}
	victim.Kill()
	f.start(order[1])
	return failed
}

// refuse asks each replica for a layer of the image that is not admitted, and for its manifest.
func (f *fleet) refuse() {
	f.t.Helper()
	for i, address := range f.addresses {
		for _, path := range []string{"blobs/" + layersOf(f.t, f.unsigned)[0].Digest.String(), "manifests/unsigned"} {
			resp, err := http.Get("http://" + address + "/v2/web/" + path)
			if err != nil {
				f.t.Fatal(err)
			}
			body, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden || !bytes.Contains(body, []byte("DENIED")) {
				f.t.Errorf("replica %d: %s: %s %.300s", i, path, resp.Status, body)
			}
		}
	}
}

// replicaPulls is how many pulls there are: REPLICA_PULLS says so, for make torture.
func replicaPulls(t *testing.T) int {
	t.Helper()
	text := os.Getenv("REPLICA_PULLS")
	if text == "" {
		return 15
	}
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		t.Fatalf("REPLICA_PULLS=%s is no number of pulls", text)
	}
	return n
}

// Three replicas behind a balancer without stickiness, one restarted during each pull and one killed: every client gets its image.
func TestReplicas_ClientsPullWhileOneRestartsAndOneIsKilled(t *testing.T) {
	t.Parallel()
	f := newFleet(t)
	clients := f.clients()
	for i := range replicaPulls(t) {
		client := clients[i%len(clients)]
		if failed := f.during(client.pull); failed != "" {
			t.Fatalf("pull %d, by %s: %s", i, client.name, failed)
		}
		client.forget(t)
		if i%10 == 0 {
			f.refuse()
		}
	}
}

// layered is an image that can be unpacked. Equal names give equal images.
func layered(t *testing.T, seed string, n int) v1.Image {
	t.Helper()
	image := mutate.ConfigMediaType(mutate.MediaType(empty.Image, types.OCIManifestSchema1), types.OCIConfigJSON)
	image, err := mutate.ConfigFile(image, &v1.ConfigFile{OS: "linux", Architecture: "amd64", Config: v1.Config{Cmd: []string{"/" + seed}}})
	if err != nil {
		t.Fatal(err)
	}
	var key [32]byte
	copy(key[:], seed)
	chance := rand.NewChaCha8(key)
	for i := range n {
		var text bytes.Buffer
		content := make([]byte, layerSize) // which does not get smaller
		_, _ = chance.Read(content)
		w := tar.NewWriter(&text)
		err := w.WriteHeader(&tar.Header{Name: fmt.Sprintf("file%d", i), Mode: 0o644, Size: layerSize, Format: tar.FormatUSTAR})
		if err == nil {
			_, err = w.Write(content)
		}
		if err == nil {
			err = w.Close()
		}
		if err != nil {
			t.Fatal(err)
		}
		layer, err := tarball.LayerFromOpener(func() (io.ReadCloser, error) {
			return io.NopCloser(bytes.NewReader(text.Bytes())), nil
		}, tarball.WithMediaType(types.OCILayer))
		if err == nil {
			image, err = mutate.AppendLayers(image, layer)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	return image
}

func layersOf(t *testing.T, image v1.Image) []v1.Descriptor {
	t.Helper()
	m, err := image.Manifest()
	if err != nil {
		t.Fatal(err)
	}
	return m.Layers
}
