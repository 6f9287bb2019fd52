package policy

import (
	"bytes"
	"context"
	"crypto"
	"crypto/sha256"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/identity"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// Limits on a file, far above what people write.
const (
	maxPolicies    = 1000
	maxAuthorities = 100
	maxIdentities  = 1000
	maxGlobs       = 1000
)

// The documents as YAML. A field of type unsupported is known, so that its
// refusal can say more than that the field is unknown.
type document struct {
	APIVersion string    `yaml:"apiVersion"`
	Kind       string    `yaml:"kind"`
	Metadata   metadata  `yaml:"metadata"`
	Spec       spec      `yaml:"spec"`
	Status     yaml.Node `yaml:"status"` // as "kubectl get -o yaml" prints it
}

// metadata is Kubernetes' own; only the name means something here.
type metadata struct {
	Name string         `yaml:"name"`
	Rest map[string]any `yaml:",inline"`
}

type spec struct {
	Images      []image     `yaml:"images"`
	Authorities []authority `yaml:"authorities"`
	Mode        string      `yaml:"mode"`
	Policy      unsupported `yaml:"policy"`
	Match       unsupported `yaml:"match"`
}

type image struct {
	Glob string `yaml:"glob"`
}

type authority struct {
	Name             string      `yaml:"name"`
	Key              *key        `yaml:"key"`
	Keyless          *keyless    `yaml:"keyless"`
	Static           *static     `yaml:"static"`
	CTLog            yaml.Node   `yaml:"ctlog"` // a ctlog
	Source           unsupported `yaml:"source"`
	Attestations     unsupported `yaml:"attestations"`
	RFC3161Timestamp unsupported `yaml:"rfc3161timestamp"`
	SignatureFormat  unsupported `yaml:"signatureFormat"`
}

type key struct {
	Data          string      `yaml:"data"`
	HashAlgorithm string      `yaml:"hashAlgorithm"`
	SecretRef     unsupported `yaml:"secretRef"`
	KMS           unsupported `yaml:"kms"`
}

type keyless struct {
	URL               string         `yaml:"url"`
	Identities        []identityNode `yaml:"identities"`
	TrustRootRef      string         `yaml:"trustRootRef"`
	InsecureIgnoreSCT bool           `yaml:"insecureIgnoreSCT"`
	CACert            unsupported    `yaml:"ca-cert"`
}

type identityNode struct {
	Issuer        string `yaml:"issuer"`
	IssuerRegExp  string `yaml:"issuerRegExp"`
	Subject       string `yaml:"subject"`
	SubjectRegExp string `yaml:"subjectRegExp"`
}

type static struct {
	Action  string `yaml:"action"`
	Message string `yaml:"message"`
}

type ctlog struct {
	URL          string `yaml:"url"`
	TrustRootRef string `yaml:"trustRootRef"`
}

// unsupported is a field of the format that has no meaning here, or not yet.
type unsupported = yaml.Node

// refuse returns an error if an unsupported field is set.
func refuse(field string, node unsupported) error {
	if node.IsZero() {
		return nil
	}
	return fmt.Errorf("line %d: %s is not supported", node.Line, field)
}

// Load reads policies from a regular file. The error names the file.
func Load(ctx context.Context, path string, o Options) (*Set, error) {
	info, err := os.Stat(path)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	if !info.Mode().IsRegular() || info.Size() > MaxSize {
		return nil, fmt.Errorf("reading policy: %s: not a regular file of at most %d bytes", path, MaxSize)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("reading policy: %w", err)
	}
	set, err := Parse(ctx, data, o)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return set, nil
}

// Parse reads a stream of ClusterImagePolicy documents. It is an error if there
// is none: an empty policy file is a mistake, even though it would refuse every
// image.
func Parse(_ context.Context, data []byte, _ Options) (*Set, error) {
	if len(data) > MaxSize {
		return nil, fmt.Errorf("policy: has %d bytes, the limit is %d", len(data), MaxSize)
	}
	set := &Set{Enforcement: &Enforcement{}, Digest: sha256.Sum256(data)}
	names := make(map[string]bool)
	dec := yaml.NewDecoder(bytes.NewReader(data))
	dec.KnownFields(true)
	for {
		var doc document
		err := dec.Decode(&doc)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return nil, fmt.Errorf("policy %d: %s", len(set.Policies)+1, plainYAML(err))
		}
		p, err := doc.policy()
		if err != nil {
			return nil, fmt.Errorf("policy %d (%q): %w", len(set.Policies)+1, doc.Metadata.Name, err)
		}
		if names[p.Name] {
			return nil, fmt.Errorf("policy %d: the name %q stands twice", len(set.Policies)+1, p.Name)
		}
		names[p.Name] = true
		set.Policies = append(set.Policies, p)
		if len(set.Policies) > maxPolicies {
			return nil, fmt.Errorf("policy: more than %d documents", maxPolicies)
		}
	}
	if len(set.Policies) == 0 {
		return nil, errors.New("policy: the file holds no policy")
	}
	return set, nil
}

