package service

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

// OPS-04: what cannot be used changes nothing; what can is in force at once; and no request is dropped meanwhile.
func TestOPS04_Reload(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	var stop atomic.Bool
	var pulls, broken atomic.Int64
	var group sync.WaitGroup
	for range 4 {
		group.Go(func() {
			for !stop.Load() {
				resp, err := http.Get(s.URL() + "/v2/app/manifests/v1")
				if err != nil {
					broken.Add(1)
					continue
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != 200 && resp.StatusCode != 403 {
					broken.Add(1)
				}
				resp.Body.Close()
				pulls.Add(1)
			}
		})
	}
	for _, step := range []struct {
		name, file, text string
		status           int
		problem          string // in the log; empty: it is in force
	}{
		{"refuse", "policy.yaml", fmt.Sprintf(static, "fail"), 403, ""},
		{"policy broken", "policy.yaml", "kind: [", 403, "policy.yaml"},
		{"policy mended", "policy.yaml", fmt.Sprintf(static, "pass"), 200, ""},
		{"configuration broken", "proxy.yaml", p.least() + "nonsense: 1\n", 200, "proxy.yaml:7: nonsense: unknown field"},
		{"another address", "proxy.yaml", strings.Replace(p.least(), "127.0.0.1:0", "127.0.0.1:1", 1), 200, "listen: takes a restart"},
		{"credentials missing", "proxy.yaml", p.least() + "  credentials: {dockerConfig: nowhere.json}\n", 200, "nowhere.json"},
		{"authority missing", "proxy.yaml", p.least() + "  ca: nowhere.pem\n", 200, "nowhere.pem"},
		{"users missing", "proxy.yaml", p.least() + "auth: {htpasswd: nowhere}\n", 200, "nowhere"},
		{"another policy", "proxy.yaml", p.least() + "  policy: other.yaml\n", 200, "other.yaml"},
		{"which is there now", "other.yaml", fmt.Sprintf(static, "fail"), 403, ""},
		{"observed", "proxy.yaml", p.least() + "  policy: other.yaml\n  mode: observe\n", 200, ""},
		{"as before", "proxy.yaml", p.least(), 200, ""},
	} {
		logged := len(p.log.String())
		p.write(step.file, step.text)
		s.reload(t.Context())
		if status, body := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1"); status != step.status {
			t.Errorf("%s: got %d %s, want %d", step.name, status, body, step.status)
		}
		said := p.log.String()[logged:]
		if cannot := strings.Contains(said, "cannot be used"); cannot != (step.problem != "") || !strings.Contains(said, step.problem) {
			t.Errorf("%s: the log says %s", step.name, said)
		}
		_, metrics := get(t, http.DefaultClient, s.MetricsURL()+"/metrics")
		if want := map[bool]string{true: "touchmark_reload_failed 1", false: "touchmark_reload_failed 0"}[step.problem != ""]; !strings.Contains(metrics, want) {
			t.Errorf("%s: the metrics have no %s", step.name, want)
		}
		if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status != 200 {
			t.Errorf("%s: not ready: %s", step.name, body)
		}
	}
	stop.Store(true)
	group.Wait()
	if broken.Load() != 0 || pulls.Load() == 0 {
		t.Errorf("%d of %d requests were dropped", broken.Load(), pulls.Load())
	}
}

// A registry whose part of the configuration is as before keeps what it knows, and the gate its verdicts.
func TestReload_KeepsWhatHasNotChanged(t *testing.T) {
	p := newPlace(t)
	p.write("proxy.yaml", p.least()+"- name: other.example\n  upstream: http://"+p.host+"\n")
	s, _ := p.run()
	before := s.world.Load()
	p.write("proxy.yaml", p.least()+"- name: other.example\n  upstream: http://"+p.host+"\n  limits: {fetches: 3}\n")
	s.reload(t.Context())
	now := s.world.Load()
	if before == now {
		t.Fatal(p.log.String())
	}
	id := func(name string) string { return "http://" + p.host + " " + name }
	if before.proxies[id("registry.acme.example")].proxy != now.proxies[id("registry.acme.example")].proxy {
		t.Error("the registry that has not changed was made anew")
	}
	if before.proxies[id("other.example")].proxy == now.proxies[id("other.example")].proxy {
		t.Error("the registry that has changed was not")
	}
	for key := range now.rules {
		if before.rules[key] == nil || before.rules[key].gate != now.rules[key].gate {
			t.Errorf("the gate of %s was made anew", key)
		}
	}
}

