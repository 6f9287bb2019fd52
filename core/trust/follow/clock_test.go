package follow_test

import (
	"context"
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust/follow"
)

// silent is a mirror that does not answer.
type silent struct{}

// RoundTrip implements http.RoundTripper.
func (silent) RoundTrip(r *http.Request) (*http.Response, error) {
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// A mirror is asked every hour, every five minutes while it is down, a tenth more or less; one that is silent has 15 seconds at the start of a
// process, and 30 later.
func TestHowOftenAndHowLongAMirrorIsAsked(t *testing.T) {
	const within = 10 * time.Hour
	for name, c := range map[string]struct {
		down                  bool
		transport             http.RoundTripper
		leastOften, mostOften int
	}{
		"well":   {false, nil, 10, 12},
		"down":   {true, nil, 109, 135},
		"silent": {false, silent{}, 99, 121},
	} {
		synctest.Test(t, func(t *testing.T) {
			m, config := acme(t, coretest.NewClock(time.Now()))
			config.Now = time.Now
			m.down.Store(c.down)
			if c.transport != nil {
				config.Transport = c.transport
			}
			ctx, stop := context.WithCancel(t.Context())
			asked, done := 0, make(chan struct{})
			go func() { follow.New(config).Run(ctx, func(follow.Status) { asked++ }); close(done) }()
			time.Sleep(within) // in the bubble, which takes no time
			stop()
			<-done
			if asked < c.leastOften || asked > c.mostOften {
				t.Errorf("%s: it was asked %d times in %v, want %d to %d", name, asked, within, c.leastOften, c.mostOften)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		_, config := acme(t, coretest.NewClock(time.Now()))
		config.Transport = silent{}
		begin := time.Now()
		if _, err := follow.New(config).Load(t.Context()); !errors.Is(err, follow.ErrUnseen) || time.Since(begin) != 15*time.Second {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
	})
}
