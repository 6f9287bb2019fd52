package policy

import (
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/tlog/entry"
)

// A key's log is never looked for in the trust root that was named for
// timestamps only.
func TestLIB44_TrustRootsOfKeys(t *testing.T) {
	pem, err := entry.PublicKeyPEM(coretest.NewKey(t).Public())
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ rest, want string }{
		{"ctlog: {trustRootRef: logs}, rfc3161timestamp: {trustRootRef: stamps}", "logs"},
		{"ctlog: {}, rfc3161timestamp: {trustRootRef: stamps}", ""},
		{"rfc3161timestamp: {trustRootRef: stamps}", "stamps"},
		{"ctlog: {trustRootRef: logs}", "logs"},
	} {
		text := "apiVersion: policy.sigstore.dev/v1beta1\nkind: ClusterImagePolicy\nmetadata: {name: p}\nspec:\n  images: [{glob: x/*}]\n  authorities:\n  - {" + c.rest + ", key: {data: \"" + strings.ReplaceAll(string(pem), "\n", `\n`) + "\"}}\n"
		set, err := Parse(t.Context(), []byte(text), Options{})
		if err != nil {
			t.Fatal(err)
		}
		if got := set.Policies[0].Authorities[0].TrustRoot; got != c.want {
			t.Errorf("%s: trust root %q, want %q", c.rest, got, c.want)
		}
	}
}