// Another list of balancers is in force at once, for requests on connections from before as well; one that cannot be used changes nothing.
func TestReload_Balancers(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	for _, step := range []struct{ name, more, want, problem string }{
		{"none", "", "127.0.0.1", ""},
		{"one", "auth: {anonymous: true}\nbalancers: [127.0.0.1]\n", "203.0.113.7", ""},
		{"everybody", "auth: {anonymous: true}\nbalancers: [0.0.0.0/0]\n", "203.0.113.7", "proxy.yaml:8: balancers[0]: "},
		{"nobody may read", "balancers: [127.0.0.1]\n", "203.0.113.7", "auth: is missing"},
		{"another", "auth: {anonymous: true}\nbalancers: [127.0.0.2]\n", "127.0.0.1", ""},
		{"two", "auth: {anonymous: true}\nbalancers: [127.0.0.2, 127.0.0.0/30, 203.0.113.7]\n", "198.51.100.1", ""},
		{"none again", "", "127.0.0.1", ""},
	} {
		logged := len(p.log.String())
		p.write("proxy.yaml", p.least()+step.more)
		s.reload(t.Context())
		if said := p.log.String()[logged:]; strings.Contains(said, "cannot be used") != (step.problem != "") || !strings.Contains(said, step.problem) {
			t.Errorf("%s: the log says %s", step.name, said)
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL()+"/v2/app/manifests/v1", nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-For", "198.51.100.1, 203.0.113.7")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
			t.Errorf("%s: %s, %v", step.name, resp.Status, err)
		}
		resp.Body.Close()
		if got := s.decisions.Recent(decisions.Query{Limit: 1}); len(got) != 1 || got[0].Address != step.want {
			t.Errorf("%s: the decision log has %+v, want %s", step.name, got, step.want)
		}
	}
}

// A registry that was alone is countersigned for the proxy's own name. With another one beside it, that name could lead to the other.
func TestReload_NamesOfARegistryThatIsNoLongerAlone(t *testing.T) {
	p := newPlace(t)
	more := "countersign: {key: countersign.key, authority: countersign.pem, names: [proxy.example]}\n"
	p.write("proxy.yaml", p.least()+more)
	s, _ := p.run()
	id := "http://" + p.host + " registry.acme.example"
	before := s.world.Load().proxies[id]
	if !slices.Equal(before.names, []string{"proxy.example"}) {
		t.Errorf("alone: %q", before.names)
	}
	p.write("proxy.yaml", p.least()+"- name: other.example\n  upstream: http://"+p.host+"\n  prefix: hub\n"+more)
	s.reload(t.Context())
	now := s.world.Load().proxies[id]
	if now.proxy == before.proxy || len(now.names) != 0 {
		t.Errorf("beside another: %q, made anew: %v; log: %s", now.names, now.proxy != before.proxy, p.log.String())
	}
}

// A listener that ends by itself ends the proxy: nobody would see it otherwise.
func TestRun_EndsWithAnyListener(t *testing.T) {
	p := newPlace(t)
	s, err := p.new()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- s.Run(t.Context()) }()
	if status, _ := get(t, http.DefaultClient, s.MetricsURL()+"/healthz"); status != http.StatusOK {
		t.Fatal(status)
	}
	if err := s.admin.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-ended; err == nil || !strings.Contains(err.Error(), strings.TrimPrefix(s.MetricsURL(), "http://")) {
		t.Error(err)
	}
}

// The files are watched, those included that were not named at the start.
func TestReload_Watches(t *testing.T) {
	p := newPlace(t)
	s, _ := p.run()
	wait := func(status int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			got, _ := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1")
			if got == status {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("got %d, want %d; log:\n%s", got, status, p.log.String())
			}
		}
	}
	wait(200)
	p.write("other.yaml", fmt.Sprintf(static, "fail"))
	p.write("proxy.yaml", strings.Replace(p.least(), "policy.yaml", "other.yaml", 1))
	wait(403)
	p.write("other.yaml", fmt.Sprintf(static, "pass"))
	wait(200)
}

// OPS-04: the order to stop lets answers under way end, and is seen on the health page first.
func TestOPS04_Drain(t *testing.T) {
	p := newPlace(t)
	begun, more := make(chan struct{}), make(chan struct{})
	slow, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	upstream := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v2/" {
			return
		}
		close(begun)
		<-more
		http.NotFound(w, r)
	})}
	go upstream.Serve(slow)
	defer upstream.Close()
	p.host = slow.Addr().String()
	p.write("proxy.yaml", p.least())
	s, stop := p.run()
	answered := make(chan int)
	go func() {
		status, _ := get(t, http.DefaultClient, s.URL()+"/v2/app/manifests/v1")
		answered <- status
	}()
	<-begun
	stopped := make(chan error)
	go func() { stopped <- stop() }()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		if status, body := get(t, http.DefaultClient, s.MetricsURL()+"/readyz"); status == http.StatusServiceUnavailable && body == "stopping\n" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("it is still ready")
		}
	}
	if status, _ := get(t, http.DefaultClient, s.MetricsURL()+"/healthz"); status != http.StatusOK {
		t.Errorf("it says that it is not alive: %d", status)
	}
	close(more)
	if status := <-answered; status != http.StatusNotFound {
		t.Errorf("the answer under way was %d", status)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}
