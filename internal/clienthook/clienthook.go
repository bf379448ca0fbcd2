// Package clienthook lets tests, and the commands of package main, reach into a client. Hooks travel in the context of client.Dial, so
// that the client's exported surface has nothing for them.
package clienthook

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Hooks are what a test replaces or observes in a client. Each field may be nil.
type Hooks struct {
	// Clock replaces the system's clock: the time since an arbitrary start. It must not jump. It
	// must not block either: while it blocks, no lock expires at the client.
	Clock func() time.Duration
	// Sessions may wrap each stream of a session to the node at an address. It must not block.
	Sessions func(addr string, f Frames) Frames
	// Mesh is called by Dial with the service of the first node: commands that administer one node
	// make calls for which the client has no methods.
	Mesh func(m sharelockv1.MeshServiceClient)
	// Control is called by Dial with the control of the new client.
	Control func(c Control)
}

// Frames carries the messages of one stream of a session, each way in order and in wire format:
// SessionRequests and SessionResponses. Send and Recv may be called at the same time, by one
// goroutine each. Errors are statuses of gRPC.
type Frames interface {
	// Send sends a message, which must not be changed any more.
	Send(message []byte) error
	// Recv blocks until the next message, which is valid until Recv is called again.
	Recv() ([]byte, error)
	// Close ends both. It may be called again.
	Close() error
}

// Control acts on a client.
type Control interface {
	// Expire makes the client's locks of a grant run out now, as if their deadlines had come.
	Expire(key string, token sharelock.Token)
	// Freeze stops the renewals of the client's locks of a grant. It reports whether the client
	// holds such a lock.
	Freeze(key string, token sharelock.Token) bool
	// Invoke makes a unary gRPC call for which the client has no method, at a node that answers.
	// It retries as the client does for its own calls.
	Invoke(ctx context.Context, method string, req, resp any) error
}

type contextKey struct{}

// With returns a context that carries hooks to client.Dial.
func With(ctx context.Context, h Hooks) context.Context {
	return context.WithValue(ctx, contextKey{}, h)
}

// From returns the hooks that a context carries.
func From(ctx context.Context) Hooks {
	h, _ := ctx.Value(contextKey{}).(Hooks)
	return h
}
