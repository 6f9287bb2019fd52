package hostconfig

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"net/url"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/policy"
)

// Error is what is wrong in a file.
type Error struct {
	File    string
	Line    int    // from 1; 0 if it is about the file as a whole
	Field   string // such as "trust.tuf[0].mirror"; may be empty
	Problem string
}

// Error names file, line and field.
func (e *Error) Error() string {
	place := e.File
	if e.Line > 0 {
		place = fmt.Sprintf("%s:%d", place, e.Line)
	}
	if e.Field != "" {
		place += ": " + e.Field
	}
	return place + ": " + e.Problem
}

// document is the file as it is written.
type document struct {
	Policy string `yaml:"policy"`
	Trust  struct {
		Dir      string `yaml:"dir"`
		MaxStale string `yaml:"maxStale"`
		TUF      []struct {
			Name   string `yaml:"name"`
			Mirror string `yaml:"mirror"`
			Root   string `yaml:"root"`
		} `yaml:"tuf"`
	} `yaml:"trust"`
	Agent struct {
		Listen string `yaml:"listen"`
		Socket string `yaml:"socket"`
		State  string `yaml:"state"`
	} `yaml:"agent"`
	Podman struct {
		Key      string   `yaml:"key"`
		Form     string   `yaml:"form"`
		Validity string   `yaml:"validity"`
		Scopes   []string `yaml:"scopes"`
	} `yaml:"podman"`
	Containerd struct {
		Config      string   `yaml:"config"`
		Hosts       []string `yaml:"hosts"`
		Credentials string   `yaml:"credentials"`
		Standalone  *bool    `yaml:"standalone"`
	} `yaml:"containerd"`
}

// parser turns one document into a Config.
type parser struct {
	file string
	root *yaml.Node // of the document
}

// Parse reads the content of a file. path is the file's, absolute.
func Parse(data []byte, path string, d Defaults) (*Config, error) {
	p := &parser{file: path}
	doc, err := p.decode(data)
	if err != nil {
		return nil, err
	}
	c := New(path, d)
	for _, step := range []func(*document, *Config) error{p.rules, p.agent, p.podman, p.containerd} {
		if err := step(doc, c); err != nil {
			return nil, err
		}
	}
	return c, nil
}

// decode reads the YAML, and refuses what readers understand differently.
func (p *parser) decode(data []byte) (*document, error) {
	var node, more yaml.Node
	doc := new(document)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	switch err := dec.Decode(&node); {
	case errors.Is(err, io.EOF):
		return doc, nil // an empty file says nothing
	case err != nil:
		return nil, p.yamlError(err)
	}
	if !errors.Is(dec.Decode(&more), io.EOF) {
		return nil, &Error{File: p.file, Problem: "holds more than one document"}
	}
	p.root = node.Content[0]
	if p.root.Kind == yaml.ScalarNode && p.root.ShortTag() == "!!null" {
		return doc, nil
	}
	if err := p.plain(p.root, ""); err != nil {
		return nil, err
	}
	strict := yaml.NewDecoder(bytes.NewReader(data))
	strict.KnownFields(true)
	if err := strict.Decode(doc); err != nil {
		return nil, p.yamlError(err)
	}
	return doc, nil
}

// plain refuses what is not written out: aliases, merge keys, tags, and values
// that are empty.
func (p *parser) plain(n *yaml.Node, field string) error {
	wrong := func(problem string) error {
		return &Error{File: p.file, Line: n.Line, Field: strings.TrimPrefix(field, "."), Problem: problem}
	}
	switch {
	case n.Kind == yaml.AliasNode || n.Anchor != "":
		return wrong("anchors and aliases are not supported; write the value out")
	case n.Style&yaml.TaggedStyle != 0:
		return wrong("the tag " + n.Tag + " has no meaning here")
	case n.Kind == yaml.ScalarNode && n.Value == "":
		return wrong("is empty; give it a value, or leave it out")
	case n.Kind == yaml.ScalarNode && n.ShortTag() == "!!null":
		return wrong("is null; give it a value, or leave it out")
	}
	for i, child := range n.Content {
		name := field
		switch {
		case n.Kind == yaml.SequenceNode:
			name = fmt.Sprintf("%s[%d]", field, i)
		case i%2 == 1:
			name = field + "." + n.Content[i-1].Value
		case child.ShortTag() == "!!merge":
			return &Error{File: p.file, Line: child.Line, Problem: "merge keys (<<) are not supported; write the fields out"}
		}
		if err := p.plain(child, name); err != nil {
			return err
		}
	}
	return nil
}

