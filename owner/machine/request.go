package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
)

// Kind is what a [Request] asks for. The numbers are on the wire between
// members: append only.
type Kind uint8

const (
	// Acquire takes the key or queues for it. A repeated send of the same
	// request id re-attaches a waiter to its place and renews a grant (Q2, Q5).
	Acquire Kind = iota + 1
	// Renew starts the TTL of Token afresh; TTL 0 keeps its length. It never brings
	// the hold's end nearer: a shorter TTL counts from when less than that is left. With
	// Metadata that is not nil the hold has that instead from then on, or none if it is
	// empty; if there is no room for it (Q6) the hold is not renewed either.
	Renew
	// Release ends Token.
	Release
	retired
	// Force ends Token, whoever holds it.
	Force
	// Get reads the key's state: its holds with a token larger than Token, and with
	// ClientID set only what that client has.
	Get
	// Check says whether Token is a grant.
	Check
	// Cancel gives RequestID up, known or not: its waiter leaves the queue. With Drop set
	// a grant of it is released, too, and a waiter leaves even if another call has
	// attached it. If ClientID is set, the id must be that client's. An id that was never
	// seen is remembered as over for 33 s, for which there may be no room: then the answer
	// is sharelock.ErrQuota and nothing was done (Q6).
	Cancel
	// Detach says that nobody listens for RequestID any more: its waiter keeps its
	// place for three periods and is passed over until it is sent again (Q5).
	Detach
	// RenewMany renews all Renewals, which are of one partition. TTL is the longest of
	// theirs, Key one of their keys.
	RenewMany
)

// Request is one request to the owner of a key.
type Request struct {
	Kind      Kind
	Key       string
	ClientID  string
	RequestID string
	Token     sharelock.Token
	TTL       time.Duration
	// Wait is how long this send may still queue, from its receipt; 0 tries once.
	Wait     time.Duration
	Mode     sharelock.Mode
	Slots    uint32
	Metadata map[string]string
	// MaxHold is the longest that the hold may last, however often it is renewed; 0 is no
	// limit of its own.
	MaxHold time.Duration
	// Tell asks for the Position in answers that say Queued.
	Tell bool
	// Send numbers the sends of one request from 1; the answer names the send it
	// answers (Q3).
	Send uint32
	// OwnID: the request id was made by the client, which may retry it. Otherwise
	// the first node made it.
	OwnID bool
	// SentOnce, in a release: the id of this grant was sent once, and need not be
	// remembered (Q2).
	SentOnce bool
	// Drop, in a cancel: a grant of the request id is released.
	Drop bool
	// Conn is the connection over which the request came to the mesh, as a number that
	// its node made; 0 is none. What must be remembered counts toward its share (Q6).
	Conn uint32
	// Reason, in a forced release, is for the log.
	Reason string
	// Renewals are of a RenewMany.
	Renewals []*Renewal
}

// Outcome says what an [Answer] means. The numbers are on the wire: append only.
type Outcome uint8

const (
	// Done: Holds[0] is the hold that was granted, renewed or released; Lock is
	// what was read.
	Done Outcome = iota + 1
	// Queued: the acquire stands in line; another answer follows.
	Queued
	// Retry: this member is not the owner, not in the epoch, or not active yet
	// (Q1). Try again with the newer view.
	Retry
	// Failed: Err says why.
	Failed
)

// Answer is the owner's answer to one send of a request.
type Answer struct {
	Outcome Outcome
	// Send is the number of the newest send that this answers.
	Send uint32
	// Position is the place in the queue when Outcome is Queued, 1 for who is next. It is 0
	// if that was not asked, and if more than sharelock.MaxListed come before.
	Position uint32
	// Err is set when Outcome is Failed: one of the errors of package sharelock,
	// mostly a *sharelock.Error.
	Err error
	// Holds: the hold in question, or the ones that were forced. SafeFor is not set here:
	// only the node that took the caller's request knows it.
	Holds []sharelock.Hold
	// Lock is the answer to Get, and to Check without the waiters.
	Lock *sharelock.KeyState
	// Current is the answer to Check.
	Current bool
	// Lost, in an answer to RenewMany, are the positions of those that are no grants
	// (any more), in their order.
	Lost []uint32
}

// Caller receives answers. The shard calls it during its turn: from its loop, or in a
// goroutine that is inside ServeInline, Acked or Backup, before that returns. So it must not
// block and must not call back into the service.
type Caller interface {
	// Answer delivers an answer to the request with this id.
	Answer(id uint64, a Answer)
	// Alive is false once nobody can receive an answer any more; waiters of such a
	// caller are passed over (Q5), unless Service.Broke was told before.
	Alive() bool
}

// Ref is where the answers to a request go: one call of one caller.
type Ref struct {
	Caller Caller
	ID     uint64
}

// Alive reports whether an answer could still be delivered.
func (r Ref) Alive() bool { return r.Caller != nil && r.Caller.Alive() }
