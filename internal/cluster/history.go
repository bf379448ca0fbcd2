package cluster

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc"

	"github.com/sgkandale/sharelock"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Op is what a call asked for.
type Op string

// The calls that a History records.
const (
	Acquire Op = "acquire"
	Renew   Op = "renew"
	Release Op = "release"
	Force   Op = "force"
	GiveUp  Op = "give up"
	Get     Op = "get"
	Check   Op = "check"
	// Expire is not a client's call: see [Cluster.Expire].
	Expire Op = "expire"
)

// Call is one message of a client to a node, with its answer. One call of a user is several
// Calls if the client retried.
type Call struct {
	// Client is the id of the client that made the call.
	Client    string
	Op        Op
	Key       string
	RequestID string
	Mode      sharelock.Mode
	Slots     uint32
	// Start is a time before the message was sent, End a time after its answer came. End is
	// zero while there is no answer.
	Start, End time.Time
	// Err is the answer, if it was an error.
	Err error
	// Token is the token that the call named or was granted.
	Token sharelock.Token
	// SafeUntil is set for an acquire or a renewal that succeeded: the client may rely on the
	// lock until then. It is Start plus the safe time in the answer (Q3).
	SafeUntil time.Time
	// last is set for an acquire that succeeded: the end of the hold even if it is renewed.
	// Zero means no such end.
	last time.Time
	// Kept means that the node made this renewal, for a session that keeps the lock alive.
	// Start is then when the client sent the keepalive from which the renewal counts.
	Kept bool
	// Epoch and Waiters are set for a Get that succeeded: the owner's epoch, and the request
	// ids in the queue.
	Epoch   uint32
	Waiters []string
	// Holds is set for a Get or Check that succeeded: the grants in the answer. HoldCount is
	// the number of all grants, including those that the answer left out.
	Holds     []sharelock.Hold
	HoldCount int
	// Current is the answer of a Check.
	Current bool
	// rate is the rate of the client's clock.
	rate float64
}

// OK reports whether the call was answered without an error.
func (c Call) OK() bool { return !c.End.IsZero() && c.Err == nil }

// EventKind says what happened to a node.
type EventKind string

// The kinds of events in a History.
const (
	Started   EventKind = "started"
	Stopped   EventKind = "stopped"
	Killed    EventKind = "killed"
	Wiped     EventKind = "wiped"
	Disturbed EventKind = "network disturbed"
	Healed    EventKind = "network healed"
)

// Event is something that the test did to the cluster.
type Event struct {
	At   time.Time
	Kind EventKind
	Node int    // if the event concerns one node
	What string // for people; may be empty
}

// History records what clients did and saw, and what was done to the nodes. All methods are
// safe for concurrent use.
type History struct {
	start time.Time

	mu     sync.Mutex
	calls  []*Call // roughly ordered by start; guarded by mu
	events []Event // guarded by mu
	watch  *watch  // guarded by mu
	// lasts holds the latest possible end of each hold that has one, as its client knows it.
	// Guarded by mu.
	lasts map[grantOf]time.Time
	// violation is the first violation that was detected while it happened; broken is closed
	// at that moment. Both are guarded by mu.
	violation *ViolationError
	broken    chan struct{}
}

// grantOf identifies a grant.
type grantOf struct {
	key   string
	token sharelock.Token
}

func newHistory(start time.Time) *History {
	return &History{start: start, watch: newWatch(), lasts: map[grantOf]time.Time{}, broken: make(chan struct{})}
}

// Broken is closed at the moment in which an invariant breaks. Not all invariants can be
// checked that early, see Check.
func (h *History) Broken() <-chan struct{} { return h.broken }

// Violation returns the violation that closed Broken.
func (h *History) Violation() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.violation == nil {
		return nil
	}
	return h.violation
}

// fail records a violation.
func (h *History) fail(v *ViolationError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failLocked(v)
}

// failLocked is fail for callers that hold mu.
func (h *History) failLocked(v *ViolationError) {
	if h.violation == nil {
		h.violation = v
		close(h.broken)
	}
}

// about returns the calls of a key so far. The caller must hold mu.
func (h *History) about(key string) []Call {
	var list []Call
	for _, c := range h.calls {
		if c.Key == key {
			list = append(list, *c)
		}
	}
	return list
}

// Calls returns all calls so far, in the order in which they were sent.
func (h *History) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := make([]Call, len(h.calls))
	for i, c := range h.calls {
		calls[i] = *c
	}
	slices.SortStableFunc(calls, func(a, b Call) int { return a.Start.Compare(b.Start) })
	return calls
}

// Events returns all events so far, in order.
func (h *History) Events() []Event {
	h.mu.Lock()
	defer h.mu.Unlock()
	return slices.Clone(h.events)
}

func (h *History) note(e Event) {
	h.mu.Lock()
	defer h.mu.Unlock()
	e.At = time.Now()
	h.events = append(h.events, e)
	h.watch.event(e)
}

// begin records a call. It must be called before the call is sent.
func (h *History) begin(c Call) *Call {
	c.Start = time.Now()
	return h.beginAt(c)
}

