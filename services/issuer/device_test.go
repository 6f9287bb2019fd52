package issuer

import (
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/oauth2"

	"github.com/touchmark/touchmark/services/issuer/issuertest"
)

// beginDevice begins a device flow as sigstore/pkg/oauthflow does, PKCE included.
func (w *world) beginDevice(t *testing.T) answered {
	t.Helper()
	a := w.post(t, deviceAuthorizationPath, url.Values{
		"client_id": {Audience}, "scope": {"openid email"}, "code_challenge_method": {"S256"}, "code_challenge": {challenge(w.verifier)},
	})
	if a.Status != http.StatusOK || a.DeviceCode == "" || a.UserCode == "" || a.Interval != 5 {
		t.Fatalf("status %d, %+v", a.Status, a)
	}
	return a
}

func (w *world) poll(t *testing.T, deviceCode, verifier string) answered {
	t.Helper()
	return w.post(t, tokenPath, url.Values{
		"grant_type": {"urn:ietf:params:oauth:grant-type:device_code"}, "client_id": {Audience}, "device_code": {deviceCode}, "scope": {"openid email"},
		"code_verifier": {verifier},
	})
}

func TestDeviceFlow(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Status != http.StatusBadRequest || a.Error != "authorization_pending" {
		t.Errorf("first poll: status %d, %s", a.Status, a.Error)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Status != http.StatusBadRequest || a.Error != "slow_down" {
		t.Errorf("poll at once: status %d, %s", a.Status, a.Error)
	}
	w.clock.turn(pollInterval)
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Error != "authorization_pending" {
		t.Errorf("poll in time: %s", a.Error)
	}
	// The address with the code in it leads to the login page, which shows the code; so does typing it, in any letter case.
	b := issuertest.New(t, false)
	typed := strings.ToLower(strings.ReplaceAll(begun.UserCode, "-", " "))
	for _, p := range []*issuertest.Page{b.Open(begun.Complete), b.Open(w.url + DevicePath).Submit(map[string]string{"user_code": typed})} {
		if p.URL.Path != LoginPath || !strings.Contains(p.Body, begun.UserCode) {
			t.Fatalf("%s, status %d\n%s", p.URL, p.Status, p.Body)
		}
	}
	p := b.Open(begun.Complete).SignIn(alice, password)
	if p.Status != http.StatusOK || !strings.Contains(p.Body, deviceDone.Title) {
		t.Fatalf("status %d\n%s", p.Status, p.Body)
	}
	a := w.poll(t, begun.DeviceCode, w.verifier)
	if c := w.check(t, a.IDToken, Audience); c.Email != alice || a.Refresh != "" {
		t.Errorf("claims %+v", c)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Status != http.StatusBadRequest || a.Error != "expired_token" || a.IDToken != "" {
		t.Errorf("replay: status %d, %s", a.Status, a.Error)
	}
	// The user code has done its work too.
	if p := b.Open(begun.Complete); p.Status != http.StatusBadRequest || p.URL.Path != DevicePath {
		t.Errorf("used user code: %s, status %d", p.URL, p.Status)
	}
}

func TestDeviceFlowCancelled(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	p := issuertest.New(t, false).Open(begun.Complete).Submit(map[string]string{"action": "cancel"})
	if !strings.Contains(p.Body, cancelled.Title) {
		t.Errorf("status %d\n%s", p.Status, p.Body)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Error != "access_denied" {
		t.Errorf("%d %s", a.Status, a.Error)
	}
}

// Two people cannot both decide, and the first one counts.
func TestDeviceFlowDecidedOnce(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	first, second := issuertest.New(t, false).Open(begun.Complete), issuertest.New(t, false).Open(begun.Complete)
	first.Submit(map[string]string{"action": "cancel"})
	if p := second.SignIn(alice, password); p.Status != http.StatusBadRequest {
		t.Errorf("second decision: status %d\n%s", p.Status, p.Body)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Error != "access_denied" {
		t.Errorf("%d %s", a.Status, a.Error)
	}
}

func TestDeviceFlowIsBound(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	issuertest.New(t, false).Open(begun.Complete).SignIn(alice, password)
	if a := w.poll(t, begun.DeviceCode, oauth2.GenerateVerifier()); a.Error != "invalid_grant" || a.IDToken != "" {
		t.Errorf("wrong verifier: %d %s", a.Status, a.Error)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Error != "expired_token" {
		t.Errorf("after a wrong verifier: %d %s", a.Status, a.Error)
	}
	if a := w.poll(t, "unknown", w.verifier); a.Error != "expired_token" {
		t.Errorf("unknown device code: %d %s", a.Status, a.Error)
	}
	// Without PKCE, as RFC 8628 has it.
	plain := w.post(t, deviceAuthorizationPath, url.Values{"client_id": {Audience}, "scope": {"openid email"}})
	issuertest.New(t, false).Open(plain.Complete).SignIn(alice, password)
	if a := w.poll(t, plain.DeviceCode, ""); a.IDToken == "" {
		t.Errorf("without PKCE: %d %s", a.Status, a.Error)
	}
	for name, form := range map[string]url.Values{
		"no client":    {"scope": {"openid email"}},
		"other client": {"client_id": {"evil"}, "scope": {"openid email"}},
		"machine":      {"client_id": {"ci"}, "client_secret": {w.secret}, "scope": {"openid email"}},
		"no openid":    {"client_id": {Audience}, "scope": {"email"}},
		"plain PKCE":   {"client_id": {Audience}, "scope": {"openid"}, "code_challenge": {challenge("x")}, "code_challenge_method": {"plain"}},
	} {
		if a := w.post(t, deviceAuthorizationPath, form); a.Status/100 != 4 || a.DeviceCode != "" || a.Error == "" {
			t.Errorf("%s: status %d, %s", name, a.Status, a.Error)
		}
	}
}

func TestDeviceFlowExpires(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	page := issuertest.New(t, false).Open(begun.Complete)
	w.clock.turn(deviceLifetime)
	if p := page.SignIn(alice, password); p.Status != http.StatusBadRequest {
		t.Errorf("late sign-in: status %d", p.Status)
	}
	if p := issuertest.New(t, false).Open(begun.Complete); p.Status != http.StatusBadRequest {
		t.Errorf("late user code: status %d", p.Status)
	}
	if a := w.poll(t, begun.DeviceCode, w.verifier); a.Error != "expired_token" {
		t.Errorf("late poll: %s", a.Error)
	}
}

// User codes cannot be tried out.
func TestUserCodesAreLimited(t *testing.T) {
	w := newWorld(t)
	begun := w.beginDevice(t)
	b := issuertest.New(t, false)
	for n := range 30 {
		if p := b.Open(w.url + DevicePath + "?user_code=BBBB-BBBB"); p.Status != http.StatusBadRequest {
			t.Fatalf("guess %d: status %d", n+1, p.Status)
		}
	}
	if p := b.Open(begun.Complete); p.Status != http.StatusTooManyRequests || p.Header.Get("Retry-After") != "2" {
		t.Errorf("status %d, Retry-After %q", p.Status, p.Header.Get("Retry-After"))
	}
	w.clock.turn(2 * time.Second)
	if p := b.Open(begun.Complete); p.Status != http.StatusOK {
		t.Errorf("after waiting: status %d", p.Status)
	}
}
