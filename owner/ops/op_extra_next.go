//go:build release_next

package ops

// What the release after this one adds, in tests: an op. It does what Read does, and
// takes its place in views that support it (W1).
const (
	ExtraRelease = 3

	Mark = Read + 1
	Last = Mark
)

// earlyKind reports whether a kind of op is of a later release than the view's: the programs
// of that release would not know it.
func earlyKind(kind Kind, release uint32) bool { return kind == Mark && release < ExtraRelease }

// ReadKind returns the kind of op that changes nothing and only has a place in the log, in
// views of a release.
func ReadKind(release uint32) Kind {
	if release >= ExtraRelease {
		return Mark
	}
	return Read
}
