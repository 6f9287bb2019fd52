package clients

import (
	"crypto/sha256"
	"encoding/hex"
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/keys"
	"github.com/touchmark/touchmark/integration/internal/lab"
)

// newEntry is what rekor-cli says of an entry that it made.
var newEntry = regexp.MustCompile(`Created entry at index ([0-9]+), available at: .*/api/v1/log/entries/([0-9a-f]{80})`)

// rekorCLI is rekor-cli, with a home that keeps the state of the log that it saw last.
func rekorCLI(t *testing.T) client {
	return client{Command: lab.Command{Program: lab.Tool(t, "rekor-cli-v1.5.4"), Env: []string{"HOME=" + t.TempDir()}}, name: "rekor-cli 1.5.4", shown: "rekor-cli"}
}

// logInfo lets rekor-cli read the log's checkpoint, and, if it has seen the log before, have it proven that the log only grew.
func (w *world) logInfo(t *testing.T, rekorCLI client, seen bool) {
	t.Helper()
	r := w.does(t, rekorCLI, "reads the checkpoint, and proves that the log only grew", nil, "loginfo", "--rekor_server", w.Stack.URL)
	if !strings.Contains(r.Stdout, "Verification Successful!") || strings.Contains(r.Output(), "No previous log state stored") == seen {
		t.Errorf("seen before: %v, but rekor-cli says\n%s", seen, r.Output())
	}
}

func TestRekorCLI(t *testing.T) {
	start(t)
	c, w := rekorCLI(t), newWorld(t, true)
	key, content := coretest.NewKey(t), []byte("content\n")
	public, err := keys.MarshalPublic(key.Public())
	if err != nil {
		t.Fatal(err)
	}
	signature, err := keys.Sign(key, content)
	if err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256(content)
	server := []string{"--rekor_server", w.Stack.URL}
	entry := []string{"--type", "hashedrekord", "--pki-format", "x509", "--public-key", w.file(t, "release.pub", public),
		"--signature", w.file(t, "file.sig", signature), "--artifact-hash", w.call(hex.EncodeToString(sum[:]), "$SHA256")}
	other := w.file(t, "other", []byte("other\n"))

	w.refuses(t, c, "verifies that an entry is in the log", "not in the log", "entry in log cannot be located", nil, args([]string{"verify"}, server, entry)...)
	w.refuses(t, c, "uploads a hashedrekord", "a signature of something else", "verifying signature", nil,
		args([]string{"upload"}, server, entry[:len(entry)-2], []string{"--artifact", other})...)

	w.refuses(t, c, "uploads a hashedrekord", "`--type rekord`", "are not taken; hashedrekord 0.0.1 and dsse 0.0.1 are", nil,
		args([]string{"upload", "--type", "rekord"}, server, entry[2:len(entry)-2], []string{"--artifact", w.file(t, "file", content)})...)

	found := newEntry.FindStringSubmatch(w.does(t, c, "uploads a hashedrekord", nil, args([]string{"upload"}, server, entry)...).Stdout)
	if found == nil {
		t.Fatal("no entry was made")
	}
	index, uuid := found[1], w.call(found[2], "$UUID")
	if again := newEntry.FindStringSubmatch(w.run(t, c, nil, args([]string{"upload"}, server, entry)...).Stdout); again == nil || again[2] != uuid {
		t.Errorf("uploading again made %v, want entry %s", again, uuid)
	}
	byUUID := w.does(t, c, "gets an entry", nil, args([]string{"get"}, server, []string{"--uuid", uuid})...).Stdout
	byIndex := w.does(t, c, "gets an entry", nil, args([]string{"get"}, server, []string{"--log-index", index})...).Stdout
	if byUUID != byIndex || !strings.Contains(byUUID, hex.EncodeToString(sum[:])) {
		t.Errorf("got by UUID\n%s\nand by index\n%s", byUUID, byIndex)
	}
	w.refuses(t, c, "gets an entry", "not there", "404", nil, args([]string{"get"}, server, []string{"--log-index", "999"})...)

	w.does(t, c, "verifies that an entry is in the log", nil, args([]string{"verify"}, server, entry)...)
	search := []string{"--artifact", w.path("file")}
	if r := w.does(t, c, "searches by artifact", nil, args([]string{"search"}, server, search)...); !strings.Contains(r.Stdout, uuid) {
		t.Errorf("the search found %s", r.Output())
	}
	w.refuses(t, c, "searches by artifact", "not there", "no matching entries found", nil, args([]string{"search"}, server, []string{"--artifact", other})...)

	w.logInfo(t, c, false)
	// More entries, by somebody else: the log's next state is proven to contain this one.
	image := w.Image(t, "acme/app", 1)
	lab.Touchmark(t, 0, "sign", "--server", w.Stack.URL, "--as", alice, "--trusted-root", w.Root, image)
	w.logInfo(t, c, true)
	w.does(t, c, "gets a consistency proof", nil, args([]string{"logproof"}, server, []string{"--first-size", "1", "--last-size", "3"})...)
	w.refuses(t, c, "gets a consistency proof", "a size that is not reached yet", "400", nil, args([]string{"logproof"}, server, []string{"--first-size", "1", "--last-size", "999"})...)
	if r := w.does(t, c, "searches by e-mail address", nil, args([]string{"search"}, server, []string{"--email", alice})...); len(strings.Fields(r.Stdout)) < 2 {
		t.Errorf("the search found %s", r.Output())
	}
}
