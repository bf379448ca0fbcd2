// Package release numbers the formats that members exchange and keep on disk
// (protocol W1 to W3).
//
// A program has a release, [Current], and works with all views from [Oldest] to it.
// A view has a release too, which all its members and all seats understand; it rises
// when the last of them has been upgraded, and never falls. Whatever [Current] adds
// to a message, to Raft's log, to a partition's log or to a copy is used only in
// views that support it (ring.View.Supports), so that until then the older program
// can take the newer one's place.
//
// To change a format: raise [Current], and guard every use of what is new with
// Supports. [Oldest] rises when the code for views below it is removed. The tests Test…Stable
// compare every format with the golden files in testdata, byte for byte.
package release

import (
	"errors"
	"fmt"
)

// Oldest is the lowest release of a view, and of a data directory, that this program
// works with. Release 1 is the first that carries a number.
const Oldest = 1

// Principals is the release that has added the principals of calls to requests between members, and to
// ops and copies.
const Principals = 2

// Traces is the release that has added the traces of requests to requests and entries between members.
const Traces = 2

// Errors about what this program cannot work with. None of them means that data is damaged.
var (
	// ErrNewer: it was written by a program of a later release, in a view that had risen to
	// that release.
	ErrNewer = errors.New("written by a newer version")
	// ErrOlder: it was written by a program of a release that this program no longer supports.
	ErrOlder = errors.New("written by an older version")
	// ErrMismatch: two programs, or a program and a mesh, have no release in common (W2).
	ErrMismatch = errors.New("the releases do not fit")
	// ErrUnknown: a state machine found something that it does not know, so it stops (W3).
	ErrUnknown = errors.New("not known to this version")
)

// Newer returns [ErrNewer] for something of release n.
func Newer(n uint32) error {
	return fmt.Errorf("%w (release %d); this program is release %d", ErrNewer, n, Current)
}

// Range is the range of releases that a program works with.
type Range struct{ Oldest, Newest uint32 }

// Own returns this program's range.
func Own() Range { return Range{Oldest: Oldest, Newest: Current} }

// OrOwn returns r, or [Own] if r is zero.
func (r Range) OrOwn() Range {
	if r == (Range{}) {
		return Own()
	}
	return r
}

// Check returns nil for a release that the program works with, and [ErrNewer] or
// [ErrOlder] for any other.
func (r Range) Check(n uint32) error {
	switch {
	case n > r.Newest:
		return fmt.Errorf("%w (release %d); this program is release %d", ErrNewer, n, r.Newest)
	case n == 0:
		return fmt.Errorf("%w, from before release 1; this program is release %d", ErrOlder, r.Newest)
	case n < r.Oldest:
		return fmt.Errorf("%w (release %d); this program is release %d, and knows releases from %d on", ErrOlder, n, r.Newest, r.Oldest)
	}
	return nil
}

// Has reports whether n is in the range.
func (r Range) Has(n uint32) bool { return n != 0 && r.Oldest <= n && n <= r.Newest }

// Common returns the highest release in both ranges; ok is false if there is none.
func (r Range) Common(other Range) (n uint32, ok bool) {
	n = min(r.Newest, other.Newest)
	return n, r.Has(n) && other.Has(n)
}

// String formats the range for people.
func (r Range) String() string {
	switch {
	case r.Newest == 0:
		return "a build from before release 1"
	case r.Oldest == r.Newest:
		return fmt.Sprintf("release %d", r.Newest)
	}
	return fmt.Sprintf("releases %d to %d", r.Oldest, r.Newest)
}
