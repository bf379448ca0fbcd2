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

// The calls that a History has.
const (
	Acquire Op = "acquire"
	Renew   Op = "renew"
	Release Op = "release"
	Force   Op = "force"
	GiveUp  Op = "give up"
	Get     Op = "get"
	Check   Op = "check"
	// Expire is none of a client's: see [Cluster.Expire].
	Expire Op = "expire"
)

// Call is one message of a client to a node and its answer. What a user calls once
// is several calls if the client had to try again.
type Call struct {
	// Client is the id of the client that made the call.
	Client    string
	Op        Op
	Key       string
	RequestID string
	Mode      sharelock.Mode
	Slots     uint32
	// Start is before the message was sent, End after its answer came; zero while
	// none has.
	Start, End time.Time
	// Err is the answer, if it was an error.
	Err error
	// Token is the one that the call named, or that it was granted.
	Token sharelock.Token
	// SafeUntil, of an acquire or a renewal that succeeded, is until when the client
	// may rely on the lock: what the answer called safe, from Start (Q3).
	SafeUntil time.Time
	// last, of an acquire that succeeded, is when the hold ends, renewed or not; zero is never.
	last time.Time
	// Kept: the renewal was made by the node, for a session that keeps the lock alive. It
	// starts with the keepalive that it counts from.
	Kept bool
	// Epoch and Waiters, of a Get that succeeded, are the owner's epoch and the
	// request ids in the queue.
	Epoch   uint32
	Waiters []string
	// Holds, of a Get or Check that succeeded, are the grants that it showed, and
	// HoldCount how many there were in all.
	Holds     []sharelock.Hold
	HoldCount int
	// Current is the answer of a Check.
	Current bool
	// rate is that of the client's clock.
	rate float64
}

// OK reports whether the call was answered, and not with an error.
func (c Call) OK() bool { return !c.End.IsZero() && c.Err == nil }

// EventKind is what happened to a node.
type EventKind string

// The events of a History.
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
	Node int    // of events of one node
	What string // for people; may be empty
}

// History is what clients did and saw, and what was done to the nodes. All
// methods are safe for concurrent use.
type History struct {
	start time.Time

	mu     sync.Mutex
	calls  []*Call // in about the order of their start; guarded by mu
	events []Event // guarded by mu
	watch  *watch  // guarded by mu
	// lasts are the ends of holds that have a longest time, as their clients know them; guarded
	// by mu.
	lasts map[grantOf]time.Time
	// violation is the first that was seen while it happened; broken is closed then.
	// Guarded by mu.
	violation *ViolationError
	broken    chan struct{}
}

// grantOf names a grant.
type grantOf struct {
	key   string
	token sharelock.Token
}

func newHistory(start time.Time) *History {
	return &History{start: start, watch: newWatch(), lasts: map[grantOf]time.Time{}, broken: make(chan struct{})}
}

// Broken is closed when an invariant breaks, at the very event; not all invariants
// can be seen then, see Check.
func (h *History) Broken() <-chan struct{} { return h.broken }

// Violation is what closed Broken.
func (h *History) Violation() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.violation == nil {
		return nil
	}
	return h.violation
}

// fail notes a violation.
func (h *History) fail(v *ViolationError) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.failLocked(v)
}

// failLocked is fail for who holds mu.
func (h *History) failLocked(v *ViolationError) {
	if h.violation == nil {
		h.violation = v
		close(h.broken)
	}
}

// about gives the calls of a key so far. It needs mu.
func (h *History) about(key string) []Call {
	var list []Call
	for _, c := range h.calls {
		if c.Key == key {
			list = append(list, *c)
		}
	}
	return list
}

// Calls gives all calls up to now, in the order in which they were sent.
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

// Events gives all events up to now, in their order.
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

// begin writes down that a call is sent; it must be called before it is.
func (h *History) begin(c Call) *Call {
	c.Start = time.Now()
	return h.beginAt(c)
}

// beginAt is begin of a call that was sent, with others, before it is written down.
func (h *History) beginAt(c Call) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.calls = append(h.calls, &c)
	h.watch.sent(&c)
	return &c
}

// end writes down the answer; it must be called before the client sees it.
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

// intercept writes down every call of the connections of a client whose clock runs at
// a rate.
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

// asCall reads the requests that a History has.
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

// safeFor counts what an answer called safe from the send, on the client's clock (Q3).
func (c *Call) safeFor(d time.Duration) { c.SafeUntil = c.after(d) }

// after is so long after the send, on the client's clock.
func (c *Call) after(d time.Duration) time.Time {
	if c.rate != 0 && c.rate != 1 {
		d = time.Duration(float64(d) / c.rate)
	}
	return c.Start.Add(d)
}

// granted reads the hold that answers an acquire.
func (c *Call) granted(h sharelock.Hold) {
	c.Token = h.Token
	c.safeFor(h.SafeFor)
	if h.EndsIn > 0 {
		c.last = c.after(h.EndsIn)
	}
}

// take reads the answer to the call.
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

// line is the call for people, with times from the start of the history.
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
