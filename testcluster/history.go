package testcluster

import (
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/cluster"
)

// History returns the record of the calls that the clients of the cluster made.
func (c *Cluster) History() *History { return &History{c.in.History()} }

// History records the calls of the clients that [Cluster.Client] and [Cluster.Dial] returned. Its
// methods are safe for concurrent use.
type History struct {
	in *cluster.History
}

// Calls returns the calls so far, in the order in which they were sent.
func (h *History) Calls() []Call {
	calls := h.in.Calls()
	list := make([]Call, len(calls))
	for i, c := range calls {
		list[i] = Call{
			Client: c.Client, Op: string(c.Op), Key: c.Key, RequestID: c.RequestID, Mode: c.Mode, Slots: c.Slots,
			Start: c.Start, End: c.End, Err: c.Err, Token: c.Token, SafeUntil: c.SafeUntil, Kept: c.Kept,
		}
	}
	return list
}

// Call is one request of a client to a node, with its answer. One call of a program is several Calls
// if the client retried.
type Call struct {
	// Client is the id of the client that sent the request.
	Client string
	// Op is "acquire", "renew", "release", "give up", "force", "get" or "check", or "expire" for
	// what [Cluster.Expire] did, whose Client is "testcluster".
	Op string
	// Key, RequestID, Mode and Slots are those of the request. Only an acquire has the last two.
	Key       string
	RequestID string
	Mode      sharelock.Mode
	Slots     uint32
	// Start is a time before the request was sent, End a time after its answer was received. End is
	// zero if there was no answer.
	Start, End time.Time
	// Err is the answer, if that was an error.
	Err error
	// Token is the fencing token that was granted, or that the request named.
	Token sharelock.Token
	// SafeUntil is set for a successful acquire or renewal: the client may rely on the lock until then.
	SafeUntil time.Time
	// Kept means that a node renewed the lock for the client's session. Start is then the time of the
	// keepalive from which the renewal counts.
	Kept bool
}

// OK reports whether the call was answered without an error.
func (c Call) OK() bool { return !c.End.IsZero() && c.Err == nil }
