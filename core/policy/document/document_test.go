package document_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/touchmark/touchmark/core/policy/document"
)

func TestCheck(t *testing.T) {
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	tests := []struct {
		name, document string
		want           string // part of the error; "" admits
	}{
		{"object", `{"a": [1, 2.5, -3e10, true, null, "x"]}`, ""},
		{"scalar", `"x"`, ""},
		{"white space around", " {} \n", ""},
		{"deep enough", nested(200), ""},
		{"too deep", nested(201), "deeper than 200"},
		{"absurdly deep", strings.Repeat("[", 1<<20), "deeper than 200"},
		{"at the limit", `"` + strings.Repeat("x", 1022) + `"`, ""},
		{"over the limit", `"` + strings.Repeat("x", 1<<21) + `"`, "the limit is"},
		{"same name twice", `{"a": 1, "a": 2}`, "duplicate"},
		{"same name twice, escaped", `{"a": 1, "\u0061": 2}`, "duplicate"},
		{"same name twice, deep", `{"p": [{"a": 1, "b": 2, "a": 1}]}`, "duplicate"},
		{"same name in two objects", `[{"a": 1}, {"a": 2}]`, ""},
		{"two values", `{} {}`, "behind its end"},
		{"empty", ``, "empty"},
		{"cut", `{"a": `, "EOF"},
		{"CUE, not JSON", `{a: 1}`, "invalid character"},
		{"comment", "{} // x", "behind its end"},
		{"invalid UTF-8", "\"\xff\"", "UTF-8"},
		{"large number", `1e300`, ""},
		{"larger number", `{"a": 1e309}`, `"/a": number 1e309 is out of range`},
		{"exponent bomb", `1e999999999`, "out of range"},
		{"small number", `1e-300`, ""},
		{"negative exponent bomb", `1e-999999999`, "out of range"},
		{"zero with an exponent bomb", `0e999999999`, "out of range"},
		{"zero with an exponent beyond an int", `0e99999999999999999999`, "out of range"},
		{"long number", strings.Repeat("1", 64), ""},
		{"longer number", strings.Repeat("1", 65), "65 characters"},
		{"not a number", `NaN`, "invalid character"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := document.Check([]byte(tt.document), 1<<21)
			if tt.want == "" && err != nil {
				t.Errorf("refused: %v", err)
			}
			if tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error %v, want one with %q", err, tt.want)
			}
		})
	}
}

func FuzzCheck(f *testing.F) {
	for _, s := range []string{`{"a": [1, 2.5e3, true, null, "x"]}`, `{"a":1,"a":2}`, `1e999999999`, `[[[[`, ``} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		if document.Check(data, 1<<16) == nil && document.Check([]byte(fmt.Sprintf("[%s]", data)), 1<<17) != nil && !strings.Contains(string(data), "[") && !strings.Contains(string(data), "{") {
			t.Errorf("%q is admitted alone and refused in an array", data)
		}
	})
}
