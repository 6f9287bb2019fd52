package policyjson

import (
	"fmt"
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
	if err := one(m, sources...); err != nil {
		return err
	}
	if err := r.readKeys(m); err != nil {
		return err
	}
	var err error
	r.Identity, err = readIdentityOf(m)
	return err
}

// readSigstoreSigned follows signature.newPRSigstoreSigned of
// go.podman.io/image/v5.
func (r *Requirement) readSigstoreSigned(m *members) error {
	sources := []string{"keyPath", "keyPaths", "keyData", "keyDatas", "fulcio", "pki"}
	logs := []string{"rekorPublicKeyPath", "rekorPublicKeyPaths", "rekorPublicKeyData", "rekorPublicKeyDatas"}
	if err := m.only(slices.Concat([]string{"type", "signedIdentity"}, sources, logs)...); err != nil {
		return err
	}
	if err := one(m, sources...); err != nil {
		return err
	}
	if n := m.count(logs...); n > 1 {
		return fmt.Errorf("%s: at most one of %q is allowed, there are %d", m.place, logs, n)
	}
	r.Rekor = m.count(logs...) == 1
	switch {
	case m.count("fulcio") == 1 && !r.Rekor:
		return fmt.Errorf("%s: fulcio needs one of %q", m.place, logs)
	case m.count("pki") == 1 && r.Rekor:
		return fmt.Errorf("%s: pki and a Rekor key do not go together", m.place)
	}
	if err := r.readKeys(m); err != nil {
		return err
	}
	if err := r.readLogs(m); err != nil {
		return err
	}
	if err := r.readCertificates(m); err != nil {
		return err
	}
	var err error
	r.Identity, err = readIdentityOf(m)
	return err
}

// readKeys reads whichever member holds the keys.
func (r *Requirement) readKeys(m *members) error {
	if err := readPath(m, "keyPath", &r.KeyPaths); err != nil {
		return err
	}
	if err := m.decode("keyPaths", &r.KeyPaths); err != nil {
		return err
	}
	// An empty list of signedBy is taken by clients, and accepts no key.
	if m.count("keyPaths") == 1 && (r.KeyPaths == nil || r.Type == SigstoreSigned && len(r.KeyPaths) == 0) {
		return fmt.Errorf("%s.keyPaths: no entries", m.place)
	}
	if m.count("keyData") == 1 {
		var data []byte
		if err := m.decode("keyData", &data); err != nil {
			return err
		}
		if data == nil {
			return fmt.Errorf("%s.keyData: empty", m.place)
		}
		r.KeyDatas = [][]byte{data}
	}
	if err := m.decode("keyDatas", &r.KeyDatas); err != nil {
		return err
	}
	if m.count("keyDatas") == 1 && len(r.KeyDatas) == 0 {
		return fmt.Errorf("%s.keyDatas: no entries", m.place)
	}
	return nil
}

// readLogs reads whichever member holds the Rekor log's keys. Whether they can
// be used, clients find out when they verify.
func (r *Requirement) readLogs(m *members) error {
	if err := readPath(m, "rekorPublicKeyPath", &r.RekorKeyPaths); err != nil {
		return err
	}
	if err := m.decode("rekorPublicKeyPaths", &r.RekorKeyPaths); err != nil {
		return err
	}
	var data []byte
	if err := m.decode("rekorPublicKeyData", &data); err != nil {
		return err
	}
	var datas [][]byte
	if err := m.decode("rekorPublicKeyDatas", &datas); err != nil {
		return err
	}
	if r.Rekor && len(r.RekorKeyPaths) == 0 && data == nil && len(datas) == 0 {
		return fmt.Errorf("%s: the Rekor key is empty", m.place)
	}
	return nil
}

// readCertificates reads fulcio or pki.
func (r *Requirement) readCertificates(m *members) error {
	if data, ok := m.members["fulcio"]; ok {
		r.Fulcio = &Fulcio{}
		f, err := certificates(m.place+".fulcio", data, "caPath", "caData", map[string]*string{
			"caPath": &r.Fulcio.CAPath, "oidcIssuer": &r.Fulcio.OIDCIssuer, "subjectEmail": &r.Fulcio.SubjectEmail,
		}, "caData")
		if err != nil {
			return err
		}
		if r.Fulcio.OIDCIssuer == "" || r.Fulcio.SubjectEmail == "" {
			return fmt.Errorf("%s: oidcIssuer and subjectEmail are needed", f.place)
		}
	}
	if data, ok := m.members["pki"]; ok {
		r.PKI = &PKI{}
		p, err := certificates(m.place+".pki", data, "caRootsPath", "caRootsData", map[string]*string{
			"caRootsPath": &r.PKI.CARootsPath, "caIntermediatesPath": &r.PKI.CAIntermediatesPath,
			"subjectEmail": &r.PKI.SubjectEmail, "subjectHostname": &r.PKI.SubjectHostname,
		}, "caRootsData", "caIntermediatesData")
		if err != nil {
			return err
		}
		if r.PKI.SubjectEmail == "" && r.PKI.SubjectHostname == "" {
			return fmt.Errorf("%s: subjectEmail or subjectHostname is needed", p.place)
		}
		if p.count("caIntermediatesPath", "caIntermediatesData") > 1 {
			return fmt.Errorf("%s: caIntermediatesPath and caIntermediatesData do not go together", p.place)
		}
	}
	return nil
}

// certificates reads an object with texts, and bytes that only have to be
// bytes; its authority is in a file or in bytes.
func certificates(place string, data []byte, inFile, inBytes string, texts map[string]*string, bytes ...string) (*members, error) {
	m, err := object(place, data)
	if err != nil {
		return nil, err
	}
	allowed := slices.Clone(bytes)
	for name, into := range texts {
		allowed = append(allowed, name)
		if err := m.decode(name, into); err != nil {
			return nil, err
		}
	}
	if err := m.only(allowed...); err != nil {
		return nil, err
	}
	for _, name := range bytes {
		var value []byte
		if err := m.decode(name, &value); err != nil {
			return nil, err
		}
	}
	return m, one(m, inFile, inBytes)
}
