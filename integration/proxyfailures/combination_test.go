package proxyfailures_test

import (
	"bytes"
	"cmp"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
)

// combination is one fault at one thing that one request leads to.
type combination struct {
	flavour  *flavour
	entry    entry
	at       string
	fault    fault
	source   bool   // at the registry that the policy names as source
	upstream string // URL in the place of the registry's; empty for a fault at something else
	kept     string // directory with the cache of an earlier process; empty for a proxy without a cache
	warm     bool   // the proxy has served and refused everything before: it remembers manifests and verdicts, and has a session
}

func (c combination) String() string {
	where := c.at
	if c.source {
		where += " at the source"
	}
	if c.kept != "" {
		where += ", with a cache"
	}
	if c.warm {
		where += ", later"
	}
	return fmt.Sprintf("%s %s (%s): %s: %s", c.entry.method, c.entry.name, c.flavour.name, where, c.fault.name)
}

// run asks a new proxy for an image that is signed and for its twin that is not, and returns what is wrong, and what the registries were asked for.
func (c combination) run(t *testing.T, b *bench) (problems []string, asked, askedSource map[string]bool) {
	upstream := &faulty{good: c.flavour.upstream.handler, parts: c.flavour.names()}
	source := &faulty{parts: c.flavour.names()}
	broken := upstream
	if c.source {
		broken = source
	}
	if !c.warm {
		broken.fail(c.at, c.fault)
	}
	url := upstream.serve(t)
	defer upstream.end()
	if c.flavour.source != nil {
		source.good = c.flavour.source.handler
		source.serve(t)
		defer source.end()
	}
	more := ""
	if c.kept != "" {
		dir := filepath.Join(b.dir, fmt.Sprintf("kept-%d", b.seq.Add(1)))
		if err := os.CopyFS(dir, os.DirFS(c.kept)); err != nil {
			return []string{err.Error()}, nil, nil
		}
		more = keeping(dir)
	}
	proxy, stop, err := b.front(cmp.Or(c.upstream, url), c.flavour.policy(source.host), more)
	if err != nil {
		return []string{err.Error()}, nil, nil
	}
	transport := &http.Transport{DisableCompression: true}
	client := &http.Client{Transport: transport}
	if c.warm {
		c.flavour.askAll(client, proxy)
		broken.fail(c.at, c.fault)
	}
	replies := make([]reply, 2)
	var wg sync.WaitGroup
	for i, a := range []artifact{c.flavour.bad, c.flavour.good} {
		if c.entry.path(c.flavour.repository, a) == "" {
			continue
		}
		wg.Go(func() {
			if first := c.entry; first.before != nil {
				first.path = first.before
				ask(client, proxy, first, c.flavour.repository, a)
			}
			replies[i] = ask(client, proxy, c.entry, c.flavour.repository, a)
		})
	}
	wg.Wait()
	transport.CloseIdleConnections()
	upstream.end() // what still waits for it ends, too
	source.end()
	stop()
	for i, wrong := range []func(reply) string{c.wrongOfBad, c.wrongOfGood} {
		if problem := wrong(replies[i]); problem != "" {
			problems = append(problems, fmt.Sprintf("%s: %s: %d %.300q %v", c, problem, replies[i].status, replies[i].body, replies[i].err))
		}
	}
	return problems, upstream.asked, source.asked
}

// keeping is the part of a configuration that keeps what was admitted, for an outage.
func keeping(dir string) string { return "cache: {dir: " + dir + ", size: 1GiB}\noffline: 1h\n" }

// wrongOfBad: nothing of an image that nobody signed leaves, whatever fails.
func (c combination) wrongOfBad(r reply) string {
	switch {
	case bytes.Contains(r.body, []byte(canary)):
		return "the canary is out"
	case c.entry.isContent() && r.status > 0 && r.status < 300:
		return "it is served"
	case c.entry.name == "countersigned .sig tag" && r.status == http.StatusOK && bytes.Contains(r.body, []byte(proxyAuthority)):
		return "it is countersigned"
	}
	return ""
}

// proxyAuthority stands in what the proxy countersigns.
const proxyAuthority = "dev.touchmark"

