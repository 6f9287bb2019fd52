package issuer

import (
	"context"
	"crypto/subtle"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/touchmark/touchmark/services/issuer/accounts"
)

const (
	// cookiePrefix begins the names of cookies; the identifier of the login follows, so that two logins in one browser don't disturb each other.
	cookiePrefix = "touchmark-login-"

	// maxIdentifier bounds what is looked up: identifiers have 26 letters.
	maxIdentifier = 64

	// patience bounds the wait for a place to verify a password in.
	patience = 10 * time.Second
)

// login is what people see.
type login struct {
	*Issuer
	pages *pages
}

// handler serves the login page. Beside the token in the form, a browser's own word that another site sent the form is enough to refuse it.
func (l *login) handler() http.Handler {
	forged := http.NewCrossOriginProtection()
	forged.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { l.pages.message(w, http.StatusForbidden, forgedForm) }))
	if err := forged.AddTrustedOrigin(l.url); err != nil { // a proxy in front may have changed Host
		l.logger.Error("trusting own origin", "err", err)
	}
	return only(forged.Handler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodPost {
			l.submit(w, r)
		} else {
			l.show(w, r)
		}
	})), http.MethodGet, http.MethodHead, http.MethodPost)
}

// cookie binds a login to the browser that it was begun in: a link to a login that somebody else began is worth nothing. Lax, because the browser comes from a
// terminal or another site.
func (i *Issuer) cookie(a *attempt) *http.Cookie {
	return &http.Cookie{
		Name: i.cookieName(a.id), Value: a.browser, Path: "/", MaxAge: int(loginLifetime / time.Second), HttpOnly: true, Secure: i.isSecure(),
		SameSite: http.SameSiteLaxMode,
	}
}

func (i *Issuer) cookieName(id string) string {
	if i.isSecure() {
		return "__Host-" + cookiePrefix + id // which neither a subdomain nor plain HTTP can set
	}
	return cookiePrefix + id
}

// find returns the login that a request is about, or answers it.
func (l *login) find(w http.ResponseWriter, r *http.Request) *attempt {
	id := r.Form.Get("id")
	if id == "" || len(id) > maxIdentifier || strings.ContainsFunc(id, func(c rune) bool { return c < '0' || c > 'Z' }) {
		l.pages.message(w, http.StatusBadRequest, noLogin)
		return nil
	}
	cookie, err := r.Cookie(l.cookieName(id))
	if err != nil {
		l.pages.message(w, http.StatusBadRequest, noLogin)
		return nil
	}
	a, ok := l.pending.find(id, cookie.Value, l.clock())
	if !ok {
		l.pages.message(w, http.StatusBadRequest, noLogin)
		return nil
	}
	return a
}

func (l *login) show(w http.ResponseWriter, r *http.Request) {
	if a := l.find(w, r); a != nil {
		l.pages.login(w, http.StatusOK, a, "", "")
	}
}

func (l *login) submit(w http.ResponseWriter, r *http.Request) {
	a := l.find(w, r)
	if a == nil {
		return
	}
	if subtle.ConstantTimeCompare([]byte(r.PostForm.Get("token")), []byte(a.token)) != 1 {
		l.pages.message(w, http.StatusForbidden, forgedForm)
		return
	}
	if r.PostForm.Get("action") == "cancel" {
		l.finish(w, r, a, "")
		return
	}
	email := strings.TrimSpace(r.PostForm.Get("email"))
	if wait := l.guess(r, email); wait > 0 {
		l.logger.WarnContext(r.Context(), "sign-in put off", "remote", r.RemoteAddr, "wait", wait)
		setRetryAfter(w, wait)
		l.pages.login(w, http.StatusTooManyRequests, a, email, "Too many attempts. Wait "+spoken(wait)+", then try again.")
		return
	}
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	address, err := l.accounts.CheckPassword(ctx, email, r.PostForm.Get("password"))
	switch {
	case errors.Is(err, accounts.ErrCredentials):
		l.logger.WarnContext(r.Context(), "sign-in refused", "remote", r.RemoteAddr)
		l.pages.login(w, http.StatusForbidden, a, email, "The e-mail address or the password is wrong.")
	case err != nil:
		l.logger.ErrorContext(r.Context(), "sign-in not possible", "err", err)
		w.Header().Set("Retry-After", "10")
		l.pages.login(w, http.StatusServiceUnavailable, a, email, "Signing in is not possible right now. Try again, or ask whoever runs this service.")
	default:
		l.logger.InfoContext(r.Context(), "signed in", "email", address, "remote", r.RemoteAddr)
		l.finish(w, r, a, address)
	}
}

