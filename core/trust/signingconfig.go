package trust

import (
	"fmt"
	"slices"
	"time"

	"github.com/touchmark/touchmark/core/jsonguard"
)

// mediaTypeSigningConfig is the media type that clients look for.
const mediaTypeSigningConfig = "application/vnd.dev.sigstore.signingconfig.v0.2+json"

// SigningConfig names the services that a signer uses (protobuf-specs
// SigningConfig v0.2).
type SigningConfig struct {
	CAs  []Service // base URLs
	OIDC []Service // issuer URLs
	Logs []Service // base URLs
	TSAs []Service // full URLs, path included
}

// Service is one service's URL.
type Service struct {
	URL             string
	MajorAPIVersion uint32
	Window          Window
	Operator        string
}

// ParseSigningConfig reads a signing_config.json of version 0.2.
func ParseSigningConfig(untrustedJSON []byte) (*SigningConfig, error) {
	if len(untrustedJSON) > MaxSize {
		return nil, fmt.Errorf("signing config: has %d bytes, the limit is %d", len(untrustedJSON), MaxSize)
	}
	var w wireSigningConfig
	if err := unmarshal(untrustedJSON, &w); err != nil {
		return nil, fmt.Errorf("signing config: %w", err)
	}
	if w.MediaType != mediaTypeSigningConfig {
		return nil, fmt.Errorf("signing config: mediaType is %q, want %q", jsonguard.Excerpt(w.MediaType), mediaTypeSigningConfig)
	}
	c := &SigningConfig{}
	for _, list := range []struct {
		name string
		from []wireService
		to   *[]Service
	}{
		{"caUrls", w.CAURLs, &c.CAs}, {"oidcUrls", w.OIDCURLs, &c.OIDC},
		{"rekorTlogUrls", w.RekorTlogURLs, &c.Logs}, {"tsaUrls", w.TSAURLs, &c.TSAs},
	} {
		for i, s := range list.from {
			window, err := parseWindow(s.ValidFor)
			if err != nil {
				return nil, fmt.Errorf("signing config: %s[%d].validFor: %w", list.name, i, err)
			}
			if s.URL == "" {
				return nil, fmt.Errorf("signing config: %s[%d].url is missing", list.name, i)
			}
			*list.to = append(*list.to, Service{URL: s.URL, MajorAPIVersion: s.MajorAPIVersion, Window: window, Operator: s.Operator})
		}
	}
	return c, nil
}

// FormatSigningConfig writes a signing_config.json of version 0.2 that asks
// for any one log and, if there are timestamp authorities, any one of them.
func FormatSigningConfig(c *SigningConfig) ([]byte, error) {
	anyOne := wireSelection{Selector: "ANY"}
	return marshal(wireSigningConfig{
		MediaType: mediaTypeSigningConfig,
		CAURLs:    formatServices(c.CAs), OIDCURLs: formatServices(c.OIDC),
		RekorTlogURLs: formatServices(c.Logs), TSAURLs: formatServices(c.TSAs),
		RekorTlogConfig: anyOne, TSAConfig: anyOne,
	})
}

func formatServices(services []Service) []wireService {
	var out []wireService
	for _, s := range services {
		out = append(out, wireService{URL: s.URL, MajorAPIVersion: s.MajorAPIVersion, ValidFor: formatWindow(s.Window), Operator: s.Operator})
	}
	return out
}

// Pick chooses the service to use now: among those that are valid and have one
// of the given major API versions, one of the highest version, and of these the
// one that became valid last. It is what Sigstore's clients do.
func Pick(services []Service, now time.Time, majors ...uint32) (Service, error) {
	var best *Service
	for i := range services {
		s := &services[i]
		if !s.Window.Contains(now) || !slices.Contains(majors, s.MajorAPIVersion) {
			continue
		}
		if best == nil || s.MajorAPIVersion > best.MajorAPIVersion ||
			s.MajorAPIVersion == best.MajorAPIVersion && s.Window.Start.After(best.Window.Start) {
			best = s
		}
	}
	if best == nil {
		return Service{}, fmt.Errorf("signing config: none of %d services is valid now with API version %v", len(services), majors)
	}
	return *best, nil
}
