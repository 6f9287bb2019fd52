// Package page shows people what the proxy decided: which images were refused
// lately and why, check by check, and what to do about it.
//
// The pages are made on the server, from the decision log. They run no script,
// load nothing from anywhere, and change nothing: whoever may see them can look,
// and search by image or signer. What comes from registries, clients and
// signatures is text in them, whatever it contains.
//
// Who may see them is the caller's to decide: [Handler] asks nobody.
package page

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
	"time"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/registry-proxy/decisions"
)

const (
	// perPage is how many decisions one page shows: more, and nobody reads them.
	perPage = 100
	// maxQuery bounds what is searched for, in bytes.
	maxQuery = 512
)

//go:embed page.html
var pageHTML string

//go:embed page.css
var pageCSS string

// Config says what is shown.
type Config struct {
	Decisions *decisions.Log
	// Title says which proxy it is, such as by the registries that it stands before.
	Title string
	// Now is the clock; nil is time.Now.
	Now func() time.Time
}

// page is the handler.
type page struct {
	config    Config
	templates *template.Template
	styleHash string
}

// Handler serves "/" and "/decisions/ID".
func Handler(c Config) http.Handler {
	if c.Now == nil {
		c.Now = time.Now
	}
	digest := sha256.Sum256([]byte(pageCSS))
	p := &page{
		config:    c,
		templates: template.Must(template.New("").Funcs(template.FuncMap{"ago": ago, "short": short, "when": when, "unexplained": unexplained}).Parse(pageHTML)),
		styleHash: "'sha256-" + base64.StdEncoding.EncodeToString(digest[:]) + "'",
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /{$}", p.list)
	mux.HandleFunc("GET /decisions/{id}", p.decision)
	return mux
}

// top is what every page has.
type top struct {
	CSS   template.CSS
	Proxy string
	Title string
	Now   time.Time
}

func (p *page) top(title string) top {
	return top{CSS: template.CSS(pageCSS), Proxy: p.config.Title, Title: title, Now: p.config.Now()}
}

// outcomes are the answers that can be asked for.
var outcomes = []gate.Outcome{gate.OutcomeRefused, gate.OutcomeUndecided, gate.OutcomeAdmitted}

// list shows the latest decisions.
func (p *page) list(w http.ResponseWriter, r *http.Request) {
	values := r.URL.Query()
	q := decisions.Query{Text: strings.TrimSpace(values.Get("q")), Outcome: gate.Outcome(values.Get("outcome")), Limit: perPage}
	if len(q.Text) > maxQuery {
		http.Error(w, "what is searched for is too long", http.StatusBadRequest)
		return
	}
	known := q.Outcome == ""
	data := struct {
		top
		Query   decisions.Query
		Choices []choice
		Found   []decisions.Kept
		Plot    plot
	}{top: p.top("Decisions"), Query: q, Choices: []choice{{Name: "all", Link: link(q.Text, ""), Chosen: q.Outcome == ""}}}
	for _, o := range outcomes {
		known = known || q.Outcome == o
		data.Choices = append(data.Choices, choice{Name: string(o), Link: link(q.Text, o), Chosen: q.Outcome == o})
	}
	if !known {
		http.Error(w, "outcome is none of admitted, refused and undecided", http.StatusBadRequest)
		return
	}
	data.Found, data.Plot = p.config.Decisions.Recent(q), newPlot(p.config.Decisions.Counts())
	p.write(w, "list", data)
}

// choice is a link above the list.
type choice struct {
	Name, Link string
	Chosen     bool
}

func link(text string, outcome gate.Outcome) string {
	values := url.Values{}
	if text != "" {
		values.Set("q", text)
	}
	if outcome != "" {
		values.Set("outcome", string(outcome))
	}
	if len(values) == 0 {
		return "/"
	}
	return "/?" + values.Encode()
}

// decision shows one.
func (p *page) decision(w http.ResponseWriter, r *http.Request) {
	kept, ok := p.config.Decisions.Find(r.PathValue("id"))
	if !ok {
		http.Error(w, "there is no such decision, or it is no longer kept", http.StatusNotFound)
		return
	}
	data := struct {
		top
		Decision decisions.Kept
		Remedy   string
		Verdict  *gate.Verdict // nil where the log has none
	}{top: p.top(kept.Repository), Decision: kept, Remedy: kept.Code.Remedy()}
	var v gate.Verdict
	if len(kept.Verdict) > 0 && json.Unmarshal(kept.Verdict, &v) == nil {
		data.Verdict = &v
	}
	p.write(w, "decision", data)
}

// write renders a page. Nothing is loaded, run or framed.
func (p *page) write(w http.ResponseWriter, name string, data any) {
	var body bytes.Buffer
	if err := p.templates.ExecuteTemplate(&body, name, data); err != nil {
		http.Error(w, "the page could not be made", http.StatusInternalServerError)
		return
	}
	h := w.Header()
	h.Set("Content-Type", "text/html; charset=utf-8")
	h.Set("Content-Security-Policy", "default-src 'none'; style-src "+p.styleHash+"; base-uri 'none'; frame-ancestors 'none'; form-action 'self'")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Cross-Origin-Opener-Policy", "same-origin")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	_, _ = body.WriteTo(w) // a browser that went away
}
