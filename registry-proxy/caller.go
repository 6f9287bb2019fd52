package registryproxy

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"net/http"

	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// caller is who a request is from. It travels in the request's context, because everything that is asked of the upstream
// for a caller who is passed through is asked with that caller's own credentials, however deep below.
type caller struct {
	auth.Caller
	// authorization is the client's own header, where it is passed through; the proxy has no credentials there.
	authorization string
	// partition separates what was learnt with one caller's credentials from everybody else's; empty for those that
	// have none, and where nobody is passed through.
	partition string
}

type callerKey struct{}

// withCaller puts the caller into a request's context. Of a client's headers, Authorization alone is kept, and only for a
// registry that clients are passed through to.
func (p *Proxy) withCaller(r *http.Request, who auth.Caller) *http.Request {
	c := caller{Caller: who}
	if p.upstream.passThrough {
		c.authorization = r.Header.Get("Authorization")
	}
	if c.authorization != "" {
		sum := sha256.Sum256([]byte(c.authorization))
		c.partition = "as " + hex.EncodeToString(sum[:])
	}
	return r.WithContext(context.WithValue(r.Context(), callerKey{}, c))
}

func callerOf(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// partition is what keys of everything that is shared between requests begin with, so that nobody gets what was fetched or
// found with another's credentials.
func partition(ctx context.Context) string { return callerOf(ctx).partition }

// entitled asks the upstream whether the caller may read a blob, "blobs/<digest>", before it
// is served from memory or disk. For callers who are not passed through, the access rules have said so already.
func (p *Proxy) entitled(ctx context.Context, repository, path string) *failure {
	if !p.upstream.passThrough {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	c := call{method: http.MethodHead, repository: repository, path: path, accept: acceptManifests}
	resp, err := p.upstream.do(ctx, c)
	if err != nil {
		return explain(path, err)
	}
	resp.Body.Close()
	switch {
	case resp.StatusCode == http.StatusOK:
		return nil
	case resp.StatusCode == http.StatusNotFound:
		return notFound(codeBlobUnknown, path+" is not known to the upstream registry")
	}
	return statusFailure(path, resp.StatusCode)
}
