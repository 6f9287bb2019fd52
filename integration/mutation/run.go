package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// memory bounds a test's address space, in KiB: a mutant may well allocate
// without end.
const memory = 8 << 20

// pkg is a package with its mutants.
type pkg struct {
	name, dir string
	files     map[string]string // mutated text by absolute path
	mutants   []mutant
}

// load reads a package and makes its mutants.
func load(dir string) (*pkg, error) {
	type listed struct {
		ImportPath, Dir, Export string
		GoFiles                 []string
	}
	out, err := exec.Command("go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles", "./"+dir).Output()
	if err != nil {
		return nil, fmt.Errorf("listing: %w", err)
	}
	exports := map[string]string{}
	var self listed // the package itself comes last
	for d := json.NewDecoder(bytes.NewReader(out)); d.More(); {
		self = listed{}
		if err := d.Decode(&self); err != nil {
			return nil, fmt.Errorf("listing: %w", err)
		}
		exports[self.ImportPath] = self.Export
	}
	fset := token.NewFileSet()
	info := &types.Info{Types: map[ast.Expr]types.TypeAndValue{}}
	var trees []*ast.File
	for _, name := range self.GoFiles {
		tree, err := parser.ParseFile(fset, filepath.Join(self.Dir, name), nil, parser.ParseComments|parser.SkipObjectResolution)
		if err != nil {
			return nil, err
		}
		trees = append(trees, tree)
	}
	conf := types.Config{Importer: importer.ForCompiler(fset, "gc", func(path string) (io.ReadCloser, error) { return os.Open(exports[path]) })}
	checked, err := conf.Check(self.ImportPath, fset, trees, info)
	if err != nil {
		return nil, err
	}
	p := &pkg{name: checked.Name(), dir: self.Dir, files: map[string]string{}}
	for i, tree := range trees {
		path := filepath.Join(self.Dir, self.GoFiles[i])
		source, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		f := &file{fset: fset, info: info, pkg: checked, tree: tree, source: source, mutants: &p.mutants}
		p.files[path] = f.mutate()
	}
	return p, nil
}

// suite is a test program, in parts: the sooner a test kills, the better.
type suite struct {
	program, dir string
	parts        []part
}

type part struct {
	flags   []string
	timeout time.Duration
}

// build compiles the tests of the packages against the mutants, and tries them
// without any.
func (p *pkg) build(tmp string, dirs []string, short bool) ([]suite, error) {
	overlay := struct{ Replace map[string]string }{map[string]string{}}
	p.files[filepath.Join(p.dir, "zz_mutants.go")] = fmt.Sprintf(support, p.name)
	for path, text := range p.files {
		to := filepath.Join(tmp, filepath.Base(path))
		if err := os.WriteFile(to, []byte(text), 0o600); err != nil {
			return nil, err
		}
		overlay.Replace[path] = to
	}
	text, err := json.Marshal(overlay)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(filepath.Join(tmp, "overlay.json"), text, 0o600); err != nil {
		return nil, err
	}
	var suites []suite
	for i, dir := range dirs {
		s := suite{program: filepath.Join(tmp, strconv.Itoa(i)+".test"), dir: dir}
		if out, err := exec.Command("go", "test", "-c", "-vet=off", "-overlay", filepath.Join(tmp, "overlay.json"), "-o", s.program, "./"+dir).CombinedOutput(); err != nil {
			return nil, fmt.Errorf("building the tests of %s: %w\n%s", dir, err, out)
		}
		if err := s.measure(short); err != nil {
			return nil, err
		}
		suites = append(suites, s)
	}
	return suites, nil
}

// passed is a line of go test -v about a test that is nobody's subtest.
var passed = regexp.MustCompile(`(?m)^--- PASS: (\S+) \(([0-9.]+)s\)$`)

// measure runs the tests without a mutant, to tell the fast ones from the slow
// ones, and those that -short makes faster.
func (s *suite) measure(onlyShort bool) error {
	var fast, slow, long []string
	var took [3]time.Duration
	short := map[string]float64{}
	modes := []string{"-test.short", "-test.short=false"}
	if onlyShort {
		modes = modes[:1]
	}
	for _, flag := range modes {
		out, err := s.run(0, part{flags: []string{"-test.v", flag}, timeout: 10 * time.Minute})
		if err != nil {
			return fmt.Errorf("the tests of %s fail without a mutant: %w\n%s", s.dir, err, out)
		}
		for _, m := range passed.FindAllStringSubmatch(out, -1) {
			name := m[1]
			seconds, _ := strconv.ParseFloat(m[2], 64)
			d := time.Duration(seconds * float64(time.Second))
			switch before, ok := short[name]; {
			case ok && seconds > 1.5*before+0.1, !ok && flag != "-test.short":
				long, took[2] = append(long, name), took[2]+d
			case ok:
			case seconds <= 0.1:
				fast, took[0] = append(fast, name), took[0]+d
			default:
				slow, took[1] = append(slow, name), took[1]+d
			}
			if flag == "-test.short" {
				short[name] = seconds
			}
		}
	}
	for i, names := range [][]string{fast, slow, long} {
		if len(names) > 0 {
			flags := []string{"-test.failfast", "-test.run", "^(" + strings.Join(names, "|") + ")$", "-test.short=" + strconv.FormatBool(i < 2)}
			s.parts = append(s.parts, part{flags: flags, timeout: 10*took[i] + 10*time.Second})
		}
	}
	return nil
}

// run runs some of the tests with a mutant.
func (s *suite) run(id int, p part) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), p.timeout)
	defer cancel()
	limited := fmt.Sprintf(`ulimit -v %d; exec "$@"`, memory)
	cmd := exec.CommandContext(ctx, "sh", append([]string{"-c", limited, "sh", s.program}, p.flags...)...)
	cmd.Dir, cmd.Env = s.dir, append(os.Environ(), "MUTANT="+strconv.Itoa(id))
	out, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return "", errTimeout
	}
	return string(out), err
}

var errTimeout = errors.New("timeout")

// failed is a line of go test about the test that failed.
var failed = regexp.MustCompile(`(?m)^--- FAIL: (\S+)`)

// kill returns the test that a mutant fails, or "".
func kill(suites []suite, id int) string {
	for _, s := range suites {
		for _, p := range s.parts {
			out, err := s.run(id, p)
			if err == nil {
				continue
			}
			if errors.Is(err, errTimeout) {
				return err.Error()
			}
			if m := failed.FindStringSubmatch(out); m != nil {
				return m[1]
			}
			return "panic"
		}
	}
	return ""
}
