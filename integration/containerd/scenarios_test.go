package containerd_test

import (
	"net/http"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/integration/internal/lab"
)

// scenario is something that goes wrong on a host, and what its users see then.
type scenario struct {
	further string // lines of config.yaml
	// before is what is special about the host, before anything runs there.
	before func(*testing.T, *host)
	// trouble is what goes wrong, after an image was admitted.
	trouble func(*testing.T, *host)
	// says is what the users see of the pull of a signed image; empty if it is admitted all the same. Then an unsigned image is refused all the same.
	says []string
}

// beside puts a verifier beside ours, which is asked first.
func beside(script string) func(*testing.T, *host) {
	return func(t *testing.T, h *host) { h.Script(t, lab.BinDir+"/a", script) }
}

// wrapped starts our verifier by a script.
func wrapped(script string) func(*testing.T, *host) {
	return func(t *testing.T, h *host) {
		h.Root().Must(t, 0, "rm", lab.BinDir+"/touchmark-containerd")
		h.Install(t, verifier, "/usr/local/bin/touchmark-containerd")
		h.Script(t, lab.BinDir+"/touchmark-containerd", script)
	}
}

func settings(text string) func(*testing.T, *host) {
	return func(t *testing.T, h *host) {
		h.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(3, text))
	}
}

func away(t *testing.T, h *host) { h.unserve() }

