package proxy_test

import (
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/integration/situations"
)

// observed holds what a proxy serves that only observes against what is right: everything, with the verdict that it would have had.
func (f *fronts) observed(t *testing.T, i *situations.Image) error {
	want, _ := i.At("proxy")
	var all []func() error
	for _, reference := range references(i) {
		all = append(all, func() error {
			a, err := f.ask(t, i, http.MethodGet, "manifests/"+reference, "")
			if err != nil {
				return err
			}
			if want.Outcome == "" {
				return refused(i, a, want) // there is nothing to serve
			}
			header := ""
			if want.Outcome != gate.OutcomeAdmitted {
				header = fmt.Sprintf("%s; code=%s", want.Outcome, want.Code)
			}
			if got := a.header.Get("Touchmark-Observed"); got != header || strings.Contains(a.header.Get("Warning"), string(want.Code)) != (header != "") {
				err = fmt.Errorf("Touchmark-Observed is %q, want %q; Warning is %q", got, header, a.header.Get("Warning"))
			}
			return errors.Join(err, served(i, a))
		})
	}
	return together(all...)
}

// logged ends the proxies, and holds the decisions in their logs against what is right.
func (f *fronts) logged(t *testing.T, observing bool) {
	t.Helper()
	f.stop()
	for _, site := range f.Sites {
		all := f.decisions(t, site)
		for _, i := range f.Images {
			want, _ := i.At("proxy")
			n := 0
			for _, d := range all {
				if i.Site != site || d.Repository != i.Repository || d.Digest != i.Digest {
					continue
				}
				n++
				if d.Outcome != want.Outcome || d.Code != want.Code || !strings.Contains(d.Reason, want.Says) || d.Served != (observing && want.Outcome != gate.OutcomeAdmitted) {
					t.Errorf("%s: decision log: %s, %s (%s), served %v; want %s, %s, and it to say %q", i.Name, d.Outcome, d.Code, d.Reason, d.Served, want.Outcome, want.Code, want.Says)
				}
			}
			if i.Site == site && (n > 0) != (want.Outcome != "") {
				t.Errorf("%s: the decision log has %d decisions about it", i.Name, n)
			}
		}
	}
}
