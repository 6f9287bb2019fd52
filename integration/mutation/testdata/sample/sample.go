// Package sample is what the tool's own test mutates.
package sample

import "errors"

const limit = 100

func check(kind string, size int, parts []int) error {
	if size > limit {
		return errors.New("too large")
	}
	switch kind {
	case "list":
	default:
		return errors.New("of another kind")
	}
	sum := 0
	for _, p := range parts {
		if p == 0 || p == 7 {
			return errors.New("a bad part")
		}
		sum = sum + p
	}
	if sum == 5 && len(parts) == 2 {
		return errors.New("a bad sum")
	}
	return last(parts)
}

func last(parts []int) error {
	if len(parts) != 0 && parts[len(parts)-1] == 9 {
		return errors.New("a bad end")
	}
	return final(parts)
}

func final(parts []int) error {
	var err error
	if len(parts) == 4 {
		err = errors.New("too many")
	}
	return err
}
