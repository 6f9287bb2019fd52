// Package serving runs an HTTP server until it is told to stop, and lets answers under
// way end:
//
//	err := serving.Run(ctx, server, listener, time.Minute, nil)
package serving

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// Run answers requests on a listener, by TLS if the server has a TLSConfig, until ctx
// ends. Then it calls stopping, if that is not nil, takes no more connections, and waits
// for answers under way, up to drain; what is not answered by then is cut off, which is an
// error. So is a listener that ends by itself. The listener is closed when Run returns.
func Run(ctx context.Context, server *http.Server, l net.Listener, drain time.Duration, stopping func()) error {
	failed := make(chan error, 1)
	go func() {
		if server.TLSConfig != nil {
			failed <- server.ServeTLS(l, "", "")
			return
		}
		failed <- server.Serve(l)
	}()
	select {
	case err := <-failed:
		return fmt.Errorf("serving %s: %w", l.Addr(), err)
	case <-ctx.Done():
	}
	if stopping != nil {
		stopping()
	}
	wait, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(wait); err != nil {
		return errors.Join(fmt.Errorf("waiting for answers under way: %w", err), server.Close())
	}
	return nil
}