// wrongOfGood: an image that is admitted is served as it is, or the proxy cannot tell now.
func (c combination) wrongOfGood(r reply) string {
	none := c.fault.name == ""
	switch {
	case c.kept != "" && c.upstream != "" && c.entry.isContent() && (r.status >= 300 || r.err != nil) && !c.fault.slow:
		return "what was admitted before is not served while the registry is down"
	case r.status == 0 || r.err != nil: // broken off, or it took longer than the client waits
		if none {
			return "nothing came"
		}
		return ""
	case r.status == http.StatusOK || r.status == http.StatusPartialContent:
		if c.entry.byteRange != "" && c.kept == "" && strings.HasSuffix(c.at, "layer") {
			return "" // docs/proxy.md: without a cache a part is passed on, and clients verify the whole
		}
		if c.entry.method == http.MethodGet && c.entry.want != nil && !bytes.Equal(r.body, c.entry.want(c.flavour.good)) {
			return "it is complete, and wrong"
		}
		return ""
	case none:
		return "it is not served"
	case c.entry.method == http.MethodGet && r.message == "":
		return "no reason is given"
	case c.fault.name == "a redirect to another scheme" && r.status == http.StatusNotFound:
		return "" // it is the registry's own host, which has nothing there: go-containerregistry takes the scheme that is configured
	case r.status == http.StatusForbidden, r.code == "DENIED", r.status == http.StatusUnauthorized:
		if c.saysNone() || c.isOther() && (c.entry.method == http.MethodHead || strings.Contains(r.message, "cannot be read")) ||
			c.isTampered() && strings.Contains(r.message, "does not accept its signature") {
			return ""
		}
		return "an outage is taken for a refusal"
	case c.entry.name == "countersigned .sig tag" && r.status == http.StatusNotFound && (c.saysNone() || c.isOther()):
		return "" // the image is refused, and the registry has no such tag
	case strings.Contains(r.message, "not signed"), strings.Contains(r.message, "no signature"):
		return "an outage is called unsigned"
	case r.status == http.StatusNotFound && c.fault.status != http.StatusNotFound:
		return "an outage is called missing"
	case c.entry.method == http.MethodGet && !namesCause.MatchString(r.message):
		return "the reason does not say who failed"
	}
	return ""
}

// namesCause matches reasons that say who failed.
var namesCause = regexp.MustCompile("registry|upstream|is not a manifest that this proxy serves|no manifest that lists it is known here")

// saysNone reports whether the fault is a registry's way to say that there is no evidence, or no such tag: what lies at a tag, and a list, has no digest
// that it could be held to.
func (c combination) saysNone() bool {
	gone := c.fault.status == http.StatusNotFound || c.fault.name == "a redirect to another scheme"
	lists := gone || slices.Contains([]string{"null", "another object"}, c.fault.name)
	switch c.at {
	case "referrers tag", ".sig tag", ".att tag":
		return lists
	case "tags", "manifest by tag":
		return lists || c.fault.name == "other bytes"
	case "referrers API":
		// What of these older registries answer that do not know the API: core/attach looks at the tag then.
		return gone || slices.Contains([]int{400, 405, 406}, c.fault.status) || slices.Contains([]string{"a web page", "another Content-Type", "no Content-Type"}, c.fault.name)
	}
	return false
}

// isTampered reports whether the fault changes a signature, which legacy evidence has in its manifest's annotations: that is refused as it would be if
// somebody had pushed it, because nothing holds what lies at a tag to a digest.
func (c combination) isTampered() bool {
	return c.fault.name == "other bytes" && slices.Contains([]string{".sig tag", ".att tag"}, c.at)
}

// isOther reports whether the fault is an answer that came in full, and is not the evidence that was asked for. Whoever may push can have such a thing
// listed, and must not be able to keep an image undecided by it: it is evidence that cannot be read, and that is what the refusal says.
func (c combination) isOther() bool {
	switch c.at {
	case "evidence manifest", "evidence blob", "storage of evidence blob", "referrers tag", ".sig tag", ".att tag":
		return (!c.fault.slow || c.fault.name == "endless") && (c.fault.status == 0 || c.fault.status == http.StatusNotFound)
	}
	return false
}
