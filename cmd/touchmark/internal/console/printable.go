package console

import (
	"fmt"
	"strings"
	"unicode"
)

// Printable makes text safe for a terminal: parts of verdicts and errors come
// from registries and from certificates, and must not be able to move the
// cursor or change colours.
func Printable(s string) string {
	if !strings.ContainsFunc(s, isHostile) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		if isHostile(r) {
			fmt.Fprintf(&b, "\\u%04x", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}

// isHostile reports control and formatting characters (such as those that
// reverse the direction of text), but the line break and the tab.
func isHostile(r rune) bool {
	return r != '\n' && r != '\t' && (unicode.IsControl(r) || unicode.Is(unicode.Cf, r))
}
