package countersign

import "strings"

// MaxReason bounds the text of a [Reason], in bytes: a few lines on a terminal. Clients show it after a URL of some 150 bytes.
const MaxReason = 700

// Reason is a lookaside's blob that is no signature but says why there is none. Every version of containers/image shows its text: `unrecognized
// signature format "..."`. The text becomes one line of printable ASCII, without the quotes and backslashes that would be shown escaped, of
// at most [MaxReason] bytes.
func Reason(text string) []byte {
	text = strings.Join(strings.Fields(strings.Map(shown, text)), " ")
	if len(text) > MaxReason {
		text = text[:MaxReason-3] + "..."
	}
	switch text {
	case "", "simple-signing", string(sigstoreFormat): // which containers/image would take for the name of a format
		text = "refused by touchmark"
	}
	return []byte("\x00" + text + "\n")
}

// shown maps a character to one that is shown as it is.
func shown(r rune) rune {
	switch {
	case r == '\n' || r == '\t' || r == '\r':
		return ' '
	case r == '"' || r == '`' || r == '“' || r == '”' || r == '‘' || r == '’':
		return '\''
	case r == '\\':
		return '/'
	case r == '…':
		return '.'
	case r == '–' || r == '—':
		return '-'
	case r < ' ' || r > '~':
		return '?'
	}
	return r
}
