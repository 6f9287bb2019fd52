package issuer

import (
	"bytes"
	"crypto/sha256"
	_ "embed"
	"encoding/base64"
	"encoding/json"
	"html/template"
	"net/http"
	"net/url"
	"strings"

	"github.com/zitadel/oidc/v3/pkg/oidc"
)

//go:embed pages.html
var pagesHTML string

//go:embed pages.css
var pagesCSS string

// note is a page without a form.
type note struct{ Title, Text string }

// What people are told. No text says whether an account exists.
var (
	noLogin = note{"This sign-in cannot go on",
		"It has expired, was finished, or was begun in another browser. Go back to your terminal and start again. This page needs cookies."}
	forgedForm = note{"This form was not accepted", "It did not come from this site's own page. Go back to your terminal and start again."}
	tooMany    = note{"Too many people are signing in", "Wait a minute, then start again from your terminal."}
	busyPeer   = note{"Too many requests", "Too many requests came from your address. Wait a moment, then try again."}
	cancelled  = note{"Nothing was signed", "You did not let the program sign as you. You may close this window."}
	deviceDone = note{"You are signed in", "Your program goes on by itself. You may close this window and go back to it."}
)

// pages writes HTML.
type pages struct {
	host      string
	templates *template.Template
	css       template.CSS
	styleHash string
}

// newPages reads the templates, which are part of the program.
func newPages(issuerURL string) *pages {
	host := strings.TrimPrefix(strings.TrimPrefix(issuerURL, "https://"), "http://")
	digest := sha256.Sum256([]byte(pagesCSS))
	return &pages{
		host: host, templates: template.Must(template.New("").Parse(pagesHTML)), css: template.CSS(pagesCSS),
		styleHash: "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'",
	}
}

// page is what templates are given.
type page struct {
	Host, Title, Error string
	CSS                template.CSS

	Text           string // note
	ID, Token      string // login
	Email          string
	Destination    string // where the browser goes from the login page; empty for outOfBand
	UserCode, Code string
	Path           string
}

// login asks for address and password.
func (p *pages) login(w http.ResponseWriter, status int, a *attempt, email, problem string) {
	data := page{Title: "Sign in", ID: a.id, Token: a.token, Email: email, Error: problem, Path: LoginPath}
	target := ""
	switch {
	case a.device != nil:
		data.UserCode = a.device.userCode
	case a.request.redirectURI != outOfBand:
		if u, err := url.Parse(a.request.redirectURI); err == nil {
			data.Destination = u.Host
			target = u.Scheme + "://" + u.Host // two words without any character that has a meaning in a policy, see isPlainRedirect
		}
	}
	p.write(w, status, "login", target, data)
}

// device asks for a user code.
func (p *pages) device(w http.ResponseWriter, status int, typed, problem string) {
	p.write(w, status, "device", "", page{Title: "Enter the code", UserCode: typed, Error: problem, Path: DevicePath})
}

// code shows a code to copy into a terminal, or says that there is none.
func (p *pages) code(w http.ResponseWriter, code string) {
	if code == "" {
		p.message(w, http.StatusOK, cancelled)
		return
	}
	p.write(w, http.StatusOK, "code", "", page{Title: "You are signed in", Code: code})
}

func (p *pages) message(w http.ResponseWriter, status int, n note) {
	p.write(w, status, "note", "", page{Title: n.Title, Text: n.Text})
}

func (p *pages) busy(w http.ResponseWriter, _ *http.Request) {
	p.message(w, http.StatusTooManyRequests, busyPeer)
}

// write renders a page. Nothing is loaded, run or framed; forms go to this site, and from here to the target: browsers hold the redirection after a form to the
// policy too.
func (p *pages) write(w http.ResponseWriter, status int, name, target string, data page) {
	data.Host, data.CSS = p.host, p.css
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, data); err != nil {
		writeError(w, http.StatusInternalServerError, "the page could not be made")
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", strings.TrimSpace("default-src 'none'; style-src "+p.styleHash+"; base-uri 'none'; frame-ancestors 'none'; form-action 'self' "+target))
	h.Set("X-Frame-Options", "DENY")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "same-origin") // no-referrer would hide the form's origin from ourselves
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_, _ = body.WriteTo(w)
}

// protocol shows the library's errors about authorization requests as pages: a person's browser gets them.
func (p *pages) protocol(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		answer := &answer{header: w.Header(), status: http.StatusOK}
		next.ServeHTTP(answer, r)
		location := w.Header().Get("Location")
		switch {
		case answer.status >= 400:
			var problem oidc.Error
			if json.Unmarshal(answer.body.Bytes(), &problem) != nil || problem.Description == "" {
				problem.Description = "the request is not one that this service understands"
			}
			p.message(w, answer.status, note{"This sign-in cannot begin", "The program that sent you here made a request that is refused: " + problem.Description + "."})
		case strings.HasPrefix(location, outOfBand): // no browser can go there
			w.Header().Del("Location")
			problem := "unknown error"
			if u, err := url.Parse(location); err == nil {
				problem = u.Query().Get("error") + ", " + u.Query().Get("error_description")
			}
			p.message(w, http.StatusBadRequest, note{"This sign-in cannot begin", "The program that sent you here made a request that is refused: " + problem + "."})
		default:
			w.WriteHeader(answer.status)
			_, _ = answer.body.WriteTo(w)
		}
	})
}

// answer holds back what a handler writes. Its bodies are the library's, a few hundred bytes.
type answer struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (a *answer) Header() http.Header         { return a.header }
func (a *answer) WriteHeader(status int)      { a.status = status }
func (a *answer) Write(b []byte) (int, error) { return a.body.Write(b) }
