package verify_test

import (
	"bytes"
	"errors"
	"fmt"
	"maps"
	"reflect"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/touchmark/touchmark/core/bundle"
	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
	"github.com/touchmark/touchmark/core/verify"
)

// unauthenticated are the fields of evidence that nothing signs, by the path
// that [flipFields] gives them, and why no verdict leans on them. Every other
// byte of evidence is covered: flip one of its bits, and it is refused.
var unauthenticated = map[string]string{
	"Form":                   "how it was read",
	"MediaType":              "how it was read; the rules of a version were applied when it was",
	"KeyHint":                "selects nothing",
	"Envelope.KeyID":         "selects nothing",
	"Entries.IntegratedTime": "of an entry without a promise; then no time is taken from it",
	"Entries.LogIndex":       "of a Rekor v1 entry without a promise; then the proven index is reported",
}

// covered says for which forms a listed field is covered all the same.
func covered(path string, e *bundle.Evidence) bool {
	switch path {
	case "Entries.IntegratedTime", "Entries.LogIndex":
		return e.Entries[0].SET != nil || path == "Entries.LogIndex" && e.Entries[0].Version == "0.0.2"
	}
	return unauthenticated[path] == ""
}

// single are forms of evidence in which nothing is there twice, so that no part
// can stand in for another.
func single(tb testing.TB, w *world) map[string]*bundle.Evidence {
	return map[string]*bundle.Evidence{
		"DSSE, promise and proof":   w.sign(tb, coretest.SignOptions{WithoutTimestamp: true}),
		"DSSE, proof and timestamp": withoutPromise(w.sign(tb, coretest.SignOptions{})),
		"DSSE, Rekor v2":            w.sign(tb, coretest.SignOptions{Log: w.V2}),
		"message signature":         w.sign(tb, coretest.SignOptions{Log: w.V2, Content: coretest.MessageSignature}),
		"simple signing":            w.sign(tb, coretest.SignOptions{WithoutTimestamp: true, Content: coretest.SimpleSigning}),
	}
}

// chosen says which bits to flip: all of them, or two of each byte.
func chosen(bit int, all bool) bool {
	i, b := bit/8, bit%8
	return all || b == i%8 || b == (i+3)%8
}

// flipFields calls f with a copy of the evidence for the chosen bits of every
// field.
func flipFields(e *bundle.Evidence, all bool, f func(path, what string, c *bundle.Evidence)) {
	walk(reflect.ValueOf(clone(e)).Elem(), "", func(path string, steps []int) {
		at := func(c *bundle.Evidence) reflect.Value {
			v := reflect.ValueOf(c).Elem()
			for _, s := range steps {
				if v.Kind() == reflect.Pointer {
					v = v.Elem()
				}
				if v.Kind() == reflect.Struct {
					v = v.Field(s)
				} else {
					v = v.Index(s)
				}
			}
			return v
		}
		leaf := at(clone(e))
		size := 64
		switch leaf.Kind() {
		case reflect.String:
			size = 8 * leaf.Len()
		case reflect.Slice, reflect.Array:
			size = 8 * leaf.Len()
		}
		for bit := range size {
			if !chosen(bit, all) || testing.Short() && bit/8%4 != 0 {
				continue
			}
			c := clone(e)
			v := at(c)
			switch v.Kind() {
			case reflect.String:
				b := []byte(v.String())
				b[bit/8] ^= 1 << (bit % 8)
				v.SetString(string(b))
			case reflect.Slice, reflect.Array:
				b := v.Index(bit / 8)
				b.SetUint(b.Uint() ^ 1<<(bit%8))
			case reflect.Int64:
				v.SetInt(v.Int() ^ 1<<bit)
			}
			f(path, fmt.Sprintf("bit %d of %d", bit, size), c)
		}
	})
}

// walk finds the leaves: strings, integers and bytes.
func walk(v reflect.Value, path string, leaf func(path string, steps []int), steps ...int) {
	switch v.Kind() {
	case reflect.Pointer:
		if !v.IsNil() {
			walk(v.Elem(), path, leaf, steps...)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			name := v.Type().Field(i).Name
			if path != "" {
				name = path + "." + name
			}
			walk(v.Field(i), name, leaf, append(slices.Clone(steps), i)...)
		}
	case reflect.Slice, reflect.Array:
		if v.Type().Elem().Kind() == reflect.Uint8 {
			leaf(path, steps)
			return
		}
		for i := range v.Len() {
			walk(v.Index(i), path, leaf, append(slices.Clone(steps), i)...)
		}
	default:
		leaf(path, steps)
	}
}

// same reports whether two results say the same in all that matters for a
// decision and is shown as verified.
func same(a, b *verify.Result) string {
	return cmp.Diff(a, b, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(verify.Result{}, "Checks"))
}

// TestLIB35_A021_Fields flips every bit of every decoded field of a Rekor v2
// bundle, and two bits of each byte of the other forms; with -short two bits of
// every fourth byte of all of them.
func TestLIB35_A021_Fields(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	met := map[string]bool{}
	for name, e := range single(t, w) {
		want := requireAccepted(t, name, w.input(t, e))
		flipFields(e, name == "DSSE, Rekor v2" && !testing.Short(), func(path, what string, c *bundle.Evidence) {
			met[path] = true
			got, err := verify.Verify(w.input(t, c))
			var refused *verify.Error
			switch {
			case err != nil:
				if !errors.As(err, &refused) {
					t.Errorf("%s: %s, %s: %v", name, path, what, err)
				}
			case covered(path, e):
				t.Errorf("%s: accepted with %s of %s flipped", name, what, path)
			default:
				if diff := same(want, got); diff != "" {
					t.Errorf("%s: %s of %s flipped gives another verdict:\n%s", name, what, path, diff)
				}
			}
		})
	}
	for path := range unauthenticated {
		if !met[path] && path != "KeyHint" && path != "Envelope.KeyID" { // empty in these forms
			t.Errorf("the field %s is listed as unauthenticated, but does not occur", path)
		}
	}
}

