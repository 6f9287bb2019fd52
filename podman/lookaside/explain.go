package lookaside

import (
	"fmt"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/gate"
)

// explain says in one line why an image is not countersigned: for each name what the verdict says, and the command that tells more. Names that no policy
// is about come last: few people pull by them.
func explain(refused []decided, entitled bool) string {
	slices.SortStableFunc(refused, func(a, b decided) int { return unspoken(a) - unspoken(b) })
	var said []string
	for _, d := range refused {
		text := reason(d, entitled)
		if len(refused) > 1 {
			text = "as " + d.name + ": " + text
		}
		said = append(said, text)
	}
	tail := fmt.Sprintf("; for more: touchmark why %s@%s", refused[0].name, refused[0].verdict.Digest)
	text := strings.Join(said, "; ")
	if most := countersign.MaxReason - len(tail); len(text) > most && most > 3 {
		text = text[:most-3] + "..."
	}
	return text + tail
}

// unspoken is 1 for a name that no policy is about.
func unspoken(d decided) int {
	if d.verdict.Code == gate.CodeNoPolicy {
		return 1
	}
	return 0
}

// reason says what became of one name. An outage is not called a refusal.
func reason(d decided, entitled bool) string {
	switch {
	case d.verdict.Outcome == gate.OutcomeRefused:
		return "refused by touchmark: " + d.verdict.Reason
	case !entitled && d.verdict.Code == gate.CodeForbidden:
		// The same words whether the image exists or not: the registry, too, tells a stranger no more.
		return "touchmark cannot decide: the registry shows " + d.name + " to nobody without credentials, and this host's agent uses its own for no other user; set up an agent of your own: touchmark install podman --user"
	}
	return "touchmark cannot decide: " + d.verdict.Reason
}
