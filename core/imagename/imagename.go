// Package imagename has the rules for names of repositories that every part of
// Touchmark goes by, and links nothing: core/attach reads whole names with them.
package imagename

import "strings"

// Hub is what Docker Hub is called in logical names.
const Hub = "docker.io"

// Logical is a repository's logical name, from its registry's host as it is written
// and its path. The host is in lower case, without a dot at its end and without the
// port that it has anyway, and Docker Hub has one name, and library/ before its
// official images: what leads to the same registry must not lead past its policies.
func Logical(host, path string) string {
	host, port := strings.ToLower(host), ""
	if i := strings.LastIndexByte(host, ':'); i >= 0 && !strings.HasSuffix(host, "]") { // an IPv6 address without a port
		host, port = host[:i], strings.TrimLeft(host[i+1:], "0")
	}
	host = strings.TrimSuffix(host, ".")
	if port == "443" {
		port = ""
	}
	switch {
	case port != "":
		host += ":" + port
	case host == Hub || host == "index.docker.io" || host == "registry-1.docker.io":
		host = Hub
		if !strings.Contains(path, "/") {
			path = "library/" + path
		}
	}
	return host + "/" + path
}

// IsPath reports whether a repository's path is a <name> of the distribution
// specification 1.1: components of lower-case letters and digits, which ".", "_",
// "__" or any number of "-" may separate, with "/" between them. With ".." in it,
// a glob would match where it does not lead.
func IsPath(path string) bool {
	for component := range strings.SplitSeq(path, "/") {
		if !isComponent(component) {
			return false
		}
	}
	return true
}

// isComponent reports whether s is [a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*.
func isComponent(s string) bool {
	separator := "." // what stands before the next letter: a component begins with none
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			separator = ""
			continue
		case c == '.' && separator == "", c == '_' && (separator == "" || separator == "_"), c == '-' && strings.Trim(separator, "-") == "":
			separator += string(c)
		default:
			return false
		}
	}
	return separator == ""
}

// IsTag reports whether s is a tag by the distribution specification:
// [a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}.
func IsTag(s string) bool {
	for i := range len(s) {
		c := s[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9' || c == '_'
		if !letter && (i == 0 || c != '.' && c != '-') {
			return false
		}
	}
	return 0 < len(s) && len(s) <= 128
}

// IsDigest reports whether s is a SHA-256 digest as it is written: "sha256:" and 64
// digits in lower case.
func IsDigest(s string) bool {
	hex, ok := strings.CutPrefix(s, "sha256:")
	return ok && len(hex) == 64 && strings.Trim(hex, "0123456789abcdef") == ""
}
