package access

import "time"

// SetHelperTimeout is for tests that can't wait as long as a user.
func (a *Access) SetHelperTimeout(d time.Duration) { a.helperTimeout = d }
