// Package access reaches registries as containerd reaches them.
//
// containerd tells an image verifier the image's name, and not where it takes the
// image from nor by what credentials. [Access] finds that out from the files that
// containerd, the kubelet and Docker read.
//
// What it says of names is a [location.Table], as for every client. The files are
// read for each question, as containerd itself reads them for each pull.
//
// [Access.Admit] asks a gate about each place until one admits. Mirrors hold
// images and often no signatures, and where nothing but a mirror can be reached,
// it has them; that evidence is from elsewhere than the image does no harm, since
// it is about the digest. An image is refused only if every place could be asked:
// an outage of one of them is no "unsigned".
//
// # Places
//
// hosts.toml of the image's registry, in the directories of CRI's config_path (or
// those that are configured): the first directory that has one for the registry,
// spelled host_port_, host:port or _default. Mirrors in their order, then
// `server`; ?ns=, ca, client, skip_verify, header, dial_timeout, override_path;
// plain HTTP where a URL says http, or on loopback without a hosts.toml. A
// directory without hosts.toml holds certificates, as Docker has it. The tests hold
// it against containerd's own reader.
//
// # Credentials
//
// They are looked for when a registry is asked, in this order, and the first that
// are found are used:
//
//  1. Config.Credentials, files in the format of Docker's config.json, each with
//     the credHelpers entry of the registry, then auths (the longest name counts),
//     then credsStore. Helpers are programs in PATH.
//  2. The kubelet's credential providers, see containerd/kubelet. They are asked
//     about the repository at the place that is asked, not by the name that the pod
//     has.
//  3. registry.configs and registry.auths in config.toml and what it imports, see
//     containerd/config.
//
// A file that is wrong ends the search with an error that names it, and so does a
// program that fails if nothing else has credentials: neither is "unsigned". A
// pod's imagePullSecrets, and its service account's token, never reach a verifier.
//
// # What is not as containerd has it
//
//   - What containerd passes over or only logs is an error here that names the
//     file: an unknown field, a hosts.toml that can't be parsed (containerd asks the
//     registry itself then), hosts written as dotted keys, a URL without a host.
//   - A config_path of several directories is looked through. containerd up to 2.4
//     hands it to the transfer service as if it were one directory, and reads no
//     hosts.toml at all in such pulls (containerd issue 12808): give it one.
//   - The transfer service's own config_path is not read: containerd 2.4 does
//     nothing with it.
//   - Credentials for a registry are not sent to its mirrors.
package access

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/containerd/kubelet"
	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/location"
)

// agent is whose credentials a Source has, in attach.Source.As.
const agent = "agent"

// patience is how long all places together may take: containerd waits ten
// seconds, and the verifier nine.
const patience = 8 * time.Second

// reserve is how long before its asker gives up an answer is given: the time for
// the way back.
const reserve = 200 * time.Millisecond

// Config says where the files are.
type Config struct {
	// Containerd is config.toml; it need not exist.
	Containerd string
	// Hosts are directories of hosts.toml; empty for those of config_path.
	Hosts []string
	// Credentials are files in the format of Docker's config.json, the first that
	// has some for a registry counts. They need not exist.
	Credentials []string
	// Providers are the kubelet's credential providers; without a File there are none.
	Providers kubelet.Config
}

// Access is how containerd on one host reaches registries. It may be used by many
// goroutines.
type Access struct {
	config Config

	mu             sync.Mutex
	transports     map[string]*http.Transport // guarded by mu
	providers      *kubelet.Providers         // guarded by mu; nil before they are needed
	providersState string                     // guarded by mu; of their configuration
}

// New makes an Access. Nothing is read yet.
func New(c Config) *Access {
	return &Access{config: c, transports: make(map[string]*http.Transport)}
}

// Place is where evidence is looked for.
type Place struct {
	Source attach.Source
	// Registry is the host[:port] that is asked.
	Registry string
}

// Table says where containerd looks for the images of a registry.
func (a *Access) Table(registry string) (*location.Table, error) {
	hosts, err := a.hosts(registry)
	if err != nil {
		return nil, err
	}
	return table(registry, hosts)
}

// table is what hosts say of names.
func table(registry string, hosts []host) (*location.Table, error) {
	rule := location.Rewrite{Prefix: registry, From: hosts[0].from}
	for _, h := range hosts[:len(hosts)-1] {
		rule.Mirrors = append(rule.Mirrors, location.Mirror{Location: h.location(), Insecure: h.insecure()})
	}
	server := hosts[len(hosts)-1]
	rule.Location, rule.Insecure = server.location(), server.insecure()
	return location.New([]location.Rewrite{rule})
}

