package sct

import (
	"bytes"
	"encoding/binary"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/crypto/cryptobyte"
)

func example() SCT {
	return SCT{LogID: [32]byte{1, 2, 3}, Timestamp: 5, Extensions: LeafIndexExtension(9), Signature: []byte{0x30, 1, 2}}
}

func TestLIB27_Parse(t *testing.T) {
	good, err := example().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	const extensionsLength = 1 + 32 + 8 // where the extensions' length starts
	const hash = extensionsLength + 2 + 8
	set := func(at int, b ...byte) []byte {
		c := bytes.Clone(good)
		copy(c[at:], b)
		return c
	}
	for name, tc := range map[string]struct {
		in   []byte
		want bool
	}{
		"good":                      {good, true},
		"empty":                     {nil, false},
		"version 2":                 {set(0, 1), false},
		"trailing byte":             {append(bytes.Clone(good), 0), false},
		"extensions beyond end":     {set(extensionsLength, 0xff, 0xff), false},
		"SHA-1":                     {set(hash, 2), false},
		"SHA-384":                   {set(hash, 5), false},
		"anonymous signature":       {set(hash+1, 0), false},
		"RSA signature":             {set(hash+1, 1), false},
		"signature beyond end":      {set(hash+2, 0, 4), false},
		"signature before end":      {set(hash+2, 0, 2), false},
		"empty signature":           {set(hash+2, 0, 0)[:hash+4], false},
		"truncated before the hash": {good[:hash], false},
		// What follows the missing part could be read as the whole rest.
		"no log ID":          {slices.Concat([]byte{0}, make([]byte, 8), []byte{0, 0, 4, 3, 0, 1, 1}), false},
		"no timestamp":       {slices.Concat([]byte{0}, make([]byte, 32), []byte{0, 0, 4, 3, 0, 1, 1}), false},
		"no extensions":      {slices.Concat([]byte{0}, make([]byte, 40), []byte{0, 6, 4, 3, 0, 1, 1}), false},
		"short for the rest": {slices.Concat([]byte{0}, make([]byte, 40), []byte{0, 0, 4, 3, 0, 2, 1}), false},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Parse(tc.in)
			if (err == nil) != tc.want {
				t.Fatalf("Parse: %v, want accepted %v", err, tc.want)
			}
			if diff := cmp.Diff(example(), got); tc.want && diff != "" {
				t.Error(diff)
			}
		})
	}
	for n := range good {
		if _, err := Parse(good[:n]); err == nil {
			t.Errorf("first %d of %d bytes accepted", n, len(good))
		}
	}
}

func TestLIB27_ParseList(t *testing.T) {
	one, err := example().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	prefixed := append(binary.BigEndian.AppendUint16(nil, uint16(len(one))), one...)
	// list wraps items in the list's length and, with the DER header of an OCTET STRING, in an extension value.
	list := func(items []byte) []byte {
		return append(binary.BigEndian.AppendUint16(nil, uint16(len(items))), items...)
	}
	octets := func(content []byte) []byte {
		var b cryptobyte.Builder
		b.AddASN1OctetString(content)
		return b.BytesOrPanic()
	}
	two := bytes.Repeat(prefixed, 2)
	for name, tc := range map[string]struct {
		in   []byte
		want int // 0: refused
	}{
		"three":               {octets(list(bytes.Repeat(prefixed, 3))), 3},
		"sixteen":             {octets(list(bytes.Repeat(prefixed, 16))), 16},
		"seventeen":           {octets(list(bytes.Repeat(prefixed, 17))), 0},
		"no OCTET STRING":     {list(two), 0},
		"empty value":         {nil, 0},
		"empty list":          {octets(list(nil)), 0},
		"empty OCTET STRING":  {octets(nil), 0},
		"trailing after DER":  {append(octets(list(bytes.Repeat(prefixed, 3))), 0), 0},
		"trailing after list": {octets(append(list(bytes.Repeat(prefixed, 3)), 0)), 0},
		"trailing in list":    {octets(list(append(bytes.Repeat(prefixed, 3), 0))), 0},
		"second is empty":     {octets(list(append(bytes.Repeat(prefixed, 3), 0, 0))), 0},
		"second is malformed": {octets(list(append(bytes.Repeat(prefixed, 3), 0, 1, 0))), 0},
		"indefinite length":   {append(append([]byte{0x04, 0x80}, list(bytes.Repeat(prefixed, 3))...), 0, 0), 0},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := ParseList(tc.in)
			if (err == nil) != (tc.want > 0) || len(got) != tc.want {
				t.Errorf("ParseList: %d timestamps, %v; want %d", len(got), err, tc.want)
			}
		})
	}
}

