package proxy_test

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/internal/lab"
	"github.com/touchmark/touchmark/integration/situations"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// fronts are the proxies of a world, a process for each site: a proxy has one policy for a registry. Everybody may read, and whoever is reader
// is told whole verdicts.
type fronts struct {
	*situations.World
	dir       string // of directories, one for each site
	client    *http.Client
	hosts     map[*situations.Site]string // host and port that a site's proxy listens on
	processes []*lab.Process
}

const reader = "reader" // and the password

// loopback is where all these proxies listen: unlike on 127.0.0.1, no connection that is made meanwhile takes a port that is free.
const loopback = "127.0.0.77"

// front starts the proxies of a world, each by a proxy.yaml that has further fields of its one registry, and further lines.
func front(t *testing.T, w *situations.World, registry, lines string) *fronts {
	t.Helper()
	f := configure(t, w, registry, lines)
	f.start(t)
	return f
}

// configure writes the files.
func configure(t *testing.T, w *situations.World, registry, lines string) *fronts {
	t.Helper()
	f := &fronts{World: w, dir: t.TempDir(), hosts: make(map[*situations.Site]string)}
	f.client = &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 32}}
	t.Cleanup(f.client.CloseIdleConnections)
	hash, err := bcrypt.GenerateFromPassword([]byte(reader), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	for _, site := range w.Sites {
		listener, err := net.Listen("tcp", loopback+":0")
		if err != nil {
			t.Fatal(err)
		}
		defer listener.Close() // when each has another one
		f.hosts[site] = listener.Addr().String()
		roots := ""
		for _, root := range site.Roots {
			roots += fmt.Sprintf("- {name: %s, file: %q}\n", root.Name, root.File)
		}
		if err := os.Mkdir(f.file(site, ""), 0o700); err != nil {
			t.Fatal(err)
		}
		for name, text := range map[string]string{
			"users": fmt.Sprintf("%s:%s\n", reader, hash),
			"proxy.yaml": fmt.Sprintf("listen: %s\npolicy: %q\ntrust:\n%sregistries: [{upstream: \"http://%s\"%s}]\n"+
				"auth: {htpasswd: users, anonymous: true}\ndecisions: {file: decisions.jsonl}\n%s", f.hosts[site], site.Policy, roots, w.Registry, registry, lines),
		} {
			if err := os.WriteFile(f.file(site, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	return f
}

// file is one of a site's proxy.
func (f *fronts) file(site *situations.Site, name string) string {
	return filepath.Join(f.dir, site.Name, name)
}

// start starts the processes, all at once.
func (f *fronts) start(t *testing.T) {
	t.Helper()
	f.processes = nil
	var mu sync.Mutex
	var wait sync.WaitGroup
	for site, host := range f.hosts {
		wait.Go(func() {
			// Whoever has no name is asked for one there.
			p := lab.Command{Program: lab.Program()}.Serve(t, "http://"+reader+":"+reader+"@"+host+"/v2/", "proxy", "--config", f.file(site, "proxy.yaml"))
			mu.Lock()
			defer mu.Unlock()
			f.processes = append(f.processes, p)
		})
	}
	wait.Wait()
	if len(f.processes) != len(f.hosts) {
		t.FailNow() // one of them has said why
	}
}

// stop ends the processes in good order, so that all that they had to write is written.
func (f *fronts) stop() {
	f.client.CloseIdleConnections() // which they would wait for
	var wait sync.WaitGroup
	for _, p := range f.processes {
		wait.Go(func() { p.End(syscall.SIGTERM) })
	}
	wait.Wait()
}

// reference is an image's name at its proxy's own address.
func (f *fronts) reference(i *situations.Image) string {
	return f.hosts[i.Site] + strings.TrimPrefix(i.Reference(), f.Registry)
}

// answer is what a proxy says.
type answer struct {
	status int
	header http.Header
	body   []byte
}

// ask asks an image's proxy about a path of its repository, as a user, or as nobody.
func (f *fronts) ask(t *testing.T, i *situations.Image, method, path, user string) (a answer, err error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+f.hosts[i.Site]+"/v2"+strings.TrimPrefix(i.Repository, f.Registry)+"/"+path, nil)
	if err != nil {
		return a, err
	}
	if user != "" {
		req.SetBasicAuth(user, user)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		return a, err
	}
	defer resp.Body.Close()
	a = answer{status: resp.StatusCode, header: resp.Header}
	a.header.Del("Date")
	a.body, err = io.ReadAll(resp.Body)
	return a, err
}

// decisions are those that a site's proxy has logged, in all its lives. It must have ended.
func (f *fronts) decisions(t *testing.T, site *situations.Site) (all []decisions.Decision) {
	t.Helper()
	text, err := os.ReadFile(f.file(site, "decisions.jsonl"))
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(bytes.NewReader(text))
	for lines.Buffer(nil, 1<<20); lines.Scan(); {
		var d decisions.Decision
		if err := json.Unmarshal(lines.Bytes(), &d); err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

// each asks something about every image, a few at a time, and reports what is wrong with it.
func each(t *testing.T, images []*situations.Image, ask func(*situations.Image) error) {
	t.Helper()
	const atOnce = 4
	slots := make(chan struct{}, atOnce)
	var wait sync.WaitGroup
	for _, i := range images {
		if !waits(i) {
			slots <- struct{}{}
		}
		wait.Go(func() {
			if err := ask(i); err != nil {
				t.Errorf("%s: %v", i.Name, err)
			}
			if !waits(i) {
				<-slots
			}
		})
	}
	wait.Wait()
}

// waits reports whether whoever asks about an image waits, for a registry in trouble or to ask again, and costs nothing meanwhile.
func waits(i *situations.Image) bool {
	want, _ := i.At("proxy")
	return i.Facts.Get("fault") != "none" || want.Outcome == gate.OutcomeUndecided
}

// together does things at once, and returns what is wrong with any of them.
func together(all ...func() error) error {
	errs := make([]error, len(all))
	var wait sync.WaitGroup
	for k, one := range all {
		wait.Go(func() { errs[k] = one() })
	}
	wait.Wait()
	return errors.Join(errs...)
}
