package main

import (
	"errors"
)

// Exit statuses.
const (
	exitRefused   = 1
	exitUsage     = 2
	exitUndecided = 3
)

// exitError is an error that knows the exit status it leads to.
type exitError struct {
	status int
	err    error
}

func (e *exitError) Error() string { return e.err.Error() }
func (e *exitError) Unwrap() error { return e.err }

// usageError is for flags, arguments and files that are wrong.
func usageError(err error) error { return &exitError{exitUsage, err} }

// undecided is for everything that could not be had: a registry, a service.
func undecided(err error) error { return &exitError{exitUndecided, err} }

// refused is for images that the policy does not admit.
func refused(err error) error { return &exitError{exitRefused, err} }

// exitStatus is the exit status that an error leads to, and 0 for none. Errors that
// don't say are cobra's own, which are about flags and arguments.
func exitStatus(err error) int {
	if err == nil {
		return 0
	}
	if exit := (*exitError)(nil); errors.As(err, &exit) {
		return exit.status
	}
	return exitUsage
}
