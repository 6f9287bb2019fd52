// Package exit has touchmark's exit statuses: scripts tell a refusal from an outage by
// them. An error carries its own, given where it is known what kind it is: [Usage],
// [Undecided] or [Refused]. What reads the arguments and files of a command returns
// errors that have one already.
package exit

import (
	"errors"
)

// Exit statuses.
const (
	StatusRefused   = 1
	StatusUsage     = 2
	StatusUndecided = 3
)

// statusError is an error that knows the exit status it leads to.
type statusError struct {
	status int
	err    error
}

func (e *statusError) Error() string { return e.err.Error() }
func (e *statusError) Unwrap() error { return e.err }

// Usage is for flags, arguments and files that are wrong.
func Usage(err error) error { return &statusError{StatusUsage, err} }

// Undecided is for everything that could not be had: a registry, a service.
func Undecided(err error) error { return &statusError{StatusUndecided, err} }

// Refused is for images that the policy does not admit.
func Refused(err error) error { return &statusError{StatusRefused, err} }

// Status is the exit status that an error leads to, and 0 for none. Errors that
// don't say are cobra's own, which are about flags and arguments.
func Status(err error) int {
	if err == nil {
		return 0
	}
	if e := (*statusError)(nil); errors.As(err, &e) {
		return e.status
	}
	return StatusUsage
}