// unknownField is how the YAML library says that a field is not known.
var unknownField = regexp.MustCompile(`field (\S+) not found in type policy\.(\S+)`)

// plainYAML says what the YAML library found in words of the format, in one
// line.
func plainYAML(err error) string {
	text := strings.TrimPrefix(err.Error(), "yaml: ")
	text = strings.TrimPrefix(text, "unmarshal errors:\n  ")
	text = unknownField.ReplaceAllString(text, "unknown field $1")
	return strings.ReplaceAll(text, "\n  ", "; ")
}

func (d document) policy() (*Policy, error) {
	if d.Kind != "ClusterImagePolicy" || d.APIVersion != "policy.sigstore.dev/v1beta1" && d.APIVersion != "policy.sigstore.dev/v1alpha1" {
		return nil, fmt.Errorf("apiVersion %q, kind %q: want policy.sigstore.dev/v1beta1, ClusterImagePolicy", d.APIVersion, d.Kind)
	}
	if d.Metadata.Name == "" {
		return nil, errors.New("metadata.name is missing")
	}
	if err := errors.Join(refuse("spec.policy", d.Spec.Policy), refuse("spec.match", d.Spec.Match)); err != nil {
		return nil, err
	}
	p := &Policy{Name: d.Metadata.Name}
	switch d.Spec.Mode {
	case "", "enforce":
		p.Mode = Enforce
	case "warn", "observe":
		p.Mode = Observe
	default:
		return nil, fmt.Errorf("spec.mode %q is not enforce or warn", d.Spec.Mode)
	}
	if n := len(d.Spec.Images); n == 0 || n > maxGlobs {
		return nil, fmt.Errorf("spec.images has %d globs, want 1 to %d", n, maxGlobs)
	}
	for i, img := range d.Spec.Images {
		pat, err := compileGlob(img.Glob)
		if err != nil {
			return nil, fmt.Errorf("spec.images[%d].glob %w", i, err)
		}
		p.Globs = append(p.Globs, img.Glob)
		p.patterns = append(p.patterns, pat)
	}
	if n := len(d.Spec.Authorities); n == 0 || n > maxAuthorities {
		return nil, fmt.Errorf("spec.authorities has %d authorities, want 1 to %d", n, maxAuthorities)
	}
	for i, a := range d.Spec.Authorities {
		if a.Name == "" {
			a.Name = fmt.Sprintf("authority-%d", i) // as policy-controller names it
		}
		parsed, err := a.authority()
		if err != nil {
			return nil, fmt.Errorf("spec.authorities[%d]: %w", i, err)
		}
		p.Authorities = append(p.Authorities, parsed)
	}
	return p, nil
}

