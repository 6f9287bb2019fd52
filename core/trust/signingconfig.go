package trust

import (
	"fmt"
	"slices"
	"time"

	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"

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
	if err := jsonguard.Check(untrustedJSON, maxTokens, isBase64); err != nil {
		return nil, fmt.Errorf("signing config: %w", err)
	}
	var pb trustpb.SigningConfig
	if err := protojson.Unmarshal(untrustedJSON, &pb); err != nil {
		return nil, fmt.Errorf("signing config: malformed JSON: %w", err)
	}
	if pb.GetMediaType() != mediaTypeSigningConfig {
		return nil, fmt.Errorf("signing config: mediaType is %q, want %q", pb.GetMediaType(), mediaTypeSigningConfig)
	}
	c := &SigningConfig{}
	for _, list := range []struct {
		name string
		from []*trustpb.Service
		to   *[]Service
	}{
		{"caUrls", pb.GetCaUrls(), &c.CAs}, {"oidcUrls", pb.GetOidcUrls(), &c.OIDC},
		{"rekorTlogUrls", pb.GetRekorTlogUrls(), &c.Logs}, {"tsaUrls", pb.GetTsaUrls(), &c.TSAs},
	} {
		for i, s := range list.from {
			window, err := parseWindow(s.GetValidFor())
			if err != nil {
				return nil, fmt.Errorf("signing config: %s[%d].validFor: %w", list.name, i, err)
			}
			if s.GetUrl() == "" {
				return nil, fmt.Errorf("signing config: %s[%d].url is missing", list.name, i)
			}
			*list.to = append(*list.to, Service{URL: s.GetUrl(), MajorAPIVersion: s.GetMajorApiVersion(), Window: window, Operator: s.GetOperator()})
		}
	}
	return c, nil
}

// FormatSigningConfig writes a signing_config.json of version 0.2 that asks
// for any one log and, if there are timestamp authorities, any one of them.
func FormatSigningConfig(c *SigningConfig) ([]byte, error) {
	pb := &trustpb.SigningConfig{
		MediaType: mediaTypeSigningConfig,
		CaUrls:    formatServices(c.CAs), OidcUrls: formatServices(c.OIDC),
		RekorTlogUrls: formatServices(c.Logs), TsaUrls: formatServices(c.TSAs),
		RekorTlogConfig: &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY},
		TsaConfig:       &trustpb.ServiceConfiguration{Selector: trustpb.ServiceSelector_ANY},
	}
	return indent(protojson.Marshal(pb))
}

func formatServices(services []Service) []*trustpb.Service {
	var pbs []*trustpb.Service
	for _, s := range services {
		pbs = append(pbs, &trustpb.Service{Url: s.URL, MajorApiVersion: s.MajorAPIVersion, ValidFor: formatWindow(s.Window), Operator: s.Operator})
	}
	return pbs
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
