package policy

import (
	"strings"
	"testing"
)

const keyed = `apiVersion: policy.sigstore.dev/v1beta1
kind: ClusterImagePolicy
metadata:
  name: keyed
spec:
  images: [{glob: "**"}]
  authorities:
  - key:
      data: |
        -----BEGIN PUBLIC KEY-----
        MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt
        6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==
        -----END PUBLIC KEY-----
`

// TestLIB38_CTLog: a ctlog that says nothing must not be read as none, which would admit signatures that are in no log.
func TestLIB38_CTLog(t *testing.T) {
	for _, tt := range []struct {
		text      string
		required  bool
		url, want string
	}{
		{"", false, "", ""},
		{"    ctlog: {}\n", true, "", ""},
		{"    ctlog: {url: https://log.example}\n", true, "https://log.example", ""},
		{"    ctlog:\n      url: https://log.example\n      trustRootRef: x\n", true, "https://log.example", ""},
		{"    ctlog:\n", false, "", "ctlog: is empty"},
		{"    ctlog: ~\n", false, "", "ctlog: is empty"},
		{"    ctlog: true\n", false, "", "ctlog: is a truth value; want a mapping"},
		{"    ctlog: [{}]\n", false, "", "ctlog: is a list; want a mapping"},
		{"    ctlog: {uri: https://log.example}\n", false, "", "uri"},
		{"    ctlog: {url: a, url: b}\n", false, "", "already defined"},
		{"    ctlog: {}\n    ctlog: {}\n", false, "", "already defined"},
	} {
		set, err := Parse(t.Context(), []byte(keyed+tt.text), Options{})
		if tt.want != "" {
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%q: error is %v, want one that names %q", tt.text, err, tt.want)
			}
			continue
		}
		if err != nil {
			t.Errorf("%q: %v", tt.text, err)
			continue
		}
		if a := set.Policies[0].Authorities[0]; a.RequireLog != tt.required || a.LogURL != tt.url {
			t.Errorf("%q: log required %v, URL %q; want %v, %q", tt.text, a.RequireLog, a.LogURL, tt.required, tt.url)
		}
	}
}
