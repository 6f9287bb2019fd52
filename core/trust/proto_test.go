package trust_test

import (
	"bytes"
	"encoding/json"
	"testing"
	"time"

	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
	trustpb "github.com/sigstore/protobuf-specs/gen/pb-go/trustroot/v1"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/proto"

	"github.com/touchmark/touchmark/core/coretest"
	"github.com/touchmark/touchmark/core/trust"
)

// TestProtobuf holds what is written against the protocol buffers that define the formats, and what is read
// against what their own writer writes.
func TestProtobuf(t *testing.T) {
	s := coretest.New(t)
	windows := s.Root()
	windows.Logs[0].Window.End = coretest.Start.Add(1500 * time.Millisecond)
	config, err := trust.FormatSigningConfig(signingConfig())
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		text  []byte
		pb    proto.Message
		again func([]byte) ([]byte, error)
	}{
		"trusted root": {coretest.FormatRoot(t, windows), &trustpb.TrustedRoot{}, func(text []byte) ([]byte, error) {
			root, err := trust.Parse("test", text)
			if err != nil {
				return nil, err
			}
			return trust.Format(root)
		}},
		"signing config": {config, &trustpb.SigningConfig{}, func(text []byte) ([]byte, error) {
			c, err := trust.ParseSigningConfig(text)
			if err != nil {
				return nil, err
			}
			return trust.FormatSigningConfig(c)
		}},
	} {
		if err := protojson.Unmarshal(tt.text, tt.pb); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		theirs, err := protojson.Marshal(tt.pb)
		if err != nil {
			t.Fatal(err)
		}
		var ourCompact, theirCompact bytes.Buffer
		if err := json.Compact(&ourCompact, tt.text); err != nil {
			t.Fatal(err)
		}
		if err := json.Compact(&theirCompact, theirs); err != nil {
			t.Fatal(err)
		}
		// They write half a second with three digits.
		if got := bytes.ReplaceAll(theirCompact.Bytes(), []byte(".500Z"), []byte(".5Z")); !bytes.Equal(got, ourCompact.Bytes()) {
			t.Errorf("%s: is written as\n%.2000s\nthe protocol buffers write\n%.2000s", name, ourCompact.Bytes(), got)
		}
		if again, err := tt.again(theirs); err != nil || !bytes.Equal(again, tt.text) {
			t.Errorf("%s: changed in reading (%v)", name, err)
		}
	}
}

// TestTUF20_KeyTypes: every type of key that the protocol buffers name is known, and no other.
func TestTUF20_KeyTypes(t *testing.T) {
	good := coretest.New(t).TrustedRootJSON(t)
	for _, name := range commonpb.PublicKeyDetails_name {
		_, err := trust.Parse("test", bytes.Replace(good, []byte(`"PKIX_ECDSA_P256_SHA_256"`), []byte(`"`+name+`"`), 1))
		usable := name != "PUBLIC_KEY_DETAILS_UNSPECIFIED" && name != "PKIX_ED25519" // the key is none
		if (err == nil) != usable {
			t.Errorf("%s: %v", name, err)
		}
	}
}
