// Package install writes a host's container configuration so that podman,
// skopeo, buildah and CRI-O ask `touchmark agent` about images, and takes it
// back.
//
//	changes, err := install.Plan(install.Options{...}) // nothing is written
//	fmt.Print(changes.Diff())
//	err = changes.Apply(ctx)
//	...
//	changes, err = install.PlanRemoval(host, hostfiles.Edited{})
//	err = changes.Apply(ctx)
//
// What is written, for the scopes that the policies are about:
//
//   - policy.json demands a countersignature of this host's key, besides what it
//     demanded before ([Merge]). No verdict becomes weaker.
//   - registries.d names the agent as lookaside under the physical name of each
//     place that a scope's images come from. Other files' entries that would
//     override it are commented out, and kept for the agent to ask, too.
//   - registries.conf.d sends registries through a proxy, if wanted.
//   - config.yaml, policy.d and trust of Touchmark itself, and the host's key.
//
// # Steps
//
// What is written and undone is the business of core/hostfiles. policy.json comes before registries.d, so that whoever is interrupted, by
// kill -9 or a power cut, leaves a host that refuses more than before, and never
// less; installing or uninstalling again finishes. A file that somebody edited in
// between is an *[EditedError], and nothing is changed.
package install

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/touchmark/touchmark/core/countersign"
	"github.com/touchmark/touchmark/core/hostfiles"
	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman"
	"github.com/touchmark/touchmark/podman/policyjson"
)

// The forms of what policy.json demands.
const (
	OpenPGP  = string(countersign.OpenPGP)
	Sigstore = string(countersign.Sigstore)
	Native   = "native" // what podman/native compiled; there is no agent
)

// subject is the e-mail address in the certificates of the sigstore form.
const subject = countersign.Subject

// The modes.
const (
	Enforce = "enforce"
	Observe = "observe"
)

// Settings are what an administrator decided. They are remembered: installing
// again without saying otherwise keeps them.
type Settings struct {
	// Scopes are the registries, namespaces and repositories to enforce.
	Scopes []string `json:"scopes"`
	// ScopesGiven says that somebody named them; otherwise they follow from the
	// policies, each time anew.
	ScopesGiven bool `json:"scopesGiven,omitempty"`
	// Form is [OpenPGP], [Sigstore] or [Native].
	Form string `json:"form"`
	// Mode is [Enforce] or [Observe]. Observing keeps the default and the other
	// transports.
	Mode string `json:"mode"`
	// KeepDefault leaves what policy.json says of images outside of the scopes.
	KeepDefault bool `json:"keepDefault,omitempty"`
	// OtherTransports is [Keep] or [Reject]; "" is Keep with KeepDefault or when
	// observing, and Reject otherwise.
	OtherTransports string `json:"otherTransports,omitempty"`
	// Proxies are the URLs of registry proxies, by registry.
	Proxies map[string]string `json:"proxies,omitempty"`
	// Listen is the agent's HOST:PORT.
	Listen string `json:"listen"`
	// Systemd says that units are installed.
	Systemd bool `json:"systemd,omitempty"`
}

// Options say what is to be installed, and where.
type Options struct {
	Host podman.Host
	Settings
	// Table is what registries.conf says of names, without the drop-in that is
	// written here; nil is no rule.
	Table *location.Table
	// Policies and Roots are files to put into the policy directory and the
	// directory of trust roots, by name. Both may be empty if files are there.
	Policies, Roots map[string][]byte
	// PolicyDir and TrustDir are these directories.
	PolicyDir, TrustDir string
	// Units are systemd units, by name, installed if Settings say so.
	Units map[string][]byte
	// Public is the file with the host key's public half.
	Public string
	// KeyFiles are the files that Generate makes: they are taken away by
	// uninstall if they were not there before.
	KeyFiles []string
	// Generate makes the host's key, where there is none. Not called for [Native].
	Generate func(context.Context) error
	// Rules are the requirements of [Native], by scope; Attachments the scopes
	// whose signatures lie in .sig tags, and Lookasides where those of others lie.
	Rules       map[string][]policyjson.Requirement
	Attachments []string
	Lookasides  map[string]string
}

// Plan finds out what has to be changed. It writes nothing.
func Plan(o Options) (*Changes, error) {
	if err := o.check(); err != nil {
		return nil, fmt.Errorf("planning the installation: %w", err)
	}
	r, err := place(o.Host).Installed()
	if err != nil {
		return nil, err
	}
	p := &planner{Options: o, record: r}
	for _, step := range []func() error{p.inputs, p.config, p.policyJSON, p.registriesD, p.registriesConf} {
		if err := step(); err != nil {
			return nil, fmt.Errorf("planning the installation: %w", err)
		}
	}
	w := hostfiles.Wanted{Place: place(p.Host), Settings: p.Settings, Last: r, Files: p.files, Notes: p.notes}
	if p.Form != Native {
		w.Keys, w.Generate = p.KeyFiles, p.Generate
		if !p.Host.User() {
			w.Directories = []string{Staging(p.Host)}
		}
	}
	return w.Plan()
}