// beginAt is begin for a call that was already sent, at c.Start.
func (h *History) beginAt(c Call) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, &c)
	h.watch.sent(&c)
	return &c
}

// end records the answer. It must be called before the client sees the answer.
func (h *History) end(c *Call, answer func(c *Call)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer(c)
	c.End = time.Now()
	if !c.last.IsZero() {
		h.lasts[grantOf{c.Key, c.Token}] = c.last
	}
	if broken, evidence := h.watch.answered(c); evidence != nil {
		h.failLocked(&ViolationError{broken, h.evidence(evidence, h.about(c.Key))})
	}
}

// intercept records every call on the connections of a client whose clock runs at a rate.
func (h *History) intercept(name string, rate float64) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		sent, ok := asCall(req)
		if !ok {
			return next(ctx, method, req, reply, cc, opts...)
		}
		sent.Client, sent.rate = name, rate
		c := h.begin(sent)
		err := next(ctx, method, req, reply, cc, opts...)
		h.end(c, func(c *Call) {
			if err != nil {
				c.Err = sharelockv1.FromError(err)
				return
			}
			c.take(reply)
		})
		return err
	}
}

// asCall converts the requests that a History records.
func asCall(req any) (Call, bool) {
	switch r := req.(type) {
	case *sharelockv1.AcquireRequest:
		mode, err := sharelockv1.ModeFromProto(r.GetMode())
		return Call{Op: Acquire, Key: r.GetKey(), RequestID: r.GetRequestId(), Mode: mode, Slots: r.GetSlots()}, err == nil
	case *sharelockv1.RenewRequest:
		return Call{Op: Renew, Key: r.GetKey(), Token: sharelock.Token(r.GetToken())}, true
	case *sharelockv1.ReleaseRequest:
		return Call{Op: Release, Key: r.GetKey(), Token: sharelock.Token(r.GetToken())}, true
	case *sharelockv1.GiveUpRequest:
		return Call{Op: GiveUp, Key: r.GetKey(), RequestID: r.GetRequestId()}, true
	case *sharelockv1.ForceReleaseRequest:
		return Call{Op: Force, Key: r.GetKey(), Token: sharelock.Token(r.GetToken())}, true
	case *sharelockv1.GetRequest:
		return Call{Op: Get, Key: r.GetKey()}, true
	case *sharelockv1.CheckTokenRequest:
		return Call{Op: Check, Key: r.GetKey(), Token: sharelock.Token(r.GetToken())}, true
	}
	return Call{}, false
}

// safeFor sets SafeUntil from the safe time in the answer, which counts from the send and on
// the client's clock (Q3).
func (c *Call) safeFor(d time.Duration) { c.SafeUntil = c.after(d) }

// after returns the time d after the send, on the client's clock.
func (c *Call) after(d time.Duration) time.Time {
	if c.rate != 0 && c.rate != 1 {
		d = time.Duration(float64(d) / c.rate)
	}
	return c.Start.Add(d)
}

// granted takes over the hold that answers an acquire.
func (c *Call) granted(h sharelock.Hold) {
	c.Token = h.Token
	c.safeFor(h.SafeFor)
	if h.EndsIn > 0 {
		c.last = c.after(h.EndsIn)
	}
}

// take takes over the answer to the call.
func (c *Call) take(reply any) {
	switch r := reply.(type) {
	case *sharelockv1.AcquireResponse:
		c.granted(sharelockv1.HoldFromProto(r.GetHold()))
	case *sharelockv1.RenewResponse:
		c.safeFor(sharelockv1.HoldFromProto(r.GetHold()).SafeFor)
	case *sharelockv1.GetResponse:
		l := sharelockv1.LockFromProto(r.GetLock())
		c.Epoch, c.Holds, c.HoldCount = l.Epoch, l.Holds, max(l.HoldCount, len(l.Holds))
		for _, w := range l.Waiters {
			c.Waiters = append(c.Waiters, w.RequestID)
		}
	case *sharelockv1.CheckTokenResponse:
		c.Holds, c.Current = sharelockv1.HoldsFromProto(r.GetHolds()), !r.GetStale()
		c.HoldCount = max(int(r.GetHoldCount()), len(c.Holds))
	}
}

// line formats the call for people, with times relative to the start of the history.
func (h *History) line(c Call) string {
	since := func(t time.Time) string { return t.Sub(h.start).Round(time.Microsecond).String() }
	s := fmt.Sprintf("+%s %s %s %q", since(c.Start), c.Client, c.Op, c.Key)
	if c.RequestID != "" {
		s += " id " + c.RequestID
	}
	if c.Token != 0 {
		s += fmt.Sprintf(" token %d/%d", c.Token.Epoch(), c.Token.Counter())
	}
	if c.Mode != sharelock.Exclusive || c.Slots > 1 {
		s += fmt.Sprintf(" %v slots %d", c.Mode, c.Slots)
	}
	switch {
	case c.End.IsZero():
		return s + ": no answer"
	case c.Err != nil:
		s += fmt.Sprintf(": %v", c.Err)
	default:
		s += ": done"
	}
	if !c.SafeUntil.IsZero() {
		s += ", safe until +" + since(c.SafeUntil)
	}
	return s + " at +" + since(c.End)
}
