package policy

import (
	"encoding/pem"
	"fmt"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/identity"
)

// Only below an authority of one's own may an identity leave its issuer out,
// and it then means certificates that name none.
func TestIdentityWithoutIssuer(t *testing.T) {
	ca := coretest.New(t).CA
	chain := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Intermediate.Raw})) + string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: ca.Root.Raw}))
	const text = "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n  images: [{glob: x/*}]\n  authorities:\n  - keyless:\n      identities: [{subject: alice@acme.example%s}]\n%s"
	own := "      ca-cert:\n        data: |\n          " + strings.ReplaceAll(chain, "\n", "\n          ") + "\n"
	if _, err := Parse(t.Context(), fmt.Appendf(nil, text, "", ""), Options{}); err == nil || !strings.Contains(err.Error(), "issuer") {
		t.Errorf("without ca-cert: %v", err)
	}
	without, with := coretest.Email("alice@acme.example"), coretest.Email("alice@acme.example")
	without.Issuer = ""
	for _, c := range []struct {
		issuer string
		id     identity.Identity
		want   bool
	}{{"", without, true}, {"", with, false}, {", issuerRegExp: .*", without, false}, {", issuerRegExp: .*", with, true}} {
		set, err := Parse(t.Context(), fmt.Appendf(nil, text, c.issuer, own), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Policies[0].Authorities[0].Identities[0].Matches(c.id); got != c.want {
			t.Errorf("identity{subject%s} matches issuer %q: %v", c.issuer, c.id.Issuer, got)
		}
	}
}
