package bundle_test

import (
	"bytes"
	"encoding/json"
	"testing"

	bundlepb "github.com/sigstore/protobuf-specs/gen/pb-go/bundle/v1"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/touchmark/touchmark/core/bundle"
)

// TestProtobuf holds what is written against the protocol buffers that define
// the format, and what is read against what their own writer writes.
func TestProtobuf(t *testing.T) {
	for name, e := range shapes(t) {
		raw := marshal(t, e)
		var pb bundlepb.Bundle
		if err := protojson.Unmarshal(raw, &pb); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		theirs, err := protojson.Marshal(&pb)
		if err != nil {
			t.Fatal(err)
		}
		var compact bytes.Buffer
		if err := json.Compact(&compact, theirs); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(compact.Bytes(), raw) {
			t.Errorf("%s: is not written as the protocol buffers write it", name)
		}
		read, err := bundle.Parse(theirs)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if again := marshal(t, read); !bytes.Equal(again, raw) {
			t.Errorf("%s: changed in reading", name)
		}
	}
}

// TestIntegers: 64-bit integers come as strings and as numbers.
func TestIntegers(t *testing.T) {
	good := string(marshal(t, shapes(t)["DSSE, Rekor v1"]))
	const before = `"logIndex":"1005"`
	for text, ok := range map[string]bool{
		`"1005"`: true, `1005`: true, `9007199254740993`: true, `"9223372036854775807"`: true,
		`"9223372036854775808"`: false, `9223372036854775808`: false, `1005.0`: false, `1e3`: false, `"1e3"`: false, `"0x3ed"`: false, `"01005"`: false,
		`" 1005"`: false, `"+1005"`: false, `"1_005"`: false, `""`: false, `"\u0031"`: false, `true`: false, `{}`: false, `[1]`: false, `"-1"`: false, `-1`: false, `null`: true,
	} {
		changed := bytes.Replace([]byte(good), []byte(before), []byte(`"logIndex":`+text), 1)
		if string(changed) == good && text != `"1005"` {
			t.Fatal("the bundle was not changed")
		}
		if _, err := bundle.Parse(changed); (err == nil) != ok {
			t.Errorf("%s: error is %v, want accepted %v", text, err, ok)
		}
	}
}
