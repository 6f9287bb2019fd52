package access

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"

	"github.com/touchmark/touchmark/core/configfile"
)

const (
	// maxHosts bounds a hosts.toml, in bytes; one with ten mirrors has 2 KiB.
	maxHosts = 256 << 10
	// maxCertificates bounds the files of a directory of certificates.
	maxCertificates = 64
)

// host is a place that containerd asks, as hosts.toml has it.
type host struct {
	scheme      string // "" is HTTPS, and HTTP where that is not answered
	host        string
	path        string // of the API; /v2 but for override_path
	skipVerify  bool
	ca          []string    // files
	client      [][2]string // files with a certificate and its key
	header      http.Header
	dialTimeout time.Duration // 0 is net's own
	pull        bool
	from        string // file or directory
}

// location is what stands in the place of the registry in names. A path outside
// of /v2 is part of them, too, and [via] takes requests there.
func (h host) location() string {
	return h.host + strings.TrimSuffix(strings.TrimPrefix(h.path, "/v2"), "/")
}

// outside is the path of an API that does not lie below /v2, "/" for the host
// itself; "" if it does.
func (h host) outside() string {
	if h.path == "/v2" || strings.HasPrefix(h.path, "/v2/") {
		return ""
	}
	return h.path
}

func (h host) insecure() bool { return h.scheme != "https" || h.skipVerify }

// entry is a host in hosts.toml.
type entry struct {
	Capabilities []string       `toml:"capabilities"`
	CA           any            `toml:"ca"`
	Client       any            `toml:"client"`
	SkipVerify   *bool          `toml:"skip_verify"`
	Header       map[string]any `toml:"header"`
	OverridePath bool           `toml:"override_path"`
	DialTimeout  string         `toml:"dial_timeout"`
}

// hosts are the places for a registry's images, the one that decides last at the
// end; there is always one.
func (a *Access) hosts(registry string) ([]host, error) {
	dirs := a.config.Hosts
	if len(dirs) == 0 {
		registries, err := a.registries()
		if err != nil {
			return nil, err
		}
		dirs = registries.HostsDirs
	}
	dir, err := hostDir(dirs, registry)
	if err != nil {
		return nil, fmt.Errorf("reading how containerd reaches %s: %w", registry, err)
	}
	if dir == "" {
		return []host{byDefault(registry)}, nil
	}
	file := filepath.Join(dir, "hosts.toml")
	data, err := configfile.Read(file, maxHosts)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading how containerd reaches %s: %w", registry, err)
	}
	if len(data) == 0 {
		h, err := certificates(dir, registry)
		return []host{h}, err
	}
	hosts, err := parseHosts(data, file, registry)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return hosts, nil
}

// hostDir is the directory about a registry: of the first root that has one.
// "registry:5000" may be written registry_5000_.
func hostDir(roots []string, registry string) (string, error) {
	names := []string{registry, "_default"}
	if i := strings.LastIndexByte(registry, ':'); i > 0 {
		names = slices.Insert(names, 0, registry[:i]+"_"+registry[i+1:]+"_")
	}
	for _, root := range roots {
		for _, name := range names {
			dir := filepath.Join(root, name)
			_, err := os.Stat(dir)
			if err == nil {
				return dir, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return "", err
			}
		}
	}
	return "", nil
}

// byDefault is the registry itself, where no file says otherwise.
func byDefault(registry string) host {
	h := host{scheme: "https", host: registry, path: "/v2", pull: true, from: "containerd's defaults"}
	switch {
	case registry == "docker.io":
		h.host = "registry-1.docker.io"
	case loopback(registry):
		_, port, _ := net.SplitHostPort(registry)
		h.skipVerify = port != "80"
		if port == "80" {
			h.scheme = "http"
		} else if port != "" && port != "443" {
			h.scheme = ""
		}
	}
	return h
}

// loopback reports whether a registry is on this host, for containerd.
func loopback(registry string) bool {
	name, _, err := net.SplitHostPort(registry)
	if err != nil {
		name = registry
	}
	ip, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return name == "localhost" || err == nil && ip.IsLoopback()
}

// parseHosts reads hosts.toml.
func parseHosts(data []byte, file, registry string) ([]host, error) {
	var doc struct {
		entry
		Server string           `toml:"server"`
		Host   map[string]entry `toml:"host"`
	}
	dec := toml.NewDecoder(bytes.NewReader(data)).DisallowUnknownFields()
	if err := dec.Decode(&doc); err != nil {
		return nil, tomlError(err)
	}
	var hosts []host
	for _, name := range hostTables(data) { // in the order of the file
		e, ok := doc.Host[name]
		if !ok {
			continue // it stands twice: a table, and one below it later
		}
		delete(doc.Host, name)
		h, err := e.host(name, file)
		if err != nil {
			return nil, fmt.Errorf("host.%q: %w", name, err)
		}
		hosts = append(hosts, h)
	}
	for name := range doc.Host {
		return nil, fmt.Errorf("host.%q: containerd passes it over: write it as a table, [host.%q]", name, name)
	}
	server := byDefault(registry)
	if doc.Server != "" {
		var err error
		if server, err = doc.entry.host(doc.Server, file); err != nil {
			return nil, fmt.Errorf("server: %w", err)
		}
	} else if err := doc.entry.dress(&server, file); err != nil {
		return nil, err
	} else {
		server.pull = true // capabilities are those of a server that has a URL
	}
	server.from = file
	last := server
	hosts = slices.DeleteFunc(append(hosts, server), func(h host) bool { return !h.pull })
	if len(hosts) == 0 {
		return nil, fmt.Errorf("no host has the capability pull, %s neither", last.host)
	}
	return hosts, nil
}

