package testcluster

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
	Get     Op = "get"
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
	// Epoch and Waiters, of a Get that succeeded, are the owner's epoch and the
	// request ids in the queue.
	Epoch   uint32
	Waiters []string
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
	Node int // of events of one node
}

// History is what clients did and saw, and what was done to the nodes. All
// methods are safe for concurrent use.
type History struct {
	start time.Time

	mu     sync.Mutex
	calls  []*Call // in the order of their start; guarded by mu
	events []Event // guarded by mu
}

func newHistory(start time.Time) *History { return &History{start: start} }

// Calls gives all calls up to now, in the order in which they were sent.
func (h *History) Calls() []Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	calls := make([]Call, len(h.calls))
	for i, c := range h.calls {
		calls[i] = *c
	}
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
}

// begin writes down that a call is sent; it must be called before it is.
func (h *History) begin(c Call) *Call {
	h.mu.Lock()
	defer h.mu.Unlock()
	c.Start = time.Now()
	h.calls = append(h.calls, &c)
	return &c
}

// end writes down the answer; it must be called before the client sees it.
func (h *History) end(c *Call, answer func(c *Call)) {
	h.mu.Lock()
	defer h.mu.Unlock()
	answer(c)
	c.End = time.Now()
}

// intercept writes down every call of a client's connections.
func (h *History) intercept(name string) grpc.UnaryClientInterceptor {
	return func(ctx context.Context, method string, req, reply any, cc *grpc.ClientConn, next grpc.UnaryInvoker, opts ...grpc.CallOption) error {
		sent, ok := asCall(req)
		if !ok {
			return next(ctx, method, req, reply, cc, opts...)
		}
		sent.Client = name
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
	case *sharelockv1.ForceReleaseRequest:
		return Call{Op: Force, Key: r.GetKey(), Token: sharelock.Token(r.GetToken())}, true
	case *sharelockv1.GetRequest:
		return Call{Op: Get, Key: r.GetKey()}, true
	}
	return Call{}, false
}

// take reads the answer to the call.
func (c *Call) take(reply any) {
	switch r := reply.(type) {
	case *sharelockv1.AcquireResponse:
		h := sharelockv1.HoldFromProto(r.GetHold())
		c.Token, c.SafeUntil = h.Token, c.Start.Add(h.SafeFor)
	case *sharelockv1.RenewResponse:
		c.SafeUntil = c.Start.Add(sharelockv1.HoldFromProto(r.GetHold()).SafeFor)
	case *sharelockv1.GetResponse:
		l := sharelockv1.LockFromProto(r.GetLock())
		c.Epoch = l.Epoch
		for _, w := range l.Waiters {
			c.Waiters = append(c.Waiters, w.RequestID)
		}
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
