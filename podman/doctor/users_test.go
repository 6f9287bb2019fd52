package doctor_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/doctor"
	podmandoctor "github.com/touchmark/touchmark/podman/doctor"
)

// TestPOD01_UsersOfADirectoryService: users who do not stand in /etc/passwd have policies of their own, too.
func TestPOD01_UsersOfADirectoryService(t *testing.T) {
	const mine = "/home/carol/.config/containers/policy.json"
	for name, passwd := range map[string]string{
		"not in passwd":     "root:x:0:0:root:/root:/bin/sh\n",
		"in passwd":         "carol:x:1004:1004:,,,:/home/carol/:/bin/sh\n",
		"root lives there":  "root:x:0:0:root:/home/carol:/bin/sh\n",
		"there is no file":  "",
		"a line with less":  "carol:x:1004\n",
		"not a directory":   "carol:x:1004:1004::/dev/null:/bin/sh\n",
		"two of one number": "dave:x:1004:1004::/home/dave:/bin/sh\ncarol:x:1004:1004::/home/carol:/bin/sh\n",
	} {
		t.Run(name, func(t *testing.T) {
			r := examine(t, podmandoctor.Config{Host: host(t, map[string]string{
				"/etc/containers/policy.json": `{"default":[{"type":"reject"}]}`, "/usr/bin/podman": "", "/etc/passwd": passwd,
				mine: `{"default":[{"type":"insecureAcceptAnything"}]}`,
			}), Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}}})
			if !r.Has("user-policy") || r.Enforcing != doctor.No {
				t.Errorf("%s: %v", r.Enforcing, r.Findings)
			}
		})
	}
}

// TestMoreUsersThanAreLookedAt: those who are left out could have anything.
func TestMoreUsersThanAreLookedAt(t *testing.T) {
	var passwd strings.Builder
	for n := range 1100 {
		fmt.Fprintf(&passwd, "u%d:x:%d:%d::/home/all:/bin/sh\n", n, n+1, n+1)
	}
	r := examine(t, podmandoctor.Config{Host: host(t, map[string]string{
		"/etc/containers/policy.json": `{"default":[{"type":"reject"}]}`, "/usr/bin/podman": "", "/etc/passwd": passwd.String(), "/home/all/x": "",
	}), Intent: podmandoctor.Intent{Scopes: []string{"registry.example"}}})
	if !r.Has("unreadable") || r.Enforcing == doctor.Yes {
		t.Errorf("%s: %v", r.Enforcing, r.Findings)
	}
}
