package token

import (
	"net/http"
	"os"
	"os/exec"
	"strings"
)

// DefaultAudience is the audience that Sigstore's certificate authorities, a Touchmark server among them, want in a token.
const DefaultAudience = "sigstore"

// ProjectedFile is where a pod finds the token of its service account, if a volume with a projected token is mounted where cosign looks for it.
const ProjectedFile = "/var/run/sigstore/cosign/oidc-token"

// spireSocket is where a SPIRE agent listens if nothing else was configured.
const spireSocket = "/tmp/spire-agent/public/api.sock"

// Ambient finds the token that a CI system or a platform has ready for whoever runs in it. The zero value looks in this process's environment.
type Ambient struct {
	Audience string                            // of tokens that are made on request; "" is DefaultAudience
	Client   *http.Client                      // nil is http.DefaultClient
	Getenv   func(name string) string          // nil is os.Getenv
	Exists   func(path string) bool            // nil asks the file system
	LookPath func(name string) (string, error) // nil is exec.LookPath
}

// Find returns the first source that is there, and what to call it; nil if there is none. It looks, in this order, for
//
//   - a token in TOUCHMARK_ID_TOKEN or SIGSTORE_ID_TOKEN (what GitLab's id_tokens are usually called);
//   - a file named by TOUCHMARK_ID_TOKEN_FILE;
//   - GitHub Actions with the permission id-token: write;
//   - a Buildkite job with buildkite-agent in the PATH;
//   - the file [ProjectedFile];
//   - a SPIFFE Workload API at SPIFFE_ENDPOINT_SOCKET or SPIRE's usual place, with spire-agent in the PATH.
//
// The Workload API is gRPC, which none of Touchmark's clients speaks: SPIRE's own program asks it.
func (a Ambient) Find() (Source, string) {
	for _, name := range []string{"TOUCHMARK_ID_TOKEN", "SIGSTORE_ID_TOKEN"} {
		if value := a.getenv(name); value != "" {
			return Given(strings.TrimSpace(value)), "the environment variable " + name
		}
	}
	if path := a.getenv("TOUCHMARK_ID_TOKEN_FILE"); path != "" {
		return File(path), path + " (TOUCHMARK_ID_TOKEN_FILE)"
	}
	if u, bearer := a.getenv("ACTIONS_ID_TOKEN_REQUEST_URL"), a.getenv("ACTIONS_ID_TOKEN_REQUEST_TOKEN"); u != "" && bearer != "" {
		return GitHub{URL: u, Bearer: bearer, Audience: a.audience(), Client: a.Client}, "GitHub Actions"
	}
	if a.getenv("BUILDKITE_AGENT_ACCESS_TOKEN") != "" {
		if program, ok := a.lookPath("buildkite-agent"); ok {
			return Buildkite{Program: program, Audience: a.audience()}, "Buildkite"
		}
	}
	if a.exists(ProjectedFile) {
		return File(ProjectedFile), ProjectedFile
	}
	if socket := a.socket(); a.exists(socket) {
		if program, ok := a.lookPath("spire-agent"); ok {
			return SPIRE{Program: program, Socket: socket, Audience: a.audience()}, "SPIFFE (" + socket + ")"
		}
	}
	return nil, ""
}

// Places says in one line where [Ambient.Find] looks, for those who wonder why nothing was found.
const Places = "TOUCHMARK_ID_TOKEN, SIGSTORE_ID_TOKEN, TOUCHMARK_ID_TOKEN_FILE, GitHub Actions (permission id-token: write), Buildkite (buildkite-agent), " +
	ProjectedFile + ", SPIFFE_ENDPOINT_SOCKET (spire-agent)"

func (a Ambient) audience() string {
	if a.Audience == "" {
		return DefaultAudience
	}
	return a.Audience
}

func (a Ambient) socket() string {
	if endpoint := a.getenv("SPIFFE_ENDPOINT_SOCKET"); endpoint != "" {
		return strings.TrimPrefix(endpoint, "unix://")
	}
	return spireSocket
}

func (a Ambient) getenv(name string) string {
	if a.Getenv == nil {
		return os.Getenv(name)
	}
	return a.Getenv(name)
}

func (a Ambient) exists(path string) bool {
	if a.Exists == nil {
		_, err := os.Stat(path)
		return err == nil
	}
	return a.Exists(path)
}

func (a Ambient) lookPath(name string) (string, bool) {
	look := a.LookPath
	if look == nil {
		look = exec.LookPath
	}
	path, err := look(name)
	return path, err == nil
}
