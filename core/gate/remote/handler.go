package remote

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	jsonv2 "github.com/go-json-experiment/json"
	"golang.org/x/sys/unix"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/gate/ask"
	"github.com/touchmark/touchmark/core/jsonguard"
)

// peerKey is the context key of a connection's peer.
type peerKey struct{}

// ConnContext is for http.Server: it notes who is at the other end of a unix
// socket. A connection of another kind has no peer, and is answered nothing.
// One within another is found by its method NetConn, as tls.Conn has it.
func ConnContext(ctx context.Context, conn net.Conn) context.Context {
	if outer, ok := conn.(interface{ NetConn() net.Conn }); ok {
		conn = outer.NetConn()
	}
	uc, ok := conn.(*net.UnixConn)
	if !ok {
		return ctx
	}
	peer, err := peerOf(uc)
	if err != nil {
		return ctx
	}
	return context.WithValue(ctx, peerKey{}, peer)
}

// PeerFrom returns who is at the other end of a request's connection.
func PeerFrom(ctx context.Context) (Peer, bool) {
	p, ok := ctx.Value(peerKey{}).(Peer)
	return p, ok
}

// peerOf asks the kernel who connected.
func peerOf(conn *net.UnixConn) (Peer, error) {
	raw, err := conn.SyscallConn()
	if err != nil {
		return Peer{}, err
	}
	var cred *unix.Ucred
	var credErr error
	if err := raw.Control(func(fd uintptr) {
		cred, credErr = unix.GetsockoptUcred(int(fd), unix.SOL_SOCKET, unix.SO_PEERCRED)
	}); err != nil {
		return Peer{}, err
	}
	if credErr != nil {
		return Peer{}, credErr
	}
	return Peer{UID: int(cred.Uid), PID: int(cred.Pid)}, nil
}

// Handler answers questions on [ask.Path]. Its server must have [ConnContext].
func Handler(answer func(context.Context, ask.Question, Peer) gate.Verdict) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		peer, ok := PeerFrom(r.Context())
		if !ok {
			http.Error(w, "it is not known who asks", http.StatusForbidden)
			return
		}
		if r.Method != http.MethodPost {
			w.Header().Set("Allow", http.MethodPost)
			http.Error(w, "ask by POST", http.StatusMethodNotAllowed)
			return
		}
		q, err := decode(http.MaxBytesReader(w, r.Body, maxQuestion))
		if err != nil {
			http.Error(w, "reading the question: "+err.Error(), http.StatusBadRequest)
			return
		}
		ctx, cancel := patient(r)
		defer cancel()
		body, err := json.Marshal(answer(ctx, q, peer))
		if err != nil {
			http.Error(w, "writing the verdict: "+err.Error(), http.StatusInternalServerError)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write(body) // the client went away; it knows
	})
}

// patient is a request's context, which ends when its client stops waiting if it
// says when that is.
func patient(r *http.Request) (context.Context, context.CancelFunc) {
	ms, err := strconv.ParseInt(r.Header.Get(ask.PatienceHeader), 10, 64)
	if err != nil || ms <= 0 || ms > maxPatience.Milliseconds() {
		return context.WithCancel(r.Context())
	}
	return context.WithTimeoutCause(r.Context(), time.Duration(ms)*time.Millisecond, fmt.Errorf("who asked waits only %d ms", ms))
}

// maxPatience is above what any client has.
const maxPatience = time.Hour

// maxClient bounds the name of a client, which is recorded.
const maxClient = 64

// maxQuestionTokens bounds the JSON values of a question.
const maxQuestionTokens = 64

// decode reads a question: every field is known, and stands once.
func decode(body io.Reader) (ask.Question, error) {
	var q ask.Question
	data, err := io.ReadAll(body)
	if err != nil {
		return q, err
	}
	if err := jsonguard.Check(data, maxQuestionTokens, nil); err != nil {
		return q, err
	}
	// Not the standard library's: that one takes "REPOSITORY" for the field, too.
	if err := jsonv2.Unmarshal(data, &q, jsonv2.RejectUnknownMembers(true)); err != nil {
		return q, fmt.Errorf("%s", jsonguard.Excerpt(err.Error()))
	}
	switch {
	case q.Repository == "" || q.Digest == "":
		return q, errors.New("repository and digest are required")
	case len(q.Client) > maxClient:
		return q, fmt.Errorf("the client's name is longer than %d bytes", maxClient)
	}
	return q, nil
}
