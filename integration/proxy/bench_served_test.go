package proxy_test

import (
	"crypto/sha256"
	"io"
	"net/http"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// manifests has 16 clients read one manifest as often as they can, for a second each. The aims: 6,000/s by tag and ten times
// of what distribution gets through as a pull-through cache (x-of-pull-through), 8,000/s by digest.
func (p *bench) manifests(b *testing.B, path string) {
	servers := map[string]*lab.Process{"distribution": p.registry, "pull-through": p.pullThrough, "touchmark": p.proxy}
	served := map[string][]float64{}
	for _, s := range servers {
		p.get(b, s, path)
	}
	for b.Loop() {
		for name, s := range servers {
			served[name] = append(served[name], p.perSecond(b, s, path))
		}
	}
	b.ReportMetric(ratio(served["touchmark"], served["distribution"]), "x-of-distribution")
	b.ReportMetric(ratio(served["touchmark"], served["pull-through"]), "x-of-pull-through")
	for name, rates := range served {
		b.ReportMetric(median(rates), name+"/s")
	}
	b.ReportMetric(0, "ns/op") // a round's own length says nothing
}

func (p *bench) perSecond(b *testing.B, from *lab.Process, path string) float64 {
	var all sync.WaitGroup
	var mu sync.Mutex
	total, start := 0, time.Now()
	for range 16 {
		all.Go(func() {
			n := 0
			for ; time.Since(start) < time.Second; n++ {
				if err := p.read(from, path); err != nil {
					b.Error(err)
					return
				}
			}
			mu.Lock()
			defer mu.Unlock()
			total += n
		})
	}
	all.Wait()
	return float64(total) / time.Since(start).Seconds()
}

// usage is what reading a layer once took.
type usage struct{ rates, cpu []float64 } // MB/s, and seconds of the server's process for each GiB

func (u *usage) add(b *testing.B, p *bench, from *lab.Process) {
	before := from.CPU(b)
	took := p.get(b, from, p.layer)
	u.rates = append(u.rates, benchLayerSize/1e6/took.Seconds())
	u.cpu = append(u.cpu, (from.CPU(b)-before).Seconds()*(1<<30)/benchLayerSize)
}

// blob reads the layer from each. The aims: touchmark's process takes no more CPU than the plain proxy's and 1.15 times of what
// SHA-256 itself takes (cpu-x-of-aim at most 1), and its cache serves faster than distribution's (kept-x-of-pull-through at
// least 1).
func (p *bench) blob(b *testing.B) {
	servers := map[string]*lab.Process{"distribution": p.registry, "plain": p.plain, "touchmark": p.proxy, "pull-through": p.pullThrough, "kept": p.kept}
	used := map[string]*usage{}
	for name, s := range servers {
		p.get(b, s, p.manifest)
		p.get(b, s, p.layer) // so that caches have it
		used[name] = &usage{}
	}
	var sums, aims []float64
	for b.Loop() {
		for name, s := range servers {
			used[name].add(b, p, s)
		}
		sums = append(sums, sha256Alone(b))
		aims = append(aims, used["plain"].cpu[len(sums)-1]+1.15*sums[len(sums)-1])
	}
	b.ReportMetric(ratio(used["touchmark"].cpu, aims), "cpu-x-of-aim")
	b.ReportMetric(ratio(used["kept"].rates, used["pull-through"].rates), "kept-x-of-pull-through")
	for name, u := range used {
		b.ReportMetric(median(u.rates), name+"-MB/s")
		b.ReportMetric(median(u.cpu), name+"-cpu-s/GiB")
	}
	b.ReportMetric(median(sums), "sha256-cpu-s/GiB")
	b.ReportMetric(0, "ns/op")
}

// sha256Alone is what hashing a GiB takes, in seconds.
func sha256Alone(b *testing.B) float64 {
	var before, after syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &before); err != nil {
		b.Fatal(err)
	}
	sum := sha256.New()
	if _, err := io.CopyBuffer(struct{ io.Writer }{sum}, pattern(), make([]byte, 256<<10)); err != nil {
		b.Fatal(err)
	}
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &after); err != nil {
		b.Fatal(err)
	}
	return time.Duration(after.Utime.Nano()+after.Stime.Nano()-before.Utime.Nano()-before.Stime.Nano()).Seconds() * (1 << 30) / benchLayerSize
}

// shaped reads the layer over a link of 2.5 Gbit/s between the registry and the proxies; the clients are on the proxies'
// side. The aim is 95 % of what the plain proxy gets through (x-of-plain at least 0.95).
func (p *bench) shaped(b *testing.B) {
	far, near := lab.NewHost(b, lab.Debian13, lab.OwnNetwork), lab.NewHost(b, lab.Debian13, lab.OwnNetwork)
	far.Wire(b, near, "2500mbit")
	registry, plain, proxy := lab.WireAddresses[0]+":5000", "127.0.0.1:5001", "127.0.0.1:5002"
	command, file := lab.Distribution(b, registry, p.data, "")
	far.Root().ServeProgram(b, "http://"+registry+"/v2/", command, "serve", file)
	upstream := "http://" + registry
	servers := map[string]*lab.Process{
		"plain":     near.Root().ServeProgram(b, "http://"+plain+"/v2/", lab.Command{Program: p.beside}, "proxy", upstream, plain),
		"touchmark": near.Root().Serve(b, "http://"+proxy+"/v2/", "proxy", "--config", p.config(b, proxy, upstream, "")),
	}
	transport := near.Transport()
	defer transport.CloseIdleConnections()
	there := *p
	there.client = &http.Client{Transport: transport}
	used := map[string]*usage{"plain": {}, "touchmark": {}}
	for b.Loop() {
		for name, s := range servers {
			there.get(b, s, p.manifest)
			used[name].add(b, &there, s)
		}
	}
	b.ReportMetric(ratio(used["touchmark"].rates, used["plain"].rates), "x-of-plain")
	for name, u := range used {
		b.ReportMetric(median(u.rates), name+"-MB/s")
		b.ReportMetric(median(u.cpu), name+"-cpu-s/GiB")
	}
	b.ReportMetric(0, "ns/op")
}
