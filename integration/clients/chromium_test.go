package clients

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// chromium is a real browser, driven by the WebDriver protocol (W3C).
type chromium struct {
	t       *testing.T
	session string // URL
}

// newChromium starts a browser without a window. Its flags keep it from looking for the network.
func newChromium(t *testing.T) *chromium {
	t.Helper()
	binary := coretest.RequireTool(t, "chromium")
	driver := lab.Command{Program: coretest.RequireTool(t, "chromedriver")}.Start(t, "--port=0")
	port := driver.Find(t, regexp.MustCompile(`started successfully on port ([0-9]+)`))[1]
	c := &chromium{t: t, session: "http://127.0.0.1:" + port + "/session"}
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

// quit ends the browser. It must be called before the test's end, which ends the driver.
func (c *chromium) quit() { c.call(http.MethodDelete, "", map[string]any{}, nil) }

// call makes one request of the protocol.
func (c *chromium) call(method, path string, body, value any) {
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

func (c *chromium) open(address string) {
	c.t.Helper()
	c.call(http.MethodPost, "/url", map[string]string{"url": address}, nil)
}

// element is the path of the first element that a CSS selector selects.
func (c *chromium) element(selector string) string {
	c.t.Helper()
	var found map[string]string
	c.call(http.MethodPost, "/element", map[string]string{"using": "css selector", "value": selector}, &found)
	for _, id := range found {
		return "/element/" + id
	}
	c.t.Fatalf("no element %s", selector)
	return ""
}

func (c *chromium) write(selector, text string) {
	c.t.Helper()
	c.call(http.MethodPost, c.element(selector)+"/value", map[string]string{"text": text}, nil)
}

func (c *chromium) click(selector string) {
	c.t.Helper()
	c.call(http.MethodPost, c.element(selector)+"/click", map[string]any{}, nil)
}

// eval is what a script returns, as text.
func (c *chromium) eval(script string) string {
	c.t.Helper()
	var value any
	c.call(http.MethodPost, "/execute/sync", map[string]any{"script": "return " + script, "args": []any{}}, &value)
	return fmt.Sprint(value)
}

// await evaluates a script until it returns a text, as it will when the browser has gone where it was sent.
func (c *chromium) await(script, want string) {
	c.t.Helper()
	got := ""
	for range 200 {
		if got = c.eval(script); got == want {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	c.t.Fatalf("%s is %s, want %s", script, got, want)
}

// A person signs in for cosign in a real browser: which applies the page's style, sends the form, and follows it back to cosign, as far as the page's own
// content security policy lets it.
func TestLoginInChromium(t *testing.T) {
	start(t)
	browser := newChromium(t)
	defer browser.quit()
	w := newLoginWorld(t)
	c := cosigns(t)[0]
	w.signsIn(t, c, "signs a file, signing in with a browser", "normal", w.browsers(t), func(d *lab.Dialogue) {
		browser.open(d.Find(t, authorizeURL)[1])
		if got := browser.eval(`document.title + getComputedStyle(document.querySelector("main")).maxWidth + document.activeElement.id`); !strings.HasPrefix(got, "Sign in") ||
			!strings.HasSuffix(got, "416pxemail") {
			t.Errorf("title, width and focus are %s", got)
		}
		browser.write("#email", alice)
		browser.write("#password", "a wrong password")
		browser.click("button[value=sign-in]")
		if got := browser.eval(`document.querySelector("[role=alert]").textContent`); !strings.Contains(got, "wrong") {
			t.Errorf("a wrong password: %s", got)
		}
		browser.write("#password", alicePassword)
		browser.click("button[value=sign-in]")
		browser.await("location.hostname + location.pathname", "localhost/auth/callback")
		var messages []struct{ Message string }
		browser.call(http.MethodPost, "/se/log", map[string]string{"type": "browser"}, &messages)
		for _, m := range messages {
			// The wrong password's status is a message too.
			if !strings.Contains(m.Message, "403") {
				t.Errorf("the browser complains: %s", m.Message)
			}
		}
	})
}
