package install

import "regexp"

// secret finds the values of what CRI's configuration has of credentials.
var secret = regexp.MustCompile(`(?i)\b(password|auth|identitytoken|token|authorization)(["']?\s*=\s*)(\[[^\]\n]*\]|"(?:[^"\\\n]|\\.)*"|'[^'\n]*')`)

// Diff shows what changes, as unified diffs; a link, a program and a directory in
// a line each. Passwords and tokens in containerd's files are not shown.
func (p *Plan) Diff() string { return Conceal(p.Changes.Diff()) }

// Conceal takes passwords and tokens out of lines of containerd's configuration.
func Conceal(text string) string { return secret.ReplaceAllString(text, `$1$2"..."`) }
