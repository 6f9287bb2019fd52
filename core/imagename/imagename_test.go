package imagename_test

import (
	"regexp"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/imagename"
)

// The rules are the distribution specification's expressions.
var (
	path = regexp.MustCompile(`\A[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*(/[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*)*\z`)
	tag  = regexp.MustCompile(`\A[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}\z`)
	sum  = regexp.MustCompile(`\Asha256:[a-f0-9]{64}\z`)
)

func FuzzRules(f *testing.F) {
	for _, s := range []string{
		"", "a", "A", "a/b", "a//b", "/a", "a/", "a.b", "a..b", ".a", "a.", "a_b", "a__b", "a___b", "_a", "a-b", "a---b", "-a", "a-", "a-_b", "a._b", "a_.b", "a__-b",
		"é", "a\nb", "a\n", strings.Repeat("a", 128), strings.Repeat("a", 129), "v1.2-3_4", "a:b", "a@b", "sha256:" + strings.Repeat("a", 64),
		"sha256:" + strings.Repeat("a", 65), "sha256:" + strings.Repeat("A", 64), "sha512:" + strings.Repeat("a", 64), strings.Repeat("a", 64),
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		for what, c := range map[string]struct{ got, want bool }{
			"a path": {imagename.IsPath(s), path.MatchString(s)}, "a tag": {imagename.IsTag(s), tag.MatchString(s)}, "a digest": {imagename.IsDigest(s), sum.MatchString(s)},
		} {
			if c.got != c.want {
				t.Errorf("%q is %s: %v, want %v", s, what, c.got, c.want)
			}
		}
	})
}
