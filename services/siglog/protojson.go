package siglog

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"strconv"
	"strings"

	"github.com/go-json-experiment/json/jsontext"
	commonpb "github.com/sigstore/protobuf-specs/gen/pb-go/common/v1"
)

// decodeProto reads protobuf's JSON into structs whose names are in camel case.
func decodeProto(untrusted []byte, out any) error {
	b, err := camelNames(untrusted)
	if err != nil {
		return err
	}
	return decode(b, out)
}

// camelNames rewrites every name of an object from the spelling of .proto files
// (raw_bytes) to that of JSON (rawBytes); parsers must take both. One field in both
// spellings is a repeated name, and an error.
func camelNames(untrusted []byte) ([]byte, error) {
	var out bytes.Buffer
	d, e := jsontext.NewDecoder(bytes.NewReader(untrusted)), jsontext.NewEncoder(&out)
	for {
		token, err := d.ReadToken()
		if errors.Is(err, io.EOF) {
			return out.Bytes(), nil
		}
		if err != nil {
			return nil, malformed(err)
		}
		// A name is followed by its value: the object's length is odd between them.
		if kind, n := d.StackIndex(d.StackDepth()); kind == '{' && n%2 == 1 {
			token = jsontext.String(camel(token.String()))
		}
		if err := e.WriteToken(token); err != nil {
			return nil, malformed(err)
		}
	}
}

// camel is protobuf's rule for JSON names: an underscore goes, the letter after it
// becomes a capital.
func camel(name string) string {
	words := strings.Split(name, "_")
	for i, word := range words {
		if i > 0 && word != "" {
			words[i] = strings.ToUpper(word[:1]) + word[1:]
		}
	}
	return strings.Join(words, "")
}

// protoBytes is bytes in protobuf's JSON: base64 of either alphabet, padded or not.
type protoBytes []byte

func (b *protoBytes) UnmarshalText(text []byte) (err error) {
	encoding := base64.RawStdEncoding
	if bytes.ContainsAny(text, "-_") {
		encoding = base64.RawURLEncoding
	}
	unpadded := bytes.TrimRight(text, "=")
	if len(unpadded) != len(text) && len(text)%4 != 0 {
		return errors.New("the padding is wrong")
	}
	*b, err = encoding.Strict().AppendDecode(nil, unpadded)
	return err
}

// protoDetails is the name of a common.v1.PublicKeyDetails, which protobuf's JSON
// gives as name or number. An unknown number stays one, and matches nothing.
type protoDetails string

func (d *protoDetails) UnmarshalJSONFrom(from *jsontext.Decoder) error {
	token, err := from.ReadToken()
	if err != nil {
		return err
	}
	switch token.Kind() {
	case 'n':
		*d = ""
	case '"':
		*d = protoDetails(token.String())
	case '0':
		*d = protoDetails(token.String())
		if n, err := strconv.ParseInt(token.String(), 10, 32); err == nil {
			*d = protoDetails(commonpb.PublicKeyDetails(n).String())
		}
	default:
		return errors.New("it is neither a name nor a number")
	}
	return nil
}
