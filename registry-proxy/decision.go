package registryproxy

import (
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/touchmark/touchmark/core/gate"
)

// logDecision writes one line for a manifest that was judged, or passed as evidence. What comes from outside is in values
// only, which slog's handlers escape.
func (p *Proxy) logDecision(r *http.Request, req request, j judged, took time.Duration) {
	if j.evidence {
		p.logger.DebugContext(r.Context(), "decision", "outcome", "evidence", "repository", p.registry+"/"+req.repository,
			"digest", j.digest.String(), "tag", req.tag, "client", clientAddress(r), "duration_ms", took.Milliseconds())
		return
	}
	p.logVerdict(r, slog.LevelInfo, req, j.digest.String(), j.verdict, took)
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
	attrs := append([]slog.Attr{
		slog.String("outcome", string(v.Outcome)),
		slog.String("code", string(v.Code)),
		slog.String("repository", p.registry+"/"+req.repository),
		slog.String("digest", digest),
		slog.String("tag", req.tag),
		slog.Bool("cached", v.Cached),
		slog.String("client", clientAddress(r)),
		slog.Int64("duration_ms", took.Milliseconds()),
	}, more...)
	if !v.Admitted() {
		attrs = append(attrs, slog.String("reason", v.Reason))
	}
	p.logger.LogAttrs(r.Context(), level, "decision", attrs...)
}

// logFailure writes one line for an answer that is an error without being a decision.
func (p *Proxy) logFailure(r *http.Request, fail *failure) {
	level := slog.LevelDebug
	if fail.status >= 500 {
		level = slog.LevelWarn
	}
	attrs := []slog.Attr{
		slog.Int("status", fail.status),
		slog.String("method", r.Method),
		slog.String("path", r.URL.EscapedPath()),
		slog.String("client", clientAddress(r)),
		slog.String("message", fail.message),
	}
	if fail.cause != nil {
		attrs = append(attrs, slog.String("cause", fail.cause.Error()))
	}
	p.logger.LogAttrs(r.Context(), level, "request failed", attrs...)
}

// clientAddress is the peer's IP address; headers that claim another are not believed.
func clientAddress(r *http.Request) string {
	host, _, err := net.SplitHostPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	return host
}
