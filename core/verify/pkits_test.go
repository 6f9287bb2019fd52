package verify

import (
	"crypto/x509"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/touchmark/touchmark/core/trust"
)

// pkitsNames are vectors by name, and why they are not judged as the suite says.
type pkitsNames struct {
	names *regexp.Regexp
	why   string
}

func among(list []pkitsNames, name string) bool {
	return slices.ContainsFunc(list, func(n pkitsNames) bool { return n.names.MatchString(name) })
}

// pkitsElsewhere are the sections of NIST's path validation suite that say nothing about signers' certificates, and why.
var pkitsElsewhere = []pkitsNames{
	{regexp.MustCompile(`^4\.(4|14|15)\.`), "revocation lists: certificates for signing live for minutes, and nothing revokes them but a policy"},
	{regexp.MustCompile(`^4\.7\.[45] `), "keys that must not sign revocation lists"},
	{regexp.MustCompile(`^4\.5\.(2|5|7|8) `), "refused for what a revocation list says, or for its signer"},
	{regexp.MustCompile(`^4\.5\.(4|6) `), "a self-issued certificate for revocation lists is in the path"},
}

// pkitsStricter are valid paths that are refused all the same.
var pkitsStricter = []pkitsNames{
	{regexp.MustCompile(`^4\.1\.[45] `), "DSA, which Sigstore's algorithm registry does not have"},
	{regexp.MustCompile(`^4\.3\.(3|4|5|6|11) `), "names must be equal to the byte: no white space or case is forgiven, no unique identifiers are read"},
	{regexp.MustCompile(`^4\.3\.10 `), "names must be equal to the byte: no change of the string type"},
	{regexp.MustCompile(`^4\.6\.1[57] `), "self-issued authorities count towards the length of the path, too"},
	{regexp.MustCompile(`^4\.13\.`), "constraints on directory names are critical, and crypto/x509 does not know them"},
	{regexp.MustCompile(`^4\.2\.3 `), "the certificate's years are written with two digits, and it ended when these still meant the last century"},
}

// pkitsLenient are invalid paths that are accepted.
var pkitsLenient = []pkitsNames{
	{regexp.MustCompile(`^4\.13\.24 `), "crypto/x509, and with it the reference, lets a constraint to the mail addresses of a host cover those of hosts below it"},
}

// TestA161_PKITS sends NIST's certification paths, which the Go toolchain ships, through the chain builder: the path's authorities as a chain in the trust root, its end as the
// signer's certificate.
func TestA161_PKITS(t *testing.T) {
	out, err := exec.CommandContext(t.Context(), "go", "env", "GOROOT").Output()
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(strings.TrimSpace(string(out)), "src", "crypto", "x509", "testdata", "nist-pkits")
	text, err := os.ReadFile(filepath.Join(dir, "vectors.json"))
	if err != nil {
		t.Fatal(err)
	}
	var vectors []struct {
		Name                        string
		CertPath                    []string
		ShouldValidate              bool
		InitialPolicySet            []string
		InitialExplicitPolicy       bool
		InitialPolicyMappingInhibit bool
		InitialAnyPolicyInhibit     bool
	}
	if err := json.Unmarshal(text, &vectors); err != nil {
		t.Fatal(err)
	}
	applied, accepted, refused, stricter, lenient := 0, 0, 0, 0, 0
	for _, v := range vectors {
		asksForPolicies := v.InitialExplicitPolicy || v.InitialPolicyMappingInhibit || v.InitialAnyPolicyInhibit || !slices.Equal(v.InitialPolicySet, []string{"anyPolicy"}) // as no verifier of signatures does
		if asksForPolicies || among(pkitsElsewhere, v.Name) {
			continue
		}
		applied++
		got := buildPKITS(t, dir, v.CertPath)
		switch listed := among(pkitsStricter, v.Name); {
		case got == nil && v.ShouldValidate:
			accepted++
		case got == nil && among(pkitsLenient, v.Name):
			lenient++
		case got == nil:
			t.Errorf("%s: accepted", v.Name)
		case !v.ShouldValidate:
			refused++
		case listed:
			stricter++
		default:
			t.Errorf("%s: refused: %v", v.Name, got)
		}
	}
	t.Logf("%d of %d vectors apply: %d valid paths are accepted, %d are not, %d invalid ones are refused, %d are not", applied, len(vectors), accepted, stricter, refused, lenient)
	if lenient != len(pkitsLenient) || applied < 100 || accepted < 30 || refused < 40 {
		t.Error("the test shows little")
	}
}

// buildPKITS builds the chain of the last certificate of a path under the others.
func buildPKITS(t *testing.T, dir string, path []string) error {
	t.Helper()
	var chain []*x509.Certificate
	for _, name := range path {
		der, err := os.ReadFile(filepath.Join(dir, "certs", name))
		if err != nil {
			t.Fatal(err)
		}
		c, err := x509.ParseCertificate(der)
		if err != nil {
			return err
		}
		chain = slices.Insert(chain, 0, c)
	}
	ca, err := trust.FromPKI(chain[1:])
	if err != nil {
		return err
	}
	_, err = ca.Chain(chain[0], []time.Time{time.Date(2012, 1, 1, 0, 0, 0, 0, time.UTC)})
	return err
}
