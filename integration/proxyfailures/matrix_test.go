package proxyfailures_test

import (
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
)

// share is of how many combinations make test runs one. Those that it runs have, where there are as many of the third, each entry with each fault, each
// entry with each dependency, and each dependency with each fault. FAILURES=all runs all of them.
const share = 43

// warmAt has the share of warm combinations be others than those of cold ones.
const warmAt = 7

// plan is what is to be run of the whole product, and how much is not, by the reason.
type plan struct {
	every   int // 1 for all
	all     []combination
	excused map[string]int
	done    map[string]bool
}

// add plans each fault for each of the things that an entry leads to when there is none. entry and kind tell apart what else the combinations have.
func (p *plan) add(c combination, entry, kind int, parts map[string]bool, faults []fault) {
	for i, part := range slices.Sorted(maps.Keys(parts)) {
		key := fmt.Sprint(c.entry.method, c.entry.name, part, c.source, c.kept != "", c.warm)
		if p.done[key] {
			p.excused["the same request leads to the same thing where the evidence lies in another place"] += len(faults)
			continue
		}
		p.done[key] = true
		for j, f := range faults {
			if (entry+kind+i+j)%p.every != 0 {
				p.excused["make test runs a share"]++
				continue
			}
			c.at, c.fault = part, f
			p.all = append(p.all, c)
		}
	}
}

// PX-25: every dependency on the network, failing in every way, at every entry point. Which entry leads to which dependency is found out by a run
// without a fault, in which the image that is signed has to be served.
func TestPX25_NoCombinationAdmits(t *testing.T) {
	t.Parallel()
	all, root := flavours(t)
	b := newBench(t, root)
	p := &plan{every: share, excused: map[string]int{}, done: map[string]bool{}}
	if os.Getenv("FAILURES") == "all" {
		p.every = 1
	}
	faults := answerFaults()
	for kind, f := range all {
		kept := b.keep(f)
		for i, e := range entries() {
			if e.path(f.repository, f.good) == "" {
				continue // nothing of that kind is beside this image
			}
			c := combination{flavour: f, entry: e}
			problems, asked, askedSource := c.run(t, b)
			for _, problem := range problems {
				t.Errorf("without a fault: %s", problem)
			}
			p.add(c, i, kind, asked, faults)
			c.warm = true
			p.add(c, i, kind+warmAt, asked, faults)
			c.warm, c.kept = false, kept
			p.add(c, i, kind+1, asked, faults)
			c.source = true
			p.add(c, i, kind+3, askedSource, faults)
			c.kept = ""
			p.add(c, i, kind+2, askedSource, faults)
			c.source = false
			if kind > 0 {
				continue
			}
			for _, u := range b.unreachable(f) {
				c.at, c.fault, c.upstream = "the registry itself", fault{name: u.name, slow: u.slow}, u.url
				for _, c.kept = range []string{"", kept} {
					p.all = append(p.all, c)
				}
			}
		}
	}
	if t.Failed() {
		return
	}
	var wg sync.WaitGroup
	working, waiting := make(chan struct{}, 100), make(chan struct{}, 800) // each has some descriptors open
	for _, c := range p.all {
		room := working
		if c.fault.slow {
			room = waiting
		}
		wg.Go(func() {
			room <- struct{}{}
			defer func() { <-room }()
			problems, _, _ := c.run(t, b)
			for _, problem := range problems {
				t.Error(problem)
			}
		})
	}
	wg.Wait()
	t.Logf("%d combinations", len(p.all))
	for reason, n := range p.excused {
		t.Logf("%d not: %s", n, reason)
	}
}

// keep has a proxy with a cache serve all of an image, and gives the cache's directory.
func (b *bench) keep(f *flavour) string {
	b.t.Helper()
	upstream, source := &faulty{good: f.upstream.handler, parts: f.names()}, &faulty{}
	url := upstream.serve(b.t)
	defer upstream.end()
	if f.source != nil {
		source.good = f.source.handler
		source.serve(b.t)
		defer source.end()
	}
	dir := filepath.Join(b.dir, "kept-of-"+f.repository)
	proxy, stop, err := b.front(url, f.policy(source.host), keeping(dir))
	if err != nil {
		b.t.Fatal(err)
	}
	defer stop()
	f.askAll(http.DefaultClient, proxy)
	return dir
}

// askAll asks for all that there is of both images.
func (f *flavour) askAll(client *http.Client, proxy string) {
	for _, e := range entries() {
		for _, a := range []artifact{f.good, f.bad} {
			if e.path(f.repository, a) != "" {
				ask(client, proxy, e, f.repository, a)
			}
		}
	}
}
