package agent

import (
	"slices"
	"testing"

	"github.com/touchmark/touchmark/core/policy"
)

// What is only observed never reads as enforced.
func TestObserving(t *testing.T) {
	enforced, observed := &policy.Policy{Name: "release", Mode: policy.Enforce}, &policy.Policy{Name: "trial", Mode: policy.Observe}
	for _, tt := range []struct {
		name     string
		site     policy.Enforcement
		policies []*policy.Policy
		want     []string
	}{
		{"enforcing", policy.Enforcement{}, []*policy.Policy{enforced}, nil},
		{"one policy", policy.Enforcement{}, []*policy.Policy{enforced, observed}, []string{"policy trial"}},
		{"the site", policy.Enforcement{Mode: policy.Observe}, []*policy.Policy{enforced}, []string{"the whole site"}},
		{"unmatched", policy.Enforcement{Unmatched: policy.Unmatched{Mode: policy.Observe}}, []*policy.Policy{enforced}, []string{"images that no policy is about"}},
		{"unmatched admitted", policy.Enforcement{Unmatched: policy.Unmatched{InsecureAdmit: true}}, []*policy.Policy{enforced}, []string{"images that no policy is about"}},
	} {
		if got := observing(&policy.Set{Enforcement: &tt.site, Policies: tt.policies}); !slices.Equal(got, tt.want) {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
}
