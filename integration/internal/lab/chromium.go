package lab

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
)

// Chromium is a real browser, driven by the WebDriver protocol (W3C).
type Chromium struct {
	t       *testing.T
	session string // URL
}

// NewChromium starts a browser without a window. Its flags keep it from looking for the network.
func NewChromium(t *testing.T) *Chromium {
	t.Helper()
	binary := coretest.RequireTool(t, "chromium")
	driver := Command{Program: coretest.RequireTool(t, "chromedriver")}.Start(t, "--port=0")
	port := driver.Find(t, regexp.MustCompile(`started successfully on port ([0-9]+)`))[1]
	c := &Chromium{t: t, session: "http://127.0.0.1:" + port + "/session"}
	var made struct{ SessionID string }
	c.call(http.MethodPost, "", map[string]any{"capabilities": map[string]any{"alwaysMatch": map[string]any{
		"browserName":       "chrome",
		"goog:loggingPrefs": map[string]string{"browser": "ALL"},
		"goog:chromeOptions": map[string]any{"binary": binary, "args": []string{
			"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--user-data-dir=" + t.TempDir(),
		}},
	}}}, &made)
	c.session += "/" + made.SessionID
	return c
}

// Quit ends the browser. It must be called before the test's end, which ends the driver.
func (c *Chromium) Quit() { c.call(http.MethodDelete, "", map[string]any{}, nil) }

// call makes one request of the protocol.
func (c *Chromium) call(method, path string, body, value any) {
	c.t.Helper()
	content, err := json.Marshal(body)
	if err != nil {
		c.t.Fatal(err)
	}
	request, err := http.NewRequestWithContext(c.t.Context(), method, c.session+path, bytes.NewReader(content))
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	answer, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		c.t.Fatalf("%s %s: status %d, %v\n%.1000s", method, path, response.StatusCode, err, answer)
	}
	if value == nil {
		return
	}
	if err := json.Unmarshal(answer, &struct{ Value any }{value}); err != nil {
		c.t.Fatalf("%s %s: %v\n%.1000s", method, path, err, answer)
	}
}

// Open goes to an address.
func (c *Chromium) Open(address string) {
	c.t.Helper()
	c.call(http.MethodPost, "/url", map[string]string{"url": address}, nil)
}

// element is the path of the first element that a CSS selector selects.
func (c *Chromium) element(selector string) string {
	c.t.Helper()
	var found map[string]string
	c.call(http.MethodPost, "/element", map[string]string{"using": "css selector", "value": selector}, &found)
	for _, id := range found {
		return "/element/" + id
	}
	c.t.Fatalf("no element %s", selector)
	return ""
}

// Write types into an element.
func (c *Chromium) Write(selector, text string) {
	c.t.Helper()
	c.call(http.MethodPost, c.element(selector)+"/value", map[string]string{"text": text}, nil)
}

// Click clicks on an element.
func (c *Chromium) Click(selector string) {
	c.t.Helper()
	c.call(http.MethodPost, c.element(selector)+"/click", map[string]any{}, nil)
}

// Eval is what a script returns, as text.
func (c *Chromium) Eval(script string) string {
	c.t.Helper()
	var value any
	c.call(http.MethodPost, "/execute/sync", map[string]any{"script": "return " + script, "args": []any{}}, &value)
	return fmt.Sprint(value)
}

// Await evaluates a script until it returns a text, as it will when the browser has gone where it was sent.
func (c *Chromium) Await(script, want string) {
	c.t.Helper()
	got := ""
	for range 200 {
		if got = c.Eval(script); got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%s is %s, want %s", script, got, want)
}

// Complaints are what the browser has to say of what it loaded, such as a violation
// of a page's content security policy.
func (c *Chromium) Complaints() []string {
	c.t.Helper()
	var messages []struct{ Message string }
	c.call(http.MethodPost, "/se/log", map[string]string{"type": "browser"}, &messages)
	var out []string
	for _, m := range messages {
		out = append(out, m.Message)
	}
	return out
}

// Resize gives the window another size, in pixels.
func (c *Chromium) Resize(width, height int) {
	c.t.Helper()
	c.call(http.MethodPost, "/window/rect", map[string]int{"width": width, "height": height}, nil)
}
