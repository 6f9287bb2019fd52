package service

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/dirlock"
)

// TUF-02: a repository that goes back is noticed after a restart, after a reload of something else, and by the follower that takes
// another's place.
func TestTUF02_RollbackOverRestartAndReload(t *testing.T) {
	p := newPlace(t)
	old, young := coretest.New(t), coretest.New(t)
	m := newMirror(t, old.TrustedRootJSON(t), time.Now)
	p.follows(m, "")
	s, stop := p.run()
	_, stale := get(t, m.Client(), m.URL+"/timestamp.json")
	m.publish(young.TrustedRootJSON(t))
	if status := refresh(t, s); status.Error != "" {
		t.Fatal(status.Error)
	}
	kept := []byte(stale)
	for _, step := range []struct {
		name   string
		change func()
	}{
		{"at once", func() {}},
		{"after a reload", func() { p.write("policy.yaml", byAlice+"# changed\n"); s.reload(t.Context()) }},
		{"by another follower", func() { p.follows(m, ", maxStale: 1h"); s.reload(t.Context()) }},
		{"after a restart", func() {
			if err := stop(); err != nil {
				t.Error(err)
			}
			s, stop = p.run()
		}},
	} {
		step.change()
		m.replayed.Store(&kept)
		if status := refresh(t, s); !strings.Contains(status.Error, "timestamp") {
			t.Errorf("%s: %+v", step.name, status)
		}
		m.replayed.Store(nil)
		if status := refresh(t, s); status.Error != "" {
			t.Errorf("%s: %+v", step.name, status)
		}
		if root, err := s.world.Load().followed["acme"].Load(t.Context()); err != nil || root.Digest != sha256.Sum256(young.TrustedRootJSON(t)) {
			t.Errorf("%s: %v, %v", step.name, root, err)
		}
	}
}

// What was seen of a repository stays when another is followed under its name, and is there when it is followed again.
func TestFollowedTrustRootElsewhere(t *testing.T) {
	p := newPlace(t)
	here, there := coretest.New(t), coretest.New(t)
	p.signed(here, "here", 2)
	p.signed(there, "there", 3)
	first, second := newMirror(t, here.TrustedRootJSON(t), time.Now), newMirror(t, there.TrustedRootJSON(t), time.Now)
	p.follows(first, "")
	s, _ := p.run()
	p.await(s, "here", 200)
	p.follows(second, "")
	s.reload(t.Context())
	p.await(s, "there", 200)
	p.await(s, "here", 403)
	first.down.Store(true)
	p.follows(first, "")
	s.reload(t.Context())
	p.await(s, "here", 200)
	p.await(s, "there", 403)
}

// Two proxies that follow trust roots need two state directories: the second does not start, or takes no such configuration over.
func TestOneProcessPerState(t *testing.T) {
	p, other := newPlace(t), newPlace(t)
	m := newMirror(t, coretest.New(t).TrustedRootJSON(t), time.Now)
	p.follows(m, "")
	_, stop := p.run()
	if _, err := p.new(); !errors.Is(err, dirlock.ErrInUse) || !strings.Contains(err.Error(), "state: "+p.path("state")) {
		t.Errorf("a second one: %v", err)
	}
	s, _ := other.run() // which follows nothing
	follow := func(state string) string {
		other.follows(m, "")
		text, err := os.ReadFile(other.path("proxy.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		other.write("proxy.yaml", strings.Replace(string(text), "state: state", "state: "+state, 1))
		logged := len(other.log.String())
		s.reload(t.Context())
		return other.log.String()[logged:]
	}
	if said := follow(p.path("state")); !strings.Contains(said, "is in use by another process") {
		t.Errorf("by a reload: %s", said)
	}
	if said := follow("own"); strings.Contains(said, "cannot be used") {
		t.Errorf("with one of its own: %s", said)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
	p.run()
}

// A revocation does not wait for the repository of a trust root that the configuration names for the first time. That is in force soon
// after the repository is up, though no file changes then.
func TestRevokedWhileATrustRootIsUnseen(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	p := newPlace(t)
	s, _ := p.run(soonAgain)
	p.await(s, "v1", 200)
	m := newMirror(t, coretest.New(t).TrustedRootJSON(t), time.Now)
	m.down.Store(true)
	p.follows(m, "")
	p.write("policy.yaml", fmt.Sprintf(static, "fail"))
	p.await(s, "v1", 403)
	if _, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics"); !strings.Contains(metrics, "touchmark_reload_failed 1") || !strings.Contains(p.log.String(), "was never seen") {
		t.Errorf("nobody says that the configuration waits: %s", p.log.String())
	}
	if s.world.Load().followed["acme"] != nil {
		t.Error("it is followed, and was never seen")
	}
	m.down.Store(false)
	p.until(func() bool { return s.world.Load().followed["acme"] != nil })
}
