package config

import (
	"fmt"
	"net"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// storage reads what the proxy keeps, and shares with other replicas.
func (p parser) storage(doc *document, c *Config) error {
	c.Cache.Dir = p.Path(doc.Cache.Dir, "")
	if doc.Cache.Size != "" {
		size, err := parseSize(doc.Cache.Size)
		if err != nil {
			return p.Fail("cache.size", "%v", err)
		}
		c.Cache.Size = size
	}
	if (c.Cache.Dir == "") != (c.Cache.Size == 0) {
		return p.Fail("cache", "dir and size go together")
	}
	if doc.Offline != "" {
		d, err := time.ParseDuration(doc.Offline)
		switch {
		case err != nil || d <= 0:
			return p.Fail("offline", "%q is not a time such as 168h", doc.Offline)
		case c.Cache.Dir == "":
			return p.Fail("offline", "needs a cache: what was admitted is served from there")
		}
		c.Offline = d
	}
	c.Peers = Peers{Listen: doc.Peers.Listen, URLs: doc.Peers.URLs, DNS: doc.Peers.DNS, SecretFile: p.Path(doc.Peers.SecretFile, "")}
	switch {
	case c.Peers.Listen == "" && c.Peers.DNS == "" && len(c.Peers.URLs) == 0 && c.Peers.SecretFile == "":
		return nil
	case c.Peers.SecretFile == "":
		return p.Fail("peers.secretFile", "is missing: by what replicas know each other")
	}
	if c.Peers.Listen != "" {
		if err := checkAddress(c.Peers.Listen); err != nil {
			return p.Fail("peers.listen", "%v", err)
		}
	}
	return nil
}

// maxValidity is the longest that a countersignature may be good: a recorded one must
// be worthless soon after a policy has changed.
const maxValidity = 10 * time.Minute

func (p parser) countersign(doc *document, c *Config) error {
	d := doc.Countersign
	c.Countersign = Countersign{Key: d.Key, Authority: p.Path(d.Authority, ""), Names: d.Names}
	if d.Key != "" && (!strings.Contains(d.Key, ":") || strings.HasPrefix(d.Key, "/")) {
		c.Countersign.Key = p.Path(d.Key, "") // and no URI
	}
	if (d.Key == "") != (d.Authority == "") || d.Key == "" && (len(d.Names) > 0 || d.Validity != "") {
		return p.Fail("countersign", "key and authority go together")
	}
	if err := p.names("countersign.names", d.Names); err != nil {
		return err
	}
	if d.Key != "" {
		if field, problem := c.ambiguous(); field != "" {
			return p.Fail(field, "%s", problem)
		}
	}
	if d.Validity != "" {
		validity, err := time.ParseDuration(d.Validity)
		if err != nil || validity < time.Minute || validity > maxValidity {
			return p.Fail("countersign.validity", "%q is not a time of 1m to 10m", d.Validity)
		}
		c.Countersign.Validity = validity
	}
	return nil
}

// ambiguous says why a name for clients could stand for the images of two registries. The proxy signs names, and an image that is
// admitted at one registry must not be countersigned as another's.
func (c *Config) ambiguous() (field, problem string) {
	if len(c.Registries) == 1 {
		return "", ""
	}
	for i, r := range c.Registries {
		for j, name := range c.Countersign.Names {
			host, _, err := net.SplitHostPort(name) // a registry's host stands for all its ports
			if name == r.LogicalName() || slices.Contains(r.Hosts, name) || err == nil && slices.Contains(r.Hosts, host) {
				return fmt.Sprintf("countersign.names[%d]", j), fmt.Sprintf("%q stands for registries[%d] alone", name, i)
			}
		}
		for j, other := range c.Registries {
			if r.Prefix != "" && strings.HasPrefix(other.Prefix, r.Prefix+"/") {
				return fmt.Sprintf("registries[%d].prefix", j), fmt.Sprintf("%q could be a repository of registries[%d], whose prefix is %q; that cannot be had with countersign", other.Prefix, i, r.Prefix)
			}
		}
	}
	return "", ""
}

// sizes are the units of a size in bytes.
var sizes = map[string]int64{"": 1, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}

var sizePattern = regexp.MustCompile(`\A([1-9][0-9]{0,11})([KMGT]iB)?\z`)

func parseSize(s string) (int64, error) {
	m := sizePattern.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 50GiB", s)
	}
	n, err := strconv.ParseInt(m[1], 10, 64)
	unit := sizes[m[2]]
	if err != nil || n > (1<<62)/unit {
		return 0, fmt.Errorf("%q is too large", s)
	}
	return n * unit, nil
}
