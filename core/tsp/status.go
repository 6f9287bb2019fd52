package tsp

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
	cbasn1 "golang.org/x/crypto/cryptobyte/asn1"
)

// statusNames are the values of PKIStatus (RFC 3161 section 2.4.2).
var statusNames = [...]string{"granted", "grantedWithMods", "rejection", "waiting", "revocationWarning", "revocationNotification"}

// failureNames are the bits of PKIFailureInfo.
var failureNames = map[int]string{
	0: "badAlg", 2: "badRequest", 5: "badDataFormat", 14: "timeNotAvailable", 15: "unacceptedPolicy",
	16: "unacceptedExtension", 17: "addInfoNotAvailable", 25: "systemFailure",
}

// maxStatusText bounds how much of an authority's free text goes into an error, in bytes.
const maxStatusText = 200

// checkStatus accepts granted (0) alone, and explains everything else. grantedWithMods (1) carries a token too, but no authority of Sigstore's answers it, the
// reference verifier refuses it, and the status is not signed: accepting it would let somebody else choose it.
//
//	PKIStatusInfo ::= SEQUENCE { status INTEGER, statusString SEQUENCE OF UTF8String OPTIONAL, failInfo BIT STRING OPTIONAL }
func checkStatus(info cryptobyte.String) error {
	var status uint64
	if !info.ReadASN1Integer(&status) || status >= uint64(len(statusNames)) {
		return errors.New("status is not a known PKIStatus")
	}
	var texts, failure cryptobyte.String
	var hasText, hasFailure bool
	if !info.ReadOptionalASN1(&texts, &hasText, cbasn1.SEQUENCE) ||
		!info.ReadOptionalASN1(&failure, &hasFailure, cbasn1.BIT_STRING) || !info.Empty() {
		return errors.New("malformed status")
	}
	if status == 0 {
		return nil
	}
	err := fmt.Errorf("authority answered %s", statusNames[status])
	if name := failureName(failure); name != "" {
		err = fmt.Errorf("%w (%s)", err, name)
	}
	var text cryptobyte.String
	if hasText && texts.ReadASN1(&text, cbasn1.UTF8String) {
		err = fmt.Errorf("%w: %q", err, text[:min(len(text), maxStatusText)])
	}
	return err
}

// failureName returns the name of the first set bit of a BIT STRING's content, or "".
func failureName(bits []byte) string {
	if len(bits) == 0 {
		return ""
	}
	for i := range 8 * min(len(bits)-1, 4) {
		if bits[1+i/8]&(0x80>>(i%8)) != 0 {
			return failureNames[i]
		}
	}
	return ""
}
