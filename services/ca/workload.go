package ca

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/touchmark/touchmark/core/identity"
)

// githubWorkflow maps the token of a GitHub Actions job. The extensions 1.2 to 1.6, which repeat some of this in another encoding, are not written.
func githubWorkflow(base string, r *claimReader, e *identity.Extensions) string {
	repository, workflow := r.path("repository"), base+"/"+r.path("job_workflow_ref")
	e.BuildSignerURI = workflow
	e.BuildSignerDigest = r.text("job_workflow_sha")
	e.RunnerEnvironment = r.text("runner_environment")
	e.SourceRepositoryURI = base + "/" + repository
	e.SourceRepositoryDigest = r.text("sha")
	e.SourceRepositoryRef = r.text("ref")
	e.SourceRepositoryIdentifier = r.text("repository_id")
	e.SourceRepositoryOwnerURI = base + "/" + r.path("repository_owner")
	e.SourceRepositoryOwnerIdentifier = r.text("repository_owner_id")
	e.BuildConfigURI = base + "/" + r.path("workflow_ref")
	e.BuildConfigDigest = r.text("workflow_sha")
	e.BuildTrigger = r.text("event_name")
	e.RunInvocationURI = fmt.Sprintf("%s/%s/actions/runs/%s/attempts/%s", base, repository, r.path("run_id"), r.path("run_attempt"))
	e.SourceRepositoryVisibilityAtSigning = r.text("repository_visibility")
	e.DeploymentEnvironment = r.optional("environment")
	return workflow
}

// gitlabPipeline maps the token of a GitLab CI job. The configuration has to lie at the issuer's own instance: it says what it keeps itself, not what others do.
func gitlabPipeline(base string, r *claimReader, e *identity.Extensions) string {
	project := r.path("project_path")
	config := r.underURL(base, "https://"+r.text("ci_config_ref_uri"))
	e.BuildSignerURI, e.BuildConfigURI = config, config
	e.BuildSignerDigest = r.optional("ci_config_sha")
	e.BuildConfigDigest = e.BuildSignerDigest
	e.RunnerEnvironment = r.text("runner_environment")
	e.SourceRepositoryURI = base + "/" + project
	e.SourceRepositoryDigest = r.text("sha")
	switch kind := r.text("ref_type"); kind {
	case "branch":
		e.SourceRepositoryRef = "refs/heads/" + r.text("ref")
	case "tag":
		e.SourceRepositoryRef = "refs/tags/" + r.text("ref")
	default:
		r.fail("claim ref_type is %.64q, want branch or tag", kind)
	}
	e.SourceRepositoryIdentifier = r.text("project_id")
	e.SourceRepositoryOwnerURI = base + "/" + r.path("namespace_path")
	e.SourceRepositoryOwnerIdentifier = r.text("namespace_id")
	e.BuildTrigger = r.text("pipeline_source")
	e.RunInvocationURI = base + "/" + project + "/-/jobs/" + r.path("job_id")
	e.SourceRepositoryVisibilityAtSigning = r.text("project_visibility")
	e.DeploymentEnvironment = r.optional("environment")
	return config
}

// buildkiteJob maps the token of a Buildkite job.
func buildkiteJob(base string, r *claimReader, e *identity.Extensions) string {
	pipeline := base + "/" + r.path("organization_slug") + "/" + r.path("pipeline_slug")
	e.RunnerEnvironment = r.optional("runner_environment")
	e.SourceRepositoryDigest = r.text("build_commit")
	e.BuildTrigger = r.optional("build_source")
	e.RunInvocationURI = pipeline + "/builds/" + r.path("build_number") + "#" + r.path("job_id")
	return pipeline
}

// serviceAccount maps the token that Kubernetes makes for a pod, whose sub and kubernetes.io have to agree.
func serviceAccount(subject string, r *claimReader) string {
	inner := &claimReader{members: r.object("kubernetes.io")}
	account := &claimReader{members: inner.object("serviceaccount")}
	namespace, name := inner.text("namespace"), account.text("name")
	for _, of := range []*claimReader{inner, account} {
		if of.err != nil {
			r.fail("claim kubernetes.io: %w", of.err)
		}
	}
	if !isName(namespace, 63, "-") || !isName(name, 253, "-.") || subject != "system:serviceaccount:"+namespace+":"+name {
		r.fail("claim sub is %.128q, which is not service account %.64q of namespace %.64q", subject, name, namespace)
	}
	return "https://kubernetes.io/namespaces/" + namespace + "/serviceaccounts/" + name
}

// claimReader reads claims that have to be there and remembers the first that is not as it should be.
type claimReader struct {
	members object
	err     error
}

func (r *claimReader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = fmt.Errorf(format, args...)
	}
}

// maxClaim bounds a claim that goes into a certificate, in bytes. The longest, a reference to a workflow, is bounded by git at about this.
const maxClaim = 1024

// optional reads a claim; "" if it is absent. Providers write numbers now as numbers, now as strings: both are the same here, as in Fulcio.
func (r *claimReader) optional(name string) string {
	raw, ok := r.members[name]
	if !ok || string(raw) == "null" {
		return ""
	}
	var value string
	if err := json.Unmarshal(raw, &value); err != nil {
		var number json.Number
		if json.Unmarshal(raw, &number) != nil || strings.Trim(number.String(), "0123456789") != "" {
			r.fail("claim %s is neither a string nor a whole number", name)
			return ""
		}
		value = number.String()
	}
	if len(value) > maxClaim || strings.ContainsFunc(value, isNotPrintable) {
		r.fail("claim %s must be printable ASCII of at most %d characters", name, maxClaim)
		return ""
	}
	return value
}

// text reads a claim that has to be there.
func (r *claimReader) text(name string) string {
	value := r.optional(name)
	if value == "" {
		r.fail("claim %s is missing", name)
	}
	return value
}

// path reads a claim that becomes part of a URL, and stays what it is there.
func (r *claimReader) path(name string) string {
	value := r.text(name)
	if !isPath(value) {
		r.fail("claim %s is %.128q, which can't stand in a URL as it is", name, value)
	}
	return value
}

func (r *claimReader) object(name string) object {
	o, err := r.members.object(name, name)
	if err != nil {
		r.fail("claim %w", err)
	}
	return o
}

// isPath reports a text that every reader of URLs takes for the same path: no escapes, no query, no fragment, no dot segments. An empty segment within is allowed:
// GitLab writes project//file.
func isPath(s string) bool {
	if s == "" || strings.HasPrefix(s, "/") || strings.HasSuffix(s, "/") {
		return false
	}
	for _, r := range s {
		if !isLetterOrDigit(r) && !strings.ContainsRune("-._~/@:+=,!", r) {
			return false
		}
	}
	for segment := range strings.SplitSeq(s, "/") {
		if segment == "." || segment == ".." {
			return false
		}
	}
	return true
}

// isName reports a text of lower-case letters, digits and these others.
func isName(s string, limit int, others string) bool {
	if s == "" || len(s) > limit {
		return false
	}
	for _, r := range s {
		if r >= 'A' && r <= 'Z' || !isLetterOrDigit(r) && !strings.ContainsRune(others, r) {
			return false
		}
	}
	return true
}

func isLetterOrDigit(r rune) bool {
	return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9'
}