func (o *Options) check() error {
	if len(o.Scopes) == 0 {
		return errors.New("there are no scopes: no policy names a registry or namespace; say which are to be enforced with --scope")
	}
	o.Scopes = slices.Clone(o.Scopes)
	for i, s := range o.Scopes {
		full, err := CheckScope(s)
		if err != nil {
			return err
		}
		o.Scopes[i] = full
	}
	o.Scopes = outermost(o.Scopes)
	if o.Form == Native && o.Mode == Observe {
		return errors.New("--native has no agent that could observe")
	}
	switch o.Mode {
	case Enforce:
	case Observe:
		o.KeepDefault = true
	default:
		return fmt.Errorf("mode %q: neither %s nor %s", o.Mode, Enforce, Observe)
	}
	switch {
	case o.OtherTransports == "" && o.KeepDefault:
		o.OtherTransports = Keep
	case o.OtherTransports == "":
		o.OtherTransports = Reject
	case o.OtherTransports != Keep && o.OtherTransports != Reject:
		return fmt.Errorf("other transports %q: neither %s nor %s", o.OtherTransports, Keep, Reject)
	case o.OtherTransports == Reject && o.Mode == Observe:
		return errors.New("observing and rejecting other transports contradict each other")
	}
	if o.Table == nil {
		t, err := location.New(nil)
		if err != nil {
			return err
		}
		o.Table = t
	}
	return nil
}

// planner collects what every file is to be.
type planner struct {
	Options
	record *hostfiles.Record
	files  []hostfiles.File // in the order in which they are written
	notes  []string
	merged *policyjson.File
	ours   []policyjson.Requirement // what asks for the lookaside
}

func (p *planner) file(path string, data []byte) {
	p.files = append(p.files, hostfiles.File{Path: path, Data: data, Mode: 0o644})
}

func (p *planner) note(format string, args ...any) {
	p.notes = append(p.notes, fmt.Sprintf(format, args...))
}

// inputs are policies, trust roots and units.
func (p *planner) inputs() error {
	for _, set := range []struct {
		dir   string
		files map[string][]byte
	}{{p.TrustDir, p.Roots}, {p.PolicyDir, p.Policies}} {
		for _, name := range slices.Sorted(maps.Keys(set.files)) {
			p.files = append(p.files, hostfiles.File{Path: filepath.Join(set.dir, name), Data: set.files[name], Mode: 0o644, Input: true})
		}
	}
	if p.Mode == Observe {
		if err := p.noEnforcement(); err != nil {
			return err
		}
		p.file(filepath.Join(p.PolicyDir, observeFile), []byte(observing))
		p.note("observing: nothing is refused that was not before, and `touchmark report` shows what would be. Clients still ask: while the agent is not running, nothing is pulled from %s", strings.Join(p.Scopes, ", "))
	}
	if p.Systemd {
		for _, name := range slices.Sorted(maps.Keys(p.Units)) {
			p.file(filepath.Join(p.Host.SystemdUnits(), name), p.Units[name])
		}
	}
	return nil
}

// rules are what every scope demands, under all its spellings.
func (p *planner) rules() (map[string][]policyjson.Requirement, error) {
	out := map[string][]policyjson.Requirement{}
	if p.Form == Native {
		for scope, reqs := range p.Rules {
			for _, s := range spellings(scope) {
				out[s] = reqs
			}
		}
		return out, nil
	}
	ours, err := countersigned(p.Form, p.Host.Within(p.Public))
	if err != nil {
		return nil, err
	}
	p.ours = []policyjson.Requirement{ours}
	for _, scope := range p.Scopes {
		for _, s := range spellings(scope) {
			out[s] = p.ours
		}
	}
	return out, nil
}

// policyJSON merges the demands into the policy.json that holds now.
func (p *planner) policyJSON() error {
	var before *policyjson.File
	target := p.Host.PolicyJSON()
	for _, path := range p.Host.PolicyJSONs() {
		was, existed, _, err := p.record.Before(path)
		if err != nil {
			return err
		}
		if !existed {
			continue
		}
		if before, err = policyjson.Parse(was.Data, path); err != nil {
			return err
		}
		if path != target {
			p.note("%s is made from %s, whose place it takes: later changes there no longer count", target, path)
		}
		break
	}
	rules, err := p.rules()
	if err != nil {
		return err
	}
	if p.Form != Native {
		p.note(Carried)
	}
	p.merged = Merge(before, Demand{Rules: rules, KeepDefault: p.KeepDefault, OtherTransports: p.OtherTransports})
	if p.Host.User() {
		p.withoutHost(rules)
	}
	p.explain(before)
	p.file(target, p.merged.JSON())
	return nil
}

// explain says what people will notice besides signatures.
func (p *planner) explain(before *policyjson.File) {
	if before == nil {
		return
	}
	for _, scope := range p.Scopes {
		if reqs, from := before.Effective("docker", scope); slices.ContainsFunc(reqs, func(r policyjson.Requirement) bool { return r.Type == policyjson.Reject }) {
			p.note("%s: policy.json rejects its images already (%s), and goes on doing so, whatever the policies say", scope, from)
		}
	}
	for _, transport := range append([]string{"docker"}, transports...) {
		was, _ := before.Effective(transport, "")
		is, _ := p.merged.Effective(transport, "")
		if equal(was, is) {
			continue
		}
		switch transport {
		case "docker":
			p.note("images of registries that policy.json does not name are refused from now on; --keep-default leaves them as they were")
		case "docker-archive", "tarball", "dir":
			p.note("%s is refused from now on; --other-transports keep leaves it as it was",
				map[string]string{"docker-archive": "podman load (docker-archive:, oci-archive:)", "tarball": "podman import", "dir": "reading images from dir: and oci:"}[transport])
		}
	}
}

// Carried says which commands need a flag on a host that enforces: clients keep a
// signature with what they pulled, and some can't keep it.
const Carried = "what is pulled from the scopes carries a signature: podman push and buildah push of it, and skopeo copy to oci:, oci-archive: and docker-archive:, need --remove-signatures"
