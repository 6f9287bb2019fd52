// Package commandline finds the flags of a node's services where the node keeps
// them: on the command lines of units and processes, and in the files with their
// environment.
//
// It reads what administrators and installers write, not all that a shell or
// systemd understands: words in quotes that hold spaces are several words, and
// variables are not expanded.
package commandline

import (
	"slices"
	"strings"
)

// marks are what is taken out of words: quotes, and the backslashes with which lines go on.
var marks = strings.NewReplacer(`"`, "", `'`, "", `\`, "")

// Words are the words of a unit, or of a shell's assignments, without comments and
// quotes.
func Words(text string) (words []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(strings.TrimSpace(line), "#") {
			words = append(words, strings.Fields(marks.Replace(line))...)
		}
	}
	return words
}

// Flag is what words give a flag last, as --name=value, --name value, or either
// with one dash; "" if they do not. The flag may have several names, and be the first
// in an assignment: EXTRA_ARGS=--name=value.
func Flag(words []string, names ...string) (value string) {
	for i, word := range words {
		if !strings.HasPrefix(word, "-") {
			_, flag, ok := strings.Cut(word, "=-")
			if !ok {
				continue
			}
			word = flag
		}
		name, v, inline := strings.Cut(strings.TrimLeft(word, "-"), "=")
		switch {
		case !slices.Contains(names, name):
		case inline:
			value = v
		case i+1 < len(words):
			value = words[i+1]
		}
	}
	return value
}

// Variable is what words assign to a variable last, as NAME=value or, in a unit,
// Environment=NAME=value; "" if they do not.
func Variable(words []string, name string) (value string) {
	for _, word := range words {
		if v, ok := strings.CutPrefix(strings.TrimPrefix(word, "Environment="), name+"="); ok {
			value = v
		}
	}
	return value
}
