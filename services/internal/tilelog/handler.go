package tilelog

import (
	"bytes"
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"
)

// Handler serves the log to readers as C2SP tlog-tiles or static-ct-api says:
// GET and HEAD of checkpoint, tile/<L>/<N>[.p/<W>] and tile/entries/ (or
// tile/data/) <N>[.p/<W>], below prefix, which begins and ends with a slash.
//
// Only canonical paths of what the present tree holds exist; all else is 404. A
// query is ignored: no answer depends on it. A partial tile stays until the full
// one exists, and then goes within a minute, as the specification allows. Full
// tiles and bundles may be cached for ever, a checkpoint never.
func (l *Log) Handler(prefix string) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			http.Error(w, "method not allowed", http.StatusMethodNotAllowed)
			return
		}
		// EscapedPath: an escaped spelling is not the canonical path.
		path, ok := strings.CutPrefix(r.URL.EscapedPath(), prefix)
		switch {
		case !ok:
			http.NotFound(w, r)
		case path == "checkpoint":
			l.serveCheckpoint(w, r)
		default:
			l.serveTile(w, r, path)
		}
	})
}

func (l *Log) serveCheckpoint(w http.ResponseWriter, r *http.Request) {
	signed, err := l.Checkpoint(r.Context())
	if errors.Is(err, ErrStopped) {
		// What was signed before the log stopped is still true.
		l.mu.Lock()
		signed, err = l.signed, nil
		l.mu.Unlock()
	}
	if err != nil {
		l.unavailable(w, r, err)
		return
	}
	w.Header().Set("Cache-Control", "no-cache")
	write(w, r, "text/plain; charset=utf-8", []byte(signed.Note))
}

func (l *Log) serveTile(w http.ResponseWriter, r *http.Request, path string) {
	path, ok := strings.CutPrefix(path, "tile/")
	res, canonical := parsePath(path, l.engine.Layout().Dir())
	if !ok || !canonical {
		http.NotFound(w, r)
		return
	}
	head, err := l.readable(r.Context())
	if err != nil {
		l.unavailable(w, r, err)
		return
	}
	if res.Width > widthAt(res.Level, res.Index, head.Size) {
		http.NotFound(w, r)
		return
	}
	b, err := l.stored(res, head.Size)
	if errors.Is(err, fs.ErrNotExist) && res.Width < tileWidth {
		http.NotFound(w, r)
		return
	}
	if err != nil {
		l.unavailable(w, r, l.stopIfCorrupt(err))
		return
	}
	// A partial tile is as immutable as a full one, but soon nobody wants it.
	cache := "public, max-age=60"
	if res.Width == tileWidth {
		cache = "public, max-age=31536000, immutable"
	}
	w.Header().Set("Cache-Control", cache)
	write(w, r, "application/octet-stream", b)
}

// stored reads a tile or bundle for a tree of the given size. One that is narrower
// than in that tree only exists if it is the beginning of the wider one: a crash may
// have left it behind without it ever having been part of the tree.
func (l *Log) stored(res Resource, size uint64) ([]byte, error) {
	read := func(width int) ([]byte, error) {
		if res.Kind == BundleResource {
			return l.engine.Bundle(res.Index, width)
		}
		return l.engine.Tile(res.Level, res.Index, width)
	}
	b, err := read(res.Width)
	present := widthAt(res.Level, res.Index, size)
	if err != nil || res.Width == present {
		return b, err
	}
	wider, err := read(present)
	if err != nil {
		return nil, err
	}
	if len(b) > len(wider) || !bytes.Equal(b, wider[:len(b)]) {
		return nil, fs.ErrNotExist
	}
	return b, nil
}

// unavailable answers a read that storage failed, without saying where it lies.
func (l *Log) unavailable(w http.ResponseWriter, r *http.Request, err error) {
	l.opts.Logger.ErrorContext(r.Context(), "read failed", "origin", l.opts.Origin, "path", r.URL.Path, "error", err)
	w.Header().Set("Cache-Control", "no-store")
	http.Error(w, "the log can't read its storage now", http.StatusServiceUnavailable)
}

func write(w http.ResponseWriter, r *http.Request, contentType string, b []byte) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Content-Length", strconv.Itoa(len(b)))
	h.Set("X-Content-Type-Options", "nosniff")
	if r.Method == http.MethodGet {
		_, _ = w.Write(b) // the reader went away
	}
}
