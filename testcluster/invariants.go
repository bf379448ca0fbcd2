package testcluster

import (
	"errors"

	"github.com/sgkandale/sharelock/internal/cluster"
)

// Invariant names a property of the mesh that is checked when a test ends. [Options].Without leaves
// invariants out.
type Invariant string

// The invariants.
const (
	// OneHolder: clients that believe at the same moment that they hold a key may hold it together. A
	// client believes so from the answer to its acquire until it sends the release, or until the safe
	// time in an answer is over, counted from the send of the request.
	OneHolder Invariant = "one-holder"
	// TokensGrow: a grant that was requested after another grant of the key was answered has a larger
	// token.
	TokensGrow Invariant = "tokens-grow"
	// OneGrant: a request id is granted one token, unless state is lost.
	OneGrant Invariant = "one-grant"
	// Fair: of two waiters that were seen in a queue and stayed, the first is granted first.
	Fair Invariant = "fair"
	// OneOwner: at most one process is active in a partition in one epoch.
	OneOwner Invariant = "one-owner"
	// Linearizable: the calls of every key have an order that explains all answers. This cannot
	// be checked if clients that are not in the History use the same keys.
	Linearizable Invariant = "linearizable"
	// Consistent: the state of every running node is consistent.
	Consistent Invariant = "consistent"
	// NoLeaks: no goroutine of the cluster outlives Close.
	NoLeaks Invariant = "no-leaks"
)

// ViolationError reports an invariant that did not hold.
type ViolationError struct {
	Invariant Invariant
	// What is the evidence, for people.
	What string
}

// Error returns the invariant's name and the evidence.
func (e *ViolationError) Error() string { return string(e.Invariant) + ": " + e.What }

// Check checks what can be checked while the cluster runs: the state of the nodes, and the history
// so far. It returns all violations joined; each is a [*ViolationError].
func (c *Cluster) Check() error { return exported(c.in.Check()) }

// exported replaces the violations in a joined error by those of this package.
func exported(err error) error {
	if joined, ok := err.(interface{ Unwrap() []error }); ok { //nolint:errorlint // only what Check has joined
		var errs []error
		for _, e := range joined.Unwrap() {
			errs = append(errs, exported(e))
		}
		return errors.Join(errs...)
	}
	if v, ok := errors.AsType[*cluster.ViolationError](err); ok {
		return &ViolationError{Invariant(v.Invariant), v.What}
	}
	return err
}
