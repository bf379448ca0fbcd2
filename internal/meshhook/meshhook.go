// Package meshhook is what the tests of this module put inside a node (mesh.Config.Hooks), to see,
// hold, lose and repeat single messages, to break its disk, and to stop it at a point that no clock
// hits. Only package internal/cluster and its tests set them; a node in production has none.
package meshhook

import (
	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/link"
)

// Hooks change what a node does. The zero value changes nothing.
type Hooks struct {
	// Calls are options for the connections to other members that come after the node's own:
	// interceptors among them have single messages in hand.
	Calls []grpc.DialOption
	// Links puts something between the links to other members, which do not go over gRPC, and
	// their streams.
	Links func(addr string, f link.Frames) link.Frames
	// Disk is called before each write of Raft's records, which fails with its error.
	Disk func() error
	// Pause is called at named points, see owner.Config: it stops the node there.
	Pause func(point string)
	// Releases, if it is not zero, are what the node's program works with instead of what it
	// is: a simulation lets programs of two releases meet in one process.
	Releases release.Range
	// PrincipalLimits, if set, returns the limits of a principal instead of the auth file: how many
	// holds and waiters it may have in the whole mesh, where 0 is no limit.
	PrincipalLimits func(principal string) (maxHolds, maxWaiters int)
}
