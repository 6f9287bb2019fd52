// Package access reaches registries as podman and skopeo reach them.
//
// The agent looks for evidence in the repository that a client was sent to. For
// that it needs what the client has: registries.conf with its drop-ins, the
// credentials of "podman login", the certificates of certs.d. [Load] reads the
// first of these, with the library that clients read it with
// (sysregistriesv2); what it says of names is [Access.Table]. Credentials and
// certificates are read when they are needed, so that a login counts at once.
// All of it is that of one host or one user, see [podman.Host].
//
// # What is as clients have it
//
//   - registries.conf: the first that exists, then all drop-ins, of which a
//     later rule takes the place of an earlier one with the same prefix.
//   - insecure = true: certificates are not verified, and HTTP is tried where
//     HTTPS does not answer. Without it neither is done, on loopback and private
//     addresses either: --tls-verify=false is said to one command, and not to us.
//   - Credentials: by credential-helpers of registries.conf, or else from the
//     first auth file that has some for the repository, its namespaces or its
//     registry, in this order; credHelpers of an auth file come before.
//   - certs.d: the first directory that there is for the registry's host[:port].
//
// # What is not
//
//   - Credential helpers that take longer than ten seconds are killed.
//   - A registry with namespace-proxy answers by what a client says besides the
//     name, which the lookaside is not told: evidence is not looked for there.
//   - The environment does not count (CONTAINERS_REGISTRIES_CONF, DOCKER_CONFIG):
//     the agent's is another one than its clients'. The proxy's of net/http does.
//   - $HOME/.dockercfg, Docker's format of before 2015, is not read.
//
// What is wrong with any of these files is an error that names it, never "there
// is no signature".
package access

import (
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	"go.podman.io/image/v5/docker/reference"

	"github.com/touchmark/touchmark/core/attach"
	"github.com/touchmark/touchmark/core/credhelper"
	"github.com/touchmark/touchmark/core/location"
	"github.com/touchmark/touchmark/podman"
)

// agent is whose credentials a Source has, in attach.Source.As.
const agent = "agent"

// Access is how one host, or one user, reaches registries. It is safe for concurrent use, and does not see changes of registries.conf.
type Access struct {
	host      podman.Host
	authFiles []string
	conf      *registriesConf
	table     *location.Table
	// helperTimeout is how long a credential helper may take.
	helperTimeout time.Duration

	mu         sync.Mutex
	transports map[transportKey]*dated // guarded by mu
}

// Load reads registries.conf and its drop-ins. The authFiles, if there are any, are taken in the place of those of the host, as REGISTRY_AUTH_FILE is.
func Load(h podman.Host, authFiles ...string) (*Access, error) {
	conf, err := readRegistriesConf(h.RegistriesConfs(), h.RegistriesConfD())
	if err != nil {
		return nil, err
	}
	table, err := location.New(conf.rewrites())
	if err != nil {
		return nil, fmt.Errorf("registries.conf: %w", err)
	}
	if len(authFiles) == 0 {
		authFiles = h.AuthFiles()
	}
	return &Access{
		host: h, authFiles: authFiles, conf: conf, table: table, helperTimeout: credhelper.Timeout,
		transports: map[transportKey]*dated{},
	}, nil
}

// Table says where clients look for images.
func (a *Access) Table() *location.Table { return a.table }

// Files are the files and directories that [Load] read, or would have if they were there. When they change, Load has to be called again.
func (a *Access) Files() []string {
	return slices.Concat(a.host.RegistriesConfs(), a.host.RegistriesConfD(), a.conf.files)
}

// Source is how to look for evidence in a repository: the place that a client looks at, with docker.io and library/ in full. With credentials it
// asks with those of the host or user, which are looked up when it is used, and shows their client certificate; without, anonymously.
// Nothing is asked yet. An error is about the name or the host's files.
func (a *Access) Source(physical string, withCredentials bool) (attach.Source, error) {
	ref, err := reference.ParseNamed(physical)
	if err != nil || !reference.IsNameOnly(ref) {
		return attach.Source{}, fmt.Errorf("repository %q: not a repository's full name", physical)
	}
	if rule, ok := a.conf.namespaced(physical); ok {
		return attach.Source{}, fmt.Errorf("repository %s: evidence can't be looked for under %s, which has namespace-proxy in registries.conf", physical, rule)
	}
	insecure := a.table.Insecure(physical)
	var options []name.Option
	if insecure {
		options = append(options, name.Insecure)
	}
	repository, err := name.NewRepository(physical, options...)
	if err != nil {
		return attach.Source{}, fmt.Errorf("repository %q: %w", physical, err)
	}
	transport, err := a.transport(transportKey{host: reference.Domain(ref), insecure: insecure, anonymous: !withCredentials})
	if err != nil {
		return attach.Source{}, err
	}
	source := attach.Source{Repository: repository, Transport: transport}
	if withCredentials {
		source.Keychain, source.As = keychain{a}, agent
	}
	return source, nil
}

// ShortNames is what becomes of names without a registry, for the doctor. Signatures are judged by the full name, whichever a client makes of it.
type ShortNames struct {
	Mode    string            // short-name-mode, as it is written; "" is the default, permissive
	Search  []string          // unqualified-search-registries, in their order
	From    string            // the file that says so
	Aliases map[string]string // short name -> full name; "" is none
}

// ShortNames says what registries.conf makes of short names. What users were asked and chose is kept elsewhere.
func (a *Access) ShortNames() ShortNames { return a.conf.shortNames }

// under reports whether a repository lies under a location, or under a domain if that is *.example.com.
func under(repository, place string) bool {
	if domain, ok := strings.CutPrefix(place, "*"); ok {
		host, _, _ := strings.Cut(repository, "/")
		host, _, _ = strings.Cut(host, ":")
		return strings.HasSuffix(host, domain)
	}
	rest, ok := strings.CutPrefix(repository, place)
	return ok && (rest == "" || rest[0] == '/' || rest[0] == ':')
}
