package clientconfig

import (
	"encoding/json"
	"fmt"
	"net/url"
	"strings"

	"github.com/touchmark/touchmark/core/countersign"
)

// Authority is where podman's policy.json looks for the authority of the proxy's countersignatures.
const Authority = "/etc/touchmark/proxy-countersign.pem"

// demands are policy.json and registries.d that have podman and its kin take images only with the proxy's countersignature,
// wherever they come from. They need containers/image 5.34 (podman 5.4).
func (p Proxy) demands(proxy *url.URL) ([]File, error) {
	type requirement map[string]any
	scopes := map[string][]requirement{}
	var locations strings.Builder
	locations.WriteString("# Touchmark: signatures lie beside the images, at the proxy.\ndocker:\n")
	for _, host := range p.addresses(proxy) {
		fmt.Fprintf(&locations, "  %q:\n    use-sigstore-attachments: true\n", host)
	}
	for _, r := range p.Registries {
		scopes[r.LogicalName()] = []requirement{{
			"type": "sigstoreSigned", "pki": map[string]string{"caRootsPath": Authority, "subjectEmail": countersign.Subject},
			"signedIdentity": map[string]string{"type": "matchRepository"},
		}}
	}
	policy, err := json.MarshalIndent(map[string]any{
		"default": []requirement{{"type": "reject"}}, "transports": map[string]any{"docker": scopes},
	}, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("writing policy.json: %w", err)
	}
	return []File{
		{Path: "/etc/containers/policy.json", Content: string(policy) + "\n"},
		{Path: "/etc/containers/registries.d/touchmark-proxy.yaml", Content: locations.String()},
		{Path: Authority, Content: string(p.Countersigner)},
	}, nil
}
