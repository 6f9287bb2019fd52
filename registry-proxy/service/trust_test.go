package service

import (
	"context"
	"crypto"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/remote"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/trust/follow"
	"github.com/touchmark/touchmark/core/verify"
	"github.com/touchmark/touchmark/services/trustroot"
)

const byAlice = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata: {name: release}
spec:
  images: [{glob: "registry.acme.example/**"}]
  authorities: [{keyless: {trustRootRef: acme, identities: [{issuer: "` + coretest.Issuer + `", subject: alice@acme.example}]}}]
`

// mirror is a TUF repository, at a URL, that may be down.
type mirror struct {
	*httptest.Server
	t          *testing.T
	config     trustroot.RepositoryConfig
	repository atomic.Pointer[trustroot.Repository]
	down       atomic.Bool
	replayed   atomic.Pointer[[]byte] // a timestamp in the place of the repository's
}

// newMirror publishes a trust root by a clock, over TLS.
func newMirror(t *testing.T, root []byte, clock func() time.Time) *mirror {
	t.Helper()
	m := &mirror{t: t, config: trustroot.RepositoryConfig{
		Dir: t.TempDir(), Keys: trustroot.RepositoryKeys{Root: []crypto.Signer{coretest.NewKey(t)}, Targets: coretest.NewKey(t), Online: coretest.NewKey(t)},
		Targets: map[string][]byte{trustroot.TrustedRootFile: root}, Clock: clock, Logger: slog.New(slog.DiscardHandler),
	}}
	r, err := trustroot.CreateRepository(m.config)
	if err != nil {
		t.Fatal(err)
	}
	m.repository.Store(r)
	m.Server = httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if m.down.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		if old := m.replayed.Load(); old != nil && r.URL.Path == "/timestamp.json" {
			_, _ = w.Write(*old) // who went away does not need it
			return
		}
		m.repository.Load().Handler().ServeHTTP(w, r)
	}))
	t.Cleanup(func() { m.Close(); _ = m.repository.Load().Close() })
	return m
}

// publish publishes another trust root.
func (m *mirror) publish(root []byte) {
	m.t.Helper()
	if err := m.repository.Load().Close(); err != nil {
		m.t.Fatal(err)
	}
	m.config.Targets = map[string][]byte{trustroot.TrustedRootFile: root}
	r, err := trustroot.OpenRepository(m.config)
	if err != nil {
		m.t.Fatal(err)
	}
	m.repository.Store(r)
}

// follows has a proxy follow the mirror.
func (p *place) follows(m *mirror, more string) {
	p.t.Helper()
	p.write("policy.yaml", byAlice)
	p.write("root.json", string(m.repository.Load().Root()))
	p.write("ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: m.Certificate().Raw})))
	p.write("proxy.yaml", p.least()+fmt.Sprintf("state: state\ntrust: [{name: acme, mirror: %q, root: root.json, ca: ca.pem%s}]\n", m.URL, more))
}

// signed pushes an image that alice signed.
func (p *place) signed(s *coretest.Sigstore, tag string, seed int64) {
	p.t.Helper()
	ref := coretest.Push(p.t, p.host+"/app:"+tag, coretest.Image(p.t, seed))
	hash, err := v1.NewHash(ref.DigestStr())
	if err != nil {
		p.t.Fatal(err)
	}
	var sum [32]byte
	if _, err := hex.Decode(sum[:], []byte(hash.Hex)); err != nil {
		p.t.Fatal(err)
	}
	raw, err := bundle.Marshal(s.SignDigest(p.t, sum, coretest.SignOptions{Identity: coretest.Email("alice@acme.example")}))
	if err != nil {
		p.t.Fatal(err)
	}
	repository, err := name.NewRepository(p.host + "/app")
	if err != nil {
		p.t.Fatal(err)
	}
	subject, err := remote.Head(ref)
	if err != nil {
		p.t.Fatal(err)
	}
	if _, err := attach.WriteBundle(p.t.Context(), attach.Source{Repository: repository}, *subject, raw, verify.PredicateImageSignature, coretest.Start); err != nil {
		p.t.Fatal(err)
	}
}

// both are the trust roots of two Sigstores in one, as while an authority is replaced.
func both(a, b *trust.Root) *trust.Root {
	all := *a
	all.CertificateAuthorities = slices.Concat(a.CertificateAuthorities, b.CertificateAuthorities)
	all.CTLogs = slices.Concat(a.CTLogs, b.CTLogs)
	all.Logs = slices.Concat(a.Logs, b.Logs)
	all.TimestampAuthorities = slices.Concat(a.TimestampAuthorities, b.TimestampAuthorities)
	return &all
}

// refresh has the proxy ask the repository now, and not within the hour.
func refresh(t *testing.T, s *Service) follow.Status {
	t.Helper()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	told := make(chan follow.Status, 1)
	go s.world.Load().followed["acme"].Run(ctx, func(status follow.Status) {
		select {
		case told <- status:
		default:
		}
	})
	return <-told
}

// soonAgain has a service try again at once what waits for a trust root.
func soonAgain(s *Service) { s.unseenAgain = time.Millisecond }

// until waits until something has come about, and fails the test with what was logged if it does not.
func (p *place) until(condition func() bool) {
	p.t.Helper()
	for deadline := time.Now().Add(time.Minute); !condition(); time.Sleep(50 * time.Millisecond) {
		if time.Now().After(deadline) {
			p.t.Fatal(p.log.String())
		}
	}
}

// await waits until a tag is answered so.
func (p *place) await(s *Service, tag string, status int) {
	p.t.Helper()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.After(time.Minute); ; {
		got, body := get(p.t, http.DefaultClient, s.URL()+"/v2/app/manifests/"+tag)
		if got == status {
			return
		}
		select {
		case <-deadline:
			p.t.Fatalf("%s: %d %s, want %d; log:\n%s", tag, got, body, status, p.log.String())
		case <-tick.C:
		}
	}
}

// OPS-04: an authority that is replaced in the TUF repository is replaced in the proxy: what the new one vouches for is
// admitted, what the old one did is not any more, without a restart or a dropped request. What was seen is good without a network.
func TestOPS04_FollowedTrustRoot(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	p := newPlace(t)
	old, young := coretest.New(t), coretest.New(t)
	p.signed(old, "old", 2)
	p.signed(young, "young", 3)
	m := newMirror(t, old.TrustedRootJSON(t), time.Now)
	p.follows(m, "")

	m.down.Store(true)
	if _, err := p.new(); !errors.Is(err, follow.ErrUnseen) || !strings.Contains(err.Error(), m.URL) {
		t.Fatalf("nothing was ever seen, and the repository is down: %v", err)
	}
	m.down.Store(false)
	s, stop := p.run()
	p.await(s, "old", 200)
	p.await(s, "young", 403)

	var group sync.WaitGroup
	var done atomic.Bool
	group.Go(func() { // pulls that have nothing to do with it
		for !done.Load() {
			if status, body := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1"); status != 403 {
				t.Errorf("%d %s", status, body)
			}
		}
	})
	m.publish(coretest.FormatRoot(t, both(old.Root(), young.Root())))
	if status := refresh(t, s); status.Error != "" {
		t.Error(status.Error)
	}
	p.await(s, "young", 200)
	p.await(s, "old", 200)
	m.publish(young.TrustedRootJSON(t))
	refresh(t, s)
	p.await(s, "old", 403)
	p.await(s, "young", 200)
	done.Store(true)
	group.Wait()
	if _, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics"); !strings.Contains(metrics, `touchmark_trust_root_stale{name="acme"} 0`) {
		t.Error("the metrics do not know of the trust root")
	}

	if err := stop(); err != nil {
		t.Error(err)
	}
	m.down.Store(true)
	s, _ = p.run()
	p.await(s, "old", 403)
	p.await(s, "young", 200)
	if status := refresh(t, s); status.Error == "" || status.Failures == 0 {
		t.Errorf("the repository is down: %+v", status)
	}
	if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status != 200 {
		t.Errorf("not ready: %s", body)
	}
}

// An image that was refused, and is signed at the registry then, is served within half a minute, without a restart.
func TestSignedAfterItWasRefused(t *testing.T) {
	t.Parallel() // refusals are remembered for a moment
	p := newPlace(t)
	signer := coretest.New(t)
	p.follows(newMirror(t, signer.TrustedRootJSON(t), time.Now), "")
	coretest.Push(t, p.host+"/app:late", coretest.Image(t, 2))
	s, _ := p.run()
	p.await(s, "late", 403)
	start := time.Now()
	p.signed(signer, "late", 2)
	p.await(s, "late", 200)
	if took := time.Since(start); took > 30*time.Second {
		t.Errorf("it took %s", took)
	}
}

// Metadata that has expired is used until maxStale is over, with a warning, and not beyond.
func TestFollowedTrustRootExpires(t *testing.T) {
	p := newPlace(t)
	signer := coretest.New(t)
	p.signed(signer, "signed", 2)
	m := newMirror(t, signer.TrustedRootJSON(t), func() time.Time { return time.Now().Add(-10 * 24 * time.Hour) })
	p.follows(m, "")
	s, _ := p.run()
	p.await(s, "signed", 200)
	refresh(t, s)
	if !strings.Contains(p.log.String(), "the trust root was refreshed, with warnings") {
		t.Errorf("no warning: %s", p.log.String())
	}
	p.follows(m, ", maxStale: 1h")
	s.reload(t.Context())
	p.await(s, "signed", 503)
	if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status != 503 || !strings.Contains(body, "out of date") {
		t.Errorf("%d %s", status, body)
	}
	if _, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics"); !strings.Contains(metrics, `touchmark_trust_root_stale{name="acme"} 2`) {
		t.Error("the metrics do not say that it is not used any more")
	}
}

// A trust root that is named while its repository is down is in force soon after that is up, though no file changes then.
func TestFollowedTrustRootIsTriedAgain(t *testing.T) {
	t.Parallel() // it waits for files to be looked at
	p := newPlace(t)
	s, _ := p.run(soonAgain)
	p.await(s, "v1", 200)
	signer := coretest.New(t)
	p.signed(signer, "signed", 2)
	m := newMirror(t, signer.TrustedRootJSON(t), time.Now)
	m.down.Store(true)
	p.follows(m, "")
	p.until(func() bool { return strings.Contains(p.log.String(), "was never seen") })
	p.await(s, "v1", 200)
	m.down.Store(false)
	p.await(s, "v1", 403)
	p.await(s, "signed", 200)
}
