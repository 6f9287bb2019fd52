package trustroot

import (
	"errors"
	"io/fs"
	"net/http"
	"strconv"
	"strings"

	"github.com/theupdateframework/go-tuf/v2/metadata"
)

// Handler serves the repository below a path such as /tuf/, which must be stripped: the files' canonical names and nothing else. A
// version that does not exist answers 404, which is how clients learn that they have the newest root.
func (r *Repository) Handler() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		name := strings.TrimPrefix(request.URL.Path, "/")
		// Nothing keeps an answer that will be another one soon.
		w.Header().Set("Cache-Control", "no-cache")
		if !canonical(name) {
			writeError(w, http.StatusNotFound, "no such file")
			return
		}
		if request.Method != http.MethodGet && request.Method != http.MethodHead {
			w.Header().Set("Allow", "GET, HEAD")
			writeError(w, http.StatusMethodNotAllowed, "method "+request.Method+" is not allowed here")
			return
		}
		content, err := r.read(name)
		if errors.Is(err, fs.ErrNotExist) {
			writeError(w, http.StatusNotFound, "no such file")
			return
		}
		if err != nil {
			r.logger.ErrorContext(request.Context(), "TUF file cannot be read", "err", err)
			writeError(w, http.StatusInternalServerError, "the file cannot be read")
			return
		}
		if name != timestampFile {
			w.Header().Set("Cache-Control", "public, max-age=31536000, immutable")
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
	})
}

// canonical reports whether a name is one that the repository gives: timestamp.json, N.root.json, N.snapshot.json, N.targets.json and
// targets/HASH.NAME.
func canonical(name string) bool {
	if name == timestampFile {
		return true
	}
	if target, ok := strings.CutPrefix(name, targetsDir+"/"); ok {
		hash, target, _ := strings.Cut(target, ".")
		return len(hash) == 64 && strings.Trim(hash, "0123456789abcdef") == "" && plainName(target)
	}
	number, rest, _ := strings.Cut(name, ".")
	version, err := strconv.ParseInt(number, 10, 32)
	if err != nil || version < 1 || strconv.FormatInt(version, 10) != number {
		return false
	}
	switch role, found := strings.CutSuffix(rest, ".json"); role {
	case metadata.ROOT, metadata.SNAPSHOT, metadata.TARGETS:
		return found
	}
	return false
}
