package keys

import (
	"bytes"
	"errors"
	"fmt"
)

// ReadSecret reads a password or PIN from a file under the rules of [File.Load]: nobody but its owner can read it. A line break at its end
// doesn't belong to the secret; several lines are refused.
func ReadSecret(path string) ([]byte, error) {
	data, err := readFile(path, true)
	if err != nil {
		return nil, err
	}
	secret := bytes.TrimSuffix(bytes.TrimSuffix(data, []byte("\n")), []byte("\r"))
	if len(secret) == 0 {
		return nil, fmt.Errorf("%s is empty", path)
	}
	if bytes.ContainsAny(secret, "\r\n") {
		return nil, errors.New(path + " has more than one line")
	}
	return secret, nil
}
