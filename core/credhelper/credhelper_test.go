package credhelper_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-containerregistry/pkg/authn"

	"github.com/touchmark/touchmark/core/credhelper"
)

// helper is a shell script in PATH, as docker-credential-test.
func helper(t *testing.T, script string) {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "docker-credential-test"), []byte("#!/bin/sh\n"+script+"\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", dir+":"+os.Getenv("PATH"))
}

func TestGet(t *testing.T) {
	for what, c := range map[string]struct {
		script string
		want   authn.AuthConfig
		says   string // of the error
	}{
		"credentials": {`[ "$1" = get ] && read -r r; printf '{"ServerURL":"%s","Username":"u","Secret":"s of %s"}' "$r" "$r"`,
			authn.AuthConfig{Username: "u", Password: "s of r.example"}, ""},
		"an identity token":      {`printf '{"Username":"<token>","Secret":"t"}'`, authn.AuthConfig{IdentityToken: "t"}, ""},
		"none":                   {`echo credentials not found in native keychain; exit 1`, authn.AuthConfig{}, ""},
		"a complaint":            {`echo the keyring is locked; exit 1`, authn.AuthConfig{}, "docker-credential-test for credentials for r.example"},
		"a secret, and it fails": {`echo '{"Secret":"s3cret"}'; exit 1`, authn.AuthConfig{}, "docker-credential-test"},
		"too much":               {`yes '{"Secret":"s3cret"}' | head -c 3000000`, authn.AuthConfig{}, "docker-credential-test"},
	} {
		t.Run(what, func(t *testing.T) {
			helper(t, c.script)
			got, err := credhelper.Get(t.Context(), "test", "r.example", time.Minute)
			if (err == nil) != (c.says == "") || err != nil && (!strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "s3cret")) {
				t.Fatalf("%v, want it to say %q", err, c.says)
			}
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestGetEndsInTime(t *testing.T) {
	helper(t, "exec sleep 600")
	if _, err := credhelper.Get(t.Context(), "test", "r.example", 50*time.Millisecond); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}
