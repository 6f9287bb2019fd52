package proxyfailures_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/registry-proxy/config"
	"github.com/touchmark/touchmark/registry-proxy/service"
)

// everything is a configuration that names every kind of file.
const everything = `listen: 127.0.0.1:0
tls: {cert: proxy.pem, key: proxy.key, clientCA: clients.pem}
policy: policy.yaml
trust: [{name: test, file: root.json}]
registries:
- {name: registry.acme.example, upstream: "UPSTREAM", ca: upstream-ca.pem, credentials: {username: robot, passwordFile: robot.secret}}
auth:
  htpasswd: users
  oidc: [{issuer: "https://127.0.0.1:1", audience: proxy, ca: issuer-ca.pem}]
  anonymous: true
metrics: {listen: "127.0.0.1:0"}
tracing: {endpoint: "http://127.0.0.1:1"}
peers: {listen: "127.0.0.1:0", urls: ["http://127.0.0.1:1"], secretFile: peers.secret}
countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example]}
`

// fileUse is a file of that configuration.
type fileUse struct {
	name string
	// started: it is made or read when the proxy starts, and not again: changing it takes a restart. With tls, the certificate that was read before is used.
	started bool
	// more is a line of the configuration that only its cases have: what is written to disks is slow.
	more string
	// made are the faults with which the proxy starts, since it makes the file, or takes it for what it is.
	made []string
}

var fileUses = []fileUse{
	{name: "proxy.yaml"}, {name: "policy.yaml"}, {name: "root.json"}, {name: "upstream-ca.pem"}, {name: "robot.secret", made: []string{"half-written", "garbage"}},
	{name: "users", made: []string{"empty"}}, {name: "issuer-ca.pem"}, {name: "clients.pem"}, {name: "peers.secret", started: true, made: []string{"half-written"}},
	{name: "proxy.pem", started: true}, {name: "proxy.key", started: true},
	{name: "decisions.jsonl", more: "decisions: {file: decisions.jsonl}\n", started: true, made: []string{"missing", "empty", "half-written", "garbage"}},
	{name: "cache", more: "cache: {dir: cache, size: 1GiB}\n", started: true, made: []string{"missing", "a directory"}},
	{name: "countersign.key", started: true}, {name: "countersign.pem", started: true},
}

// fileFaults are what a file can be in the place of what it should be. As root runs the tests, nothing is unreadable by its mode: a link to itself is.
var fileFaults = map[string]func(path string, good []byte) error{
	"missing":          func(string, []byte) error { return nil },
	"empty":            func(path string, _ []byte) error { return os.WriteFile(path, nil, 0o600) },
	"half-written":     func(path string, good []byte) error { return os.WriteFile(path, good[:len(good)/2], 0o600) },
	"garbage":          func(path string, _ []byte) error { return os.WriteFile(path, []byte("\x00\xff[{:"), 0o600) },
	"a directory":      func(path string, _ []byte) error { return os.Mkdir(path, 0o700) },
	"a pipe":           func(path string, _ []byte) error { return syscall.Mkfifo(path, 0o600) },
	"a link to itself": func(path string, _ []byte) error { return os.Symlink(filepath.Base(path), path) },
	"endless":          func(path string, _ []byte) error { return os.Symlink("/dev/zero", path) },
	"a full device":    func(path string, _ []byte) error { return os.Symlink("/dev/full", path) },
}

// fileCase is one file with one fault, before the proxy starts or while it runs.
type fileCase struct {
	use     fileUse
	fault   string
	running bool

	t    *testing.T
	dir  string
	log  *buffer
	stop func()
}

type buffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// start starts a proxy with the files of the directory.
func (c *fileCase) start() (url, metrics string, err error) {
	c.log = &buffer{}
	s, err := service.New(c.t.Context(), service.Config{
		Read: func() (*config.Config, error) { return config.Load(filepath.Join(c.dir, "proxy.yaml")) },
		Load: func(ctx context.Context, file string, roots []*trust.Root) (*policy.Set, []*trust.Root, error) {
			set, err := policy.Load(ctx, file, policy.Options{})
			return set, roots, err
		},
		Logger: slog.New(slog.NewTextHandler(c.log, nil)),
	})
	if err != nil {
		return "", "", err
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() { s.Run(ctx); close(ended) }()
	c.stop = func() { cancel(); <-ended }
	return s.URL(), s.MetricsURL(), nil
}

// spoil puts the fault in the place of the file, and gives what was there.
func (c *fileCase) spoil() error {
	path := filepath.Join(c.dir, c.use.name)
	good, err := os.ReadFile(path)
	if err == nil {
		err = os.Remove(path)
	} else {
		err = os.RemoveAll(path) // a directory, or nothing yet
		good = []byte("{}\n")
	}
	if err != nil {
		return err
	}
	return fileFaults[c.fault](path, good)
}

// fileShare is of how many of these combinations make test runs one: each has a proxy of its own, that looks at its files every second or two.
// FAILURES=all runs all of them.
const fileShare = 7

// TestPX25_Files: no file that is missing or broken, at the start or later, admits an image, or takes what is in force from it.
func TestPX25_Files(t *testing.T) {
	t.Parallel()
	all, root := flavours(t)
	f := all[0]
	upstream := &faulty{good: f.upstream.handler, parts: f.names()}
	url := upstream.serve(t)
	defer upstream.end()
	good := filesOf(t, url, f.policy(""), root)
	// The certificate is among the files that are broken here; what is asked is which images are served under whichever is shown.
	client := &http.Client{Timeout: 2 * time.Minute, Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true}}
	parent := t.TempDir()
	var wg sync.WaitGroup
	room := make(chan struct{}, 12) // each writes keys to the disk
	cases := 0
	for _, use := range fileUses {
		for _, fault := range slices.Sorted(maps.Keys(fileFaults)) {
			for _, running := range []bool{false, true} {
				c := &fileCase{use: use, fault: fault, running: running, t: t, dir: filepath.Join(parent, fmt.Sprint(cases))}
				if cases++; os.Getenv("FAILURES") != "all" && cases%fileShare != 0 {
					continue
				}
				wg.Go(func() {
					room <- struct{}{}
					defer func() { <-room }()
					if err := copyFiles(c.dir, good); err != nil {
						t.Error(err)
						return
					}
					if problem := c.run(client, f); problem != "" {
						t.Errorf("%s is %s (running %v): %s", use.name, fault, running, problem)
					}
				})
			}
		}
	}
	wg.Wait()
	t.Logf("a share of %d combinations", cases)
}

