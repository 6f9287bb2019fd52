package trust

// TestingOnlyRemembers reports whether the authority's own chain is remembered.
func (ca *CertificateAuthority) TestingOnlyRemembers() bool { return ca.own.simple }
