// Package issuertest is a person with a browser, for tests of logins. It is imported by tests only.
//
// The browser keeps cookies, follows redirections, runs no scripts, and knows one form per page, as the issuer's pages have it. It holds the pages to what
// browsers would: after a form, it goes only where the page's content security policy lets it.
package issuertest

import (
	"errors"
	"html"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// Browser is a browser with its own cookies.
type Browser struct {
	tb      testing.TB
	client  *http.Client
	form    *Page // whose form is being sent
	blocked string
}

// Page is what a browser shows.
type Page struct {
	Status   int
	Header   http.Header
	URL      *url.URL
	Body     string
	Location string // where the browser was sent, if it did not go there

	browser        *Browser
	method, action string
	hidden         url.Values
}

// New returns a browser without cookies. It does not go to a callback (a path that ends in /auth/callback) unless it is told to: the page before it has
// Location.
func New(tb testing.TB, followCallback bool) *Browser {
	tb.Helper()
	jar, err := cookiejar.New(nil)
	if err != nil {
		tb.Fatal(err)
	}
	b := &Browser{tb: tb}
	b.client = &http.Client{Jar: jar, CheckRedirect: func(r *http.Request, via []*http.Request) error {
		if b.form != nil && !b.form.allows(r.URL) {
			b.blocked = r.URL.String()
			return errors.New("the content security policy does not allow to go on after the form")
		}
		if strings.HasSuffix(r.URL.Path, "/auth/callback") && !followCallback {
			return http.ErrUseLastResponse
		}
		if len(via) > 10 {
			return errors.New("too many redirections")
		}
		return nil
	}}
	return b
}

// Open goes to an address.
func (b *Browser) Open(address string) *Page {
	b.tb.Helper()
	request, err := http.NewRequestWithContext(b.tb.Context(), http.MethodGet, address, nil)
	if err != nil {
		b.tb.Fatal(err)
	}
	return b.do(request)
}

// Field returns a hidden field of the page's form.
func (p *Page) Field(name string) string { return p.hidden.Get(name) }

// Submit sends the page's form with these fields beside its hidden ones. A field with the value "-" is left out.
func (p *Page) Submit(fields map[string]string) *Page {
	tb := p.browser.tb
	tb.Helper()
	if p.action == "" {
		tb.Fatalf("%s has no form: status %d\n%s", p.URL, p.Status, p.Body)
	}
	values := url.Values{}
	for name, all := range p.hidden {
		values[name] = slices.Clone(all)
	}
	for name, value := range fields {
		if values.Set(name, value); value == "-" {
			values.Del(name)
		}
	}
	target, err := p.URL.Parse(p.action)
	if err != nil {
		tb.Fatal(err)
	}
	var request *http.Request
	if p.method == http.MethodPost {
		request, err = http.NewRequestWithContext(tb.Context(), http.MethodPost, target.String(), strings.NewReader(values.Encode()))
	} else {
		target.RawQuery = values.Encode()
		request, err = http.NewRequestWithContext(tb.Context(), http.MethodGet, target.String(), nil)
	}
	if err != nil {
		tb.Fatal(err)
	}
	if p.method == http.MethodPost {
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		request.Header.Set("Origin", p.URL.Scheme+"://"+p.URL.Host)
		request.Header.Set("Sec-Fetch-Site", "same-origin")
	}
	p.browser.form = p
	defer func() { p.browser.form = nil }()
	return p.browser.do(request)
}

// SignIn sends the login page's form.
func (p *Page) SignIn(email, password string) *Page {
	p.browser.tb.Helper()
	return p.Submit(map[string]string{"email": email, "password": password, "action": "sign-in"})
}

var (
	formTag   = regexp.MustCompile(`<form method="(get|post)" action="([^"]*)">`)
	hiddenTag = regexp.MustCompile(`<input type="hidden" name="([^"]*)" value="([^"]*)">`)
)

func (b *Browser) do(request *http.Request) *Page {
	b.tb.Helper()
	b.blocked = ""
	response, err := b.client.Do(request)
	if err != nil {
		b.tb.Fatalf("%s %s: %v (%s)", request.Method, request.URL, err, b.blocked)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err != nil {
		b.tb.Fatal(err)
	}
	p := &Page{
		Status: response.StatusCode, Header: response.Header, URL: response.Request.URL, Body: string(body), Location: response.Header.Get("Location"),
		browser: b, hidden: url.Values{},
	}
	if found := formTag.FindStringSubmatch(p.Body); found != nil {
		p.method, p.action = strings.ToUpper(found[1]), html.UnescapeString(found[2])
	}
	for _, found := range hiddenTag.FindAllStringSubmatch(p.Body, -1) {
		p.hidden.Add(html.UnescapeString(found[1]), html.UnescapeString(found[2]))
	}
	return p
}

// allows applies the form-action directive of a page (Content Security Policy Level 3 section 6.4.1) to an address that its form leads to.
func (p *Page) allows(target *url.URL) bool {
	for directive := range strings.SplitSeq(p.Header.Get("Content-Security-Policy"), ";") {
		name, sources, _ := strings.Cut(strings.TrimSpace(directive), " ")
		if name != "form-action" {
			continue
		}
		origin := target.Scheme + "://" + target.Host
		words := strings.Fields(sources)
		return slices.Contains(words, origin) || slices.Contains(words, "'self'") && origin == p.URL.Scheme+"://"+p.URL.Host
	}
	return true
}
