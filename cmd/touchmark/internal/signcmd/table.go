package signcmd

import (
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/console"
	"github.com/touchmark/touchmark/core/sign"
)

// printSigned shows a person what was signed.
func printSigned(w io.Writer, r *sign.Result) error {
	var text strings.Builder
	verb := "signed:   "
	if r.PredicateType != "" {
		verb = "attested: "
	}
	fmt.Fprintf(&text, "%s%s@%s\n", verb, r.Repository, r.Digest)
	if r.PredicateType != "" {
		fmt.Fprintf(&text, "type:     %s\n", r.PredicateType)
	}
	if r.Identity != nil {
		fmt.Fprintf(&text, "by:       %s (from %s)\n", r.Identity.Subject, r.Identity.Issuer)
	} else {
		fmt.Fprintf(&text, "by:       key %s\n", r.KeyHint)
	}
	if r.NoLegacy != "" {
		form := ".sig signatures"
		if r.PredicateType != "" {
			form = ".att attestations"
		}
		fmt.Fprintf(&text, "no %s: %s\n", form, r.NoLegacy)
	}
	if !r.Verified {
		fmt.Fprintln(&text, "not verified: no --trusted-root given")
	}
	if r.Incomplete != "" {
		fmt.Fprintf(&text, "INCOMPLETE: %s; written so far:\n", r.Incomplete)
	}
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, s := range r.Signatures {
		fmt.Fprintf(table, "  %s\t%s\t%s\n", platformOf(s, r), s.Digest, proofOf(s))
	}
	if err := table.Flush(); err != nil {
		return err
	}
	_, err := io.WriteString(w, console.Printable(text.String()))
	return err
}

func platformOf(s sign.Signature, r *sign.Result) string {
	switch {
	case s.Platform != "":
		return s.Platform
	case s.Digest == r.Digest && len(r.Signatures) > 1:
		return "index"
	}
	return "image"
}

// proofOf is where a signature is logged, and when it was made.
func proofOf(s sign.Signature) string {
	var parts []string
	if s.Bundle.Log != "" {
		log := fmt.Sprintf("log index %d", s.Bundle.LogIndex)
		if s.Legacy != nil && s.Legacy.LogIndex != s.Bundle.LogIndex {
			log += fmt.Sprintf(" and %d", s.Legacy.LogIndex)
		}
		parts = append(parts, log)
	}
	if t := s.Bundle.Timestamp; t != nil {
		parts = append(parts, t.UTC().Format(time.RFC3339))
	}
	if len(parts) == 0 {
		return "in no log"
	}
	return strings.Join(parts, ", ")
}
