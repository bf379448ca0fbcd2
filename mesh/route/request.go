package route

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/intconv"
	"github.com/sgkandale/sharelock/internal/rules"
	"github.com/sgkandale/sharelock/internal/trace"
	"github.com/sgkandale/sharelock/internal/wake"
	"github.com/sgkandale/sharelock/mesh/epoch"
	"github.com/sgkandale/sharelock/mesh/link"
	"github.com/sgkandale/sharelock/owner"
	"github.com/sgkandale/sharelock/ring"
)

// state is how far a request has come.
type state uint8

const (
	// sending: its first send is being made, by the goroutine that began it.
	sending state = iota
	// sent: nobody drives it, and its first answer goes straight to its session. That is all that
	// most requests of sessions ever need.
	sent
	// driven: a goroutine waits for answers, and sends it again. A unary request is driven from its
	// beginning.
	driven
	// answered: the answer has come while nobody drove it.
	answered
)

// request is one request that this node took, on its way to its owner and back: an acquire or any
// other, of a unary call or of a session. Answers come from any goroutine; everything that is not
// guarded by mu belongs to the goroutine that sends it first, and then to the one that drives it.
type request struct {
	router *Router
	req    owner.Request
	// sends[i] is when send i+1 left (Q3); began is when the caller's request came. Most requests
	// are sent once, which needs no more than one.
	sends []time.Duration
	sent1 [1]time.Duration
	began time.Duration

	// span is nil if the request is not traced.
	span *trace.Span

	// target is where the last send went.
	target target
	pauses pauses
	// underway: the next send that would be due was made before somebody drove the request.
	underway bool

	// What follows is of an acquire only.

	// wait is how long its caller waits.
	wait time.Duration
	// queued is told where the caller stands in line, when that has changed; position is what it was
	// told last. Nil if the caller has not asked.
	queued func(position uint32)
	// listens, unless it is nil, ends when nobody listens for the answer any more. That ends the
	// acquire once it has to wait; waits says that it does.
	listens  <-chan struct{}
	position uint32
	waits    bool
	// granted is a grant that answers an earlier send than the newest: the answer to the newest
	// follows, or the link breaks.
	granted bool
	// ending: its caller is gone, and what is sent is its end.
	ending bool

	// What follows is of a session only, which is nil otherwise.

	session *session
	id      uint64
	// bytes is what it takes of the connection's account.
	bytes int64
	// cancel ends the goroutine that drives it; nil while none does. cancelled: it was asked for.
	// Guarded by session.mu.
	cancel    context.CancelFunc
	cancelled bool
	// revoked is why an acquire is not allowed any more, or nil; guarded by session.mu.
	revoked error

	// wake wakes the goroutine that drives it; nil while none does.
	wake wake.Signal
	gone atomic.Bool

	mu    sync.Mutex
	state state // guarded by mu
	// wanted: a goroutine shall drive it as soon as its first send is made. Guarded by mu.
	wanted bool
	// gen tells the answers of the current target from those of earlier ones. Guarded by mu, but the
	// goroutine that sends the request reads it without: until the request is answered, only that
	// goroutine changes it.
	gen     uint64
	answers []owner.Answer // guarded by mu
}

// target is the owner that a request was sent to.
type target struct {
	epoch     uint32
	partition uint32 // of the key; all views of a mesh have the same partitions
	member    ring.Identity
	ref       owner.Ref  // for the local owner
	link      *link.Link // or the link to another, and the number on it
	id        uint64
}

var _ owner.Gatherer = (*request)(nil)

// newRequest returns a request that its caller's goroutine drives.
func (rt *Router) newRequest(ctx context.Context, req owner.Request) *request {
	q := &request{req: req, wake: wake.New(), state: driven}
	if parent := trace.From(ctx); parent != nil {
		q.req.Trace = parent
	}
	q.begin(rt, rt.cfg.Clock())
	return q
}

// begin fills in a request of which req is set.
func (q *request) begin(rt *Router, now time.Duration) {
	q.router, q.began = rt, now
	if q.req.Kind == owner.Acquire {
		q.wait = q.req.Wait
	}
	q.sends = q.sent1[:0]
	if rt.cfg.Tracer != nil {
		q.trace()
	}
}

// trace begins the span of the request. It ends when the answer goes to the caller.
func (q *request) trace() {
	q.span = q.router.cfg.Tracer.Serve(q.req.Kind.String(), q.req.Key, q.req.Trace)
	q.req.Trace = q.span.Parent()
	if q.span != nil && q.req.Kind == owner.Acquire {
		q.req.Tell = true // the owner's span has its place in the queue
	}
}

