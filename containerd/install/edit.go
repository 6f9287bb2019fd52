package install

import (
	"bytes"
	"fmt"
	"reflect"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
	"github.com/pelletier/go-toml/v2/unstable"
)

// mark is in front of every line that is taken out of somebody's file.
const mark = "# touchmark: "

// criPlugins are the sections that have CRI's registries, of configurations of
// version 1, 2 and later.
var criPlugins = []string{"cri", "io.containerd.grpc.v1.cri", "io.containerd.cri.v1.images"}

// expression is a table's header, or a key and its value, and where it stands.
type expression struct {
	path       []string
	start, end int // of its lines, up to those of the next expression
}

// expressions are those of a file, in order.
func expressions(text []byte) ([]expression, error) {
	var (
		out   []expression
		table []string
		p     unstable.Parser
	)
	p.Reset(text)
	for p.NextExpression() {
		node := p.Expression()
		var keys []string
		at := -1
		for it := node.Key(); it.Next(); {
			if at < 0 {
				at = int(it.Node().Raw.Offset)
			}
			keys = append(keys, string(it.Node().Data))
		}
		path := keys
		if node.Kind == unstable.KeyValue {
			path = append(slices.Clone(table), keys...)
		} else {
			table = keys
		}
		start := bytes.LastIndexByte(text[:at], '\n') + 1
		if len(out) > 0 {
			out[len(out)-1].end = start
		}
		out = append(out, expression{path: path, start: start, end: len(text)})
	}
	return out, p.Error()
}

// takeOut comments out what a file of containerd's says of CRI's
// registry.mirrors, registry.configs or registry.auths, line by line, so that
// everything else stays as somebody wrote it. name is one of these.
func takeOut(text []byte, name string) ([]byte, error) {
	_, table, _ := strings.Cut(name, ".")
	matches := func(path []string) bool {
		return len(path) >= 4 && path[0] == "plugins" && slices.Contains(criPlugins, path[1]) && strings.EqualFold(path[2], "registry") && strings.EqualFold(path[3], table)
	}
	out, err := commentOut(text, matches)
	if err != nil {
		return nil, err
	}
	return out, checkEdit(text, out, func(all map[string]any) {
		plugins, _ := all["plugins"].(map[string]any)
		for _, p := range criPlugins {
			section, _ := plugins[p].(map[string]any)
			for key, value := range section {
				if registry, ok := value.(map[string]any); ok && strings.EqualFold(key, "registry") {
					for t := range registry {
						if strings.EqualFold(t, table) {
							delete(registry, t)
						}
					}
				}
			}
		}
	})
}

// enable takes plugins out of a file's disabled_plugins.
func enable(text []byte, plugins ...string) ([]byte, error) {
	const key = "disabled_plugins"
	var before struct {
		Disabled []string `toml:"disabled_plugins"`
	}
	if err := toml.Unmarshal(text, &before); err != nil {
		return nil, err
	}
	rest := slices.DeleteFunc(before.Disabled, func(p string) bool { return slices.Contains(plugins, p) })
	out, err := commentOut(text, func(path []string) bool { return len(path) == 1 && strings.EqualFold(path[0], key) })
	if err != nil {
		return nil, err
	}
	line := &bytes.Buffer{}
	if err := toml.NewEncoder(line).Encode(map[string][]string{key: append([]string{}, rest...)}); err != nil {
		return nil, err
	}
	at := bytes.Index(out, []byte(mark))
	if at < 0 {
		return nil, fmt.Errorf("%s is not written in lines of its own; take %s out by hand", key, strings.Join(plugins, ", "))
	}
	out = slices.Concat(out[:at], line.Bytes(), out[at:])
	withoutKey := func(all map[string]any) { delete(all, key) }
	return out, checkEdit(text, out, withoutKey)
}

// commentOut comments the matching expressions out.
func commentOut(text []byte, matches func(path []string) bool) ([]byte, error) {
	all, err := expressions(text)
	if err != nil {
		return nil, err
	}
	var out []byte
	last := 0
	for _, e := range all {
		if !matches(e.path) {
			continue
		}
		out = append(out, text[last:e.start]...)
		for _, line := range bytes.SplitAfter(text[e.start:e.end], []byte("\n")) {
			if trimmed := bytes.TrimSpace(line); len(trimmed) > 0 && trimmed[0] != '#' {
				out = append(out, mark...)
			}
			out = append(out, line...)
		}
		last = e.end
	}
	return append(out, text[last:]...), nil
}

// checkEdit sees by reading whether exactly that was changed which forget takes out
// of what a file says.
func checkEdit(before, after []byte, forget func(map[string]any)) error {
	var was, is map[string]any
	if err := toml.Unmarshal(before, &was); err != nil {
		return err
	}
	if err := toml.Unmarshal(after, &is); err != nil {
		return fmt.Errorf("commenting it out would break the file; take it out by hand: %w", err)
	}
	forget(was)
	forget(is)
	if !reflect.DeepEqual(prune(was), prune(is)) {
		return fmt.Errorf("commenting it out would change something else; take it out by hand")
	}
	return nil
}

// prune takes out tables that are empty: a header alone says nothing.
func prune(table map[string]any) map[string]any {
	for key, value := range table {
		if sub, ok := value.(map[string]any); ok && len(prune(sub)) == 0 {
			delete(table, key)
		}
	}
	return table
}
