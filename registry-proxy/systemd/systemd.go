// Package systemd has the unit file of the registry proxy.
//
//	text, err := systemd.Unit(systemd.Options{Program: "/usr/bin/touchmark", Config: "/etc/touchmark/proxy.yaml"})
//	// write it to /etc/systemd/system/touchmark-proxy.service, then: systemctl enable --now touchmark-proxy
package systemd

import (
	"bytes"
	_ "embed" // the template
	"fmt"
	"path/filepath"
	"strings"
	"text/template"
)

// Service is the unit's name.
const Service = "touchmark-proxy.service"

//go:embed touchmark-proxy.service
var service string

// Options say what the unit starts. All paths are absolute.
type Options struct {
	Program string   // touchmark
	Config  string   // proxy.yaml
	Writes  []string // directories that it writes to, besides its own of systemd
}

// Unit returns the unit file. It is an error if a path cannot stand in one.
func Unit(o Options) ([]byte, error) {
	for _, path := range append([]string{o.Program, o.Config}, o.Writes...) {
		if !filepath.IsAbs(path) || strings.ContainsFunc(path, unfit) {
			return nil, fmt.Errorf("writing systemd unit: path %q cannot stand in a unit file", path)
		}
	}
	parsed, err := template.New(Service).Parse(service)
	if err != nil {
		return nil, fmt.Errorf("writing systemd unit: %w", err)
	}
	var out bytes.Buffer
	if err := parsed.Execute(&out, o); err != nil {
		return nil, fmt.Errorf("writing systemd unit: %w", err)
	}
	return out.Bytes(), nil
}

// unfit are characters that mean something in a unit file.
func unfit(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`%$"'\;`, r) }
