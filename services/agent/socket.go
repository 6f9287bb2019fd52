package agent

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/gate/remote"
	"github.com/touchmark/touchmark/core/jsonguard"
	"github.com/touchmark/touchmark/services/agent/store"
)

// flushTimeout is how long a question about decisions waits for the last of them
// to be written.
const flushTimeout = 2 * time.Second

// socketHandler serves the unix socket.
func (a *Agent) socketHandler() http.Handler {
	mux := http.NewServeMux()
	mux.Handle(ask.Path, a.known(remote.Handler(a.answer)))
	mux.Handle("GET /v1/why", a.known(http.HandlerFunc(a.why)))
	mux.Handle("GET /v1/report", a.entitled(http.HandlerFunc(a.report)))
	mux.Handle("GET /v1/status", a.entitled(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { writeJSON(w, a.Status()) })))
	mux.Handle("GET /metrics", a.entitled(promhttp.HandlerFor(a.registry, promhttp.HandlerOpts{})))
	return mux
}

// owns reports whether somebody may see everything: root, or our own user.
func (a *Agent) owns(uid int) bool { return uid == 0 || uid == a.uid }

// peerOf is the user at the other end of a connection, -1 if that is not known.
func (a *Agent) peerOf(conn net.Conn) int {
	if peer, ok := remote.PeerFrom(remote.ConnContext(context.Background(), conn)); ok {
		return peer.UID
	}
	local, okLocal := conn.LocalAddr().(*net.TCPAddr)
	far, okFar := conn.RemoteAddr().(*net.TCPAddr)
	if a.config.Peer != nil && okLocal && okFar {
		if uid, ok := a.config.Peer(local.AddrPort(), far.AddrPort()); ok {
			return uid
		}
	}
	return -1
}

// known answers those whom the agent serves at all.
func (a *Agent) known(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := remote.PeerFrom(r.Context())
		if !ok || a.config.User && !a.owns(peer.UID) {
			http.Error(w, "this agent answers its own user only", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// entitled answers root and our own user.
func (a *Agent) entitled(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if peer, ok := remote.PeerFrom(r.Context()); !ok || !a.owns(peer.UID) {
			http.Error(w, "only root and the agent's own user may see this", http.StatusForbidden)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// answer decides about one image.
func (a *Agent) answer(ctx context.Context, q ask.Question, peer remote.Peer) gate.Verdict {
	ctx = gate.WithAsker(ctx, gate.Asker{Client: q.Client, UID: peer.UID})
	physical := q.Physical
	if physical == "" {
		physical = q.Repository
	}
	req, err := remote.Request(q)
	for _, repository := range []string{q.Repository, physical} {
		if err == nil {
			_, err = attach.NormalizeRepository(repository)
		}
	}
	if err != nil {
		return gate.Verdict{
			Outcome: gate.OutcomeUndecided, Code: gate.CodeBadRequest, Reason: "cannot decide: " + jsonguard.Excerpt(err.Error()),
			Repository: q.Repository, Digest: q.Digest, DecidedAt: time.Now().UTC(),
		}
	}
	if decide, ok := a.config.Clients[q.Client]; ok {
		start := time.Now()
		v := decide(ctx, req, physical, a.owns(peer.UID))
		a.config.Recorder.Record(ctx, v, time.Since(start))
		return v
	}
	if req.Source, err = a.config.Source(physical, a.owns(peer.UID)); err != nil {
		// The name is one, so the host's own files are to blame.
		v := gate.Undecided(req, gate.CodeLookupFailed, err)
		a.config.Recorder.Record(ctx, v, 0)
		return v
	}
	return a.config.Recorder.Admit(ctx, req)
}

// Decisions is what GET /v1/why and GET /v1/report answer.
type Decisions struct {
	Decisions []store.Decision `json:"decisions"` // the latest first
}

// why tells what was decided about an image: to others than the owner, what was
// decided for them.
func (a *Agent) why(w http.ResponseWriter, r *http.Request) {
	peer, _ := remote.PeerFrom(r.Context()) // known has looked
	repository, digest, err := ParseImage(r.URL.Query().Get("image"))
	if err != nil {
		http.Error(w, "image: "+err.Error(), http.StatusBadRequest)
		return
	}
	q := store.Query{Repository: repository, Digest: digest}
	if !a.owns(peer.UID) {
		q.UID = &peer.UID
	}
	a.tell(w, r, func(ctx context.Context) ([]store.Decision, error) { return a.config.Store.Decisions(ctx, q) })
}

func (a *Agent) report(w http.ResponseWriter, r *http.Request) {
	a.tell(w, r, func(ctx context.Context) ([]store.Decision, error) { return a.config.Store.Problems(ctx) })
}

// tell answers with decisions from the store.
func (a *Agent) tell(w http.ResponseWriter, r *http.Request, find func(context.Context) ([]store.Decision, error)) {
	if a.config.Store == nil {
		http.Error(w, "this agent keeps no record", http.StatusServiceUnavailable)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), flushTimeout)
	defer cancel()
	a.config.Store.Flush(ctx)
	found, err := find(r.Context())
	if err != nil {
		http.Error(w, err.Error(), http.StatusServiceUnavailable)
		return
	}
	writeJSON(w, Decisions{Decisions: found})
}

// ParseImage reads what a person calls an image: a repository by its logical
// name, with or without a tag or a digest. A tag is passed over: the agent is
// asked about digests.
func ParseImage(text string) (repository, digest string, err error) {
	ref, err := name.ParseReference(text)
	if err != nil {
		return "", "", err
	}
	if d, ok := ref.(name.Digest); ok {
		digest = d.DigestStr()
	}
	repository, err = attach.NormalizeRepository(ref.Context().Name())
	return repository, digest, err
}

func writeJSON(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	_ = enc.Encode(v) // the client went away; it knows
}