// Whatever goes wrong with verifier, agent, policy or process, nothing is pulled that must not be, and the users of ctr and of CRI are told why.
func TestScenarios(t *testing.T) {
	s := newSite(t)
	signed, unsigned := s.push(t, "signed", alice), s.push(t, "unsigned", "")
	blocked := "with digest " + digestOf(t, signed)
	const ours = "verifier touchmark-containerd rejected image (exit code 1): "
	const env = "#!/bin/sh\nexec env -i "
	for name, c := range map[string]scenario{
		"CTRD-08 a verifier is killed":        {trouble: beside("#!/bin/sh\nkill -9 $$\n"), says: []string{"blocking pull of " + signed + " " + blocked + ": image verifier bindir returned error: failed to call verifier a", "signal: killed"}},
		"CTRD-08 ours is killed":              {trouble: wrapped("#!/bin/sh\nkill -9 $$\n"), says: []string{"failed to call verifier touchmark-containerd", "signal: killed"}},
		"CTRD-08 out of memory":               {trouble: wrapped("#!/bin/sh\nulimit -v 50000\nexec /usr/local/bin/touchmark-containerd \"$@\"\n"), says: []string{"verifier touchmark-containerd rejected image (exit code 2)"}},
		"CTRD-08 enough memory":               {before: wrapped("#!/bin/sh\nulimit -v 4000000\nexec /usr/local/bin/touchmark-containerd \"$@\"\n")},
		"CTRD-08 exec format error":           {trouble: beside("\x7fELF"), says: []string{"failed to call verifier a", "exec format error"}},
		"CTRD-08 a file that is no program":   {trouble: func(t *testing.T, h *host) { h.Write(t, lab.BinDir+"/README", "hello") }, says: []string{"failed to call verifier README", "fork/exec " + lab.BinDir + "/README: permission denied"}},
		"CTRD-08 a link to nothing":           {trouble: func(t *testing.T, h *host) { h.Link(t, "/nowhere", lab.BinDir+"/a") }, says: []string{"failed to call verifier a", "no such file or directory"}},
		"CTRD-08 panics":                      {trouble: wrapped("#!/bin/sh\necho 'panic: runtime error' >&2\nexit 2\n"), says: []string{"verifier touchmark-containerd rejected image (exit code 2): "}},
		"CTRD-08 says much":                   {trouble: beside("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\nexit 1\n"), says: []string{"verifier a rejected image (exit code 1): xxx", "(stdout truncated)"}},
		"CTRD-08 says much and admits":        {before: beside("#!/bin/sh\nhead -c 1000000 /dev/zero | tr '\\0' x\n")},
		"CTRD-04 a verifier that hangs":       {before: settings("[plugins.'io.containerd.image-verifier.v1.bindir']\n  per_verifier_timeout = '2s'\n"), trouble: beside("#!/bin/sh\nsleep 60\n"), says: []string{"failed to call verifier a", "signal: killed"}},
		"CTRD-04 the agent hangs":             {trouble: func(_ *testing.T, h *host) { h.agent.Suspend() }, says: []string{ours + "touchmark cannot decide: no answer within 9s from the decision about " + strings.TrimSuffix(signed, ":1")}},
		"CTRD-05 no agent and not standalone": {further: "containerd: {standalone: false}", trouble: away, says: []string{ours + "touchmark cannot decide: asking the agent at /run/touchmark/agent.sock: ", "connect: connection refused"}},
		"CTRD-05 no agent but standalone":     {trouble: away},
		"CTRD-05 no agent and no touchmark":   {trouble: func(t *testing.T, h *host) { h.unserve(); h.Root().Must(t, 0, "rm", "/usr/local/bin/touchmark") }, before: wrapped("#!/bin/sh\nexec /usr/local/bin/touchmark-containerd \"$@\"\n"), says: []string{ours + "touchmark cannot decide: asking the agent at ", "and without it: finding program touchmark"}},
		"CTRD-05 a file for the agent's socket": {further: "containerd: {standalone: false}", trouble: func(t *testing.T, h *host) {
			h.unserve()
			h.Root().Must(t, 0, "rm", "-f", "/run/touchmark/agent.sock")
			h.Write(t, "/run/touchmark/agent.sock", "")
		}, says: []string{ours + "touchmark cannot decide: asking the agent at /run/touchmark/agent.sock: ", "connection refused"}},
		"CTRD-05 the agent's socket is gone": {further: "containerd: {standalone: false}", trouble: func(t *testing.T, h *host) { h.Root().Must(t, 0, "rm", "/run/touchmark/agent.sock") }, says: []string{"asking the agent at /run/touchmark/agent.sock: ", "no such file or directory"}},
		"CTRD-05 another trust root": {further: "containerd: {standalone: true}", trouble: func(t *testing.T, h *host) {
			h.unserve()
			h.Write(t, "/etc/touchmark/trust/private.json", read(t, other(t)))
		}, says: []string{ours + "refused by touchmark: "}},
		"CTRD-05 a trust root that is garbage": {trouble: func(t *testing.T, h *host) { h.unserve(); h.Write(t, "/etc/touchmark/trust/private.json", "{") }, says: []string{ours + "touchmark cannot decide: ", "/etc/touchmark/trust/private.json"}},
		"CTRD-05 no trust root": {trouble: func(t *testing.T, h *host) {
			h.unserve()
			h.Root().Must(t, 0, "rm", "/etc/touchmark/trust/private.json")
		}, says: []string{ours + "touchmark cannot decide: "}},
		"OPS a policy that is garbage":           {trouble: func(t *testing.T, h *host) { h.unserve(); h.Write(t, "/etc/touchmark/policy.d/policy.yaml", "kind: {") }, says: []string{ours + "touchmark cannot decide: ", "/etc/touchmark/policy.d/policy.yaml"}},
		"OPS garbage below a running agent":      {trouble: func(t *testing.T, h *host) { h.Write(t, "/etc/touchmark/policy.d/policy.yaml", "kind: {") }},
		"OPS a config.yaml that is garbage":      {trouble: func(t *testing.T, h *host) { h.Write(t, "/etc/touchmark/config.yaml", "polcies: x") }, says: []string{ours + "touchmark cannot decide: reading configuration: /etc/touchmark/config.yaml", "polcies"}},
		"CTRD-12 an empty environment":           {before: wrapped(env + "/usr/local/bin/touchmark-containerd \"$@\"\n")},
		"CTRD-12 no HOME and alone":              {before: wrapped(env + "PATH=/usr/local/bin:/usr/bin:/bin /usr/local/bin/touchmark-containerd \"$@\"\n"), trouble: away},
		"CTRD-12 containerd has no environment":  {before: func(_ *testing.T, h *host) { h.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"} }},
		"CTRD-12 a directory that is not there":  {before: wrapped("#!/bin/sh\nmkdir -p /tmp/gone.$$ && cd /tmp/gone.$$ && rmdir /tmp/gone.$$ && exec /usr/local/bin/touchmark-containerd \"$@\"\n")},
		"CTRD-12 a directory nobody can write":   {before: wrapped("#!/bin/sh\ncd /proc/1 && exec /usr/local/bin/touchmark-containerd \"$@\"\n"), trouble: away},
		"CTRD-12 a root that is read-only":       {trouble: func(t *testing.T, h *host) { h.unserve(); h.Root().Must(t, 0, "mount", "-o", "remount,bind,ro", "/") }},
		"CTRD-12 no network for the verifier":    {before: wrapped("#!/bin/sh\nexec unshare -n /usr/local/bin/touchmark-containerd \"$@\"\n")},
		"CTRD-12 no network for whoever decides": {before: wrapped("#!/bin/sh\nexec unshare -n /usr/local/bin/touchmark-containerd \"$@\"\n"), trouble: away, says: []string{ours + "touchmark cannot decide: ", "network is unreachable"}},
		"CTRD-13 a memory that was tampered with": {trouble: func(t *testing.T, h *host) {
			h.unserve()
			h.Write(t, "/var/lib/touchmark/agent.db", strings.Repeat("admitted ", 1000))
			h.serve(t)
		}},
		"restarted containerd":  {trouble: func(t *testing.T, h *host) { h.Restart(t); h.cri = h.CRI(t) }},
		"killed containerd":     {trouble: func(t *testing.T, h *host) { h.Kill(); h.Start(t); h.cri = h.CRI(t) }},
		"a config of version 2": {before: func(t *testing.T, h *host) { h.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(2, "")) }},
		"a config of version 4": {before: func(t *testing.T, h *host) { h.Write(t, lab.ContainerdConfig, lab.ContainerdSettings(4, "")) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			h := s.host(t, c.further)
			if c.before != nil {
				c.before(t, h)
			}
			h.boot(t)
			h.admits(t, signed)
			if c.trouble != nil {
				c.trouble(t, h)
			}
			if len(c.says) > 0 {
				h.refuses(t, signed, append(c.says, blocked)...)
				return
			}
			h.admits(t, signed)
			h.refuses(t, unsigned, "image verifier bindir blocked pull of "+unsigned, ours+"refused by touchmark: ", "is not signed")
		})
	}
}

// other is the trust root of another Sigstore.
func other(t *testing.T) string { return lab.New(t, true).Root }

// A registry that is slow, and one that is down, are told from each other, and from an image that nobody signed (CTRD-04, CTRD-05).
func TestCTRD05_Registries(t *testing.T) {
	s := newSite(t)
	s.push(t, "app", alice)
	const image, cannot = "registry.example/app:1", "rejected image (exit code 1): touchmark cannot decide: "
	for name, c := range map[string]struct {
		trouble func(http.ResponseWriter, *http.Request) bool
		says    []string
	}{
		"it never answers": {func(_ http.ResponseWriter, r *http.Request) bool {
			if evidence(r) {
				<-r.Context().Done()
			}
			return evidence(r)
		}, []string{cannot, "127.0.0.1:"}},
		"it is down for evidence": {func(w http.ResponseWriter, r *http.Request) bool {
			if evidence(r) {
				w.Header().Set("Retry-After", "3600")
				http.Error(w, "", http.StatusServiceUnavailable)
			}
			return evidence(r)
		}, []string{cannot, "503"}},
		"it forbids to look for evidence": {func(w http.ResponseWriter, r *http.Request) bool {
			if evidence(r) {
				http.Error(w, "", http.StatusForbidden)
			}
			return evidence(r)
		}, []string{cannot, "no registry credentials on this node for "}},
		"it is down for everything": {func(w http.ResponseWriter, _ *http.Request) bool {
			w.Header().Set("Retry-After", "3600")
			http.Error(w, "", http.StatusServiceUnavailable)
			return true
		}, []string{"503 Service Unavailable"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := s.front(t)
			h := s.host(t, "containerd: {standalone: false}")
			h.hosts(t, "server = \"http://"+f.Host+"\"\n")
			h.boot(t)
			f.be(func(f *front) { f.trouble = c.trouble })
			h.refuses(t, image, c.says...)
			f.be(func(f *front) { f.trouble = nil })
			h.admits(t, image)
		})
	}
}
