package openpgp

import (
	"bytes"
	"errors"
	"fmt"
	"io"

	"github.com/ProtonMail/go-crypto/openpgp/packet"

	"github.com/touchmark/touchmark/core/bundle"
)

// maxPackets bounds the packets of a message: one signature has three.
const maxPackets = 16

// unpack returns the packets of a signed message, which GnuPG compresses. A
// reader of OpenPGP follows compression into compression, and keeps each
// signature that it meets: two hundred bytes can take it hours, and half a
// megabyte a gigabyte of memory. So there is one layer here, what is in it
// is bounded, and nothing but signatures and their text is passed on.
func unpack(untrusted []byte) ([]byte, error) {
	first, err := packet.NewReader(bytes.NewReader(untrusted)).Next()
	if err != nil {
		return nil, err
	}
	if compressed, ok := first.(*packet.Compressed); ok {
		if untrusted, err = io.ReadAll(io.LimitReader(compressed.Body, bundle.MaxSize+1)); err != nil {
			return nil, err
		}
	}
	if len(untrusted) > bundle.MaxSize {
		return nil, fmt.Errorf("it has more than %d bytes", bundle.MaxSize)
	}
	packets := packet.NewReader(bytes.NewReader(untrusted))
	for range maxPackets {
		p, err := packets.Next()
		if errors.Is(err, io.EOF) {
			return untrusted, nil
		}
		if err != nil {
			return nil, err
		}
		switch p := p.(type) {
		case *packet.OnePassSignature, *packet.Signature:
		case *packet.LiteralData:
			if _, err := io.Copy(io.Discard, p.Body); err != nil {
				return nil, err
			}
		default:
			return nil, fmt.Errorf("a packet of type %T is no part of a signed text", p)
		}
	}
	return nil, fmt.Errorf("it has more than %d packets", maxPackets)
}