// Places are where containerd looks for a repository, mirrors first. The name is
// as containerd has it. With credentials, they are asked with those of this host.
func (a *Access) Places(repository string, withCredentials bool) ([]Place, error) {
	registry, _, _ := strings.Cut(repository, "/")
	hosts, err := a.hosts(registry)
	if err != nil {
		return nil, err
	}
	t, err := table(registry, hosts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", hosts[0].from, err)
	}
	found, err := t.Places(repository)
	if err != nil {
		return nil, err
	}
	var places []Place
	for _, p := range found {
		i := slices.IndexFunc(hosts, func(h host) bool {
			rest, ok := strings.CutPrefix(p.Repository, h.location()+"/")
			return ok && strings.HasSuffix(repository, "/"+rest)
		})
		if i < 0 {
			continue
		}
		place, err := a.place(p.Repository, registry, hosts[i], withCredentials)
		if err != nil {
			return nil, err
		}
		places = append(places, place)
	}
	return places, nil
}

// place is one of them, made ready to be asked.
func (a *Access) place(physical, registry string, h host, withCredentials bool) (Place, error) {
	var options []name.Option
	if h.scheme != "https" {
		options = append(options, name.Insecure)
	}
	repo, err := name.NewRepository(physical, options...)
	if err != nil {
		return Place{}, fmt.Errorf("%s: %w", h.from, err)
	}
	transport, err := a.transport(h, registry, withCredentials)
	if err != nil {
		return Place{}, err
	}
	p := Place{Source: attach.Source{Repository: repo, Transport: transport}, Registry: h.host}
	if withCredentials {
		p.Source.As, p.Source.Keychain = agent, keychain{access: a, physical: physical, registry: repo.RegistryStr()}
	}
	return p, nil
}

// Admit asks next about an image at each place in turn. repository is the image's
// name as containerd has it; the request's Source is filled in here. It ends before
// ctx does, and after eight seconds, and names the place that it waits for.
func (a *Access) Admit(ctx context.Context, next gate.Admitter, req gate.Request, repository string, withCredentials bool) gate.Verdict {
	places, err := a.Places(asContainerd(repository), withCredentials)
	if err == nil && len(places) == 0 {
		err = errors.New("containerd's configuration names no place to pull it from")
	}
	if err != nil {
		return gate.Undecided(req, gate.CodeLookupFailed, err)
	}
	var undecided, absent, refused *gate.Verdict
	start := time.Now()
	end := start.Add(patience)
	if asker, ok := ctx.Deadline(); ok && asker.Add(-reserve).Before(end) {
		end = asker.Add(-reserve)
	}
	for i, p := range places {
		req.Source = p.Source
		// What one place does not use of its time is the next ones'.
		each, cancel := context.WithTimeout(ctx, time.Until(end)/time.Duration(len(places)-i))
		v := next.Admit(each, req)
		lacks := len(places) > 1 && lacksImage(each, v, req)
		late := each.Err() != nil && ctx.Err() == nil
		cancel()
		switch {
		case v.Admitted():
			return v
		case v.Outcome == gate.OutcomeRefused:
			refused = &v
			continue
		case lacks:
			absent = &v // containerd goes on to the next, too
			continue
		case late:
			v = gate.Undecided(req, gate.CodeTimeout, fmt.Errorf("no answer from %s within %s", p.Registry, time.Since(start).Round(100*time.Millisecond)))
		case v.Code == gate.CodeForbidden && a.anonymous(ctx, p):
			v.Reason = fmt.Sprintf("cannot decide about %s@%s: no registry credentials on this node for %s: %s (%s)",
				req.Repository, req.Digest, p.Registry, a.remedy(withCredentials), strings.TrimPrefix(v.Reason, fmt.Sprintf("cannot decide about %s@%s: ", req.Repository, req.Digest)))
		}
		if undecided == nil {
			undecided = &v
		}
	}
	return *cmp.Or(undecided, refused, absent)
}

// anonymous reports whether a place was asked without credentials.
func (a *Access) anonymous(ctx context.Context, p Place) bool {
	if p.Source.Keychain == nil {
		return true
	}
	found, err := authn.Resolve(ctx, p.Source.Keychain, p.Source.Repository)
	return err == nil && found == authn.Anonymous
}

// lacksImage reports whether a registry says that it does not have the image:
// then it has nothing beside it either.
func lacksImage(ctx context.Context, v gate.Verdict, req gate.Request) bool {
	if v.Code != gate.CodeLookupFailed {
		return false
	}
	there, err := attach.Has(ctx, req.Source, req.Digest)
	return err == nil && !there
}

// remedy is what to do where there are no credentials.
func (a *Access) remedy(withCredentials bool) string {
	if !withCredentials {
		return "the agent's own are used for root and its own user only"
	}
	if len(a.config.Credentials) == 0 {
		return "name a file with some in config.yaml, as containerd.credentials"
	}
	return "put some into " + a.config.Credentials[0]
}

// asContainerd is containerd's spelling of a repository: docker.io for Docker Hub.
func asContainerd(repository string) string {
	if rest, ok := strings.CutPrefix(repository, name.DefaultRegistry+"/"); ok {
		return "docker.io/" + rest
	}
	return repository
}