// Alive implements owner.Caller.
func (q *request) Alive() bool { return !q.gone.Load() }

// Answer implements owner.Caller: the one way in which an answer comes, from the owner here or over
// a link.
func (q *request) Answer(gen uint64, a owner.Answer) {
	q.mu.Lock()
	if gen != q.gen {
		q.mu.Unlock()
		return
	}
	if q.state == driven {
		q.answers = append(q.answers, a)
		q.mu.Unlock()
		q.wake.Set()
		return
	}
	if a.Outcome == owner.Done || a.Outcome == owner.Failed {
		q.state = answered
		q.gen++ // nothing more is heard
		q.mu.Unlock()
		at := a.At
		if at == 0 {
			at = q.router.cfg.Clock()
		}
		h, err := q.result(q.whole(a))
		q.finish(at, h, err)
		return
	}
	q.answers = append(q.answers, a)
	drive := q.handOver()
	q.mu.Unlock()
	if drive {
		q.session.drive(q)
	}
}

// Hold implements owner.Gatherer.
func (q *request) Hold() {
	if q.session != nil {
		q.session.to.Hold()
	}
}

// Flush implements owner.Gatherer.
func (q *request) Flush() {
	if q.session != nil {
		q.session.to.Flush()
	}
}

// handOver readies a request for the goroutine that will drive it; false if its first send is still
// being made, and launched will see to it. It needs mu, and that nobody drives it.
func (q *request) handOver() bool {
	if q.state == sending {
		q.wanted = true
		return false
	}
	q.state, q.underway, q.wake = driven, true, wake.New()
	if len(q.answers) > 0 {
		q.wake.Set()
	}
	return true
}

// takeOver readies a request that nobody drives; false if somebody does or will, or it was answered.
func (q *request) takeOver() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	return q.state < driven && q.handOver()
}

// launched ends the first send of a request that nobody drives; true if somebody shall drive it by
// now.
func (q *request) launched() bool {
	q.mu.Lock()
	defer q.mu.Unlock()
	if q.state != sending {
		return false // it was answered meanwhile
	}
	q.state = sent
	return q.wanted && q.handOver()
}

// take returns the answers that have come.
func (q *request) take() []owner.Answer {
	q.mu.Lock()
	defer q.mu.Unlock()
	a := q.answers
	q.answers = nil
	return a
}

// aim points the request at the owner in a view, which is the newest and in which this node was just
// found ready (Q4). A new aim makes answers to earlier sends unheard.
func (q *request) aim(v *epoch.View, again bool) error {
	partition := v.Partition(q.req.Key)
	m, ok := v.Ring.Owner(partition)
	if !ok {
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: "no member is on the ring"}
	}
	if !again && q.target.member == m.Identity && q.target.epoch != 0 {
		q.target.epoch = v.Epoch
		return nil
	}
	q.drop()
	if len(q.sends) > 0 {
		q.mu.Lock()
		q.gen++
		q.answers = nil
		q.mu.Unlock()
	}
	q.target = target{epoch: v.Epoch, member: m.Identity, partition: partition, ref: owner.Ref{Caller: q, ID: q.gen}}
	if m.Identity == q.router.cfg.Self {
		return nil
	}
	l, err := q.router.cfg.Links.To(m)
	if err != nil {
		return &sharelock.Error{Err: sharelock.ErrNotReady, Message: err.Error()}
	}
	q.target.link, q.target.id = l, l.Register(q.target.ref)
	return nil
}

// drop unregisters the request from its link.
func (q *request) drop() {
	if q.target.link != nil {
		q.target.link.Forget(q.target.id)
		q.target.link = nil
	}
}

// send sends r, which is the request or its end, to the target, at a time that has just been read. r
// is not changed any more. alone: no other request is sent by this goroutine right after it.
func (q *request) send(now time.Duration, r *owner.Request, alone bool) {
	q.sends = append(q.sends, now)
	r.Send = intconv.Uint32(len(q.sends))
	if q.target.link != nil {
		q.target.link.Send(q.target.id, q.target.epoch, r)
		return
	}
	service := q.router.cfg.Views.Now().Service
	submit := service.SubmitAt
	if alone {
		submit = service.ServeInline
	}
	submit(now, q.target.partition, q.target.ref, r)
}

// lastSend is the number of the newest send.
func (q *request) lastSend() uint32 { return intconv.Uint32(len(q.sends)) }

// sentAfter is how long the request had been going at least, by the caller's clock, when its send n
// left. Q3: that clock may be slower than this node's, and what is added here to the life of a lock
// would be a long wait's share too much.
func (q *request) sentAfter(n uint32) time.Duration { return rules.Shrink(q.sends[n-1] - q.began) }
