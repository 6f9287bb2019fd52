package clients

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// Somebody whose pull was refused looks it up in a real browser: the page applies its style, runs nothing, fits a phone, and says which check failed.
func TestProxyPageInChromium(t *testing.T) {
	w := lab.New(t, true)
	image := w.Image(t, "app", 1)
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", "mallory@evil.example", "--trusted-root", w.Root, image)
	dir := t.TempDir()
	config := filepath.Join(dir, "proxy.yaml")
	text := fmt.Sprintf("listen: 127.0.0.1:0\nregistries:\n- {upstream: \"http://%s\"}\npolicy: %s\ntrust: [{name: private, file: %s}]\npage: true\n", w.Registry, w.Policy(t), w.Root)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	proxy := lab.Command{Program: lab.Program()}.Start(t, "proxy", "--config", config)
	url := proxy.Find(t, regexp.MustCompile(`"url":"(http://[^"]+)"`))[1]
	response, err := http.Get(url + "/v2/app/manifests/1")
	if err != nil {
		t.Fatal(err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusForbidden {
		t.Fatalf("the image is served: %s", response.Status)
	}

	browser := lab.NewChromium(t)
	defer browser.Quit()
	browser.Resize(390, 800)
	browser.Open(url)
	if got := browser.Eval(`document.querySelectorAll(".decisions li.refused").length`); got != "1" {
		t.Errorf("%s refusals are listed", got)
	}
	if got := browser.Eval(`document.documentElement.scrollWidth <= window.innerWidth && getComputedStyle(document.querySelector("nav")).display`); got != "flex" {
		t.Errorf("on a phone: fits and is styled: %s", got)
	}
	browser.Write("#q", "mallory")
	browser.Click("button")
	browser.Await("location.search", "?q=mallory")
	browser.Click(".decisions a")
	browser.Await("location.pathname.split('/')[1]", "decisions")
	if got := browser.Eval(`document.querySelector("li.failed").parentElement.textContent + document.body.textContent`); !strings.Contains(got, "mallory@evil.example") || !strings.Contains(got, "wanted") {
		t.Errorf("the decision says: %.2000s", got)
	}
	if got := browser.Eval(`document.documentElement.scrollWidth <= window.innerWidth`); got != "true" {
		t.Error("the decision is wider than a phone")
	}
	if complaints := browser.Complaints(); len(complaints) != 0 {
		t.Errorf("the browser complains: %s", complaints)
	}
}
