package api

import (
	"context"
	"time"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Locker is the lock service as the adapters need it; a mesh node is one. It
// validates and fills in defaults (TTL, wait, request id). All methods are safe
// for concurrent use and return the errors of package sharelock, or the
// context's error when it ended first.
//
// When ctx ends while Acquire waits, the request is given up as the contract
// says: ended by its deadline, or made without a request id of the caller's, it
// leaves the queue; cancelled with one, it keeps its place for a retry.
type Locker interface {
	Acquire(ctx context.Context, r sharelock.AcquireRequest) (sharelock.Hold, error)
	// Renew starts the TTL afresh; ttl 0 keeps its length. Metadata that is not nil takes the
	// place of what the hold has, or leaves none if it is empty: if that fails, so does the
	// renewal.
	Renew(ctx context.Context, key string, token sharelock.Token, ttl time.Duration, metadata map[string]string) (sharelock.Hold, error)
	Release(ctx context.Context, key string, token sharelock.Token, sentOnce bool) (sharelock.Hold, error)
	// GiveUp ends a request id of a client, known or not: nothing is left of it, and an
	// acquire with it that arrives later is answered sharelock.ErrRequestOver.
	GiveUp(ctx context.Context, key, clientID, requestID string) error
	// TakeBack releases a grant that could not be delivered to a caller who made no request id,
	// since nobody will ask for it again. It does not block. That is tried for as long as the
	// hold can live; the channel is closed when it is done.
	TakeBack(h sharelock.Hold) <-chan struct{}
	// ReleaseClient ends the hold that clientID has on key, for the original's API.
	ReleaseClient(ctx context.Context, key, clientID string) (sharelock.Hold, error)
	// ForceRelease ends the hold with this token, or all of the key's with 0.
	ForceRelease(ctx context.Context, key string, token sharelock.Token, reason string) ([]sharelock.Hold, error)
	Get(ctx context.Context, key string) (sharelock.Lock, error)
	List(ctx context.Context, r sharelock.ListRequest) (sharelock.ListPage, error)
	CheckToken(ctx context.Context, key string, token sharelock.Token) (sharelock.TokenCheck, error)
	// Open begins a session, for calls without a goroutine each.
	Open(to Sink) Session
}

// Session takes the calls of one client stream. Its methods are safe for concurrent
// use and do not block.
type Session interface {
	// Start begins acquires, renewals, releases and givings up, each of which means what the method
	// of [Locker] means; each is answered at the sink, once. An id must not be one that
	// is under way. The calls are not kept.
	Start(calls []sharelockv1.Call)
	// Cancel ends the call with this id as if its context were cancelled. It is
	// still answered; a call that was answered is none.
	Cancel(id uint64)
	// Keep attaches holds, detaches them, takes a keepalive for all that are attached, or
	// releases them. What becomes of them the sink hears. The list is not kept.
	Keep(list []sharelockv1.Keep)
	// Close cancels all calls and detaches all holds. Nothing is answered any more.
	Close()
}

// Sink receives the answers to the calls of a session, and what becomes of the holds
// attached to it, in whatever goroutine. It must not block, nor call back into the
// session.
type Sink interface {
	Answer(id uint64, h sharelock.Hold, err error)
	// Renewed says that holds were renewed with their owners after a keepalive had come.
	// The list is not kept.
	Renewed(keepalive uint64, ids []uint64)
	// Ended says that a hold is attached no more: it is no grant, or cannot be kept.
	Ended(id uint64, err error)
	// Forced says that a hold was taken away from its holder, of which the session may not
	// have heard otherwise: it is the holder's, or was attached.
	Forced(key string, token sharelock.Token, reason string)
	// Queued says where an acquire that asked for it stands in line, from 1. A client that does
	// not read may not be told.
	Queued(id uint64, position uint32)
	// Released says that all holds were released, as the client has asked.
	Released()
}

// Mesh is what the adapters show of the node they stand in.
type Mesh interface {
	// Ready is nil while this node holds a valid lease and may serve; otherwise
	// it says why not, with sharelock.ErrNotReady or ErrNoQuorum.
	Ready() error
	// Status is this node's view of the mesh.
	Status() Status
	// Locate says where a key lives.
	Locate(key string) (Location, error)
	// Placement says which node owns which partition.
	Placement() (Placement, error)
	// Leave makes the node leave in good order and returns when it has left. For good, it
	// gives up its seat, too.
	Leave(ctx context.Context, forGood bool) error
	// Decommission gives up the seat of a node that is away, by its name or id.
	Decommission(ctx context.Context, name string) error
}

// Node is all that the adapters need.
type Node interface {
	Locker
	Mesh
}

// Status is one node's view of the mesh.
type Status struct {
	Cluster        string
	Node           string
	Epoch          uint32
	Leader         string
	LeaseValid     bool
	LeaseRemaining time.Duration
	Partitions     int
	Replicas       int
	Quarantined    int
	Active         int
	Release        uint32
	Members        []Member
	Stalls         []Stall
	// Seats are the voters, if the node knows them. Survives is how many more of them may
	// fail before no view can be agreed on.
	Seats    []Seat
	Survives int
	// DiskError is why this node cannot write the records of its votes; "" while it can.
	DiskError string
}

// Stall is a member that the node has waited for without progress.
type Stall struct {
	Member  string
	Waiting time.Duration
}

// Seat is the seat of a voter; Absent: its holder is not in the view.
type Seat struct {
	Name, ID string
	Absent   bool
}

// Member is one member of the view.
type Member struct {
	Name, ID, Incarnation string
	Voter, Leaving        bool
	Owns, Backs           int
	HTTP, GRPC, Peer      string
	Release               uint32
}

// Location is where a key lives.
type Location struct {
	Key       string
	Partition uint32
	Owner     string
	Backups   []string
	Epoch     uint32
}

// Placement is who owns what in one epoch.
type Placement struct {
	Epoch uint32
	// Members are the nodes on the ring; of these only Name and GRPC are set.
	Members []Member
	// Owners are for every partition the position of its owner in Members.
	Owners []uint32
}
