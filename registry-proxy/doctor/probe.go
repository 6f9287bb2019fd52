package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"

	"github.com/google/go-containerregistry/pkg/name"

	"github.com/touchmark/touchmark/core/doctor"
	"github.com/touchmark/touchmark/core/gate"
)

// maxSaid is how much of the proxy's words is repeated, in bytes.
const maxSaid = 2 << 10

// manifestTypes are what pulling clients ask for.
const manifestTypes = "application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, application/vnd.docker.distribution.manifest.v2+json"

// Probe says what to ask the running proxy for.
type Probe struct {
	// Unsigned is an image that must be refused, Good one that must be admitted, as
	// policies name them; "" for none.
	Unsigned, Good string
	// Username and Password are a login at the proxy; empty for none.
	Username, Password string
}

// Run asks the running proxy for the manifests, and adds what happened to the report.
// Only 200 is an image that was admitted, and only 403 DENIED with the verdict one that was
// refused. An error says that nothing could be tried.
func (p Probe) Run(ctx context.Context, c Config, r *doctor.Report) error {
	var err error
	if c.File, err = filepath.Abs(c.File); err != nil {
		return err
	}
	s, err := take(ctx, c)
	if err != nil {
		return err
	}
	if s.conf == nil {
		return fmt.Errorf("probing: %w", s.err)
	}
	for _, image := range []struct {
		ref  string
		want bool
	}{{p.Unsigned, false}, {p.Good, true}} {
		if image.ref == "" {
			continue
		}
		target, err := s.manifestURL(image.ref)
		if err != nil {
			return fmt.Errorf("probing: %w", err)
		}
		tried := p.try(ctx, s.client(), target)
		tried.Image, tried.Want = image.ref, image.want
		r.Add(tried)
	}
	return nil
}

// manifestURL is where the running proxy has an image's manifest.
func (s *snapshot) manifestURL(image string) (string, error) {
	ref, err := name.ParseReference(image)
	if err != nil {
		return "", err
	}
	registry := ref.Context().RegistryStr()
	if registry == name.DefaultRegistry {
		registry = "docker.io"
	}
	for _, known := range s.registries() {
		if known == registry {
			return s.proxyURL() + "/v2/" + ref.Context().RepositoryStr() + "/manifests/" + ref.Identifier() + "?ns=" + url.QueryEscape(registry), nil
		}
	}
	return "", fmt.Errorf("%s: the proxy has no registry %s, only %s", image, registry, strings.Join(s.registries(), ", "))
}

// try asks for one manifest.
func (p Probe) try(ctx context.Context, client *http.Client, target string) (t doctor.Tried) {
	resp, body, err := ask(ctx, client, target, func(r *http.Request) {
		r.Header.Set("Accept", manifestTypes)
		if p.Username != "" {
			r.SetBasicAuth(p.Username, p.Password)
		}
	})
	if err != nil {
		var failed *url.Error
		if errors.As(err, &failed) {
			err = failed.Err
		}
		t.Unknown, t.Said = true, err.Error()
		return t
	}
	var answer struct {
		Errors []struct {
			Code, Message string
			Detail        struct{ Outcome gate.Outcome } // of the verdict, which a login that may not read has none of
		}
	}
	_ = json.Unmarshal(body, &answer) // an answer of another form has no code
	code, said, refused := "", "", false
	if len(answer.Errors) > 0 {
		e := answer.Errors[0]
		code, said = e.Code, e.Message
		refused = resp.StatusCode == http.StatusForbidden && code == "DENIED" && e.Detail.Outcome == gate.OutcomeRefused
	}
	t.Said = strings.TrimSpace(fmt.Sprintf("HTTP %d %s %s", resp.StatusCode, code, said[:min(len(said), maxSaid)]))
	t.Admitted = resp.StatusCode == http.StatusOK
	t.Unknown = !t.Admitted && !refused
	return t
}