func TestMarshalRefuses(t *testing.T) {
	noSignature := example()
	noSignature.Signature = nil
	long := example()
	long.Extensions = make([]byte, 1<<16)
	for name, s := range map[string]SCT{"no signature": noSignature, "64 KiB of extensions": long} {
		if _, err := s.Marshal(); err == nil {
			t.Errorf("%s: marshalled", name)
		}
		if _, err := MarshalList([]SCT{s}); err == nil {
			t.Errorf("%s: marshalled in a list", name)
		}
	}
	if _, err := MarshalList(nil); err == nil {
		t.Error("empty list marshalled")
	}
	for n, want := range map[int]bool{MaxSCTs: true, MaxSCTs + 1: false} {
		if _, err := MarshalList(slices.Repeat([]SCT{example()}, n)); (err == nil) != want {
			t.Errorf("list of %d: %v, want it marshalled %v", n, err, want)
		}
	}
	// What fits into its own prefix need not fit into the next one.
	signature := example()
	signature.Signature = make([]byte, 1<<16)
	if _, err := signature.DigitallySigned(); err == nil {
		t.Error("64 KiB of signature marshalled")
	}
	half := example()
	half.Extensions, half.Signature = make([]byte, 1<<15), []byte{1}
	whole := half
	whole.Signature = make([]byte, 1<<15)
	for name, tc := range map[string]struct {
		scts []SCT
		want bool
	}{
		"half of the list": {[]SCT{half}, true}, "two halves and their prefixes": {[]SCT{half, half}, false}, "one beyond its prefix": {[]SCT{whole}, false},
	} {
		if _, err := MarshalList(tc.scts); (err == nil) != tc.want {
			t.Errorf("%s: %v, want it marshalled %v", name, err, tc.want)
		}
	}
}

func TestLeafIndex(t *testing.T) {
	for _, index := range []uint64{0, 1, 255, 1 << 32, maxLeafIndex} {
		got, found, err := ParseLeafIndex(LeafIndexExtension(index))
		if got != index || !found || err != nil {
			t.Errorf("index %d: read %d, %v, %v", index, got, found, err)
		}
	}
	if ext := LeafIndexExtension(maxLeafIndex + 1); ext != nil {
		t.Errorf("index 2^40 encoded as %x", ext)
	}
	if diff := cmp.Diff([]byte{0, 0, 5, 0x12, 0x34, 0x56, 0x78, 0x9a}, LeafIndexExtension(0x123456789a)); diff != "" {
		t.Error(diff)
	}
	unknown := []byte{7, 0, 1, 0xff}
	for name, tc := range map[string]struct {
		in    []byte
		found bool
		ok    bool
	}{
		"none":                   {nil, false, true},
		"unknown only":           {unknown, false, true},
		"unknown first":          {append(bytes.Clone(unknown), LeafIndexExtension(3)...), true, true},
		"twice":                  {append(LeafIndexExtension(3), LeafIndexExtension(3)...), false, false},
		"four bytes":             {[]byte{0, 0, 4, 0, 0, 0, 3}, false, false},
		"six bytes":              {[]byte{0, 0, 6, 0, 0, 0, 0, 0, 3}, false, false},
		"truncated":              {[]byte{0, 0, 5, 0, 0, 0, 3}, false, false},
		"truncated in its head":  {[]byte{0, 0}, false, false},
		"behind a truncated one": {append([]byte{7, 0, 9}, LeafIndexExtension(3)...), false, false},
	} {
		if _, found, err := ParseLeafIndex(tc.in); found != tc.found && err == nil || (err == nil) != tc.ok {
			t.Errorf("%s: found %v, %v", name, found, err)
		}
	}
}

// What parses is exactly what its encoding says: no two inputs for one value.
func FuzzParse(f *testing.F) {
	good, err := example().Marshal()
	if err != nil {
		f.Fatal(err)
	}
	list, err := MarshalList([]SCT{example(), example()})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add(list)
	f.Fuzz(func(t *testing.T, in []byte) {
		if s, err := Parse(in); err == nil {
			if out, err := s.Marshal(); err != nil || !bytes.Equal(in, out) {
				t.Errorf("Marshal(Parse(%x)) = %x, %v", in, out, err)
			}
		}
		if scts, err := ParseList(in); err == nil {
			if out, err := MarshalList(scts); err != nil || !bytes.Equal(in, out) {
				t.Errorf("MarshalList(ParseList(%x)) = %x, %v", in, out, err)
			}
		}
	})
}
