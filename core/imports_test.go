// Package core_test holds the rules of who may import whom in this module.
package core_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/touchmark/touchmark"

// adapters are the enforcement points.
var adapters = []string{"containerd", "podman", "skopeo", "registry-proxy"}

// only says which foreign modules may be imported from which folders alone:
// heavy or replaceable things sit in leaf packages.
var only = map[string][]string{
	"github.com/transparency-dev/tessera": {"services/internal/tilelog"},
	"modernc.org/sqlite":                  {"services/internal/sqlite"},
	"go.podman.io/image/v5":               {"podman", "skopeo"},
	"github.com/containerd/containerd/v2": {"containerd/plugin"},
	"github.com/containerd/nri":           {"containerd/nri"},
	"github.com/open-policy-agent/opa":    {"core/policy/rego"},
	"cuelang.org/go":                      {"core/policy/cue"},
}

// mayRun are the packages of core that start other programs.
var mayRun = []string{"core/child", "core/coretest", "core/credhelper", "core/token"}

// oracles are what we are held against, by integration alone: nothing else
// imports them, not even in tests.
var oracles = []string{
	"github.com/sigstore/sigstore-go", "github.com/sigstore/cosign", "github.com/sigstore/rekor", "github.com/sigstore/fulcio",
	"github.com/sigstore/timestamp-authority", "github.com/stretchr/testify",
}

// pure are the packages whose closure holds values only, and what it may not
// hold.
var (
	pure   = []string{"core/verify", "core/policy"}
	impure = []string{"net/http", "os/exec", "google.golang.org/grpc", "log", "log/slog"}
)

// maxVerifyClosure bounds the foreign packages that core/verify needs.
const maxVerifyClosure = 40

// pkg is what "go list -json" says of a package.
type pkg struct {
	ImportPath   string
	Standard     bool
	Imports      []string
	TestImports  []string
	XTestImports []string
	Deps         []string // all, transitively
}

// area is a package's path within the module; "" if it is not in it.
func area(path string) string {
	a, ok := strings.CutPrefix(path, module+"/")
	if !ok {
		return ""
	}
	return a
}

// within reports whether a path is a folder or lies below it.
func within(path, folder string) bool {
	return path == folder || strings.HasPrefix(path, folder+"/")
}

func withinAny(path string, folders []string) bool {
	return slices.ContainsFunc(folders, func(f string) bool { return within(path, f) })
}

// service is the service that a package belongs to; "" if to none.
func service(a string) string {
	rest, ok := strings.CutPrefix(a, "services/")
	if !ok {
		return ""
	}
	name, _, _ := strings.Cut(rest, "/")
	return name
}

// violations lists what breaks the rules, one sentence each.
func violations(pkgs []pkg) []string {
	var out []string
	standard := map[string]bool{}
	for _, p := range pkgs {
		standard[p.ImportPath] = p.Standard
	}
	for _, p := range pkgs {
		a := area(p.ImportPath)
		if a == "" {
			continue
		}
		report := func(format string, args ...any) { out = append(out, a+" "+fmt.Sprintf(format, args...)) }
		for _, imported := range p.Imports {
			if b := area(imported); b != "" {
				if why := direction(a, b); why != "" {
					report("imports %s: %s", b, why)
				}
			}
		}
		for _, imported := range slices.Concat(p.Imports, p.TestImports, p.XTestImports) {
			if withinAny(imported, oracles) && !within(a, "integration") {
				report("imports %s: only integration may", imported)
			}
		}
		for _, imported := range p.Imports {
			for prefix, folders := range only {
				if within(imported, prefix) && !withinAny(a, folders) && !within(a, "integration") {
					report("imports %s: only %v may", imported, folders)
				}
			}
		}
		if within(a, "core") && slices.Contains(p.Imports, "os/exec") && !withinAny(a, mayRun) {
			report("imports os/exec: in core only %v may", mayRun)
		}
		if service(a) != "" && service(a) != "agent" && slices.Contains(p.Deps, module+"/core/gate") {
			report("needs core/gate: a service does not decide about images")
		}
		if slices.Contains(pure, a) {
			foreign := 0
			for _, dep := range p.Deps {
				if withinAny(dep, impure) {
					report("needs %s: it has values only", dep)
				}
				if !standard[dep] && area(dep) == "" {
					foreign++
				}
			}
			if a == "core/verify" && foreign > maxVerifyClosure {
				report("needs %d foreign packages, the limit is %d", foreign, maxVerifyClosure)
			}
		}
	}
	slices.Sort(out)
	return out
}

