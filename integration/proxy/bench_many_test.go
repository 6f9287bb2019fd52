package proxy_test

import (
	"bufio"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

const (
	idleConnections = 10_000
	healthyRequests = 4_000 // of which the slowest hundredth is looked at
	streams         = 64
)

// idle has clients read manifests while another process holds 10,000 connections on which nothing comes, or the half of a
// request. The aim is that the 99th percentile stays what it is without them (p99-x-of-alone about 1).
func (p *bench) idle(b *testing.B) {
	var alone, beside, open []float64
	for b.Loop() {
		alone = append(alone, p.slowest(b))
		holder := exec.Command(p.beside, "idle", strings.TrimSuffix(strings.TrimPrefix(p.proxy.URL, "http://"), "/v2/"), strconv.Itoa(idleConnections))
		out, err := holder.StdoutPipe()
		if err == nil {
			err = holder.Start()
		}
		if err != nil {
			b.Fatal(err)
		}
		b.Cleanup(func() { holder.Process.Kill() }) // unless it was, below
		if line, err := bufio.NewReader(out).ReadString('\n'); line != "open\n" {
			b.Fatal("opening the connections: ", err)
		}
		beside = append(beside, p.slowest(b))
		open = append(open, float64(p.proxy.Descriptors(b)))
		holder.Process.Kill()
		holder.Wait()
	}
	b.ReportMetric(ratio(beside, alone), "p99-x-of-alone")
	b.ReportMetric(median(alone), "p99-µs-alone")
	b.ReportMetric(median(beside), "p99-µs")
	b.ReportMetric(median(open), "open")
	b.ReportMetric(0, "ns/op")
}

// slowest has four clients read a manifest by turns, and returns the 99th percentile in microseconds.
func (p *bench) slowest(b *testing.B) float64 {
	took := make([]float64, healthyRequests)
	var all sync.WaitGroup
	const clients = 4
	for c := range clients {
		all.Go(func() {
			for i := c; i < len(took); i += clients {
				start := time.Now()
				if err := p.read(p.proxy, p.manifest); err != nil {
					b.Error(err)
					return
				}
				took[i] = float64(time.Since(start).Microseconds())
			}
		})
	}
	all.Wait()
	slices.Sort(took)
	return took[len(took)*99/100]
}

// streams has 64 clients read the layer, of a GiB, at once: through the proxy, while its cache fetches it, and from its
// cache. The aim is that the process grows by less than 100 MiB.
func (p *bench) streams(b *testing.B) {
	upstream := strings.TrimSuffix(p.registry.URL, "/v2/")
	grown := map[string]float64{}
	for b.Loop() {
		kept := p.touchmark(b, upstream, p.cache(b))
		grown["through"] = max(grown["through"], p.growth(b, p.touchmark(b, upstream, "")))
		grown["fetching"] = max(grown["fetching"], p.growth(b, kept))
		grown["kept"] = max(grown["kept"], p.growth(b, kept))
	}
	for name, bytes := range grown {
		b.ReportMetric(bytes/(1<<20), name+"-peak-MiB")
	}
	b.ReportMetric(0, "ns/op")
}

// growth is how much larger a server gets by 64 streams, in bytes.
func (p *bench) growth(b *testing.B, from *lab.Process) float64 {
	from.ForgetPeak(b)
	before, _ := from.Resident(b)
	var all sync.WaitGroup
	for range streams {
		all.Go(func() {
			if err := p.read(from, p.layer); err != nil {
				b.Error(err)
			}
		})
	}
	all.Wait()
	_, peak := from.Resident(b)
	return float64(peak - before)
}
