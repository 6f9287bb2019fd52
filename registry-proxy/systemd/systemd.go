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
	"slices"
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

// own are the directories that systemd makes for the unit: its StateDirectory, CacheDirectory and LogsDirectory.
var own = []string{"/var/lib/touchmark-proxy", "/var/cache/touchmark-proxy", "/var/log/touchmark-proxy"}

// MayWrite reports whether the unit lets the proxy make a file at an absolute path.
func (o Options) MayWrite(file string) bool {
	return slices.ContainsFunc(slices.Concat(own, o.Writes), func(dir string) bool {
		return strings.HasPrefix(filepath.Clean(file), filepath.Clean(dir)+"/")
	})
}

// unfit are characters that mean something in a unit file.
func unfit(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`%$"'\;`, r) }
