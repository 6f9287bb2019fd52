package policyjson

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
)

// The types of requirements.
const (
	Accept          = "insecureAcceptAnything"
	Reject          = "reject"
	SignedBy        = "signedBy"        // simple signing with OpenPGP
	SignedBaseLayer = "signedBaseLayer" // implemented nowhere: rejects
	SigstoreSigned  = "sigstoreSigned"
)

// The types of identities.
const (
	MatchExact             = "matchExact"
	MatchRepoDigestOrExact = "matchRepoDigestOrExact"
	MatchRepository        = "matchRepository"
	ExactReference         = "exactReference"
	ExactRepository        = "exactRepository"
	RemapIdentity          = "remapIdentity"
)

// Requirement is one demand of a rule. Which fields are set follows from the
// type; see containers-policy.json(5).
type Requirement struct {
	// Type is one of the types of requirements.
	Type string
	// KeyType is that of signedBy: GPGKeys, signedByGPGKeys, X509Certificates
	// or signedByX509CAs. Only the first is implemented in containers/image.
	KeyType string
	// KeyPaths are the files of the accepted keys, whether there is one
	// (keyPath) or a list (keyPaths).
	KeyPaths []string
	// KeyDatas are the accepted keys where they stand in the file itself.
	KeyDatas [][]byte
	// Fulcio and PKI say that certificates are accepted.
	Fulcio *Fulcio
	PKI    *PKI
	// Rekor says that an entry of a Rekor v1 log is demanded.
	Rekor bool
	// RekorKeyPaths are the files of the log's keys.
	RekorKeyPaths []string
	// Identity is what a signature must say of the image's name; nil for
	// requirements that look at no signature.
	Identity *Identity

	raw json.RawMessage
}

// Fulcio says which of Fulcio's certificates are accepted.
type Fulcio struct{ CAPath, OIDCIssuer, SubjectEmail string }

// PKI says which certificates of another authority are accepted.
type PKI struct{ CARootsPath, CAIntermediatesPath, SubjectEmail, SubjectHostname string }

// Identity is a signedIdentity (or a baseLayerIdentity).
type Identity struct {
	Type                 string
	DockerReference      string // exactReference
	DockerRepository     string // exactRepository
	Prefix, SignedPrefix string // remapIdentity
}

// ParseRequirement reads one requirement's JSON. The place is for errors.
func ParseRequirement(place string, data []byte) (Requirement, error) {
	m, err := object(place, data)
	if err != nil {
		return Requirement{}, err
	}
	r := Requirement{raw: slices.Clone(data)}
	if err := m.decode("type", &r.Type); err != nil {
		return Requirement{}, err
	}
	switch r.Type {
	case Accept, Reject:
		err = m.exactly("type")
	case SignedBy:
		err = r.readSignedBy(m)
	case SignedBaseLayer:
		if err = m.exactly("type", "baseLayerIdentity"); err == nil {
			r.Identity, err = readIdentity(m.place+".baseLayerIdentity", m.members["baseLayerIdentity"])
		}
	case SigstoreSigned:
		err = r.readSigstoreSigned(m)
	default:
		err = fmt.Errorf("%s.type: unknown type %q", place, r.Type)
	}
	if err != nil {
		return Requirement{}, err
	}
	return r, nil
}

// Plain is a requirement that has a type and no other field: [Accept] or
// [Reject].
func Plain(kind string) Requirement {
	return Requirement{Type: kind, raw: json.RawMessage(fmt.Sprintf(`{"type":%q}`, kind))}
}

// MarshalJSON is the requirement's text as it was read.
func (r Requirement) MarshalJSON() ([]byte, error) {
	if r.raw == nil {
		return nil, errors.New("a requirement that was not parsed")
	}
	return r.raw, nil
}

// Equal reports whether two requirements' texts say the same.
func (r Requirement) Equal(other Requirement) bool {
	var a, b any
	if json.Unmarshal(r.raw, &a) != nil || json.Unmarshal(other.raw, &b) != nil {
		return false
	}
	x, errX := json.Marshal(a)
	y, errY := json.Marshal(b)
	return errX == nil && errY == nil && string(x) == string(y)
}

// Keys are the files that a requirement's keys and certificates are read from.
func (r Requirement) Keys() []string {
	out := slices.Concat(r.KeyPaths, r.RekorKeyPaths)
	if r.Fulcio != nil && r.Fulcio.CAPath != "" {
		out = append(out, r.Fulcio.CAPath)
	}
	if r.PKI != nil {
		for _, path := range []string{r.PKI.CARootsPath, r.PKI.CAIntermediatesPath} {
			if path != "" {
				out = append(out, path)
			}
		}
	}
	return out
}

// requirements reads a rule's list.
func requirements(place string, data []byte) ([]Requirement, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, fmt.Errorf("%s: %w", place, err)
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("%s: an empty list of requirements", place)
	}
	out := make([]Requirement, 0, len(list))
	for i, item := range list {
		r, err := ParseRequirement(fmt.Sprintf("%s[%d]", place, i), item)
		if err != nil {
			return nil, err
		}
		out = append(out, r)
	}
	return out, nil
}

// readIdentityOf reads signedIdentity, which has a default.
func readIdentityOf(m *members) (*Identity, error) {
	data, ok := m.members["signedIdentity"]
	if !ok {
		return &Identity{Type: MatchRepoDigestOrExact}, nil
	}
	return readIdentity(m.place+".signedIdentity", data)
}

func readIdentity(place string, data []byte) (*Identity, error) {
	m, err := object(place, data)
	if err != nil {
		return nil, err
	}
	id := &Identity{}
	if err := m.decode("type", &id.Type); err != nil {
		return nil, err
	}
	fields := map[string]*string{}
	switch id.Type {
	case MatchExact, MatchRepoDigestOrExact, MatchRepository:
	case ExactReference:
		fields["dockerReference"] = &id.DockerReference
	case ExactRepository:
		fields["dockerRepository"] = &id.DockerRepository
	case RemapIdentity:
		fields["prefix"], fields["signedPrefix"] = &id.Prefix, &id.SignedPrefix
	default:
		return nil, fmt.Errorf("%s.type: unknown type %q", place, id.Type)
	}
	names := []string{"type"}
	for name := range fields {
		names = append(names, name)
	}
	if err := m.exactly(names...); err != nil {
		return nil, err
	}
	for name, into := range fields {
		if err := m.decode(name, into); err != nil {
			return nil, err
		}
		if *into == "" {
			return nil, fmt.Errorf("%s.%s: empty", place, name)
		}
	}
	return id, nil
}
