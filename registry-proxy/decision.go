package registryproxy

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	v1 "github.com/google/go-containerregistry/pkg/v1"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
	"github.com/touchmark/touchmark/registry-proxy/tracing"
)

// logDecision writes one line for a manifest that was judged, or passed as evidence. Its names for things are those of a line of
// [decisions.Decision]. What comes from outside is in values only, which slog's handlers escape.
func (p *Proxy) logDecision(r *http.Request, req request, j judged, took time.Duration) {
	if j.evidence {
		p.logger.DebugContext(r.Context(), "decision", "outcome", "evidence", "repository", p.registry+"/"+req.repository,
			"digest", j.digest.String(), "tag", req.tag, "address", clientAddress(r), "milliseconds", milliseconds(took))
		return
	}
	p.logVerdict(r, slog.LevelInfo, req, j.digest.String(), j.verdict, took)
	p.record(r, req, j.verdict, took)
}

// logBlob writes one line for a blob. Those that pass are worth one only when somebody debugs: their manifest had its own.
func (p *Proxy) logBlob(r *http.Request, req request, v gate.Verdict, fail *failure, took time.Duration) {
	if v.Outcome == "" {
		return // evidence, or nobody could be asked
	}
	level := slog.LevelDebug
	if fail != nil {
		level = slog.LevelInfo
	}
	p.logVerdict(r, level, req, v.Digest, v, took, slog.String("blob", req.digest.String()))
}

func (p *Proxy) logVerdict(r *http.Request, level slog.Level, req request, digest string, v gate.Verdict, took time.Duration, more ...slog.Attr) {
	tracing.Decided(r.Context(), string(v.Outcome), string(v.Code), p.registry+"/"+req.repository, digest)
	served := p.observe && !v.Admitted()
	attrs := append([]slog.Attr{
		slog.String("outcome", string(v.Outcome)),
		slog.String("code", string(v.Code)),
		slog.String("repository", p.registry+"/"+req.repository),
		slog.String("digest", digest),
		slog.String("tag", req.tag),
		slog.Bool("cached", v.Cached),
		slog.String("who", callerOf(r.Context()).Who),
		slog.String("address", clientAddress(r)),
		slog.Float64("milliseconds", milliseconds(took)),
	}, more...)
	if !v.Admitted() {
		attrs = append(attrs, slog.String("reason", v.Reason), slog.Bool("served", served))
	}
	p.logger.LogAttrs(r.Context(), level, "decision", attrs...)
}

// record puts a decision about a manifest into the decision log and the metrics.
func (p *Proxy) record(r *http.Request, req request, v gate.Verdict, took time.Duration) {
	served := p.observe && !v.Admitted()
	p.metrics.decided(p.registry, v, served)
	if p.decisions == nil {
		return
	}
	d := decisions.Of(v)
	d.Who, d.Address, d.Tag, d.Served = callerOf(r.Context()).Who, clientAddress(r), req.tag, served
	d.Milliseconds = milliseconds(took)
	p.decisions.Record(d)
}

// milliseconds are as logs have them, to the microsecond.
func milliseconds(d time.Duration) float64 { return float64(d.Microseconds()) / 1000 }

// undecided is the verdict of an image that nothing could be decided about.
func (p *Proxy) undecided(repository string, digest v1.Hash, v gate.Verdict, fail *failure) gate.Verdict {
	v.Repository, v.Digest = p.registry+"/"+repository, digest.String()
	v.Outcome, v.Reason = gate.OutcomeUndecided, fail.message
	if v.Code == "" || v.Code == gate.CodeAdmitted {
		v.Code = gate.CodeLookupFailed
	}
	return v
}

// warn tells the client that what it gets would not be served if this registry were not only observed. Only the code is
// told: the reason is long, and in the decision log.
func warn(w http.ResponseWriter, v gate.Verdict) {
	w.Header().Set("Touchmark-Observed", string(v.Outcome)+"; code="+string(v.Code))
	w.Header().Set("Warning", `299 touchmark "not admitted: `+string(v.Code)+`; this registry is only observed"`)
}

// logFailure writes one line for an answer that is an error without being a decision.
func (f *Front) logFailure(r *http.Request, fail *failure, who string) {
	level := slog.LevelDebug
	if fail.status >= 500 {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.Int("status", fail.status),
		slog.String("method", r.Method),
		slog.String("path", r.URL.EscapedPath()),
		slog.String("who", who),
		slog.String("address", clientAddress(r)),
		slog.String("message", fail.message),
	}
	if fail.cause != nil {
		attrs = append(attrs, slog.String("cause", fail.cause.Error()))
	}
	f.logger.LogAttrs(r.Context(), level, "request failed", attrs...)
}

// clientAddress is the IP address of the client: the peer's, or what a balancer says of it; see balancers.go.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