// copyFiles copies the files of a directory, for their owner alone.
func copyFiles(to, from string) error {
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		return err
	}
	names, err := filepath.Glob(filepath.Join(to, "*"))
	for _, name := range names {
		err = errors.Join(err, os.Chmod(name, 0o600))
	}
	return err
}

func appendTo(path, text string) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(text)
	return errors.Join(err, f.Close())
}

// run says what is wrong.
func (c *fileCase) run(client *http.Client, f *flavour) string {
	if c.use.more != "" {
		if err := appendTo(filepath.Join(c.dir, "proxy.yaml"), c.use.more); err != nil {
			return err.Error()
		}
	}
	if !c.running {
		if err := c.spoil(); err != nil {
			return err.Error()
		}
	}
	url, metrics, err := c.start()
	starts := c.running || slices.Contains(c.use.made, c.fault)
	switch {
	case err != nil && starts:
		return "it does not start: " + err.Error()
	case err != nil && !strings.Contains(err.Error(), c.use.name):
		return "the error does not name the file: " + err.Error()
	case err != nil:
		return ""
	}
	defer c.stop()
	if !starts {
		return "it starts" + c.images(client, url, f, "")
	}
	if problem := c.images(client, url, f, "at first"); problem != "" || !c.running {
		return problem
	}
	kept, _ := os.ReadFile(filepath.Join(c.dir, c.use.name))
	if err := c.spoil(); err != nil {
		return err.Error()
	}
	taken := slices.Contains(c.use.made, c.fault)
	if !c.use.started && !taken {
		if problem := wait(client, metrics, "touchmark_reload_failed 1"); problem != "" {
			return problem
		}
		if !strings.Contains(c.log.String(), c.use.name) {
			return "the log does not name the file: " + c.log.String()
		}
	}
	if problem := c.images(client, url, f, "with the fault"); problem != "" || c.use.started {
		return problem
	}
	path := filepath.Join(c.dir, c.use.name)
	if err := os.RemoveAll(path); err != nil {
		return err.Error()
	}
	if err := os.WriteFile(path, kept, 0o600); err != nil {
		return err.Error()
	}
	if problem := wait(client, metrics, "touchmark_reload_failed 0"); problem != "" {
		return problem
	}
	return c.images(client, url, f, "mended")
}

// images says what is wrong with what a client gets: what is signed, and not its twin.
func (c *fileCase) images(client *http.Client, url string, f *flavour, when string) string {
	e := entries()[0]
	if r := ask(client, url, e, f.repository, f.bad); bytes.Contains(r.body, []byte(canary)) || r.status != http.StatusForbidden {
		return fmt.Sprintf("%s: what nobody signed is answered with %d %.200q %v", when, r.status, r.body, r.err)
	}
	if r := ask(client, url, e, f.repository, f.good); r.status != http.StatusOK || !bytes.Equal(r.body, f.good.indexBody) {
		return fmt.Sprintf("%s: what is signed is answered with %d %.200q %v", when, r.status, r.body, r.err)
	}
	return ""
}

// wait waits until the metrics have a line.
func wait(client *http.Client, metrics, line string) (problem string) {
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(200 * time.Millisecond) {
		resp, err := client.Get(metrics + "/metrics")
		if err == nil {
			text, _ := io.ReadAll(resp.Body)
			resp.Body.Close()
			if strings.Contains(string(text), "\n"+line+"\n") {
				return ""
			}
		}
		if time.Now().After(deadline) {
			return "the metrics have no " + line
		}
	}
}

// filesOf makes the files of everything, as they should be.
func filesOf(t *testing.T, upstream, policyText string, root []byte) (dir string) {
	t.Helper()
	dir = t.TempDir()
	a := newAuthority(t)
	own := a.issue(t, time.Hour, "", net.IPv4(127, 0, 0, 1))
	key, err := x509.MarshalECPrivateKey(own.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		t.Fatal(err)
	}
	hash, err := bcrypt.GenerateFromPassword([]byte("alice"), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string]string{
		"proxy.yaml": strings.Replace(everything, "UPSTREAM", upstream, 1), "policy.yaml": policyText, "root.json": string(root),
		"robot.secret": "secret", "users": "alice:" + string(hash) + "\n", "peers.secret": strings.Repeat("0123456789abcdef", 4) + "\n",
		"proxy.pem": string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: own.Certificate[0]})),
		"proxy.key": string(pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"upstream-ca.pem", "issuer-ca.pem", "clients.pem"} {
		a.write(t, filepath.Join(dir, name))
	}
	makeKey(t, dir)
	return dir
}