// commandtest is what the tests of commands share.
const commandtest = "cmd/touchmark/internal/commandtest"

// direction says why package a may not import package b, both of this module;
// "" if it may.
func direction(a, b string) string {
	switch {
	case within(a, "integration"):
		return ""
	case within(b, "integration"):
		return "only integration may"
	case b == commandtest, within(b, "core/coretest") && !within(a, "core/coretest") && a != commandtest:
		return "only tests may"
	case within(b, "cmd") && !within(a, "cmd"):
		return "nothing imports a command"
	case within(a, "cmd"):
		return ""
	case within(a, "core") && !within(b, "core"):
		return "core imports core only"
	}
	for _, adapter := range adapters {
		if within(a, adapter) && !within(b, "core") && !within(b, adapter) {
			return "an adapter imports core only"
		}
	}
	if from, to := service(a), service(b); from != "" {
		switch {
		case withinAny(b, adapters):
			return "a service imports no adapter"
		case to != "" && to != from && to != "internal" && from != "stack":
			return "a service imports no other service"
		case within(b, "core/gate") && from != "agent":
			return "a service does not decide about images"
		}
	}
	return ""
}

// list asks the go tool about every package of the module and what they need.
func list(t *testing.T) []pkg {
	t.Helper()
	// The go tool keeps test results, and does not see what a command reads: look
	// at each file, so that a change of any of them makes this test run again.
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.Name() == ".git" {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") {
			_, _ = os.Stat(path) // one that has gone in between is no matter
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go", "list", "-deps", "-json=ImportPath,Standard,Imports,TestImports,XTestImports,Deps", "./...")
	cmd.Dir = ".."
	raw, err := cmd.Output()
	if err != nil {
		var exit *exec.ExitError
		if errors.As(err, &exit) {
			t.Fatalf("go list: %v\n%s", err, exit.Stderr)
		}
		t.Fatalf("go list: %v", err)
	}
	var pkgs []pkg
	for dec := json.NewDecoder(strings.NewReader(string(raw))); ; {
		var p pkg
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return pkgs
		} else if err != nil {
			t.Fatal(err)
		}
		pkgs = append(pkgs, p)
	}
}

// TestImports holds this module against the rules.
func TestImports(t *testing.T) {
	pkgs := list(t)
	byPath := map[string]pkg{}
	for _, p := range pkgs {
		byPath[p.ImportPath] = p
	}
	for _, path := range append([]string{"core/gate", "core/coretest", "services/siglog", "registry-proxy", "cmd/touchmark"}, pure...) {
		if _, ok := byPath[module+"/"+path]; !ok {
			t.Errorf("go list does not show %s: the rules are about other folders than there are", path)
		}
	}
	for _, v := range violations(pkgs) {
		t.Error(v)
	}
	foreign := 0
	for _, dep := range byPath[module+"/core/verify"].Deps {
		if p := byPath[dep]; !p.Standard && area(dep) == "" {
			foreign++
		}
	}
	t.Logf("core/verify needs %d packages outside this module and the standard library (limit %d)", foreign, maxVerifyClosure)
}

