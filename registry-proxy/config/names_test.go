package config_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/registry-proxy/config"
)

// PX-15: at a name of the proxy's own, nobody's password is sent to the upstream of a registry whose clients are passed through.
func TestPX15_NamesBesidePassThrough(t *testing.T) {
	const other = `- {upstream: "https://other.example", prefix: other}` + "\n"
	for _, c := range []struct {
		names, hosts string
		passThrough  bool
		more         string
		refused      string
	}{
		{"proxy.example:5443", "proxy.example", true, other, `:1: names[0]: "proxy.example:5443" is covered by registries[0].hosts`},
		{"proxy.example", "proxy.example", true, other, `:1: names[0]: "proxy.example" is covered by registries[0].hosts`},
		{"pull.example, proxy.example:5443", "acme.example, proxy.example:5443", true, other, `:1: names[1]: "proxy.example:5443" is covered by registries[0].hosts`},
		{"proxy.example:5443", "proxy.example", false, other, ""},
		{"proxy.example:5443", "proxy.example", true, "", ""}, // there are no others
		{"proxy.example:5443", "acme.example", true, other, ""},
		{"proxy.example", "proxy.example:5443", true, other, ""},     // only that port is the registry's
		{"proxy.example:443", "proxy.example:5443", true, other, ""}, // another one
		{"proxy.example:5443", "example, a.proxy.example", true, other, ""},
	} {
		text := fmt.Sprintf("names: [%s]\npolicy: p.yaml\nregistries:\n- upstream: https://acme.example\n  hosts: [%s]\n  passThrough: %v\n%s", c.names, c.hosts, c.passThrough, c.more)
		_, err := config.Parse([]byte(text), "/etc/touchmark/proxy.yaml")
		if (err == nil) != (c.refused == "") || err != nil && !strings.Contains(err.Error(), c.refused) {
			t.Errorf("%s\ngot %v, want %q", text, err, c.refused)
		}
	}
}
