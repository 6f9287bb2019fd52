// Package predicate knows the kinds of in-toto attestations: the short names that users type for them, their URIs, and what each must hold at least.
//
// The names and URIs are cosign's, so that "--type slsaprovenance1", and "predicateType: slsaprovenance1" in a policy, mean what they mean there; [TypeURI] looks them up.
// [Statement] makes the in-toto statement that is signed.
//
// The package holds values only and does no cryptography.
package predicate

import (
	"fmt"
	"net/url"
	"slices"
	"strings"
)

// The predicate types that have a short name.
const (
	Custom    = "https://cosign.sigstore.dev/attestation/v1"
	SLSA02    = "https://slsa.dev/provenance/v0.2"
	SLSA1     = "https://slsa.dev/provenance/v1"
	SPDX      = "https://spdx.dev/Document"
	CycloneDX = "https://cyclonedx.org/bom"
	OpenVEX   = "https://openvex.dev/ns"
	Vuln      = "https://cosign.sigstore.dev/attestation/vuln/v1"
	Link      = "https://in-toto.io/Link/v1"
)

// short is what a name stands for.
type short struct{ name, uri string }

// shorts is cosign's table (cmd/cosign/cli/options/predicate.go), in the order in which it is shown to people.
func shorts() []short {
	return []short{
		{"slsaprovenance", SLSA02}, {"slsaprovenance02", SLSA02}, {"slsaprovenance1", SLSA1},
		{"spdx", SPDX}, {"spdxjson", SPDX}, {"cyclonedx", CycloneDX}, {"openvex", OpenVEX},
		{"vuln", Vuln}, {"link", Link}, {"custom", Custom},
	}
}

// Names lists the short names.
func Names() []string {
	var names []string
	for _, s := range shorts() {
		names = append(names, s.name)
	}
	return names
}

// TypeURI is the predicate type that a short name stands for. An absolute URI stands for itself; anything else is an error that lists the names.
func TypeURI(name string) (string, error) {
	all := shorts()
	if i := slices.IndexFunc(all, func(s short) bool { return s.name == name }); i >= 0 {
		return all[i].uri, nil
	}
	if u, err := url.Parse(name); err == nil && u.IsAbs() && (u.Host != "" || u.Opaque != "") {
		return name, nil
	}
	return "", fmt.Errorf("predicate type %q is neither a URI nor one of %s", name, strings.Join(Names(), ", "))
}
