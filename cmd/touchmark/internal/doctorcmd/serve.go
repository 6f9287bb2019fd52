package doctorcmd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/loopback"
)

// minEvery is the shortest time between two examinations, of which a probe pulls
// an image.
const minEvery = 10 * time.Second

// serveFlags are how a doctor goes on, instead of ending with a report.
type serveFlags struct {
	listen string
	every  time.Duration
}

func (f *serveFlags) register(cmd *cobra.Command) {
	cmd.Flags().StringVar(&f.listen, "listen", "", "go on, and serve at this `HOST:PORT`: /metrics for Prometheus, /healthz with 200 while the node enforces and the findings otherwise")
	cmd.Flags().DurationVar(&f.every, "every", 10*time.Minute, "with --listen: how often the node is examined")
	cmd.MarkFlagsMutuallyExclusive("listen", "fix")
}

// reports is the latest report, or why there is none.
type reports struct {
	mu     sync.Mutex
	report *doctor.Report // guarded by mu
	err    error          // guarded by mu
}

// answer examines, once or for as long as it serves, and says what was found. what is the thing that is examined.
func (f *serveFlags) answer(cmd *cobra.Command, output, what string, examine func(*cobra.Command) (*doctor.Report, error)) error {
	if f.listen != "" {
		return f.run(cmd.Context(), func() (*doctor.Report, error) { return examine(cmd) })
	}
	report, err := examine(cmd)
	if err != nil {
		return exit.Undecided(err)
	}
	return outcome(cmd, output, report, what)
}

// run examines, and serves what was found, until ctx ends.
func (f *serveFlags) run(ctx context.Context, examine func() (*doctor.Report, error)) error {
	if f.every < minEvery {
		return exit.Usage(fmt.Errorf("--every %s is less than %s", f.every, minEvery))
	}
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", f.listen)
	if err != nil {
		return exit.Undecided(fmt.Errorf("--listen: %w", err))
	}
	r := &reports{err: errors.New("the first examination is under way")}
	server := &http.Server{Handler: r.handler(f.listen), ReadHeaderTimeout: 10 * time.Second, WriteTimeout: 30 * time.Second, MaxHeaderBytes: 16 << 10}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() }) // whoever asks just then asks again
	defer stop()
	go r.examine(ctx, f.every, examine)
	if err := server.Serve(l); ctx.Err() == nil {
		return exit.Undecided(err)
	}
	return nil
}

// examine examines now, and again and again.
func (r *reports) examine(ctx context.Context, every time.Duration, examine func() (*doctor.Report, error)) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		report, err := examine()
		r.mu.Lock()
		r.report, r.err = report, err
		r.mu.Unlock()
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// latest is what was found last.
func (r *reports) latest() (*doctor.Report, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.report, r.err
}

// handler serves what was found last at an address, on loopback to no web page.
func (r *reports) handler(address string) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /metrics", func(w http.ResponseWriter, _ *http.Request) {
		r.answer(w, http.StatusOK, (*doctor.Report).Prometheus)
	})
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		status := http.StatusOK
		if report, err := r.latest(); err == nil && report.ExitStatus() != 0 {
			status = http.StatusServiceUnavailable
		}
		r.answer(w, status, (*doctor.Report).Text)
	})
	return loopback.Guard(address, mux)
}

// answer writes the latest report.
func (r *reports) answer(w http.ResponseWriter, status int, write func(*doctor.Report, io.Writer) error) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	report, err := r.latest()
	var text bytes.Buffer
	if err == nil {
		err = write(report, &text)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	w.WriteHeader(status)
	_, _ = w.Write(text.Bytes()) // who went away does not need it
}
