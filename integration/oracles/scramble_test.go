package oracles

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"testing"

	protobundle "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/reflect/protoreflect"
)

// spot is one value in a bundle. With a number it is one of a list's.
type spot struct {
	path   string
	holder protoreflect.Message
	field  protoreflect.FieldDescriptor
	number int // in the list; -1 for the field as a whole
}

// scramble changes one thing in a bundle, at random: mostly a value, so that the text remains JSON of the right types, else the text itself. It returns where and how.
func scramble(tb testing.TB, random *rand.Rand, text []byte, c *cast) (changed []byte, what string) {
	tb.Helper()
	if random.IntN(8) == 0 {
		return scrambleText(tb, random, text)
	}
	b := readBundle(tb, text)
	spots := spotsOf(b.ProtoReflect(), "")
	at := spots[random.IntN(len(spots))]
	how := at.change(random, readBundle(tb, c.donors(tb)[random.IntN(len(c.donors(tb)))]).ProtoReflect())
	changed, err := protojson.Marshal(b)
	if err != nil {
		return scrambleText(tb, random, text) // invalid UTF-8, say
	}
	return changed, at.path + ": " + how
}

// scrambleText changes a byte of the text, and says which value that is, if it still is a bundle.
func scrambleText(tb testing.TB, random *rand.Rand, text []byte) (changed []byte, what string) {
	tb.Helper()
	at := random.IntN(len(text))
	changed = bytes.Clone(text)
	switch random.IntN(4) {
	case 0:
		changed = append(changed[:at], changed[at+1:]...)
	case 1:
		changed = append(changed[:at], append([]byte{changed[at]}, changed[at:]...)...)
	default:
		changed[at] ^= 1 << random.IntN(8)
	}
	b := new(protobundle.Bundle)
	if protojson.Unmarshal(changed, b) != nil {
		return changed, "text: no bundle"
	}
	return changed, difference(readBundle(tb, text).ProtoReflect(), b.ProtoReflect()) + ": text"
}

// difference is the path of the innermost value that differs, "text" if there is none.
func difference(a, b protoreflect.Message) string {
	values := make(map[string]protoreflect.Value)
	for _, s := range spotsOf(a, "") {
		values[s.path] = s.get()
	}
	path := "text"
	for _, s := range spotsOf(b, "") {
		if old, ok := values[s.path]; !ok || !old.Equal(s.get()) {
			path = s.path
		}
		delete(values, s.path)
	}
	for gone := range values {
		path = gone
	}
	return path
}

func readBundle(tb testing.TB, text []byte) *protobundle.Bundle {
	tb.Helper()
	b := new(protobundle.Bundle)
	if err := protojson.Unmarshal(text, b); err != nil {
		tb.Fatal(err)
	}
	return b
}

// donors are good bundles of other images, made once, that parts are taken from.
func (c *cast) donors(tb testing.TB) [][]byte {
	tb.Helper()
	for n := range 12 {
		if len(c.donated) == 12 {
			break
		}
		in, err := newDraft(tb, rand.New(rand.NewPCG(3, uint64(n))), c, nil).finish()
		if err != nil {
			tb.Fatal(err)
		}
		c.donated = append(c.donated, in.bundle)
	}
	return c.donated
}

// spotsOf finds every value that is set.
func spotsOf(m protoreflect.Message, path string) []spot {
	var spots []spot
	fields := m.Descriptor().Fields()
	for i := range fields.Len() {
		f := fields.Get(i)
		if !m.Has(f) {
			continue
		}
		below := f.JSONName()
		if path != "" {
			below = path + "." + below
		}
		spots = append(spots, spot{below, m, f, -1})
		switch {
		case f.IsList():
			list := m.Get(f).List()
			for n := range list.Len() {
				element := fmt.Sprintf("%s[%d]", below, n)
				spots = append(spots, spot{element, m, f, n})
				if f.Kind() == protoreflect.MessageKind {
					spots = append(spots, spotsOf(list.Get(n).Message(), element)...)
				}
			}
		case f.Kind() == protoreflect.MessageKind:
			spots = append(spots, spotsOf(m.Get(f).Message(), below)...)
		}
	}
	return spots
}

