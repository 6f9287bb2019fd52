package lookaside

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"time"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/loopback"
)

// answerTimeout bounds one answer: several names may lead to one image, and each may take the eight seconds of a decision. It ends before the minute after which
// the agent's server gives up a connection, so that the reason gets out.
const answerTimeout = 50 * time.Second

// ServeHTTP answers one request.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		w.Header().Set("Allow", "GET, HEAD")
		http.Error(w, "signatures are only read here", http.StatusMethodNotAllowed)
		return
	}
	q, err := parsePath(r.RequestURI)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	if !loopbackName(r.Host) {
		http.Error(w, "this is the lookaside of the host itself: ask for it by its loopback address", http.StatusMisdirectedRequest)
		return
	}
	if r.Header.Get(chainedHeader) != "" {
		http.Error(w, "the chained lookaside is this lookaside itself", http.StatusLoopDetected)
		return
	}
	a, status := h.asker(r)
	if status != 0 {
		http.Error(w, "this lookaside does not answer you: it is that of another user or host", status)
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), answerTimeout)
	defer cancel()
	h.answer(ctx, w, q, a)
}

// asker is who asks.
type asker struct {
	uid      int  // -1 if that is not known
	entitled bool // to what the agent's credentials show
}

// asker tells by the connection who asks. A status other than 0 is the answer for those who get none.
func (h *Handler) asker(r *http.Request) (a asker, status int) {
	remote, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil || !remote.Addr().Unmap().IsLoopback() {
		return asker{}, http.StatusForbidden
	}
	a = asker{uid: -1}
	if local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr); ok {
		if local, err := netip.ParseAddrPort(local.String()); err == nil {
			if uid, ok := h.Peer(local, remote); ok {
				a.uid = uid
			}
		}
	}
	if h.User && a.uid != h.uid {
		return asker{}, http.StatusForbidden
	}
	a.entitled = a.uid == h.uid || a.uid == 0
	return a, 0
}

// loopbackName reports whether a Host header names this machine by its loopback address.
func loopbackName(host string) bool {
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	} else if len(host) > 1 && host[0] == '[' && host[len(host)-1] == ']' {
		host = host[1 : len(host)-1]
	}
	return loopback.Host(host)
}

// answer serves one signature of a plan, or of the chained lookaside behind it.
func (h *Handler) answer(ctx context.Context, w http.ResponseWriter, q question, a asker) {
	p := h.plan(ctx, q, a)
	switch {
	case q.N <= len(p.blobs):
		write(w, p.blobs[q.N-1])
	case p.chain == "":
		http.Error(w, "there are no more signatures", http.StatusNotFound)
	default:
		blob, ok, err := h.chain.get(ctx, p.chain, q, q.N-len(p.blobs), a)
		switch {
		case err != nil:
			write(w, countersign.Reason("touchmark cannot read the signatures that are kept elsewhere: "+err.Error()))
		case !ok:
			http.Error(w, "there are no more signatures", http.StatusNotFound)
		default:
			write(w, blob)
		}
	}
}

func write(w http.ResponseWriter, blob []byte) {
	header := w.Header()
	header.Set("Content-Type", "application/octet-stream")
	header.Set("Content-Length", strconv.Itoa(len(blob)))
	header.Set("Cache-Control", "no-store")
	header.Set("X-Content-Type-Options", "nosniff")
	_, _ = w.Write(blob) // a client that went away needs no answer
}
