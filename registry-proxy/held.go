package registryproxy

import (
	"net/http"
	"strconv"
	"sync"
	"time"
)

const (
	// maxHeld bounds what answers hold in memory while they are written. Ten thousand clients that read slowly, each another manifest, would
	// take as much as they like otherwise.
	maxHeld = 192 << 20
	// maxHeldLarge is how far it may be filled by answers above smallAnswer, sixteen of the largest evidence, and by lists, of which each
	// request makes another. The rest is left to ordinary manifests, so that whoever reads others slowly keeps nobody from pulling an image.
	maxHeldLarge = 128 << 20
	smallAnswer  = 256 << 10

	// An answer has answerGrace and the time that it takes at answerRate, in bytes per second (a line of one Mbit/s), before the
	// connection is cut: so long is it held at most.
	answerGrace = 10 * time.Second
	answerRate  = 128 << 10
)

// Held bounds the memory of answers that are written from there: manifests, lists and evidence, which are complete before any of it
// leaves. Blobs stream, and are not counted. See [NewHeld]; nil bounds nothing, for answers of some bytes.
type Held struct {
	most, mostLarge int // bytes

	mu      sync.Mutex
	held    int
	readers map[*byte]int // by what they read: all clients of one manifest share its bytes
}

// NewHeld returns a bound that several proxies may share.
func NewHeld() *Held { return newHeld(maxHeld, maxHeldLarge) }

func newHeld(most, mostLarge int) *Held {
	return &Held{most: most, mostLarge: mostLarge, readers: map[*byte]int{}}
}

// write answers with a body that nobody changes any more, and the header that is set already. If too much is held, nothing is
// written, and what the header says about the body is taken back.
func (a *Held) write(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	return a.writeWithin(w, r, body, len(body) > smallAnswer)
}

// writeList is write for a list.
func (a *Held) writeList(w http.ResponseWriter, r *http.Request, body []byte) *failure {
	return a.writeWithin(w, r, body, true)
}

func (a *Held) writeWithin(w http.ResponseWriter, r *http.Request, body []byte, large bool) *failure {
	h := w.Header()
	if r.Method == http.MethodGet && len(body) > 0 {
		if !a.take(body, large) {
			for _, about := range []string{"Content-Type", "Docker-Content-Digest", "Etag", headerOffline} {
				h.Del(about)
			}
			return unavailable("clients that read slowly hold as much of this proxy's memory as answers may take; nothing was decided about any signature", nil)
		}
		defer a.release(body)
		allowed := answerGrace + time.Duration(len(body))*time.Second/answerRate
		_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(allowed)) // a writer that can't is a test's recorder
	}
	h.Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodGet {
		_, _ = w.Write(body) // the client may be gone
	}
	return nil
}

// take reports whether there is room for another reader of the body.
func (a *Held) take(body []byte, large bool) bool {
	if a == nil {
		return true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.readers[&body[0]] == 0 {
		most := a.most
		if large {
			most = a.mostLarge
		}
		if a.held+len(body) > most {
			return false
		}
		a.held += len(body)
	}
	a.readers[&body[0]]++
	return true
}

func (a *Held) release(body []byte) {
	if a == nil {
		return
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.readers[&body[0]]--; a.readers[&body[0]] == 0 {
		delete(a.readers, &body[0])
		a.held -= len(body)
	}
}