// How the YAML library words its errors.
var (
	yamlLine    = regexp.MustCompile(`line (\d+): ([^\n]*)`)
	yamlUnknown = regexp.MustCompile(`\Afield (\S+) not found in type .*\z`)
	yamlType    = regexp.MustCompile(`\Acannot unmarshal \S+ (?:\x60[^\x60]*\x60 )?into (\S+)\z`)
)

// yamlError is the library's error in this package's words.
func (p *parser) yamlError(err error) error {
	e := &Error{File: p.file, Problem: strings.TrimPrefix(err.Error(), "yaml: ")}
	if m := yamlLine.FindStringSubmatch(err.Error()); m != nil {
		e.Line, _ = strconv.Atoi(m[1]) // digits, by the expression
		e.Problem = m[2]
	}
	if m := yamlUnknown.FindStringSubmatch(e.Problem); m != nil {
		e.Field, e.Problem = m[1], "unknown field"
	} else if m := yamlType.FindStringSubmatch(e.Problem); m != nil {
		want := map[string]string{"string": "a text", "bool": "true or false"}[m[1]]
		if want == "" {
			want = "a mapping or a list"
		}
		e.Problem = "is of another type; want " + want
	}
	return e
}

// fail is an error about a field, which names its line.
func (p *parser) fail(field, format string, args ...any) error {
	line := 0
	if n := find(p.root, field); n != nil {
		line = n.Line
	}
	return &Error{File: p.file, Line: line, Field: field, Problem: fmt.Sprintf(format, args...)}
}

// find returns the node of a field such as "trust.tuf[0].mirror", or the nearest
// that holds it.
func find(n *yaml.Node, field string) *yaml.Node {
	for _, part := range strings.FieldsFunc(field, func(r rune) bool { return r == '.' || r == '[' || r == ']' }) {
		if n == nil {
			return nil
		}
		if i, err := strconv.Atoi(part); err == nil && n.Kind == yaml.SequenceNode && i < len(n.Content) {
			n = n.Content[i]
			continue
		}
		for i := 0; i+1 < len(n.Content); i += 2 {
			if n.Content[i].Value == part {
				n = n.Content[i+1]
				break
			}
		}
	}
	return n
}

// path makes a path absolute; what is not written stays as it is by default.
func (p *parser) path(written, byDefault string) string {
	switch {
	case written == "":
		return byDefault
	case filepath.IsAbs(written):
		return filepath.Clean(written)
	}
	return filepath.Join(filepath.Dir(p.file), written)
}

// rules reads policy and trust.
func (p *parser) rules(doc *document, c *Config) error {
	c.Policy = p.path(doc.Policy, c.Policy)
	c.Trust.Dir = p.path(doc.Trust.Dir, c.Trust.Dir)
	if doc.Trust.MaxStale != "" {
		d, err := policy.ParseDuration(doc.Trust.MaxStale)
		if err != nil || d < 0 {
			return p.fail("trust.maxStale", "%q is not a time such as 30d or 36h", doc.Trust.MaxStale)
		}
		c.Trust.MaxStale = d
	}
	seen := make(map[string]bool)
	for i, t := range doc.Trust.TUF {
		field := fmt.Sprintf("trust.tuf[%d]", i)
		switch {
		case !name.MatchString(t.Name):
			return p.fail(field+".name", "%q is not a name of letters, digits, '-', '_' and '.'", t.Name)
		case seen[t.Name]:
			return p.fail(field+".name", "%q stands twice", t.Name)
		case t.Mirror != PublicGood && t.Root == "":
			return p.fail(field+".root", "is missing: the root.json that the operators of the repository handed out")
		}
		if t.Mirror != PublicGood {
			if u, err := url.Parse(t.Mirror); err != nil || u.Host == "" || u.User != nil || u.Scheme != "https" && u.Scheme != "http" {
				return p.fail(field+".mirror", "want the URL of a TUF repository without credentials, or %s", PublicGood)
			}
		}
		seen[t.Name] = true
		c.Trust.TUF = append(c.Trust.TUF, TUF{Name: t.Name, Mirror: t.Mirror, Root: p.path(t.Root, "")})
	}
	return nil
}

