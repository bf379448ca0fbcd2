// Package meshhook has the hooks of tests into a node (mesh.Config.Hooks): to observe, hold, lose
// and repeat single messages, to make its disk fail, and to stop it at a point that no timer can
// hit. Only package internal/cluster and its tests set them; a node in production has none.
package meshhook

import (
	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock/internal/release"
	"github.com/sgkandale/sharelock/mesh/link"
)

// Hooks change what a node does. The zero value changes nothing.
type Hooks struct {
	// Calls are options for the connections to other members, applied after the node's own.
	// Interceptors among them see single messages.
	Calls []grpc.DialOption
	// Links may wrap the streams of links to other members, which do not use gRPC.
	Links func(addr string, f link.Frames) link.Frames
	// Disk is called before each write of Raft's records. If it returns an error, the write fails with it.
	Disk func() error
	// Pause is called at named points, see owner.Config, and may block to stop the node there.
	Pause func(point string)
	// Releases, if it is not zero, replaces the releases that the node's program supports, so
	// that a simulation can run programs of two releases in one process.
	Releases release.Range
	// PrincipalLimits, if set, returns the limits of a principal instead of the auth file: how many
	// holds and waiters it may have in the whole mesh, where 0 is no limit.
	PrincipalLimits func(principal string) (maxHolds, maxWaiters int)
}
