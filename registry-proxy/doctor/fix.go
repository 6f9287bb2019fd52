package doctor

import (
	"slices"

	"github.com/touchmark/touchmark/core/doctor"
)

var (
	// writableFixes are closed by taking from others what they can write.
	writableFixes = []string{"config-writable", "policy-writable", "trust-writable", "tls-writable", "login-writable", "upstream-writable", "state-writable", "cache-writable"}
	// readableFixes are closed by taking from others what they can read.
	readableFixes = []string{"tls-key-readable", "countersign-key-readable", "peers-secret-readable", "password-readable", "credentials-readable", "decisions-readable"}
)

// Fix closes what the report calls fixable: it changes modes and owners of files, and
// nothing else. What it did before an error is returned with it. Examine the proxy again
// afterwards.
func Fix(c Config, r *doctor.Report) (steps []doctor.Step, err error) {
	e := doctor.Examination{UID: c.UID, Catalog: Catalog()}
	for _, f := range r.Findings {
		switch {
		case slices.Contains(writableFixes, f.Code):
			done, err := e.Secure(f)
			steps = append(steps, done...)
			if err != nil {
				return steps, err
			}
		case slices.Contains(readableFixes, f.Code):
			step, err := e.Chmod(f.Where, 0o077)
			steps = append(steps, step.For(f.Code)...)
			if err != nil {
				return steps, err
			}
		}
	}
	return steps, nil
}
