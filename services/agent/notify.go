package agent

import (
	"context"
	"net"
	"net/http"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
)

// tellManager tells systemd, if it started us, that the agent is ready, and from
// then on, as often as its watchdog wants, that the socket is answered.
func (a *Agent) tellManager(ctx context.Context) {
	a.notify(daemon.SdNotifyReady)
	defer a.notify(daemon.SdNotifyStopping)
	interval, err := daemon.SdWatchdogEnabled(false)
	if err != nil || interval == 0 {
		<-ctx.Done()
		return
	}
	ticks := time.NewTicker(interval / 3)
	defer ticks.Stop()
	for {
		if a.answers(ctx, interval/3) {
			a.notify(daemon.SdNotifyWatchdog)
		}
		select {
		case <-ctx.Done():
			return
		case <-ticks.C:
		}
	}
}

func (a *Agent) notify(state string) {
	if _, err := daemon.SdNotify(false, state); err != nil {
		a.logger.Warn("the service manager could not be told", "state", state, "error", err)
	}
}

// answers asks ourselves, as a client would.
func (a *Agent) answers(ctx context.Context, timeout time.Duration) bool {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	addr := a.config.Listeners.Socket.Addr()
	transport := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, addr.Network(), addr.String())
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://agent/v1/status", nil)
	if err != nil {
		return false
	}
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		a.logger.Warn("the agent does not answer itself", "error", err)
		return false
	}
	return resp.Body.Close() == nil && resp.StatusCode == http.StatusOK
}
