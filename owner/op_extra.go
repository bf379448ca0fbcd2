//go:build !release_next

package owner

// lastOp is the last kind of op that this release knows. See op_extra_next.go.
const lastOp = OpRead

// early reports whether an op is of a later release than the view's.
func early(OpKind, uint32) bool { return false }

// place is the kind of op that changes nothing and is a place in the log.
func (*Machine) place() OpKind { return OpRead }
