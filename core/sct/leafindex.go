package sct

import (
	"errors"
	"fmt"

	"golang.org/x/crypto/cryptobyte"
)

// extensionLeafIndex is CtExtensionType leaf_index of C2SP's static-ct-api, section "SCT Extension".
const extensionLeafIndex = 0

// maxLeafIndex is the largest index that leaf_index (a uint40) can hold.
const maxLeafIndex = 1<<40 - 1

// LeafIndexExtension returns the CtExtensions bytes with which a static-ct-api log tells at which index of its tree the entry stands:
// the type 0, the length 5 and the index as a big-endian uint40. An index of 2^40 or more does not fit and gives nil.
func LeafIndexExtension(index uint64) []byte {
	if index > maxLeafIndex {
		return nil
	}
	return []byte{extensionLeafIndex, 0, 5, byte(index >> 32), byte(index >> 24), byte(index >> 16), byte(index >> 8), byte(index)}
}

// ParseLeafIndex finds the index in the extensions of a timestamp. It reports false when there is none; other extensions are
// skipped. A second index, another length than five bytes and truncated extensions are errors.
func ParseLeafIndex(untrustedExtensions []byte) (index uint64, found bool, err error) {
	in := cryptobyte.String(untrustedExtensions)
	for !in.Empty() {
		var kind uint8
		var data cryptobyte.String
		if !in.ReadUint8(&kind) || !in.ReadUint16LengthPrefixed(&data) {
			return 0, false, errors.New("parsing SCT extensions: truncated")
		}
		if kind != extensionLeafIndex {
			continue
		}
		if found {
			return 0, false, errors.New("parsing SCT extensions: duplicate leaf_index")
		}
		if len(data) != 5 {
			return 0, false, fmt.Errorf("parsing SCT extensions: leaf_index has %d bytes, want 5", len(data))
		}
		found = true
		for _, b := range data {
			index = index<<8 | uint64(b)
		}
	}
	return index, found, nil
}