// TestRules proves that each rule bites.
func TestRules(t *testing.T) {
	in := func(a string, imports ...string) pkg {
		p := pkg{ImportPath: module + "/" + a}
		for _, i := range imports {
			if strings.HasPrefix(i, "./") {
				i = module + i[1:]
			}
			p.Imports = append(p.Imports, i)
		}
		p.Deps = p.Imports
		return p
	}
	inTest := func(a string, imports ...string) pkg {
		p := in(a, imports...)
		p.XTestImports, p.Imports, p.Deps = p.Imports, nil, nil
		return p
	}
	var many []string
	for i := range maxVerifyClosure + 1 {
		many = append(many, fmt.Sprintf("example.com/foreign/p%d", i))
	}
	for _, tt := range []struct {
		p  pkg
		ok bool
	}{
		{in("core/gate", "./core/verify", "net/http"), true},
		{in("core/gate", "./services/ca"), false},
		{in("core/gate", "./registry-proxy"), false},
		{in("core/sign", "./cmd/touchmark"), false},
		{in("core/sign", "./core/coretest"), false},
		{inTest("core/sign", "./core/coretest"), true},
		{in("core/coretest", "./core/coretest/internal/x"), true},
		{in("integration/lab", "./core/coretest", "./services/ca", "./cmd/touchmark/internal/demo", "github.com/sigstore/sigstore-go/pkg/verify"), true},
		{in("cmd/touchmark", "./core/gate", "./services/stack", "./registry-proxy"), true},
		{in("cmd/touchmark", "./core/coretest"), false},
		{in(commandtest, "./core/coretest"), true},
		{in("cmd/touchmark", "./"+commandtest), false},
		{inTest("cmd/touchmark", "./"+commandtest), true},
		{in("cmd/touchmark", "./integration/internal/lab"), false},
		{in("services/ca", "./core/identity", "./services/internal/durable"), true},
		{in("services/ca", "./services/ctlog"), false},
		{in("services/ca", "./core/gate"), false},
		{in("services/internal/index", "./services/siglog"), false},
		{in("services/internal/tilelog/posix", "./services/internal/tilelog", "github.com/transparency-dev/tessera/storage/posix"), true},
		{in("services/siglog", "github.com/transparency-dev/tessera"), false},
		{inTest("services/siglog", "github.com/transparency-dev/tessera/client"), true},
		{in("services/stack", "./services/ca", "./services/siglog"), true},
		{in("services/stack", "./registry-proxy"), false},
		{in("services/stack", "./core/gate"), false},
		{in("services/agent", "./core/gate"), true},
		{in("services/agent", "./podman"), false},
		{in("services/monitor", "./containerd/plugin"), false},
		{in("registry-proxy", "./core/gate", "./registry-proxy/internal/x"), true},
		{in("registry-proxy", "./services/internal/durable"), false},
		{in("registry-proxy", "./podman"), false},
		{in("podman", "./core/gate", "go.podman.io/image/v5/signature"), true},
		{in("core/attach", "go.podman.io/image/v5/signature"), false},
		{in("containerd/plugin", "github.com/containerd/containerd/v2/core/images"), true},
		{in("containerd", "github.com/containerd/containerd/v2/core/images"), false},
		{in("core/verify", "github.com/sigstore/sigstore-go/pkg/verify"), false},
		{inTest("core/verify", "github.com/sigstore/sigstore-go/pkg/verify"), false},
		{in("services/internal/sqlite", "modernc.org/sqlite"), true},
		{in("services/agent/store", "./core/gate", "./services/internal/sqlite", "database/sql"), true},
		{in("services/agent/store", "modernc.org/sqlite"), false},
		{in("services/siglog", "modernc.org/sqlite"), false},
		{inTest("core/verify", "github.com/stretchr/testify/require"), false},
		{in("core/verify", "crypto/x509", "net/url", "./core/bundle"), true},
		{in("core/verify", "net/http"), false},
		{in("core/verify", "os/exec"), false},
		{in("core/verify", "log"), false},
		{in("core/verify", "log/slog"), false},
		{in("core/verify", "google.golang.org/grpc/codes"), false},
		{in("core/policy", "net/http"), false},
		{in("core/policy", "google.golang.org/grpc"), false},
		{in("core/policy", "os/exec"), false},
		{in("core/policy/worker", "./core/child"), true},
		{in("core/policy/worker", "os/exec"), false},
		{in("core/child", "os/exec"), true},
		{in("core/verify", many...), false},
		{in("core/verify", many[:maxVerifyClosure]...), true},
		{pkg{ImportPath: module + "/services/ca", Imports: []string{module + "/core/sign"}, Deps: []string{module + "/core/sign", module + "/core/gate"}}, false},
	} {
		if v := violations([]pkg{tt.p}); (len(v) == 0) != tt.ok {
			t.Errorf("%s importing %.3v: violations %v, want none: %v", tt.p.ImportPath, slices.Concat(tt.p.Imports, tt.p.XTestImports), v, tt.ok)
		}
	}
}