// PublicGood stands for the TUF repository of Sigstore's public instance.
const PublicGood = "public-good"

// name is what a TUF repository may be called: its directory has that name.
var name = regexp.MustCompile(`\A[A-Za-z0-9_][A-Za-z0-9._-]{0,63}\z`)

// maxSocket is how long a unix socket's path may be, by the kernel.
const maxSocket = 107

// agent reads how the agent is reached.
func (p *parser) agent(doc *document, c *Config) error {
	if doc.Agent.Listen != "" {
		c.Agent.Listen = doc.Agent.Listen
		if err := checkLoopback(c.Agent.Listen); err != nil {
			return p.fail("agent.listen", "%v", err)
		}
	}
	c.Agent.Socket = p.path(doc.Agent.Socket, c.Agent.Socket)
	if len(c.Agent.Socket) > maxSocket {
		return p.fail("agent.socket", "%s is longer than the %d bytes that a socket's path may have", c.Agent.Socket, maxSocket)
	}
	c.Agent.State = p.path(doc.Agent.State, c.Agent.State)
	return nil
}

// checkLoopback refuses an address that others than this host can reach: the
// agent tells users apart by their uid, which a network does not carry.
func checkLoopback(listen string) error {
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return fmt.Errorf("%q is not HOST:PORT", listen)
	}
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || n == 0 {
		return fmt.Errorf("%q has no port of 1 to 65535", listen)
	}
	if addr, err := netip.ParseAddr(host); err != nil || !addr.IsLoopback() {
		return fmt.Errorf("%q is not a loopback address such as 127.0.0.1:%s", listen, Port)
	}
	return nil
}

// podman reads what the enforcement in podman works with.
func (p *parser) podman(doc *document, c *Config) error {
	c.Podman.Key = p.key(doc.Podman.Key, c.Podman.Key)
	switch doc.Podman.Form {
	case "":
	case OpenPGP, Sigstore:
		c.Podman.Form = doc.Podman.Form
	default:
		return p.fail("podman.form", "%q is neither %s nor %s", doc.Podman.Form, OpenPGP, Sigstore)
	}
	if doc.Podman.Validity != "" {
		d, err := time.ParseDuration(doc.Podman.Validity)
		if err != nil || d < time.Minute || d > MaxValidity {
			return p.fail("podman.validity", "%q is not a time of 1m to %s", doc.Podman.Validity, "10m")
		}
		c.Podman.Validity = d
	}
	c.Podman.Scopes = doc.Podman.Scopes
	return nil
}

// containerd reads what the enforcement in containerd works with.
func (p *parser) containerd(doc *document, c *Config) error {
	c.Containerd.Config = p.path(doc.Containerd.Config, c.Containerd.Config)
	c.Containerd.Credentials = p.path(doc.Containerd.Credentials, c.Containerd.Credentials)
	for _, dir := range doc.Containerd.Hosts {
		c.Containerd.Hosts = append(c.Containerd.Hosts, p.path(dir, ""))
	}
	if doc.Containerd.Standalone != nil {
		c.Containerd.Standalone = *doc.Containerd.Standalone
	}
	return nil
}

// key is the path of a key file, made absolute, or the URI of a key elsewhere.
func (p *parser) key(written, byDefault string) string {
	if strings.Contains(written, ":") && !filepath.IsAbs(written) {
		return written // gcpkms://..., pkcs11:...
	}
	return p.path(written, byDefault)
}
