package access

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"go.podman.io/image/v5/docker/reference"
)

// pingTimeout is how long a registry may take to say what it can.
const pingTimeout = 15 * time.Second

// SupportsSignatures asks a repository's registry whether it keeps signatures itself, by the header X-Registry-Supports-Signatures of OpenShift's
// registry. containers/image asks such a registry in the place of the lookaside, so that nothing it pulls from there is ever admitted (POD-12). An error says
// that the registry, or the host's files, don't tell.
func (a *Access) SupportsSignatures(ctx context.Context, physical string) (bool, error) {
	source, err := a.Source(physical, true) // for its certificate; passwords are not sent
	if err != nil {
		return false, err
	}
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	ref, err := reference.ParseNamed(physical)
	if err != nil {
		return false, err
	}
	host := reference.Domain(ref)
	if host == "docker.io" {
		host = "registry-1.docker.io" // as containers/image has it
	}
	supports, err := ping(ctx, source.Transport, url.URL{Scheme: "https", Host: host, Path: "/v2/"})
	if err != nil && a.table.Insecure(physical) {
		supports, err = ping(ctx, source.Transport, url.URL{Scheme: "http", Host: host, Path: "/v2/"})
	}
	return supports, err
}

func ping(ctx context.Context, transport http.RoundTripper, u url.URL) (bool, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return false, err
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return false, fmt.Errorf("asking registry: %w", err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 64<<10)) // so that the connection can be used again
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusUnauthorized {
		return false, fmt.Errorf("asking registry: %s: status %d", u.String(), resp.StatusCode)
	}
	return resp.Header.Get("X-Registry-Supports-Signatures") == "1", nil
}
