package situations

import (
	"errors"
	"fmt"
	"strings"

	"github.com/touchmark/touchmark/core/gate"
	"github.com/touchmark/touchmark/core/verify"
)

// Check says in what a verdict is not the right one.
func (w Want) Check(v gate.Verdict) error {
	var problems []error
	if v.Outcome != w.Outcome || v.Code != w.Code {
		problems = append(problems, fmt.Errorf("verdict is %s, %s (%s), want %s, %s", v.Outcome, v.Code, v.Reason, w.Outcome, w.Code))
	}
	if !strings.Contains(v.Reason, w.Says) {
		problems = append(problems, fmt.Errorf("reason is %q, want it to say %q", v.Reason, w.Says))
	}
	if codes := attemptCodes(v); w.Attempt != "" && !strings.Contains(codes, " "+string(w.Attempt)+" ") {
		problems = append(problems, fmt.Errorf("attempts have the codes %s, want %s", codes, w.Attempt))
	}
	return errors.Join(problems...)
}

// attemptCodes are the codes of all attempts, each between spaces.
func attemptCodes(v gate.Verdict) string {
	codes := " "
	for _, s := range v.Signatures {
		for _, a := range s.Attempts {
			if a.Code != verify.Code("") {
				codes += string(a.Code) + " "
			}
		}
	}
	return codes
}
