// Package systemd has the unit files of the agent, for a host or for one user.
//
//	for _, u := range systemd.Units(systemd.Options{Program: "/usr/bin/touchmark", Config: ..., ...}) {
//		// write u.Content to <directory>/u.Name, then: systemctl enable --now touchmark-agent.socket touchmark-agent.service
//	}
//
// The socket unit is what keeps boot from racing the agent: systemd listens
// before any service starts, and hands the sockets over. A restart of the agent
// loses no connection.
package systemd

import (
	"bytes"
	_ "embed" // the templates
	"fmt"
	"path/filepath"
	"strings"
	"text/template"

	"github.com/touchmark/touchmark/core/hostconfig"
)

// The units' names.
const (
	Service = "touchmark-agent.service"
	Socket  = "touchmark-agent.socket"
)

//go:embed touchmark-agent.service
var service string

//go:embed touchmark-agent.socket
var socket string

// Unit is a file for /etc/systemd/system, or a user's ~/.config/systemd/user.
type Unit struct {
	Name    string
	Content []byte
}

// Options say what the units start.
type Options struct {
	Program string // absolute path of touchmark
	Config  *hostconfig.Config
	User    bool // units for one user's manager
}

// values are what the templates print.
type values struct {
	Program, Config, State, Socket, Listen string
	User                                   bool
	Token                                  bool // the key is on a device
}

// Units returns the unit files. It is an error if a path cannot stand in one.
func Units(o Options) ([]Unit, error) {
	v := values{
		Program: o.Program, Config: o.Config.File, State: o.Config.Agent.State, Socket: o.Config.Agent.Socket, Listen: o.Config.Agent.Listen,
		User: o.User, Token: strings.HasPrefix(o.Config.Podman.Key, "pkcs11:"),
	}
	for _, path := range []string{v.Program, v.Config, v.State, v.Socket} {
		if !filepath.IsAbs(path) || strings.ContainsFunc(path, unfit) {
			return nil, fmt.Errorf("writing systemd units: path %q cannot stand in a unit file", path)
		}
	}
	var units []Unit
	for _, u := range []struct{ name, text string }{{Service, service}, {Socket, socket}} {
		parsed, err := template.New(u.name).Parse(u.text)
		if err != nil {
			return nil, fmt.Errorf("writing systemd units: %w", err)
		}
		var content bytes.Buffer
		if err := parsed.Execute(&content, v); err != nil {
			return nil, fmt.Errorf("writing systemd units: %w", err)
		}
		units = append(units, Unit{Name: u.name, Content: content.Bytes()})
	}
	return units, nil
}

// unfit are characters that mean something in a unit file.
func unfit(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune(`%$"'\;`, r) }
