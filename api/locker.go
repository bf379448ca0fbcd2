package api

import (
	"context"
	"net"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// Locker is the lock service behind this package; a mesh node implements it. It validates requests
// and fills in defaults (TTL, wait, request id). All methods are safe for concurrent use. They
// return the errors of package sharelock, or the error of the context if it ends first.
//
// When ctx ends while Acquire waits, the request leaves the queue, with one exception: if ctx was
// cancelled and the caller has made a request id, the request keeps its place for a retry.
//
// The context of a call carries its caller, see [caller.From]. What the principal may do was checked
// before. The Locker checks whose holds and request ids the caller may use.
type Locker interface {
	Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error)
	// Renew starts the TTL again; ttl 0 keeps its length. If metadata is not nil, it replaces
	// the metadata of the hold, and empty metadata removes it. If that fails, the renewal
	// fails, too.
	Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error)
	Release(ctx context.Context, key string, token sharelock.Token, sentOnce bool) (sharelock.Hold, error)
	// GiveUp ends a request id of a client, whether or not it is known: its waiter or hold is
	// removed, and an acquire with this id that arrives later gets sharelock.ErrRequestOver.
	GiveUp(ctx context.Context, key, clientID, requestID string) error
	// TakeBack releases a grant that could not be delivered to a caller without a request id,
	// who cannot ask for it again. It does not block: it keeps trying in the background for as
	// long as the hold can live. The returned channel is closed when it ends.
	TakeBack(h sharelock.Hold) <-chan struct{}
	// ReleaseClient releases the hold that clientID has on key, for the original API.
	ReleaseClient(ctx context.Context, key, clientID string) (sharelock.Hold, error)
	// ForceRelease ends the hold with this token, or all holds of the key if token is 0.
	ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error)
	Get(ctx context.Context, key string) (sharelock.KeyState, error)
	List(ctx context.Context, r sharelock.ListRequest) (sharelock.ListPage, error)
	CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error)
	// Open begins a session, whose calls do not need a goroutine each. Its caller is principal, as in
	// [caller.Caller]. Each call and hold says whether the caller has AnyHold for its key.
	Open(to Sink, principal string) Session
}

// Session takes the calls of one client stream. Its methods are safe for concurrent
// use and do not block.
type Session interface {
	// Start starts calls to acquire, renew, release or give up. Each has the meaning of the
	// method of [Locker], and is answered once at the sink. An id must differ from those of
	// all calls in flight. Start does not retain the slice.
	Start(calls []sessionwire.Call)
	// Cancel cancels the call with this id, as if its context were cancelled. The call is still
	// answered. Cancel has no effect if there is no such call in flight.
	Cancel(id uint64)
	// Keep attaches holds, detaches them, records a keepalive for all attached holds, or
	// releases all of them. The sink is told the results. Keep does not retain the slice.
	Keep(list []sessionwire.Keep)
	// Revoke ends what the caller may no longer have. It cancels acquires in flight of keys that
	// allowed refuses, with its error as the answer, and detaches attached holds with it. anyHold is the
	// caller's AnyHold now: without it, holds that were attached with it are renewed only if they
	// belong to the session's principal. allowed must not block.
	Revoke(allowed func(key string) (anyHold bool, err error))
	// Close cancels all calls and detaches all holds. The sink gets no further calls.
	Close()
}

// Sink receives the answers to the calls of a session, and news of the holds that are attached to
// it. Its methods may be called from any goroutine. They must not block and must not call the
// session.
type Sink interface {
	Answer(id uint64, h sharelock.Hold, err error)
	// Renewed reports that holds were renewed with their owners after a keepalive arrived. It
	// must not retain the slice.
	Renewed(keepalive uint64, ids []uint64)
	// Ended reports that a hold is no longer attached, because it is not a grant any more or
	// cannot be kept alive.
	Ended(id uint64, err error)
	// Forced reports that a hold was taken from its holder by force. The session is the
	// holder's, or the hold is attached to it.
	Forced(key string, token sharelock.Token, reason string)
	// Queued reports the place of an acquire in the queue, from 1, if the acquire has asked for
	// it. It may be dropped if the client does not read.
	Queued(id uint64, position uint32)
	// Released reports that all attached holds were released, as the client has asked.
	Released()
	// Hold announces an answer that is alone, and Flush, which the caller calls soon after the answer,
	// when it holds no lock: the answer does not wake a goroutine that sends it, and Flush sends it in
	// the caller's goroutine if that does not block. Waking a goroutine costs more than sending a
	// short message.
	Hold()
	Flush()
}

// Remote is implemented by a [Sink] that knows the remote address of its session's connection.
type Remote interface {
	RemoteAddr() net.Addr
}

// Mesh is the part of a node that reports and controls its membership.
type Mesh interface {
	// Ready returns nil while this node holds a valid lease and may serve, and otherwise the
	// reason, as sharelock.ErrNotReady or ErrNoQuorum.
	Ready() error
	// Status returns this node's view of the mesh.
	Status() sharelock.MeshState
	// Locate returns the owner and the backups of a key.
	Locate(key string) (sharelock.Location, error)
	// Placement returns the owners of all partitions.
	Placement() (Placement, error)
	// Activity returns what each member of the view does, with at most contended contended keys in
	// all. A member that does not answer within a lease is in the list with its error.
	Activity(ctx context.Context, contended int) ([]sharelock.Activity, error)
	// Leave makes the node leave in good order and returns when it has left. With forGood set,
	// the node also gives up its seat.
	Leave(ctx context.Context, forGood bool) error
	// Decommission gives up the seat of an absent node, by its name or id.
	Decommission(ctx context.Context, name string) error
	// Keyring returns the gossip keys of all members, with the keys themselves only if they are
	// asked for.
	Keyring(ctx context.Context, withKeys bool) (sharelock.Keyring, error)
	// ChangeKeyring changes the gossip keys of all members and returns them.
	ChangeKeyring(ctx context.Context, c sharelock.KeyringChange) (sharelock.Keyring, error)
}

// Node is everything that the servers of this package use.
type Node interface {
	Locker
	Watcher
	Historian
	Mesh
}

// Placement lists the owners of all partitions in one epoch.
type Placement struct {
	Epoch uint32
	// Members are the nodes on the ring; of these only Name and GRPC are set.
	Members []sharelock.Member
	// Owners holds for every partition the index of its owner in Members.
	Owners []uint32
}
