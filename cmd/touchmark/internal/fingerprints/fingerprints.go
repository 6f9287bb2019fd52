// Package fingerprints shows the keys of countersignatures: a host's (touchmark agent key),
// and a proxy's (touchmark proxy key).
package fingerprints

import (
	"fmt"
	"io"

	"github.com/touchmark/touchmark/core/countersign"
)

// Print writes a line for each key whose countersignatures clients accept, the one that
// signs first. The error wraps [io/fs.ErrNotExist] if there is none.
func Print(w io.Writer, c countersign.Config) error {
	fingerprints, err := countersign.Fingerprints(c)
	if err != nil {
		return err
	}
	for i, fingerprint := range fingerprints {
		what := "previous"
		if i == 0 {
			what = "signing"
		}
		if _, err := fmt.Fprintf(w, "%-8s  %s\n", what, fingerprint); err != nil {
			return err
		}
	}
	return nil
}
