package identity

import (
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// Extensions are the claims that Fulcio copies from a CI provider's token,
// named as in Fulcio's docs/oid-info.md. An empty string means that the
// certificate does not carry the extension.
type Extensions struct {
	BuildSignerURI                      string `json:"buildSignerURI,omitempty"`                      // 1.9
	BuildSignerDigest                   string `json:"buildSignerDigest,omitempty"`                   // 1.10
	RunnerEnvironment                   string `json:"runnerEnvironment,omitempty"`                   // 1.11
	SourceRepositoryURI                 string `json:"sourceRepositoryURI,omitempty"`                 // 1.12
	SourceRepositoryDigest              string `json:"sourceRepositoryDigest,omitempty"`              // 1.13
	SourceRepositoryRef                 string `json:"sourceRepositoryRef,omitempty"`                 // 1.14
	SourceRepositoryIdentifier          string `json:"sourceRepositoryIdentifier,omitempty"`          // 1.15
	SourceRepositoryOwnerURI            string `json:"sourceRepositoryOwnerURI,omitempty"`            // 1.16
	SourceRepositoryOwnerIdentifier     string `json:"sourceRepositoryOwnerIdentifier,omitempty"`     // 1.17
	BuildConfigURI                      string `json:"buildConfigURI,omitempty"`                      // 1.18
	BuildConfigDigest                   string `json:"buildConfigDigest,omitempty"`                   // 1.19
	BuildTrigger                        string `json:"buildTrigger,omitempty"`                        // 1.20
	RunInvocationURI                    string `json:"runInvocationURI,omitempty"`                    // 1.21
	SourceRepositoryVisibilityAtSigning string `json:"sourceRepositoryVisibilityAtSigning,omitempty"` // 1.22
	DeploymentEnvironment               string `json:"deploymentEnvironment,omitempty"`               // 1.23
	TokenSubject                        string `json:"tokenSubject,omitempty"`                        // 1.24
}

// Arc numbers below 1.3.6.1.4.1.57264.1.
const (
	arcIssuer   = 1 // deprecated: raw bytes, no ASN.1
	arcIssuerV2 = 8
	arcFirst    = 9 // BuildSignerURI; the fields of Extensions follow in order
)

// fields lists the extensions in the order of their arcs, from arcFirst on.
func (e *Extensions) fields() []*string {
	return []*string{
		&e.BuildSignerURI, &e.BuildSignerDigest, &e.RunnerEnvironment, &e.SourceRepositoryURI,
		&e.SourceRepositoryDigest, &e.SourceRepositoryRef, &e.SourceRepositoryIdentifier,
		&e.SourceRepositoryOwnerURI, &e.SourceRepositoryOwnerIdentifier, &e.BuildConfigURI,
		&e.BuildConfigDigest, &e.BuildTrigger, &e.RunInvocationURI,
		&e.SourceRepositoryVisibilityAtSigning, &e.DeploymentEnvironment, &e.TokenSubject,
	}
}

// parseExtensions fills in the issuer and the CI claims. The deprecated arcs
// 2 to 6 (GitHub's, in raw bytes) repeat what 9 and later say and are not read.
func (id *Identity) parseExtensions(exts []pkix.Extension) error {
	var issuerV1 *string
	seen := make(map[int]bool, len(exts))
	fields := id.Extensions.fields()
	for _, ext := range exts {
		if len(ext.Id) != len(oidArc)+1 || !slices.Equal(ext.Id[:len(oidArc)], oidArc) {
			continue
		}
		arc := ext.Id[len(oidArc)]
		if seen[arc] {
			return fmt.Errorf("certificate: extension %v stands twice", ext.Id)
		}
		seen[arc] = true
		switch n := arc - arcFirst; {
		case arc == arcIssuer:
			v := string(ext.Value)
			if err := checkText(v); err != nil {
				return fmt.Errorf("certificate: issuer (extension %v) %w", ext.Id, err)
			}
			issuerV1 = &v
		case arc == arcIssuerV2:
			v, err := parseUTF8String(ext)
			if err != nil {
				return err
			}
			id.Issuer = v
		case n >= 0 && n < len(fields):
			v, err := parseUTF8String(ext)
			if err != nil {
				return err
			}
			*fields[n] = v
		}
	}
	switch {
	case id.Issuer == "" && issuerV1 == nil:
		if len(seen) == 0 {
			return nil // not Fulcio's: a certificate of one's own authority
		}
		return errors.New("certificate: no issuer (extension 1.3.6.1.4.1.57264.1.8)")
	case id.Issuer == "":
		id.Issuer = *issuerV1
	case issuerV1 != nil && *issuerV1 != id.Issuer:
		return fmt.Errorf("certificate: its two issuer extensions disagree: %q and %q", *issuerV1, id.Issuer)
	}
	return nil
}

func parseUTF8String(ext pkix.Extension) (string, error) {
	der := cryptobyte.String(ext.Value)
	var text cryptobyte.String
	if !der.ReadASN1(&text, cbasn1.UTF8String) || !der.Empty() {
		return "", fmt.Errorf("certificate: extension %v is not one UTF8String", ext.Id)
	}
	v := string(text)
	if err := checkText(v); err != nil {
		return "", fmt.Errorf("certificate: extension %v %w", ext.Id, err)
	}
	return v, nil
}

func (id Identity) marshalExtensions() ([]pkix.Extension, error) {
	exts := []pkix.Extension{{Id: oid(arcIssuer), Value: []byte(id.Issuer)}}
	add := func(arc int, value string) error {
		if err := checkText(value); err != nil {
			return fmt.Errorf("extension %v %w", oid(arc), err)
		}
		der, err := asn1.MarshalWithParams(value, "utf8")
		if err != nil {
			return fmt.Errorf("encoding extension %v: %w", oid(arc), err)
		}
		exts = append(exts, pkix.Extension{Id: oid(arc), Value: der})
		return nil
	}
	if err := add(arcIssuerV2, id.Issuer); err != nil {
		return nil, err
	}
	for n, field := range id.Extensions.fields() {
		if *field == "" {
			continue
		}
		if err := add(arcFirst+n, *field); err != nil {
			return nil, err
		}
	}
	return exts, nil
}

func oid(arc int) asn1.ObjectIdentifier { return append(slices.Clone(oidArc), arc) }
