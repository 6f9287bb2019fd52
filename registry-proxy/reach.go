package registryproxy

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
)

var (
	// ErrUnauthorized is wrapped by errors of [Reach] about an upstream that does not take the proxy's credentials.
	ErrUnauthorized = errors.New("the upstream registry does not take the proxy's credentials")
	// ErrElsewhere is wrapped by errors of [Reach] about an upstream that sends the proxy to a token service, or another
	// host, that is not allowed for it.
	ErrElsewhere = errors.New("the upstream registry sends the proxy to a host that is not allowed")
)

// reachRepository is the repository that [Reach] asks for the right to read. It need not exist.
const reachRepository = "touchmark/reach"

// Reach asks an upstream whether it answers, as the proxy of a configuration would ask it: by the same door, with the same
// credentials. Of the configuration, only what is about the upstream is used. Where clients are passed through, any
// answer of the registry will do. The error repeats nothing that could hold a secret.
func Reach(ctx context.Context, c Config) error {
	u, err := newUpstream(c)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, fetchTimeout)
	defer cancel()
	door := http.RoundTripper(u.guard)
	if !c.PassThrough {
		s, err := u.handshake(ctx, reachRepository)
		if err != nil {
			return reached(err)
		}
		door = s.transport
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.scheme+"://"+u.guard.host+"/v2/", nil)
	if err != nil {
		return err
	}
	resp, err := (&http.Client{Transport: door}).Do(req)
	if err != nil {
		return reached(err)
	}
	defer resp.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, maxHandshakeBody)) // so that the connection ends well
	switch {
	case resp.StatusCode == http.StatusOK || c.PassThrough && resp.StatusCode == http.StatusUnauthorized:
		return nil
	case resp.StatusCode == http.StatusUnauthorized || resp.StatusCode == http.StatusForbidden:
		return fmt.Errorf("%w: HTTP %d", ErrUnauthorized, resp.StatusCode)
	}
	return fmt.Errorf("the upstream registry answers HTTP %d", resp.StatusCode)
}

// reached is what there is to say of an error of the handshake.
func reached(err error) error {
	fail := explain("asking it", err)
	switch {
	case errors.Is(err, errRefusedAddress):
		return fmt.Errorf("%w: %w", ErrElsewhere, addressCause(err))
	case fail.upstream == http.StatusUnauthorized || fail.upstream == http.StatusForbidden:
		return fmt.Errorf("%w: HTTP %d", ErrUnauthorized, fail.upstream)
	case fail.cause != nil:
		return fmt.Errorf("%s (%w)", fail.message, fail.cause)
	}
	return errors.New(fail.message)
}
