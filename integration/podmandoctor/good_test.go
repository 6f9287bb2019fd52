package podmandoctor_test

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/podman"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// goods are shapes of files of hosts that enforce.
var goods = []struct {
	name  string
	shape func(*testing.T, *world)
	ask   func(*world, *podmandoctor.Config)
	// who pulls; nil is root.
	alice bool
}{
	{name: "as installed", shape: func(*testing.T, *world) {}},
	{name: "only the declared scope as RHEL has it", shape: func(t *testing.T, w *world) {
		w.Write(t, "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release", string(foreign.public))
		w.Write(t, policyJSON, fmt.Sprintf(`{"default": %s, "transports": {
			"docker": {%q: %s, "%s:443": %s, "registry.access.redhat.com": %s, "registry.redhat.io": %s},
			"docker-daemon": {"": %s}}}`, accept, acme, demand, acme, demand, redhat, redhat, accept))
		w.Write(t, "/etc/containers/registries.d/default.yaml", "default-docker:\n  lookaside-staging: file:///var/lib/containers/sigstore\n")
		w.Write(t, "/etc/containers/registries.d/registry.access.redhat.com.yaml", "docker:\n  registry.access.redhat.com:\n    sigstore: https://access.redhat.com/webassets/docker/content/sigstore\n")
	}, ask: func(_ *world, c *podmandoctor.Config) { c.Intent.OthersAccepted = true }},
	{name: "a namespace that is closed", shape: inPolicy(demand, map[string]string{acme + "/secret": reject, acme + "/app": demand})},
	{name: "keyPaths", shape: edit(policyJSON, `"keyPath": "`+keyring+`"`, `"keyPaths": ["`+keyring+`"]`)},
	{name: "keyData", shape: edit(policyJSON, `"keyPath": "`+keyring+`"`, `"keyData": "`+base64.StdEncoding.EncodeToString(hostKey.public)+`"`)},
	{name: "an exact repository for each", shape: inPolicy(demand, map[string]string{
		acme + "/app/good": strings.Replace(demand, `"matchRepository"`, `"exactRepository", "dockerRepository": "`+acme+`/app/good"`, 1)})},
	{name: "archives are let in and on record", shape: inTransport("docker-archive"), ask: func(_ *world, c *podmandoctor.Config) { c.Intent.Transports = []string{"docker-archive"} }},
	{name: "the proxy is the location", shape: func(t *testing.T, w *world) {
		w.judgingProxy(t)
		inPolicy(accept, nil)(t, w)
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n", acme, w.throughProxy))
	}, ask: throughProxy},
	{name: "a mirror that the agent is asked about", shape: func(t *testing.T, w *world) {
		mirror := w.startRegistry(t)
		w.registries(t, fmt.Sprintf("[[registry]]\nprefix = %q\nlocation = %q\ninsecure = true\n[[registry.mirror]]\nlocation = %q\ninsecure = true\n", acme, w.registry, mirror))
		w.Write(t, ours, w.lookasideOf(w.registry, mirror))
	}},
	{name: "a user's own", alice: true, shape: func(t *testing.T, w *world) {
		a := w.Alice()
		w.Write(t, policyJSON, `{"default": `+accept+`}`)
		a.Write(t, a.Home+"/.config/containers/policy.json", policy(demand, nil))
		a.Write(t, a.Home+"/.config/containers/registries.d/touchmark.yaml", w.lookasideOf(w.registry))
	}, ask: func(w *world, c *podmandoctor.Config) {
		a := w.Alice()
		c.Host = podman.Host{Root: c.Host.Root, Home: a.Home, UID: a.UID}
	}},
	{name: "another signature besides", shape: func(t *testing.T, w *world) {
		w.Write(t, "/etc/pki/other.gpg", string(foreign.public))
		inPolicy(demand, map[string]string{acme + "/vendor": "[" + strings.Trim(otherDemand, "[]") + "," + strings.Trim(demand, "[]") + "]"})(t, w)
	}},
	{name: "commands that look worse than they are", shape: func(t *testing.T, w *world) {
		w.Write(t, "/etc/profile.d/podman.sh", "# not: skopeo --insecure-policy\nalias podman='podman --log-level=error'\nexport CONTAINERS_REGISTRIES_CONF=/etc/containers/registries.conf\n")
		w.Write(t, "/etc/cron.d/mirror", "0 4 * * * root skopeo --policy /etc/containers/policy.json copy docker://a dir:b\n")
		w.Write(t, "/etc/systemd/system/app.service", "[Service]\nExecStart=/usr/bin/app --policy /etc/app.json\nExecStartPre=/usr/bin/podman pull --signature-policy=/etc/containers/policy.json x\n")
		w.Write(t, "/usr/local/bin/docker", "#!/bin/sh\nexec podman \"$@\"\n")
		w.registriesFirst(t, fmt.Sprintf("unqualified-search-registries = [%q]\nshort-name-mode = \"enforcing\"\n", acme))
		w.registriesAlso(t, fmt.Sprintf("[aliases]\n\"good\" = \"%s/app/good\"\n", acme))
	}},
}

const redhat = `[{"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/etc/pki/rpm-gpg/RPM-GPG-KEY-redhat-release"}]`

// judgingProxy starts a proxy that lets through what the gate admits.
func (w *world) judgingProxy(t *testing.T) {
	t.Helper()
	forward := httputil.NewSingleHostReverseProxy(&url.URL{Scheme: "http", Host: w.registry})
	server := httptest.NewServer(http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if strings.Contains(r.URL.Path, "/app/bad/") {
			out.WriteHeader(http.StatusForbidden)
			fmt.Fprint(out, `{"errors":[{"code":"DENIED","message":"Source image rejected by the proxy"}]}`)
			return
		}
		forward.ServeHTTP(out, r)
	}))
	t.Cleanup(server.Close)
	w.throughProxy = strings.TrimPrefix(server.URL, "http://")
}

// TestGoodHosts: nothing is reported of hosts that let the signed image in and the unsigned one not, whichever of the usual shapes their files have.
func TestGoodHosts(t *testing.T) {
	for _, c := range goods {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.shape(t, w)
			who := w.Root()
			if c.alice {
				who = w.Alice()
			}
			for image, want := range map[string]bool{good: true, bad: false} {
				r := who.Run(t, "skopeo", "copy", "--quiet", source(image), "dir:"+w.out(t))
				if (r.Status == 0) != want {
					t.Errorf("%s: exit status %d\n%s", image, r.Status, r.Output())
				}
			}
			r := w.examine(t, func(config *podmandoctor.Config) {
				if c.ask != nil {
					c.ask(w, config)
				}
			})
			if r.Enforcing != doctor.Yes || len(r.Findings) != 0 || r.ExitStatus() != 0 {
				t.Errorf("enforcing: %s\n%s", r.Enforcing, codes(r))
			}
		})
	}
}
