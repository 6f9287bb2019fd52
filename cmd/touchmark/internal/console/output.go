package console

import (
	"encoding/json"
	"fmt"
	"io"

	"github.com/touchmark/touchmark/cmd/touchmark/internal/exit"
)

// CheckOutput checks an --output that is text or JSON.
func CheckOutput(output string) error {
	if output != "text" && output != "json" {
		return exit.Usage(fmt.Errorf("--output %q is not text or json", output))
	}
	return nil
}

// JSON prints a value, indented.
func JSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
