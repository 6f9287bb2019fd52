package learn

import (
	"cmp"
	"fmt"
	"io"
	"slices"
	"strings"

	"go.yaml.in/yaml/v3"
)

// The documents of a draft, as far as they are written.
type (
	document struct {
		APIVersion string   `yaml:"apiVersion"`
		Kind       string   `yaml:"kind"`
		Metadata   metadata `yaml:"metadata"`
		Spec       spec     `yaml:"spec"`
	}
	metadata struct {
		Name string `yaml:"name"`
	}
	spec struct {
		Images      []image     `yaml:"images"`
		Authorities []authority `yaml:"authorities"`
	}
	image struct {
		Glob string `yaml:"glob"`
	}
	authority struct {
		Name         string        `yaml:"name"`
		Key          *keyData      `yaml:"key,omitempty"`
		CTLog        *ctlog        `yaml:"ctlog,omitempty"`
		Keyless      *keyless      `yaml:"keyless,omitempty"`
		Attestations []attestation `yaml:"attestations,omitempty"`
	}
	keyData struct {
		Data string `yaml:"data"`
	}
	ctlog struct {
		TrustRootRef string `yaml:"trustRootRef"`
	}
	keyless struct {
		TrustRootRef string     `yaml:"trustRootRef"`
		Identities   []certName `yaml:"identities"`
	}
	certName struct {
		Issuer  string `yaml:"issuer"`
		Subject string `yaml:"subject"`
	}
	attestation struct {
		Name          string `yaml:"name"`
		PredicateType string `yaml:"predicateType"`
	}
)

// Draft writes a policy that admits what was learned and nothing else, as
// ClusterImagePolicy documents. Repositories whose images have the same signers
// share one. An image that carries only attestations is admitted by these.
// publicKeys gives the PEM text of each key's name.
func Draft(w io.Writer, learned []Learned, publicKeys map[string]string) error {
	groups := make(map[string]*document) // by who signs
	var order []string
	for _, repository := range repositories(learned) {
		authorities := authoritiesOf(learned, repository, publicKeys)
		if len(authorities) == 0 {
			continue
		}
		text, err := yaml.Marshal(authorities)
		if err != nil {
			return fmt.Errorf("drafting policy: %w", err)
		}
		d := groups[string(text)]
		if d == nil {
			order = append(order, string(text))
			d = &document{APIVersion: "policy.sigstore.dev/v1beta1", Kind: "ClusterImagePolicy", Metadata: metadata{fmt.Sprintf("learned-%d", len(order))}, Spec: spec{Authorities: authorities}}
			groups[string(text)] = d
		}
		d.Spec.Images = append(d.Spec.Images, image{repository})
	}
	for i, key := range order {
		text, err := yaml.Marshal(groups[key])
		if err != nil {
			return fmt.Errorf("drafting policy: %w", err)
		}
		if i > 0 {
			text = append([]byte("---\n"), text...)
		}
		if _, err := w.Write(text); err != nil {
			return err
		}
	}
	return writeLeftOut(w, learned)
}

// writeLeftOut lists in comments what the draft does not admit.
func writeLeftOut(w io.Writer, learned []Learned) error {
	var lines []string
	for _, l := range learned {
		switch {
		case l.Err != "":
			lines = append(lines, fmt.Sprintf("# not examined: %s@%s: %s", l.Repository, l.Digest, oneLine(l.Err)))
		case len(l.Signers) == 0:
			why := "nothing signed"
			if len(l.Unverified) > 0 {
				why = oneLine(l.Unverified[0])
			} else if len(l.Others) > 0 {
				why = "it carries only a " + l.Others[0]
			}
			lines = append(lines, fmt.Sprintf("# not admitted: %s@%s: %s", l.Repository, l.Digest, why))
		}
	}
	if len(lines) > 0 {
		lines = append(lines, `# To admit one of these all the same: "touchmark allow" (until a date) or "touchmark pin".`)
	}
	for _, line := range lines {
		if _, err := fmt.Fprintln(w, line); err != nil {
			return err
		}
	}
	return nil
}

func oneLine(s string) string { return strings.Join(strings.Fields(s), " ") }

// repositories are those of which something is known, sorted.
func repositories(learned []Learned) []string {
	var names []string
	for _, l := range learned {
		names = append(names, l.Repository)
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// authoritiesOf makes the authorities that each image of a repository has one
// of.
func authoritiesOf(learned []Learned, repository string, publicKeys map[string]string) []authority {
	var signers []Signer
	for _, l := range learned {
		if l.Repository == repository {
			signers = append(signers, demanded(l.Signers)...)
		}
	}
	slices.SortFunc(signers, compare)
	signers = slices.Compact(signers)
	var authorities []authority
	for _, s := range signers {
		last := len(authorities) - 1
		if last >= 0 && s.Key == "" && s.PredicateType == "" {
			// Identities under one trust root are one authority.
			if k := authorities[last].Keyless; k != nil && k.TrustRootRef == s.Root && authorities[last].Attestations == nil {
				k.Identities = append(k.Identities, certName{s.Issuer, s.Identity})
				continue
			}
		}
		authorities = append(authorities, authorityOf(s, len(authorities)+1, publicKeys))
	}
	return authorities
}

// demanded are the signers that a policy asks for: those of the image or, of
// an image that nobody signed, those who attested something about it.
func demanded(signers []Signer) []Signer {
	var own []Signer
	for _, s := range signers {
		if s.PredicateType == "" {
			own = append(own, s)
		}
	}
	if len(own) > 0 {
		return own
	}
	return signers
}

func authorityOf(s Signer, n int, publicKeys map[string]string) authority {
	a := authority{Name: fmt.Sprintf("signer-%d", n)}
	if s.Key != "" {
		a.Key = &keyData{publicKeys[s.Key]}
		if s.Logged {
			a.CTLog = &ctlog{s.Root}
		}
	} else {
		a.Keyless = &keyless{TrustRootRef: s.Root, Identities: []certName{{s.Issuer, s.Identity}}}
	}
	if s.PredicateType != "" {
		a.Attestations = []attestation{{"attestation-1", s.PredicateType}}
	}
	return a
}

// compare orders signers: signatures before attestations, then by trust root,
// issuer and name.
func compare(a, b Signer) int {
	return cmp.Or(
		cmp.Compare(a.PredicateType, b.PredicateType), cmp.Compare(a.Root, b.Root), cmp.Compare(a.Issuer, b.Issuer),
		cmp.Compare(a.Identity, b.Identity), cmp.Compare(a.Key, b.Key),
	)
}
