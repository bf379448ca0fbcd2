package machine

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/tracecontext"
)

// A Kind is what a [Request] asks for. The numbers are on the wire between members: append only.
type Kind uint8

const (
	// Acquire takes the key or queues for it. Another send of the same request id attaches its
	// waiter to the new call, or renews its grant (Q2, Q5).
	Acquire Kind = iota + 1
	// Renew starts the TTL of the hold with Token afresh; a TTL of 0 keeps its length. It never
	// makes the hold end earlier: a shorter TTL takes effect when less than that is left. Metadata
	// that is not nil replaces the metadata of the hold; if there is no room for it (Q6), the hold
	// is not renewed either.
	Renew
	// Release ends the hold with Token.
	Release
	retired
	// Force ends the hold with Token, whoever has it. ClientID is who does that, for the history: a
	// principal or a client; it may be empty.
	Force
	// Get reads the state of the key: its holds with a token larger than Token, and its waiters.
	// With ClientID set it reads only those of that client.
	Get
	// Check asks whether Token is a grant.
	Check
	// Cancel gives up RequestID, whether it is known or not: its waiter leaves the queue. With Drop
	// set a grant of it is released, too, and a waiter leaves even if another call has attached it.
	// If ClientID is set, the id must be that client's. An id that was never seen is remembered as
	// over for 33 s (rules.FenceTime). If there is no room for that, the answer is
	// sharelock.ErrQuota and nothing is done (Q6).
	Cancel
	// Detach tells the owner that nobody listens for RequestID any more. Its waiter keeps its place
	// for three periods and is passed over until the request is sent again (Q5).
	Detach
	// RenewMany renews all Renewals, which are of one partition. TTL is the longest of their TTLs,
	// Key one of their keys.
	RenewMany
)

// String returns the name of the kind.
func (k Kind) String() string {
	names := [...]string{"", "acquire", "renew", "release", "", "force release", "get", "check token", "cancel", "detach", "renew many"}
	if int(k) >= len(names) {
		return ""
	}
	return names[k]
}

// A Request is one request to the owner of a key. The comment of its Kind says which fields count.
type Request struct {
	Kind      Kind
	Mode      sharelock.Mode
	Slots     uint32
	Key       string
	ClientID  string
	RequestID string
	// Principal is the authenticated principal of the caller; empty if its node does not
	// authenticate. A request id belongs to a principal: the same id of two principals is two
	// requests. A Get that names a client reads only what the principal may release.
	Principal string
	Token     sharelock.Token
	TTL       time.Duration
	// Wait is how long this send may wait in the queue, from its arrival; 0 tries once.
	Wait     time.Duration
	Metadata map[string]string
	// MaxHold is the longest that the hold may last, however often it is renewed; 0 is no
	// limit of its own.
	MaxHold time.Duration
	// Tell asks for the Position in Queued answers.
	Tell bool
	// Send numbers the sends of one request from 1; the answer names the send it
	// answers (Q3).
	Send uint32
	// OwnID is set if the client made the request id and may retry the request with it. Otherwise
	// the first node made it.
	OwnID bool
	// SentOnce, in a release, is set if the acquire of this hold was sent only once, so that its id
	// need not be remembered (Q2).
	SentOnce bool
	// Drop, in a cancel, also releases a grant of the request id.
	Drop bool
	// AnyHold allows the principal to renew, release and cancel what others have.
	AnyHold bool
	// Conn is a number that the node made for the connection over which the request came to the
	// mesh; 0 is none. What must be remembered counts to the share of the connection (Q6).
	Conn uint32
	// Reason, in a forced release, is for the log.
	Reason string
	// Trace is the span below which the spans of this request are begun; nil if it is not traced. It
	// decides nothing.
	Trace *tracecontext.Parent
	// Renewals are the holds of a RenewMany.
	Renewals []*Renewal
}

// An Outcome says what an [Answer] means. The numbers are on the wire: append only.
type Outcome uint8

const (
	// Done: Holds[0] is the hold that was granted, renewed or released; Lock is
	// what was read.
	Done Outcome = iota + 1
	// Queued: the acquire waits in the queue; another answer follows.
	Queued
	// Retry: this member is not the owner, is in another epoch, or is not active yet (Q1). The
	// request must be sent again, by the newer view.
	Retry
	// Failed: Err says why.
	Failed
)

// An Answer is the owner's answer to one send of a request.
type Answer struct {
	Outcome Outcome
	// Current, in an answer to Check, reports whether the token is a grant.
	Current bool
	// Send is the number of the newest send that this answers.
	Send uint32
	// At is when the answer left its owner, or came over a link, by the clock of the node that
	// delivers it; 0 is not known. It is for statistics, and not encoded.
	At time.Duration
	// Position is the place in the queue if Outcome is Queued, from 1. It is 0 if it was not asked
	// for, or if too many waiters come before to be counted.
	Position uint32
	// Err is set when Outcome is Failed: one of the errors of package sharelock,
	// mostly a *sharelock.Error.
	Err error
	// Holds is the hold in question. Its SafeFor is not set: only the node that took the caller's
	// request knows it.
	Holds []sharelock.Hold
	// Lock is the answer to Get, and to Check without the waiters.
	Lock *sharelock.KeyState
	// Unrenewed, in an answer to RenewMany, has the renewals that failed; nil is none.
	Unrenewed *Unrenewed
}

// Unrenewed has the indexes of the renewals of a RenewMany that failed, in order.
type Unrenewed struct {
	// Lost are those whose tokens are not grants (any more), and Denied those whose tokens are grants
	// of other principals.
	Lost, Denied []uint32
}

// Lists returns both lists. They are empty if u is nil.
func (u *Unrenewed) Lists() (lost, denied []uint32) {
	if u == nil {
		return nil, nil
	}
	return u.Lost, u.Denied
}

// A Caller receives answers. The shell calls it in a shard's turn, so it must not block and must
// not call back into the shell. The calling goroutine is that of the shard's loop, or one that is
// inside a method of the shell that may run the shard inline.
type Caller interface {
	// Answer delivers an answer to the request with this id.
	Answer(id uint64, a Answer)
	// Alive returns false once nobody can receive an answer any more. The waiters of such a caller
	// are passed over (Q5), unless Machine.Broke has been called before.
	Alive() bool
}

// A Gatherer is a Caller that sends answers on, and can wait with that. If an answer is alone, Hold is
// called before it, and Flush soon after it, when the partition's turn is over. Flush may send the
// answer in the goroutine in which it is called; it does not block.
type Gatherer interface {
	Caller
	Hold()
	Flush()
}

// A Ref is where the answers to a request go: one call of one caller.
type Ref struct {
	Caller Caller
	ID     uint64
}

// Alive reports whether an answer could still be delivered.
func (r Ref) Alive() bool { return r.Caller != nil && r.Caller.Alive() }