func (a authority) authority() (*Authority, error) {
	err := errors.Join(refuse("source", a.Source), refuse("attestations", a.Attestations),
		refuse("rfc3161timestamp", a.RFC3161Timestamp), refuse("signatureFormat", a.SignatureFormat))
	if err != nil {
		return nil, err
	}
	out := &Authority{Name: a.Name}
	set := 0
	for _, given := range []bool{a.Key != nil, a.Keyless != nil, a.Static != nil} {
		if given {
			set++
		}
	}
	if set != 1 {
		return nil, fmt.Errorf("want exactly one of key, keyless and static, have %d", set)
	}
	if !a.CTLog.IsZero() {
		log, err := readTlog(a.CTLog)
		if err != nil {
			return nil, fmt.Errorf("line %d: ctlog: %w", a.CTLog.Line, err)
		}
		out.RequireLog, out.LogURL, out.TrustRoot = true, log.URL, log.TrustRootRef
	}
	switch {
	case a.Static != nil:
		return out, a.Static.read(out)
	case a.Key != nil:
		return out, a.Key.read(out)
	}
	return out, a.Keyless.read(out)
}

// readTlog reads a ctlog. A pointer would tell "ctlog:" with nothing behind it from
// none as little as YAML does, but who wrote it wants a log.
func readTlog(node yaml.Node) (ctlog, error) {
	if node.Kind == yaml.AliasNode {
		node = *node.Alias
	}
	if node.Kind != yaml.MappingNode {
		return ctlog{}, errors.New("is empty, or not a mapping; write {} for the trust root's own log")
	}
	text, err := yaml.Marshal(&node)
	if err != nil {
		return ctlog{}, err
	}
	var log ctlog
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&log); err != nil && !errors.Is(err, io.EOF) {
		return ctlog{}, err
	}
	return log, nil
}

func (s *static) read(out *Authority) error {
	switch s.Action {
	case "pass", "fail":
	default:
		return fmt.Errorf("static.action %q is not pass or fail", s.Action)
	}
	if out.RequireLog {
		return errors.New("ctlog has no meaning beside static")
	}
	out.Static = &Static{Pass: s.Action == "pass", Message: s.Message}
	return nil
}

func (k *key) read(out *Authority) error {
	if err := errors.Join(refuse("key.secretRef", k.SecretRef), refuse("key.kms", k.KMS)); err != nil {
		return err
	}
	switch k.HashAlgorithm {
	case "", "sha256":
	default:
		return fmt.Errorf("key.hashAlgorithm %q: the hash follows from the key; leave it out", k.HashAlgorithm)
	}
	if k.Data == "" {
		return errors.New("key.data is missing")
	}
	pub, err := parsePublicKey(k.Data)
	if err != nil {
		return fmt.Errorf("key.data: %w", err)
	}
	out.Key = pub
	return nil
}

func parsePublicKey(text string) (crypto.PublicKey, error) {
	block, rest := pem.Decode([]byte(text))
	if block == nil || block.Type != "PUBLIC KEY" || len(bytes.TrimSpace(rest)) != 0 {
		return nil, errors.New(`is not one PEM block of type "PUBLIC KEY"`)
	}
	pub, err := x509.ParsePKIXPublicKey(block.Bytes)
	if err != nil {
		return nil, err
	}
	if _, err := entry.HashFor(pub); err != nil {
		return nil, fmt.Errorf("its type (%T) or size is not supported", pub)
	}
	return pub, nil
}

func (k *keyless) read(out *Authority) error {
	if err := refuse("keyless.ca-cert", k.CACert); err != nil {
		return err
	}
	switch {
	case out.TrustRoot == "":
		out.TrustRoot = k.TrustRootRef
	case out.TrustRoot != k.TrustRootRef:
		return fmt.Errorf("ctlog.trustRootRef %q and keyless.trustRootRef %q differ", out.TrustRoot, k.TrustRootRef)
	}
	out.CAURL, out.InsecureIgnoreSCT = k.URL, k.InsecureIgnoreSCT
	if n := len(k.Identities); n == 0 || n > maxIdentities {
		return fmt.Errorf("keyless.identities has %d identities, want 1 to %d: a certificate that anybody can get proves nothing", n, maxIdentities)
	}
	for i, id := range k.Identities {
		m, err := identity.NewMatcher(identity.Spec(id))
		if err != nil {
			return fmt.Errorf("keyless.identities[%d]: %w", i, err)
		}
		out.Identities = append(out.Identities, m)
	}
	return nil
}