// guess takes one from the shares of the peer and of the account, or returns how long to wait. The account's share is taken whether or not it exists.
func (l *login) guess(r *http.Request, email string) time.Duration {
	now := l.clock()
	if wait := l.limits.address.take(clientAddress(r), now); wait > 0 {
		return wait
	}
	if accounts.CheckAddress(email) != nil {
		return 0 // which is nobody's account
	}
	return l.limits.account.take(l.limits.accountKey(email), now)
}

// finish ends a login for a person, or, if the address is empty, without one.
func (l *login) finish(w http.ResponseWriter, r *http.Request, a *attempt, address string) {
	now := l.clock()
	if !l.pending.end(a, now) {
		l.pages.message(w, http.StatusBadRequest, noLogin)
		return
	}
	done := l.cookie(a)
	done.Value, done.MaxAge = "", -1
	http.SetCookie(w, done)
	if a.device != nil {
		l.finishDevice(w, a.device, address, now)
		return
	}
	answer := url.Values{"state": {a.request.state}}
	if a.request.state == "" {
		answer.Del("state")
	}
	if address == "" {
		answer.Set("error", "access_denied")
	} else {
		code, err := l.pending.grant(a.request, address, now)
		if err != nil {
			w.Header().Set("Retry-After", "10")
			l.pages.message(w, http.StatusServiceUnavailable, tooMany)
			return
		}
		answer.Set("code", code)
	}
	if a.request.redirectURI == outOfBand {
		l.pages.code(w, answer.Get("code"))
		return
	}
	// 303: the browser must not send the password on. The redirection was checked to be loopback, in its one spelling.
	http.Redirect(w, r, a.request.redirectURI+"?"+answer.Encode(), http.StatusSeeOther)
}

func (l *login) finishDevice(w http.ResponseWriter, d *device, address string, now time.Time) {
	switch {
	case !l.pending.decide(d, address, now):
		l.pages.message(w, http.StatusBadRequest, noLogin)
	case address == "":
		l.pages.message(w, http.StatusOK, cancelled)
	default:
		l.pages.message(w, http.StatusOK, deviceDone)
	}
}

// serveDevice takes a user code, and goes on with the login page, which shows it again (RFC 8628 section 3.3.1 and 5.4).
func (l *login) serveDevice(w http.ResponseWriter, r *http.Request) {
	typed := r.Form.Get("user_code")
	if typed == "" {
		l.pages.device(w, http.StatusOK, "", "")
		return
	}
	d, ok := l.pending.byUserCode(plainUserCode(typed), l.clock())
	if !ok {
		l.pages.device(w, http.StatusBadRequest, typed, "This code is not known, or has expired. Compare it with the one that your terminal shows.")
		return
	}
	a, err := l.pending.begin(request{}, d, l.clock())
	if err != nil {
		w.Header().Set("Retry-After", "10")
		l.pages.message(w, http.StatusServiceUnavailable, tooMany)
		return
	}
	http.SetCookie(w, l.cookie(a))
	http.Redirect(w, r, client{}.LoginURL(a.id), http.StatusSeeOther)
}

// spoken rounds a duration up to whole seconds.
func spoken(d time.Duration) string {
	return ((d + time.Second - 1) / time.Second * time.Second).String()
}
