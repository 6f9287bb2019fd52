package auth_test

import (
	"errors"
	"net/http"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/registry-proxy/auth"
)

// PX-25: a token ends when either clock says so, also after the files were read again; and when the wall clock is back, all is as before.
func TestPX25_WallClockIsSet(t *testing.T) {
	const day, year = 24 * time.Hour, 365 * 24 * time.Hour
	login := newIssuer(t)
	clock := coretest.NewClock(time.Now())
	config := auth.Config{Anonymous: true, Issuers: []auth.Issuer{{URL: login.URL, Audience: "touchmark-proxy"}}, Now: clock.Now}
	clients, err := auth.New(config)
	if err != nil {
		t.Fatal(err)
	}
	token := login.token(t, login.key, nil) // of an hour
	asked := func(what string, want error) {
		t.Helper()
		for range 2 {
			caller, err := clients.Identify(request(t, func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }))
			if !errors.Is(err, want) || want == nil && caller.Who != "oidc:1234" {
				t.Errorf("%s: %+v, %v, want %v", what, caller, err, want)
			}
			if clients, err = auth.Renew(clients, config); err != nil {
				t.Fatal(err)
			}
		}
	}
	asked("at first", nil)
	clock.SetWall(year)
	asked("a year ahead", auth.ErrCredentials)
	clock.SetWall(-year)
	asked("back again", nil)
	clock.SetWall(-day)
	asked("a day behind", nil)
	clock.Advance(time.Hour + time.Second)
	asked("a day behind, when it has ended", auth.ErrUnavailable)
	clock.SetWall(day)
	asked("when it has ended", auth.ErrCredentials)
	token = login.token(t, login.key, map[string]any{"exp": clock.Now().Add(time.Hour).Unix()})
	asked("another", nil)
}
