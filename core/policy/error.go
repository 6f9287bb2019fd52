package policy

import (
	"fmt"
	"strings"
)

// Error is one thing that is wrong in a policy file.
type Error struct {
	File    string // empty if what was read has no name
	Line    int    // from 1; 0 if it is about the file as a whole
	Field   string // such as "spec.authorities[0].key.data"; empty if it is about a whole document
	Problem string
}

// Error names file, line and field.
func (e *Error) Error() string {
	var parts []string
	for _, part := range []string{e.place(), e.Field, e.Problem} {
		if part != "" {
			parts = append(parts, part)
		}
	}
	return strings.Join(parts, ": ")
}

// place is the file and the line.
func (e *Error) place() string {
	switch {
	case e.File != "" && e.Line > 0:
		return fmt.Sprintf("%s:%d", e.File, e.Line)
	case e.Line > 0:
		return fmt.Sprintf("line %d", e.Line)
	}
	return e.File
}

// maxErrors is how many errors are told at once: enough to repair a file in
// one go, few enough to read.
const maxErrors = 10

// Errors are all that was found wrong, one line each, in the order of the
// files.
type Errors []*Error

// Error is one line for each error.
func (e Errors) Error() string {
	var lines []string
	for _, one := range e {
		lines = append(lines, one.Error())
	}
	return strings.Join(lines, "\n")
}

// nearest returns the word that somebody may have meant, or "".
func nearest(word string, known []string) string {
	best, bestDistance := "", 3 // a word that differs more is another word
	for _, k := range known {
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d < bestDistance && d < len(k) {
			best, bestDistance = k, d
		}
	}
	return best
}

// distance counts the characters to insert, delete, replace or swap with their
// neighbour that lead from one word to another (optimal string alignment).
func distance(a, b string) int {
	if max(len(a), len(b)) > 64 { // no field is that long
		return len(a) + len(b)
	}
	rows := make([][]int, len(a)+1)
	for i := range rows {
		rows[i] = make([]int, len(b)+1)
		rows[i][0] = i
	}
	for j := range rows[0] {
		rows[0][j] = j
	}
	for i := 1; i <= len(a); i++ {
		for j := 1; j <= len(b); j++ {
			cost := 1
			if a[i-1] == b[j-1] {
				cost = 0
			}
			rows[i][j] = min(rows[i-1][j]+1, rows[i][j-1]+1, rows[i-1][j-1]+cost)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				rows[i][j] = min(rows[i][j], rows[i-2][j-2]+1)
			}
		}
	}
	return rows[len(a)][len(b)]
}
