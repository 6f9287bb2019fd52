package main

import (
	"encoding/json"
	"fmt"
	"io"
)

// checkOutput checks an --output that is text or JSON.
func checkOutput(output string) error {
	if output != "text" && output != "json" {
		return usageError(fmt.Errorf("--output %q is not text or json", output))
	}
	return nil
}

// printJSON prints a value, indented.
func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