// change changes the value, or takes the one from the same place of a donor, and says how.
func (s spot) change(random *rand.Rand, donor protoreflect.Message) string {
	if s.field.IsList() && s.number < 0 {
		return s.changeList(random, donor)
	}
	switch random.IntN(5) {
	case 0:
		if s.field.IsList() {
			remove(s.holder.Mutable(s.field).List(), s.number)
		} else {
			s.holder.Clear(s.field)
		}
		return "dropped"
	case 1:
		for _, d := range spotsOf(donor, "") {
			if d.path == s.path {
				s.set(d.get())
				return "from a donor"
			}
		}
	}
	switch value := s.get(); s.field.Kind() {
	case protoreflect.BytesKind:
		changed, how := changeBytes(random, value.Bytes())
		s.set(protoreflect.ValueOfBytes(changed))
		return how
	case protoreflect.StringKind:
		changed, how := changeBytes(random, []byte(value.String()))
		s.set(protoreflect.ValueOfString(string(changed)))
		return how
	case protoreflect.Int64Kind:
		s.set(protoreflect.ValueOfInt64([]int64{0, 1, -1, value.Int() + 1, value.Int() - 1, value.Int() ^ 1<<random.IntN(63), 1<<63 - 1}[random.IntN(7)]))
		return "number changed"
	case protoreflect.EnumKind:
		s.set(protoreflect.ValueOfEnum(protoreflect.EnumNumber(random.IntN(6))))
		return "enumeration changed"
	default: // a message
		s.set(protoreflect.ValueOfMessage(value.Message().New()))
		return "emptied"
	}
}

func (s spot) get() protoreflect.Value {
	if s.field.IsList() && s.number >= 0 {
		return s.holder.Get(s.field).List().Get(s.number)
	}
	return s.holder.Get(s.field)
}

func (s spot) set(value protoreflect.Value) {
	if s.field.IsList() && s.number >= 0 {
		s.holder.Mutable(s.field).List().Set(s.number, value)
		return
	}
	s.holder.Set(s.field, value)
}

func (s spot) changeList(random *rand.Rand, donor protoreflect.Message) string {
	list := s.holder.Mutable(s.field).List()
	switch random.IntN(4) {
	case 0:
		s.holder.Clear(s.field)
		return "dropped"
	case 1:
		first := list.Get(0)
		for range random.IntN(40) + 1 {
			list.Append(first)
		}
		return "first repeated"
	case 2:
		for _, d := range spotsOf(donor, "") {
			if d.path == s.path && d.number < 0 {
				for n := range d.get().List().Len() {
					list.Append(d.get().List().Get(n))
				}
				return "a donor's behind"
			}
		}
	}
	a, b := random.IntN(list.Len()), random.IntN(list.Len())
	x, y := list.Get(a), list.Get(b)
	list.Set(a, y)
	list.Set(b, x)
	if a == b {
		remove(list, a)
		return "one dropped"
	}
	return "two exchanged"
}

func remove(list protoreflect.List, n int) {
	for ; n+1 < list.Len(); n++ {
		list.Set(n, list.Get(n+1))
	}
	list.Truncate(list.Len() - 1)
}

func changeBytes(random *rand.Rand, b []byte) (changed []byte, how string) {
	changed = bytes.Clone(b)
	switch random.IntN(6) {
	case 0:
		return changed[:random.IntN(len(b)+1)], "cut off"
	case 1:
		return append(changed, byte(random.Uint32())&0x7f), "a byte behind"
	case 2:
		if len(b) > 1 {
			return changed[1:], "first byte dropped"
		}
	}
	if len(b) == 0 {
		return []byte{0}, "a byte behind"
	}
	changed[random.IntN(len(b))] ^= 1 << random.IntN(7)
	return changed, "bit flipped"
}
