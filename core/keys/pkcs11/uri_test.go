package pkcs11_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/keys/pkcs11"
)

func TestParseURI(t *testing.T) {
	slot := uint(7)
	for text, want := range map[string]pkcs11.URI{
		"pkcs11:token=acme;object=release":                    {Token: "acme", Object: "release"},
		"pkcs11:token=My%20token;id=%01%ff;object=a+b":        {Token: "My token", ID: []byte{1, 0xff}, Object: "a+b"},
		"pkcs11:slot-id=7;object=x?module-path=/lib/p11.so":   {SlotID: &slot, Object: "x", ModulePath: "/lib/p11.so"},
		"pkcs11:serial=01;manufacturer=M;model=X;object=o":    {Serial: "01", Manufacturer: "M", Model: "X", Object: "o"},
		"pkcs11:token=t;object=o;type=private?pin-value=1234": {Token: "t", Object: "o"},
		"pkcs11:token=t;object=o?pin-source=file:/etc/pin":    {Token: "t", Object: "o"},
	} {
		got, err := pkcs11.ParseURI(text)
		if err != nil {
			t.Errorf("%s: %v", text, err)
			continue
		}
		if diff := cmp.Diff(&want, got, cmpopts.IgnoreUnexported(pkcs11.URI{})); diff != "" {
			t.Errorf("%s: %s", text, diff)
		}
	}
}

func TestParseURIRefuses(t *testing.T) {
	for text, want := range map[string]string{
		"PKCS11:token=t;object=o":                                  "begin with",
		"pkcs11:":                                                  "which token",
		"pkcs11:object=o":                                          "which token",
		"pkcs11:token=t":                                           "which key",
		"pkcs11:token=t;token=u;object=o":                          "token is there twice",
		"pkcs11:token=t;object=":                                   "object is empty",
		"pkcs11:token=t;object=%zz":                                "percent-encoding",
		"pkcs11:token=t;object=o;x-vendor=1":                       "x-vendor is not supported",
		"pkcs11:token=t;object=o;type=cert":                        "no key",
		"pkcs11:token=t;object=o;slot-id=x":                        "no number",
		"pkcs11:token=t;object=o;slot-id=99999999999":              "no number",
		"pkcs11:token=t;object=o?module-path=lib.so":               "not absolute",
		"pkcs11:token=t;object=o?module-name=softhsm2":             "module-name is not supported",
		"pkcs11:token=t;object=o?pin-source=|/bin/sh":              "no absolute path",
		"pkcs11:token=t;object=o?pin-value=s3cret&pin-source=/etc": "both",
		"pkcs11:token=t;object=o?pin-value=s3cret&pin-value=x":     "pin-value is there twice",
		"pkcs11:token=t;object=o?s3cret":                           "no \"=\"",
		"pkcs11:token=t;object=o?pin-value=%s3cret":                "percent-encoding",
		"pkcs11:token=t;object=o?pin-value=1&s3cret!=1":            "not known",
	} {
		_, err := pkcs11.ParseURI(text)
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want one with %q", text, err, want)
			continue
		}
		if strings.Contains(err.Error(), "s3cret") {
			t.Errorf("%s: the PIN is in the error %q", text, err)
		}
	}
}

func FuzzParseURI(f *testing.F) {
	f.Add("pkcs11:token=My%20token;id=%01%ff;object=a+b?module-path=/lib/p11.so&pin-value=1234")
	f.Add("pkcs11:slot-id=7;object=x")
	f.Fuzz(func(t *testing.T, text string) {
		u, err := pkcs11.ParseURI(text)
		if err == nil && (u.Object == "" && len(u.ID) == 0 || u.Token == "" && u.Serial == "" && u.SlotID == nil) {
			t.Errorf("%q names no key on a token: %+v", text, u)
		}
	})
}
