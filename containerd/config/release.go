package config

import (
	"fmt"
	"regexp"
	"strconv"
)

// Release is a release series of containerd: its rules and defaults.
type Release struct{ Major, Minor int }

// Newest is the newest series whose rules are known here. A later one is read
// by them.
func Newest() Release { return Release{2, 4} }

// release is how a version begins, in "containerd --version" and the API: v2.4.2, 1.7.28~ds1-1, 2.1.4-k3s1.
var release = regexp.MustCompile(`^v?([0-9]{1,4})\.([0-9]{1,4})(\.|[-+~]|$)`)

// ParseRelease reads a version as containerd reports it: v2.1.4-k3s1, 1.7.28~ds1.
func ParseRelease(version string) (Release, error) {
	m := release.FindStringSubmatch(version)
	if m == nil {
		return Release{}, fmt.Errorf("%q is not a version of containerd", version)
	}
	major, _ := strconv.Atoi(m[1]) // at most four digits
	minor, _ := strconv.Atoi(m[2])
	return Release{major, minor}, nil
}

// String is the series: "2.4".
func (r Release) String() string { return fmt.Sprintf("%d.%d", r.Major, r.Minor) }

// Before reports whether r is older than major.minor.
func (r Release) Before(major, minor int) bool {
	return r.Major < major || r.Major == major && r.Minor < minor
}

// Verifies reports whether the release has image verifiers: 2.0 and later.
func (r Release) Verifies() bool { return !r.Before(2, 0) }

// Transfers reports whether CRI pulls images by the transfer service, which is
// what asks the verifiers, unless a setting keeps it from it: 2.1 and later.
func (r Release) Transfers() bool { return !r.Before(2, 1) }

// version is the newest version of the configuration that the release reads.
func (r Release) version() int {
	switch {
	case r.Before(2, 0):
		return 2
	case r.Before(2, 3):
		return 3
	}
	return newest
}
