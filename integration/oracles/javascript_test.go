package oracles

import (
	"bytes"
	"encoding/json"
	"errors"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/verify"
)

// javaScript asks Sigstore's JavaScript verifier about all questions, in one process.
func javaScript(t *testing.T, questions []question) (answers []string) {
	t.Helper()
	node := coretest.RequireTool(t, "node")
	dir := filepath.Join("..", "clients", "npm")
	if _, err := os.Stat(filepath.Join(dir, "node_modules", "@sigstore", "verify")); err != nil {
		if os.Getenv("CI") == "true" {
			t.Fatalf("CI=true asks for every test; run integration/tools.sh: %v", err)
		}
		t.Skipf("run integration/tools.sh: %v", err)
	}
	var stdin bytes.Buffer
	for _, q := range questions {
		line, err := json.Marshal(map[string]any{
			"root": json.RawMessage(q.sample.root), "bundle": json.RawMessage(q.bundle), "artifact": q.artifact, "identity": q.subject, "issuer": q.issuer,
		})
		if err != nil {
			t.Fatal(err)
		}
		stdin.Write(append(line, '\n'))
	}
	command := exec.CommandContext(t.Context(), node, "agree.mjs")
	command.Dir, command.Stdin, command.Stderr = dir, &stdin, os.Stderr
	out, err := command.Output()
	if err != nil {
		t.Fatal(err)
	}
	answers = strings.Split(strings.TrimSuffix(string(out), "\n"), "\n")
	if len(answers) != len(questions) {
		t.Fatalf("%d answers to %d questions", len(answers), len(questions))
	}
	return answers
}

// supported says whether @sigstore/verify 3.1.1 knows what the question is about: certificates, one log and one time, bundles that are text at all. Of a Rekor v2 entry of an
// envelope it compares the payload's hash, which such an entry does not hold (4.1.3 knows better, and needs Node 22).
func supported(q question) bool {
	return q.key == nil && q.shape.demand == usual && (!q.shape.v2 || q.shape.message) && q.shape.algorithm == p256 && json.Valid(q.bundle)
}

// badTimestamp is where ours, as sigstore-go, accepts what @sigstore/verify refuses.
var badTimestamp = []place{{regexp.MustCompile(`^verificationMaterial\.timestampVerificationData`),
	"to @sigstore/verify one timestamp that does not verify, or that stands twice, is one too many; to the others it counts for nothing"}}

// What ours accepts of the campaign's inputs, @sigstore/verify accepts, on the shapes that it knows.
func TestLIB35_JavaScriptAgrees(t *testing.T) {
	var questions []question
	generate(t, campaignSeed(t), 0, 400, func(q question) {
		if supported(q) {
			questions = append(questions, q)
		}
	})
	answers := javaScript(t, questions)
	var both, neither int
	stricter := map[string]int{}
	for i, q := range questions {
		our, _, err := q.judges()
		if err != nil {
			t.Fatal(err)
		}
		ourErr := our(q.bundle)
		var refused *verify.Error
		switch {
		case ourErr == nil && answers[i] == "":
			both++
		case ourErr == nil && listed(badTimestamp, q.what):
		case ourErr == nil:
			t.Errorf("%s %s: ours accepts, @sigstore/verify refuses: %s\n%s", q.id, q.what, answers[i], q.bundle)
		case answers[i] != "":
			neither++
		case errors.As(ourErr, &refused):
			stricter[string(refused.Code)]++
		default:
			stricter[unreadable]++
		}
	}
	t.Logf("of %d inputs both accept %d, neither %d", len(questions), both, neither)
	for _, code := range slices.Sorted(maps.Keys(stricter)) {
		t.Logf("only @sigstore/verify accepts what ours refuses as %s: %d", code, stricter[code])
	}
	if both < 100 || neither < 300 {
		t.Error("the test shows little")
	}
}
