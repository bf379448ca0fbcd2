//go:build release_next

package owner

// What the release after this one adds, in tests: an op. It does what OpRead does, and
// takes its place in views that support it (W1).
const (
	extraRelease = 2

	opMark = OpRead + 1
	lastOp = opMark
)

// early reports whether an op is of a later release than the view's: the programs of that
// release would not know it.
func early(kind OpKind, release uint32) bool { return kind == opMark && release < extraRelease }

func (m *Machine) place() OpKind {
	if m.release >= extraRelease {
		return opMark
	}
	return OpRead
}
