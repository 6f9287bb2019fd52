package situations

import (
	"bytes"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"regexp"
	"slices"

	"go.yaml.in/yaml/v3"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
)

//go:embed situations.yaml
var matrix []byte

// Points are the enforcement points that the matrix knows exceptions of. Where
// "containerd" is its verifier, asked by itself, "pull" is a pull by containerd,
// which asks the verifier. "offline proxy" is one that served what it could, and has
// lost the registry.
var Points = []string{"gate", "command", "proxy", "offline proxy", "lookaside", "containerd", "pull"}

// Situation is one row of the matrix.
type Situation struct {
	Name  string
	Group string // what it is about, for readers
	Is    string // one sentence
	Facts Facts
	// Like names the situation that it was written as a change of, and But are
	// the facts that are different.
	Like string
	But  Facts
	Want Want
	// Elsewhere are enforcement points at which something else is right.
	Elsewhere map[string]Elsewhere
}

// Want is the right verdict.
type Want struct {
	Outcome gate.Outcome
	Code    gate.Code
	Says    string      // a part of the reason
	Attempt verify.Code // that one attempt must have, if it is not empty
}

// Elsewhere is what is right at an enforcement point that can't show a
// situation as it is, and why it can't.
type Elsewhere struct {
	Because string
	// Want is the right answer there. Its Outcome is empty where there is no
	// verdict at all, but an error that admits nothing.
	Want Want
}

// At is the right verdict at an enforcement point, and why it is not the
// matrix's own, if it is not.
func (s Situation) At(point string) (want Want, because string) {
	if e, ok := s.Elsewhere[point]; ok {
		return e.Want, e.Because
	}
	return s.Want, ""
}

// answer is a verdict as it is written: under the key of its outcome its code.
type answer struct {
	Admitted  gate.Code   `yaml:"admitted"`
	Refused   gate.Code   `yaml:"refused"`
	Undecided gate.Code   `yaml:"undecided"`
	Says      string      `yaml:"says"`
	Attempt   verify.Code `yaml:"attempt"`
}

type row struct {
	Name      string `yaml:"name"`
	Is        string `yaml:"is"`
	Like      string `yaml:"like"`
	But       Facts  `yaml:"but"`
	Facts     Facts  `yaml:"facts"`
	answer    `yaml:",inline"`
	Elsewhere map[string]struct {
		Because string `yaml:"because"`
		answer  `yaml:",inline"`
	} `yaml:"elsewhere"`
}

// All reads the matrix.
func All() ([]Situation, error) { return parse(matrix) }

var situationName = regexp.MustCompile(`\A[a-z0-9]+(-[a-z0-9]+)*\z`)

func parse(text []byte) ([]Situation, error) {
	var groups []struct {
		About      string `yaml:"about"`
		Situations []row  `yaml:"situations"`
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	if err := dec.Decode(&groups); err != nil {
		return nil, fmt.Errorf("situations: %w", err)
	}
	if err := dec.Decode(new(any)); !errors.Is(err, io.EOF) {
		return nil, errors.New("situations: there is more than one document")
	}
	var all []Situation
	byName := make(map[string]Situation)
	for _, g := range groups {
		for _, r := range g.Situations {
			s, err := r.situation(byName)
			if err != nil {
				return nil, fmt.Errorf("situation %q: %w", r.Name, err)
			}
			s.Group = g.About
			byName[s.Name] = s
			all = append(all, s)
		}
	}
	return all, nil
}

// situation checks a row. It may be like one that stands before it.
func (r row) situation(before map[string]Situation) (Situation, error) {
	s := Situation{Name: r.Name, Is: r.Is, Like: r.Like, But: r.But, Facts: r.Facts}
	twin, hasTwin := before[r.Like]
	switch {
	case !situationName.MatchString(r.Name) || r.Is == "":
		return s, errors.New("want a name of small letters, and what it is")
	case before[r.Name].Name != "":
		return s, errors.New("the name stands twice")
	case r.Like != "" && !hasTwin:
		return s, fmt.Errorf("it is like %q, which does not stand before it", r.Like)
	case (r.Like == "") == (r.Facts == nil) || (r.Like == "") != (len(r.But) == 0):
		return s, errors.New("want either facts, or like and but")
	}
	if hasTwin {
		s.Facts = twin.Facts.with(r.But)
	}
	if err := s.Facts.check(); err != nil {
		return s, err
	}
	for name, value := range r.But {
		if twin.Facts.Get(name) == value {
			return s, fmt.Errorf("but: %s is %s there too", name, value)
		}
	}
	var err error
	if s.Want, err = r.want(); err != nil {
		return s, err
	}
	if s.Want.Outcome == "" {
		return s, errors.New("want a verdict")
	}
	if s.Want.Outcome != gate.OutcomeAdmitted && (len(s.But) != 1 || twin.Want.Outcome != gate.OutcomeAdmitted) {
		return s, errors.New("it is not admitted, and must be like one that is, but for one fact")
	}
	s.Elsewhere = make(map[string]Elsewhere)
	for point, e := range r.Elsewhere {
		if !slices.Contains(Points, point) || e.Because == "" {
			return s, fmt.Errorf("elsewhere: %q is no enforcement point, or there is no reason", point)
		}
		want, err := e.want()
		if err != nil {
			return s, fmt.Errorf("elsewhere: %s: %w", point, err)
		}
		s.Elsewhere[point] = Elsewhere{Because: e.Because, Want: want}
	}
	return s, nil
}

// want is a verdict with at most one outcome; one without an outcome says no
// more.
func (a answer) want() (Want, error) {
	w := Want{Says: a.Says, Attempt: a.Attempt}
	for outcome, code := range map[gate.Outcome]gate.Code{gate.OutcomeAdmitted: a.Admitted, gate.OutcomeRefused: a.Refused, gate.OutcomeUndecided: a.Undecided} {
		switch {
		case code == "":
		case w.Outcome != "":
			return w, errors.New("it has two outcomes")
		default:
			w.Outcome, w.Code = outcome, code
		}
	}
	if w.Outcome != "" && w.Says == "" {
		return w, errors.New("says is missing")
	}
	return w, nil
}
