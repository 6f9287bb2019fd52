package install

import "regexp"

// tomlString is a string in TOML, of one line or of many.
const tomlString = `"""(?s:.*?)"""|'''(?s:.*?)'''|"(?:[^"\\\n]|\\.)*"|'[^'\n]*'`

// secret finds the values of what CRI's configuration has of credentials, and those
// of headers, whose names begin with X- or are Authorization.
var secret = regexp.MustCompile(`(?i)\b(password|auth|identitytoken|token|authorization|cookie|x-[a-z0-9-]+)(["']?\s*=\s*)(\[[^\]\n]*\]|` + tomlString + `)`)

// user finds the password in a URL.
var user = regexp.MustCompile(`(://[^\s/@:"']*:)[^\s/@"']+@`)

// Diff shows what changes, as unified diffs; a link, a program and a directory in
// a line each. Passwords and tokens in containerd's files are not shown.
func (p *Plan) Diff() string { return Conceal(p.Changes.Diff()) }

// Conceal takes passwords and tokens out of lines of containerd's configuration.
func Conceal(text string) string {
	return user.ReplaceAllString(secret.ReplaceAllString(text, `$1$2"..."`), `$1...@`)
}
