package auth

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/touchmark/touchmark/core/steady"
)

// silent is an issuer that does not answer.
type silent struct{ asked int }

// RoundTrip implements http.RoundTripper.
func (s *silent) RoundTrip(r *http.Request) (*http.Response, error) {
	s.asked++
	<-r.Context().Done()
	return nil, r.Context().Err()
}

// PX-25: an issuer has ten seconds to answer, and is left alone for five if it does not.
func TestPX25_SilentIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, err := newVerifier(Issuer{URL: "https://login.example", Audience: "touchmark-proxy"}, time.Now, steady.New(time.Now))
		if err != nil {
			t.Fatal(err)
		}
		issuer := &silent{}
		v.client.Transport = issuer
		for i, c := range []struct{ pause, takes time.Duration }{{0, 10 * time.Second}, {0, 0}, {4 * time.Second, 0}, {time.Second, 10 * time.Second}} {
			time.Sleep(c.pause) // in the bubble, which takes no time
			begin := time.Now()
			_, err := v.verify(t.Context(), "eyJ.e.x")
			if took := time.Since(begin); !errors.Is(err, ErrUnavailable) || took != c.takes {
				t.Errorf("attempt %d: %v after %v, want %v", i, err, took, c.takes)
			}
		}
		if issuer.asked != 2 {
			t.Errorf("it was asked %d times", issuer.asked)
		}
	})
}
