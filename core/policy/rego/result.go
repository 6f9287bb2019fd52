package rego

import (
	"fmt"

	"github.com/open-policy-agent/opa/v1/rego"

	"github.com/touchmark/touchmark/core/policy"
	"github.com/touchmark/touchmark/core/policy/document"
)

// judge reads what isCompliant is: nil if it says yes.
func judge(results rego.ResultSet) error {
	if len(results) != 1 || len(results[0].Expressions) != 1 {
		return unsatisfied("isCompliant is undefined")
	}
	switch value := results[0].Expressions[0].Value.(type) {
	case bool:
		if value {
			return nil
		}
		return unsatisfied("isCompliant is false")
	case []any:
		return judgeList(value)
	default:
		return unsatisfied(fmt.Sprintf("isCompliant is %T, want a boolean, or a list of objects with result, error and warning", value))
	}
}

// judgeList follows policy-controller: the first object with a true result decides, and one with a warning is refused with it.
func judgeList(list []any) error {
	why := "isCompliant is an empty list"
	for _, item := range list {
		object, ok := item.(map[string]any)
		if !ok {
			return unsatisfied(fmt.Sprintf("isCompliant is a list with %T in it, want objects", item))
		}
		result, okResult := optional[bool](object, "result")
		warning, okWarning := optional[string](object, "warning")
		message, okError := optional[string](object, "error")
		if !okResult || !okWarning || !okError {
			return unsatisfied("isCompliant has an object whose result is no boolean, or whose error or warning is no text")
		}
		switch {
		case result && warning == "":
			return nil
		case result:
			return unsatisfied("warning: " + warning)
		case message != "":
			why = message
		default:
			why = "isCompliant has no true result"
		}
	}
	return unsatisfied(why)
}

// optional returns a member, or the zero value where there is none; ok says that it isn't of another type.
func optional[T any](object map[string]any, name string) (value T, ok bool) {
	member, present := object[name]
	if !present {
		return value, true
	}
	value, ok = member.(T)
	return value, ok
}

func unsatisfied(why string) error {
	return fmt.Errorf("%w: %s", policy.ErrUnsatisfied, document.Short(why))
}
