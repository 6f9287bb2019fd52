package clients

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// A person signs in for cosign in a real browser: which applies the page's style, sends the form, and follows it back to cosign, as far as the page's own
// content security policy lets it.
func TestLoginInChromium(t *testing.T) {
	start(t)
	browser := lab.NewChromium(t)
	defer browser.Quit()
	w := newLoginWorld(t)
	c := cosigns(t)[0]
	w.signsIn(t, c, "signs a file, signing in with a browser", "normal", w.browsers(t), func(d *lab.Dialogue) {
		browser.Open(d.Find(t, authorizeURL)[1])
		if got := browser.Eval(`document.title + getComputedStyle(document.querySelector("main")).maxWidth + document.activeElement.id`); !strings.HasPrefix(got, "Sign in") ||
			!strings.HasSuffix(got, "416pxemail") {
			t.Errorf("title, width and focus are %s", got)
		}
		browser.Write("#email", alice)
		browser.Write("#password", "a wrong password")
		browser.Click("button[value=sign-in]")
		if got := browser.Eval(`document.querySelector("[role=alert]").textContent`); !strings.Contains(got, "wrong") {
			t.Errorf("a wrong password: %s", got)
		}
		browser.Write("#password", alicePassword)
		browser.Click("button[value=sign-in]")
		browser.Await("location.hostname + location.pathname", "localhost/auth/callback")
		for _, m := range browser.Complaints() {
			// The wrong password's status is a message too.
			if !strings.Contains(m, "403") {
				t.Errorf("the browser complains: %s", m)
			}
		}
	})
}
