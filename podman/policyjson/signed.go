package policyjson

import (
	"errors"
	"fmt"
	"maps"
	"slices"
)

// keyTypes are those of signedBy.
var keyTypes = []string{"GPGKeys", "signedByGPGKeys", "X509Certificates", "signedByX509CAs"}

// readSignedBy follows signature.newPRSignedBy of go.podman.io/image/v5.
func (r *Requirement) readSignedBy(m *members) error {
	sources := []string{"keyPath", "keyPaths", "keyData"}
	if err := m.only(append([]string{"type", "keyType", "signedIdentity"}, sources...)...); err != nil {
		return err
	}
	if err := m.decode("keyType", &r.KeyType); err != nil {
		return err
	}
	if !slices.Contains(keyTypes, r.KeyType) {
		return fmt.Errorf("%s.keyType: unknown type %q", m.place, r.KeyType)
	}
	if n := m.count(sources...); n != 1 {
		return fmt.Errorf("%s: exactly one of %q is needed, there are %d", m.place, sources, n)
	}
	var path string
	var data []byte
	if err := errors.Join(m.decode("keyPath", &path), m.decode("keyPaths", &r.KeyPaths), m.decode("keyData", &data)); err != nil {
		return err
	}
	switch {
	case path != "":
		r.KeyPaths = []string{path}
	case data != nil:
		r.KeyDatas = [][]byte{data}
	case r.KeyPaths == nil: // an empty list is taken, and accepts no key
		return fmt.Errorf("%s: %q is empty", m.place, sources)
	}
	var err error
	r.Identity, err = readIdentityOf(m)
	return err
}

// readSigstoreSigned follows signature.newPRSigstoreSigned of
// go.podman.io/image/v5: an empty path, and bytes that are null, are as if they
// were not there.
func (r *Requirement) readSigstoreSigned(m *members) error {
	sources := []string{"keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"}
	logs := []string{"rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"}
	if err := m.only(slices.Concat([]string{"type", "signedIdentity"}, sources, logs)...); err != nil {
		return err
	}
	var keys, rekor material
	if err := keys.read(m, "keyPath", "keyPaths", "keyData", "keyDatas"); err != nil {
		return err
	}
	if err := rekor.read(m, logs[0], logs[1], logs[2], logs[3]); err != nil {
		return err
	}
	if err := r.readCertificates(m); err != nil {
		return err
	}
	r.KeyPaths, r.KeyDatas, r.RekorKeyPaths, r.Rekor = keys.paths, keys.datas, rekor.paths, rekor.sources > 0
	switch n := keys.sources + m.count("fulcio", "pki"); {
	case n != 1:
		return fmt.Errorf("%s: exactly one of %q is needed, there are %d", m.place, sources, n)
	case rekor.sources > 1:
		return fmt.Errorf("%s: at most one of %q is allowed, there are %d", m.place, logs, rekor.sources)
	case r.Fulcio != nil && !r.Rekor:
		return fmt.Errorf("%s: fulcio needs one of %q", m.place, logs)
	case r.PKI != nil && r.Rekor:
		return fmt.Errorf("%s: pki and a Rekor key do not go together", m.place)
	}
	var err error
	r.Identity, err = readIdentityOf(m)
	return err
}

// material are keys in up to four members, and how many of those say something.
type material struct {
	sources int
	paths   []string
	datas   [][]byte
}

func (k *material) read(m *members, path, paths, data, datas string) error {
	var onePath string
	var oneData []byte
	if err := errors.Join(m.decode(path, &onePath), m.decode(paths, &k.paths), m.decode(data, &oneData), m.decode(datas, &k.datas)); err != nil {
		return err
	}
	for name, n := range map[string]int{paths: len(k.paths), datas: len(k.datas)} {
		if m.count(name) == 1 && n == 0 {
			return fmt.Errorf("%s.%s: no entries", m.place, name)
		}
	}
	k.sources = m.count(paths, datas)
	if onePath != "" {
		k.sources++
		k.paths = append(k.paths, onePath)
	}
	if oneData != nil {
		k.sources++
		k.datas = append(k.datas, oneData)
	}
	return nil
}

// readCertificates reads fulcio and pki.
func (r *Requirement) readCertificates(m *members) error {
	if data, ok := m.members["fulcio"]; ok {
		r.Fulcio = &Fulcio{}
		var ca []byte
		place := m.place + ".fulcio"
		err := certificates(place, data, map[string]any{
			"caPath": &r.Fulcio.CAPath, "caData": &ca, "oidcIssuer": &r.Fulcio.OIDCIssuer, "subjectEmail": &r.Fulcio.SubjectEmail,
		})
		switch {
		case err != nil:
			return err
		case (r.Fulcio.CAPath != "") == (ca != nil):
			return fmt.Errorf("%s: exactly one of caPath and caData is needed", place)
		case r.Fulcio.OIDCIssuer == "" || r.Fulcio.SubjectEmail == "":
			return fmt.Errorf("%s: oidcIssuer and subjectEmail are needed", place)
		}
	}
	if data, ok := m.members["pki"]; ok {
		r.PKI = &PKI{}
		var roots, intermediates []byte
		place := m.place + ".pki"
		err := certificates(place, data, map[string]any{
			"caRootsPath": &r.PKI.CARootsPath, "caRootsData": &roots, "caIntermediatesPath": &r.PKI.CAIntermediatesPath, "caIntermediatesData": &intermediates,
			"subjectEmail": &r.PKI.SubjectEmail, "subjectHostname": &r.PKI.SubjectHostname,
		})
		switch {
		case err != nil:
			return err
		case (r.PKI.CARootsPath != "") == (roots != nil):
			return fmt.Errorf("%s: exactly one of caRootsPath and caRootsData is needed", place)
		case r.PKI.CAIntermediatesPath != "" && intermediates != nil:
			return fmt.Errorf("%s: caIntermediatesPath and caIntermediatesData do not go together", place)
		case r.PKI.SubjectEmail == "" && r.PKI.SubjectHostname == "":
			return fmt.Errorf("%s: subjectEmail or subjectHostname is needed", place)
		}
	}
	return nil
}

// certificates reads an object whose members may all be missing.
func certificates(place string, data []byte, fields map[string]any) error {
	m, err := object(place, data)
	if err != nil {
		return err
	}
	if err := m.only(slices.Collect(maps.Keys(fields))...); err != nil {
		return err
	}
	for name, into := range fields {
		if err := m.decode(name, into); err != nil {
			return err
		}
	}
	return nil
}