// TestLIB35_Bundle flips two bits of every byte of a bundle's JSON text, or of a
// layer's annotations; with -short of every eighth byte.
func TestLIB35_Bundle(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	for name, e := range single(t, w) {
		if e.Payload != nil {
			flipLegacy(t, w, name, e)
			continue
		}
		raw, err := bundle.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		parsed, err := bundle.Parse(raw)
		if err != nil {
			t.Fatal(err)
		}
		want := requireAccepted(t, name, w.input(t, parsed))
		for bit := range 8 * len(raw) {
			if !chosen(bit, false) || testing.Short() && bit/8%8 != 0 {
				continue
			}
			flipped := bytes.Clone(raw)
			flipped[bit/8] ^= 1 << (bit % 8)
			c, err := bundle.Parse(flipped)
			if err != nil {
				continue
			}
			requireDeniedOrSame(t, fmt.Sprintf("%s: bit %d near %q", name, bit, around(raw, bit/8)), w, parsed, c, want)
		}
	}
}

func around(raw []byte, i int) []byte { return raw[max(0, i-20):min(len(raw), i+20)] }

// flipLegacy does the same for a layer and its annotations.
func flipLegacy(t *testing.T, w *world, name string, e *bundle.Evidence) {
	annotations, err := bundle.LegacyAnnotations(e)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := bundle.ParseLegacy(e.Payload.Text, annotations)
	if err != nil {
		t.Fatal(err)
	}
	want := requireAccepted(t, name, w.input(t, parsed))
	for key, value := range annotations {
		for bit := range 8 * len(value) {
			if !chosen(bit, false) {
				continue
			}
			flipped := []byte(value)
			flipped[bit/8] ^= 1 << (bit % 8)
			a := maps.Clone(annotations)
			a[key] = string(flipped)
			c, err := bundle.ParseLegacy(e.Payload.Text, a)
			if err != nil {
				continue
			}
			requireDeniedOrSame(t, fmt.Sprintf("%s: bit %d of %s", name, bit, key), w, parsed, c, want)
		}
	}
}

// requireDeniedOrSame demands a refusal or the identical verdict, and of an
// accepted variant that it differs from the original in listed fields only.
func requireDeniedOrSame(t *testing.T, what string, w *world, original, c *bundle.Evidence, want *verify.Result) {
	t.Helper()
	got, err := verify.Verify(w.input(t, c))
	if err != nil {
		return
	}
	if diff := same(want, got); diff != "" {
		t.Errorf("%s: another verdict:\n%s", what, diff)
	}
	allowed := cmp.FilterPath(func(p cmp.Path) bool {
		path := ""
		for _, step := range p {
			if field, ok := step.(cmp.StructField); ok {
				if path != "" {
					path += "."
				}
				path += field.Name()
			}
		}
		return unauthenticated[path] != "" && !covered(path, original)
	}, cmp.Ignore())
	if diff := cmp.Diff(original, c, allowed, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: accepted with another value of a field that is not listed:\n%s", what, diff)
	}
}

// TestLIB35_Artifact flips every bit of the digest that is asked about.
func TestLIB35_Artifact(t *testing.T) {
	w := newWorld(t)
	for name, e := range single(t, w) {
		for bit := range 8 * len(digest) {
			d := digest
			d[bit/8] ^= 1 << (bit % 8)
			in := w.input(t, e)
			in.Artifact = verify.SHA256(d)
			requireCode(t, name, in, verify.CodeWrongArtifact)
		}
	}
}

// TestLIB35_TrustRoot flips bits of the trust root's text: it is refused when it
// is read, or the evidence is, or nothing that matters has changed. One bit of
// each byte keeps the test short.
func TestLIB35_TrustRoot(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	raw := w.TrustedRootJSON(t)
	e := w.sign(t, coretest.SignOptions{Log: w.V2})
	in := w.input(t, e)
	want := requireAccepted(t, "trust root", in)
	read, accepted := 0, 0
	for i := range raw {
		flipped := bytes.Clone(raw)
		flipped[i] ^= 1 << (i % 8)
		root, err := trust.Parse("test", flipped)
		if err != nil {
			continue
		}
		read++
		in.Root = root
		got, err := verify.Verify(in)
		if err != nil {
			continue
		}
		accepted++
		// URLs are names for people; everything else must be the same.
		ignoreURLs := cmpopts.IgnoreFields(verify.Time{}, "URI")
		ignoreLogs := cmpopts.IgnoreFields(verify.LogEntry{}, "Log")
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty(), cmpopts.IgnoreFields(verify.Result{}, "Checks"), ignoreURLs, ignoreLogs); diff != "" {
			t.Errorf("bit of byte %d, near %q: another verdict:\n%s", i, around(raw, i), diff)
		}
	}
	t.Logf("%d bytes, %d variants can be read, %d accept the evidence (names, white space, windows, the other log)", len(raw), read, accepted)
}
