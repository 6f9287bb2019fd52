package situations

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// saying is a line of an Enforcement document about one image.
type saying struct{ revoked, exception, pin line }

// line is what a list's entry says.
type line struct {
	there   bool
	place   string        // "", "here" or "elsewhere": the repository before the digest
	another bool          // of another digest
	ends    time.Duration // from now
}

// soon is when exceptions end and pins are looked at again.
const soon = 48 * time.Hour

// sayings are what the site says of an image, by the values of "said".
var sayings = map[string]saying{
	"revoked":              {revoked: line{there: true}},
	"excepted":             {exception: line{there: true, ends: soon}},
	"excepted-here":        {exception: line{there: true, ends: soon, place: "here"}},
	"exception-expired":    {exception: line{there: true, ends: -time.Minute}},
	"exception-of-another": {exception: line{there: true, ends: soon, another: true}},
	"exception-elsewhere":  {exception: line{there: true, ends: soon, place: "elsewhere"}},
	"excepted-and-revoked": {exception: line{there: true, ends: soon}, revoked: line{there: true}},
	"pinned":               {pin: line{there: true, ends: soon}},
	"pin-of-another":       {pin: line{there: true, ends: soon, another: true}},
	"pin-elsewhere":        {pin: line{there: true, ends: soon, place: "elsewhere"}},
	"pinned-and-revoked":   {pin: line{there: true, ends: soon}, revoked: line{there: true}},
}

func (l line) image(i *Image) string {
	digest := i.Digest
	if l.another {
		digest = "sha256:" + strings.Repeat("0", 64)
	}
	switch l.place {
	case "here":
		return i.Repository + "@" + digest
	case "elsewhere":
		return i.Repository + "-elsewhere@" + digest
	}
	return digest
}

func (l line) when() string { return time.Now().Add(l.ends).UTC().Format(time.RFC3339) }

// writeSayings writes what each site says of its images.
func (b *builder) writeSayings(tb testing.TB) {
	tb.Helper()
	type lists struct{ revocations, exceptions, pins strings.Builder }
	bySite := make(map[*Site]*lists)
	for _, i := range b.Images {
		s, ok := sayings[i.Facts.Get("said")]
		if !ok {
			continue
		}
		l := bySite[i.Site]
		if l == nil {
			l = &lists{}
			bySite[i.Site] = l
		}
		if s.revoked.there {
			fmt.Fprintf(&l.revocations, "  - {image: %q, reason: it holds CVE-2026-1}\n", s.revoked.image(i))
		}
		if s.exception.there {
			fmt.Fprintf(&l.exceptions, "  - {image: %q, reason: the vendor signs next week, by: bob, expires: %s}\n", s.exception.image(i), s.exception.when())
		}
		if s.pin.there {
			fmt.Fprintf(&l.pins, "  - {image: %q, reason: pause image, by: bob, review: %s}\n", s.pin.image(i), s.pin.when())
		}
	}
	for site, l := range bySite {
		text := "apiVersion: touchmark.dev/v1alpha1\nkind: Enforcement\nmetadata: {name: said}\nspec:\n"
		for name, list := range map[string]string{"revocations": l.revocations.String(), "exceptions": l.exceptions.String(), "pins": l.pins.String()} {
			if list != "" {
				text += "  " + name + ":\n" + list
			}
		}
		write(tb, filepath.Join(site.Policy, "said.yaml"), []byte(text))
	}
}
