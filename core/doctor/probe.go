package doctor

import (
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/registry"
	"github.com/google/go-containerregistry/pkg/v1/random"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// Tried is one pull of a probe.
type Tried struct {
	Image string `json:"image"`
	// Way is how it was pulled, where there are several.
	Way string `json:"way,omitempty"`
	// Admitted is what happened, and Want what should have; Unknown says that the
	// pull failed for another reason than a refusal.
	Admitted bool   `json:"admitted"`
	Want     bool   `json:"want"`
	Unknown  bool   `json:"unknown,omitempty"`
	Said     string `json:"said,omitempty"` // by the client, if it failed
}

// Object is what was tried, in words.
func (t Tried) Object() string {
	if t.Way == "" {
		return t.Image
	}
	return t.Image + " (" + t.Way + ")"
}

func (t Tried) outcome() string {
	switch {
	case t.Unknown:
		return "could not be pulled"
	case t.Admitted:
		return "admitted"
	}
	return "refused"
}

// ProbeCauses are the causes that a probe shows.
func ProbeCauses() []Cause {
	return []Cause{
		{"probe-admitted", Open, "an image that must be refused was pulled", "see the other findings, and whether a pin or an exception of the policies admits it: touchmark explain; if nothing does, please report it", false},
		{"probe-refused", Broken, "an image that must be admitted was refused", "read the reason; touchmark explain shows each check", false},
		{"probe-failed", Broken, "an image could not be pulled, for another reason than a refusal", "see that it can be reached", false},
	}
}

// Add adds what pulls showed, and concludes anew.
func (r *Report) Add(tried ...Tried) {
	for _, t := range tried {
		r.Tried = append(r.Tried, t)
		code, message := "", ""
		switch {
		case t.Unknown:
			code, message = "probe-failed", "the pull failed for another reason than a refusal: "+t.Said
		case t.Admitted && !t.Want:
			code, message = "probe-admitted", "it was pulled, and must be refused"
		case !t.Admitted && t.Want:
			code, message = "probe-refused", "it was refused, and must be admitted: "+t.Said
		default:
			continue
		}
		known := r.catalog.Cause(code)
		r.Findings = append(r.Findings, Finding{Code: code, Severity: known.Severity, Where: t.Object(), Message: message, Remedy: known.Remedy})
	}
	r.conclude()
}

// headerTimeout bounds how long a client of the made-up registry may take for
// its question, which is on this host.
const headerTimeout = 5 * time.Second

// probePath is the path of the made-up image's repository.
const probePath = "/touchmark-doctor/unsigned"

// IsProbe reports whether a repository is one that [ServeUnsigned] made up: that it
// was refused is worth no record, since each probe has another address.
func IsProbe(repository string) bool {
	registry, ok := strings.CutSuffix(repository, probePath)
	address, err := netip.ParseAddrPort(registry)
	return ok && err == nil && address.Addr().IsLoopback()
}

// ServeUnsigned serves a small image that nobody has signed, on loopback, by
// plain HTTP: repository is HOST:PORT/touchmark-doctor/unsigned, and its tag is 1.
func ServeUnsigned() (repository string, stop func(), err error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := &http.Server{Handler: registry.New(registry.Logger(log.New(io.Discard, "", 0))), ReadHeaderTimeout: headerTimeout}
	go func() { _ = server.Serve(l) }() // ends when it is closed
	stop = func() { _ = server.Close() }
	repository = l.Addr().String() + probePath
	image, err := random.Image(64, 1)
	if err == nil {
		var ref name.Tag
		if ref, err = name.NewTag(repository + ":1"); err == nil {
			err = remote.Write(ref, image)
		}
	}
	if err != nil {
		stop()
		return "", nil, fmt.Errorf("serving an image: %w", err)
	}
	return repository, stop, nil
}