// tomlError is what is wrong, by field or line. The library's messages quote the
// file, whose header may be secret.
func tomlError(err error) error {
	var unknown *toml.StrictMissingError
	if errors.As(err, &unknown) && len(unknown.Errors) > 0 {
		return fmt.Errorf("%s: unknown field", strings.Join(unknown.Errors[0].Key(), "."))
	}
	var bad *toml.DecodeError
	if errors.As(err, &bad) {
		line, _ := bad.Position()
		return fmt.Errorf("line %d: is not what hosts.toml has", line)
	}
	return errors.New("is not TOML")
}

// hostTables are the hosts that have a table, in the order of the file, which the
// decoder does not keep.
func hostTables(data []byte) []string {
	var names []string
	var p unstable.Parser
	p.Reset(data)
	for p.NextExpression() {
		e := p.Expression()
		if e.Kind != unstable.Table {
			continue
		}
		var key []string
		for parts := e.Key(); parts.Next(); {
			key = append(key, string(parts.Node().Data))
		}
		if len(key) >= 2 && key[0] == "host" {
			names = append(names, key[1])
		}
	}
	return names
}

// host is an entry by its URL.
func (e entry) host(text, file string) (host, error) {
	if !strings.HasPrefix(text, "http") {
		text = "https://" + text
	}
	u, err := url.Parse(text)
	if err != nil || u.Host == "" || u.User != nil || u.Scheme != "http" && u.Scheme != "https" {
		return host{}, errors.New("is not the URL of a registry")
	}
	h := host{scheme: u.Scheme, host: u.Host, path: "/v2", from: file}
	if u.Path != "" || e.OverridePath {
		h.path = path.Clean("/" + u.Path)
		if !strings.HasSuffix(h.path, "/v2") && !e.OverridePath {
			h.path = path.Join(h.path, "v2")
		}
	}
	return h, e.dress(&h, file)
}

// dress adds what an entry says besides its URL.
func (e entry) dress(h *host, file string) error {
	h.skipVerify = h.skipVerify || e.SkipVerify != nil && *e.SkipVerify
	h.pull = len(e.Capabilities) == 0
	for _, c := range e.Capabilities {
		switch strings.ToLower(c) {
		case "pull":
			h.pull = true
		case "resolve", "push", "referrers":
		default:
			return fmt.Errorf("capabilities: %q is none", c)
		}
	}
	var err error
	if h.dialTimeout, err = time.ParseDuration(e.DialTimeout); err != nil && e.DialTimeout != "" {
		return fmt.Errorf("dial_timeout: %q is not a time such as 5s", e.DialTimeout)
	}
	dir := filepath.Dir(file)
	cas, err := list(e.CA)
	if err != nil {
		return fmt.Errorf("ca: %w", err)
	}
	for _, ca := range cas {
		h.ca = append(h.ca, below(dir, ca))
	}
	if h.client, err = pairs(e.Client, dir); err != nil {
		return fmt.Errorf("client: %w", err)
	}
	h.header = make(http.Header)
	for key, value := range e.Header {
		if h.header[key], err = list(value); err != nil {
			return fmt.Errorf("header.%s: %w", key, err)
		}
	}
	// What says something of TLS is tried with it first, whatever its URL says.
	if h.scheme == "http" && !strings.HasSuffix(h.host, ":80") && (e.CA != nil || e.Client != nil || e.SkipVerify != nil) {
		h.scheme = ""
	}
	return nil
}

var errNotList = errors.New("is neither a text nor a list of texts")

// list is a text or a list of them.
func list(value any) ([]string, error) {
	switch v := value.(type) {
	case nil:
		return nil, nil
	case string:
		return []string{v}, nil
	case []any:
		var out []string
		for _, e := range v {
			s, ok := e.(string)
			if !ok {
				return nil, errNotList
			}
			out = append(out, s)
		}
		return out, nil
	}
	return nil, errNotList
}

// pairs are certificates with their keys: a file with both, a list of such, or a
// list of pairs.
func pairs(value any, dir string) ([][2]string, error) {
	elements, ok := value.([]any)
	if !ok && value != nil {
		elements = []any{value}
	}
	var out [][2]string
	for _, e := range elements {
		files, err := list(e)
		switch {
		case err != nil || len(files) == 0 || len(files) > 2:
			return nil, errors.New("is neither a file, a list of files, nor a list of pairs of files")
		case len(files) == 1:
			files = append(files, files[0])
		}
		out = append(out, [2]string{below(dir, files[0]), below(dir, files[1])})
	}
	return out, nil
}

// below is a path that may be relative to a directory.
func below(dir, p string) string {
	if filepath.IsAbs(p) {
		return p
	}
	return filepath.Join(dir, p)
}

// certificates is the registry itself with the certificates of a directory, as
// Docker lays them out: *.crt of authorities, *.cert and *.key of ours.
func certificates(dir, registry string) (host, error) {
	h := byDefault(registry)
	h.from = dir
	entries, err := os.ReadDir(dir)
	switch {
	case err != nil:
		return h, fmt.Errorf("reading how containerd reaches %s: %w", registry, err)
	case len(entries) > maxCertificates:
		return h, fmt.Errorf("%s: %d files, at most %d are read", dir, len(entries), maxCertificates)
	}
	for _, e := range entries {
		file := filepath.Join(dir, e.Name())
		if e.IsDir() {
			continue
		}
		if strings.HasSuffix(file, ".crt") {
			h.ca = append(h.ca, file)
		} else if base, ok := strings.CutSuffix(file, ".cert"); ok {
			key := base + ".key"
			if _, err := os.Stat(key); err != nil {
				key = file
			}
			h.client = append(h.client, [2]string{file, key})
		}
	}
	return h, nil
}
