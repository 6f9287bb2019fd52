package lab

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
)

// Distribution is the reference registry, as integration/tools.sh installs it, and a configuration for it: it keeps everything in the directory data, and
// listens on the address. Further settings are lines of YAML, such as "proxy: {remoteurl: ...}". It is started by "serve" and the file's name.
func Distribution(tb testing.TB, address, data, further string) (c Command, file string) {
	tb.Helper()
	program := Tool(tb, "registry-v3.1.2")
	file = filepath.Join(tb.TempDir(), "distribution.yaml")
	text := fmt.Sprintf("version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\nstorage: {filesystem: {rootdirectory: %q}}\nhttp: {addr: %q, secret: x}\n%s\n", data, address, further)
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		tb.Fatal(err)
	}
	return Command{Program: program, Env: []string{"OTEL_TRACES_EXPORTER=none"}}, file
}
