//go:build !release_next

package ops

// Last is the last kind of op that this release knows. See op_extra_next.go.
const Last = Read

// earlyKind reports whether a kind of op is of a later release than the view's.
func earlyKind(Kind, uint32) bool { return false }

// ReadKind returns the kind of op that changes nothing and only has a place in the log, in
// views of a release.
func ReadKind(uint32) Kind { return Read }
