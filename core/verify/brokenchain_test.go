package verify_test

import (
	"crypto/x509"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// TestA036_TUF20_NothingIsAdmittedUnderABrokenChain: a trust root is read without its authorities' chains being checked, which is dear. What such a
// chain would vouch for is refused all the same, with what trust.Root.Check says.
func TestA036_TUF20_NothingIsAdmittedUnderABrokenChain(t *testing.T) {
	w, other := newWorld(t), newWorld(t)
	good := w.input(t, w.sign(t, coretest.SignOptions{Log: w.V2}))
	requireAccepted(t, "the good root", good)
	beside := other.CA.Root // of the same name as the one that belongs there
	for name, tt := range map[string]struct {
		change func(*trust.Root)
		want   verify.Code
	}{
		"certificate authority": {func(r *trust.Root) {
			ca := &r.CertificateAuthorities[0]
			ca.Intermediates = slices.Concat(ca.Intermediates, []*x509.Certificate{beside})
		}, verify.CodeUntrustedCA},
		"timestamp authority": {func(r *trust.Root) {
			a := &r.TimestampAuthorities[0].Authority
			a.Intermediates = slices.Concat(a.Intermediates, []*x509.Certificate{beside})
		}, verify.CodeTimestamp},
	} {
		in := good
		in.Root = w.Root()
		tt.change(in.Root)
		// A root that a program makes is not looked through: that the needed certificates are there is enough. One that is read is.
		requireAccepted(t, name+", by hand", in)
		text, err := trust.Format(in.Root)
		if err != nil {
			t.Fatal(err)
		}
		if in.Root, err = trust.Parse("test", text); err != nil {
			t.Fatal(err)
		}
		for range 2 {
			var refused *verify.Error
			if _, err := verify.Verify(in); !errors.As(err, &refused) || refused.Code != tt.want || !strings.Contains(err.Error(), "of its chain was not issued by certificate") {
				t.Errorf("%s: %v", name, err)
			}
		}
		if in.Root.Check() == nil {
			t.Errorf("%s: Check finds nothing wrong", name)
		}
	}
}
