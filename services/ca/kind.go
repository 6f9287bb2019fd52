package ca

import (
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/touchmark/touchmark/core/identity"
)

// Kind says what an issuer's tokens speak of, and so what becomes the subject alternative name. The names are Fulcio's issuer types, and so are the mappings
// (its pkg/identity and config/identity/config.yaml).
type Kind string

// The kinds of issuers. Only an e-mail issuer's tokens need email and email_verified; the others' proof of possession is over sub.
const (
	// Email is for people: the e-mail address. It is the kind of an issuer that has none given.
	Email Kind = "email"
	// GitHub is for GitHub Actions: https://github.com/ and job_workflow_ref, as in
	// https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1.
	GitHub Kind = "github-workflow"
	// GitLab is for GitLab CI: https:// and ci_config_ref_uri, as in https://gitlab.com/acme/app//.gitlab-ci.yml@refs/heads/main.
	GitLab Kind = "gitlab-pipeline"
	// Buildkite is for Buildkite: https://buildkite.com/ORGANISATION/PIPELINE.
	Buildkite Kind = "buildkite-job"
	// Kubernetes is for service accounts: https://kubernetes.io/namespaces/NAMESPACE/serviceaccounts/NAME.
	Kubernetes Kind = "kubernetes"
	// SPIFFE is for workloads: sub, which has to be a SPIFFE ID in the issuer's Domain.
	SPIFFE Kind = "spiffe"
	// URI is for everything that names itself by a URL, such as Jenkins jobs: sub, which has to begin with the issuer's Domain.
	URI Kind = "uri"
)

// ParseKind reads the name of a kind.
func ParseKind(name string) (Kind, error) {
	switch k := Kind(name); k {
	case Email, GitHub, GitLab, Buildkite, Kubernetes, SPIFFE, URI:
		return k, nil
	}
	return "", fmt.Errorf("type %q is not one of %s, %s, %s, %s, %s, %s, %s", name, Email, GitHub, GitLab, Buildkite, Kubernetes, SPIFFE, URI)
}

// CheckKind says what is wrong with the kind or the domain of an issuer, as in "an issuer of type email has no domain".
func (i Issuer) CheckKind() error { return i.fillKind() }

// fillKind fills in the kind and the domain of an issuer, or says what is wrong with them.
func (i *Issuer) fillKind() error {
	if i.Kind == "" {
		i.Kind = Email
	}
	if _, err := ParseKind(string(i.Kind)); err != nil {
		return err
	}
	switch i.Kind {
	case Email, Kubernetes:
		if i.Domain != "" {
			return fmt.Errorf("an issuer of type %s has no domain", i.Kind)
		}
		return nil
	case SPIFFE:
		if !isName(i.Domain, 255, "-._") {
			return fmt.Errorf("domain %q is not a SPIFFE trust domain, as in acme.example", i.Domain)
		}
		return nil
	}
	if i.Domain == "" {
		var err error
		if i.Domain, err = i.defaultDomain(); err != nil {
			return err
		}
	}
	u, err := url.Parse(i.Domain)
	if err != nil || u.Scheme != "https" || u.Host == "" || u.Scheme+"://"+u.Host != i.Domain {
		return fmt.Errorf("domain %q is not of the form https://HOST", i.Domain)
	}
	return nil
}

// defaultDomain is where the pages are that an issuer's identities name.
func (i *Issuer) defaultDomain() (string, error) {
	switch {
	case i.URL == "https://token.actions.githubusercontent.com":
		return "https://github.com", nil
	case i.Kind == Buildkite:
		return "https://buildkite.com", nil
	}
	u, err := url.Parse(i.URL)
	if err != nil || u.Scheme != "https" {
		return "", errors.New("an issuer that is not https needs a domain")
	}
	return u.Scheme + "://" + u.Host, nil
}

// principal is whom the claims of a verified token speak of. They were checked already but for what the kind demands.
func (i *Issuer) principal(c claims, members object) (principal, error) {
	who := principal{name: c.subject, identity: identity.Identity{Issuer: i.URL, Extensions: identity.Extensions{TokenSubject: c.subject}}}
	if i.Kind == Email {
		if err := c.checkEmail(); err != nil {
			return principal{}, err
		}
		who.name = c.email
		who.identity.SAN = identity.SAN{Kind: identity.Email, Value: c.email}
		return who, nil
	}
	r := &claimReader{members: members}
	san := ""
	switch i.Kind {
	case GitHub:
		san = githubWorkflow(i.Domain, r, &who.identity.Extensions)
	case GitLab:
		san = gitlabPipeline(i.Domain, r, &who.identity.Extensions)
	case Buildkite:
		san = buildkiteJob(i.Domain, r, &who.identity.Extensions)
	case Kubernetes:
		san = serviceAccount(c.subject, r)
	case SPIFFE:
		san = r.underURL("spiffe://"+i.Domain, c.subject)
	case URI:
		r.underURL(i.Domain, strings.TrimSuffix(c.subject, "/")) // Jenkins writes one behind a job's URL
		san = c.subject
	}
	if r.err != nil {
		return principal{}, r.err
	}
	who.identity.SAN = identity.SAN{Kind: identity.URI, Value: san}
	return who, nil
}

// underURL accepts a sub claim that is a URL below base.
func (r *claimReader) underURL(base, subject string) string {
	rest, ok := strings.CutPrefix(subject, base+"/")
	if !ok || !isPath(rest) {
		r.fail("claim sub is %.128q, want a path below %s", subject, base)
	}
	return subject
}
