// Command mutation says how much of a package its tests would miss: it changes
// the package in one place after the other, and runs the tests each time.
//
//	go run ./integration/mutation [-sample n] [-seed n] [-also packages] [-only regexp] [-short] packages...
//
// A mutant negates a condition, moves the boundary of a comparison, swaps && and
// ||, drops one of their operands, deletes a statement (the return behind an
// error, above all), returns no error instead of one, skips a loop, drops a case,
// or changes a whole number by one. It is killed when a test fails, panics or
// takes ten times as long as it should. Texts of errors are left alone.
//
// All mutants of a package are compiled at once, each behind a condition on the
// environment variable MUTANT, from an overlay: the work tree is never touched,
// and a mutant costs a run of the tests, not a build. Fast tests come first, then
// slow ones with -short, then what -short left out, then those of the packages in
// -also, which see the package only from outside.
//
// Standard output has a line for each mutant, its fields separated by tabs:
// killed or SURVIVED, package, file and line, function, kind, source, and the test
// that killed it or why nothing can, which survivors.txt says; then a summary.
// The exit status is 1 if a mutant survived that is not in that list.
//
// This is a program of its own because the well-kept ones (gremlins, go-mutesting)
// build once for every mutant, which takes hours here, and the first of them does
// not delete statements, which is how a verifier goes wrong.
package main

import (
	"bufio"
	_ "embed"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// survivors are the mutants that no test can or need kill, one a line: package,
// mutant.key and the reason, separated by tabs. An empty line or one with # in
// front is for readers.
//
//go:embed survivors.txt
var survivors string

func main() {
	log.SetFlags(0)
	sample := flag.Int("sample", 0, "how many mutants of each package, drawn by the seed; 0 is all of them")
	seed := flag.Uint64("seed", 1, "what the sample is drawn by")
	also := flag.String("also", "", "further packages, separated by commas, whose tests may kill a mutant")
	short := flag.Bool("short", false, "leave out what tests leave out with -short")
	only := flag.String("only", "", "only mutants whose line matches this regular expression")
	flag.Parse()
	filter, err := regexp.Compile(*only)
	if err != nil {
		log.Fatal(err)
	}
	unexplained := 0
	for _, dir := range flag.Args() {
		var others []string
		if *also != "" {
			others = strings.Split(*also, ",")
		}
		n, err := campaign(filepath.ToSlash(filepath.Clean(dir)), others, filter, *sample, *seed, *short)
		if err != nil {
			log.Fatalf("%s: %v", dir, err)
		}
		unexplained += n
	}
	if unexplained > 0 {
		log.Fatalf("%d mutants survived that survivors.txt does not explain", unexplained)
	}
}

// campaign runs the mutants of one package and returns how many survived without
// an explanation.
func campaign(dir string, also []string, filter *regexp.Regexp, sample int, seed uint64, short bool) (int, error) {
	p, err := load(dir)
	if err != nil {
		return 0, err
	}
	tmp, err := os.MkdirTemp("", "mutation-")
	if err != nil {
		return 0, err
	}
	defer os.RemoveAll(tmp)
	suites, err := p.build(tmp, append([]string{dir}, also...), short)
	if err != nil {
		return 0, err
	}
	chosen := choose(p.mutants, sample, seed, filter)
	reasons, seen := explained(dir), map[string]int{}
	names := make([]string, len(p.mutants))
	for i, m := range p.mutants { // equal ones are told apart by their order
		key := m.key()
		if seen[key]++; seen[key] > 1 {
			key += fmt.Sprintf(" #%d", seen[key])
		}
		names[i] = key
	}
	killed, unexplained := 0, 0
	for _, m := range chosen {
		result, why := "SURVIVED", "NOT EXPLAINED"
		if by := kill(suites, m.id); by != "" {
			result, why = "killed", by
			killed++
			if reasons[names[m.id-1]] != "" {
				fmt.Printf("# survivors.txt says that nothing kills the next one\n")
			}
		} else if reason := reasons[names[m.id-1]]; reason != "" {
			why = reason
		} else {
			unexplained++
		}
		fmt.Printf("%s\t%s\t%d\t%s\t%s\n", result, dir, m.line, names[m.id-1], why)
	}
	survived := len(chosen) - killed
	fmt.Printf("# %s: %d of its %d mutants, %d killed (%.1f %%), %d survived, %d of them explained\n",
		dir, len(chosen), len(p.mutants), killed, 100*float64(killed)/float64(max(1, len(chosen))), survived, survived-unexplained)
	return unexplained, nil
}

// choose draws a sample, in the order of the source.
func choose(all []mutant, sample int, seed uint64, filter *regexp.Regexp) []mutant {
	drawn := map[int]bool{}
	for i, n := range rand.New(rand.NewPCG(seed, 0)).Perm(len(all)) {
		drawn[n] = sample == 0 || i < sample
	}
	var chosen []mutant
	for i, m := range all {
		if drawn[i] && filter.MatchString(m.key()) {
			chosen = append(chosen, m)
		}
	}
	return chosen
}

// explained reads the survivors of one package.
func explained(dir string) map[string]string {
	reasons := map[string]string{}
	lines := bufio.NewScanner(strings.NewReader(survivors))
	for lines.Scan() {
		pkg, rest, _ := strings.Cut(lines.Text(), "\t")
		if i := strings.LastIndex(rest, "\t"); pkg == dir && i > 0 {
			reasons[rest[:i]] = rest[i+1:]
		}
	}
	return reasons
}
