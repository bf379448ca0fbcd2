package route

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/internal/metrics"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	"github.com/sgkandale/sharelock/mesh/account"
	"github.com/sgkandale/sharelock/mesh/keepalive"
	"github.com/sgkandale/sharelock/owner"
)

// session is the calls of one client stream, and the holds that it keeps alive; it implements
// api.Session. A call has no goroutine while all it
// waits for is the first answer of its owner, which is all that most calls ever do:
// that answer goes straight to the sink. A call that turns out to need more (it
// stands in line, the owner moved, it was cancelled, nothing came for a while) is
// driven by a goroutine from then on, like a unary call.
type session struct {
	router *Router
	to     api.Sink
	ctx    context.Context //nolint:containedctx // the lifetime of the session
	end    context.CancelFunc

	mu     sync.Mutex
	calls  map[uint64]*request // not answered yet; guarded by mu
	closed bool                // guarded by mu
	// client is the client id of the newest acquire; clients are all that acquires have
	// named, and anyone is set if they were more than mostClients. Guarded by mu.
	client  string
	clients map[string]struct{}
	anyone  bool

	// conn is the connection that it is on; see Router.connection. account is the connection's.
	conn uint32
	// principal is that of the caller at the other end; empty if this node does not authenticate.
	principal string
	account   *account.Account
	// kept are the holds that it keeps alive.
	kept *keepalive.Session
	// counted are the answered calls that have not been added to Config.Calls yet; guarded by mu.
	counted metrics.Batch
}

var _ api.Session = (*session)(nil)

// Open implements api.Locker.
func (rt *Router) Open(to api.Sink, principal string) api.Session {
	s := &session{router: rt, to: to, principal: principal, calls: map[uint64]*request{}}
	if r, knows := to.(api.Remote); knows {
		s.conn = rt.connection(r.RemoteAddr())
	}
	s.account = rt.accounts.Open(s.conn)
	s.ctx, s.end = context.WithCancel(rt.cfg.Context)
	s.kept = rt.keeper.Open(s.ctx, to, principal, s.account)
	rt.sessions.add(s)
	return s
}

// startMost is the number of calls that Start registers at a time.
const startMost = 64

// Start implements api.Session.
func (s *session) Start(calls []sessionwire.Call) {
	now, limits := s.router.cfg.Clock(), s.router.limits()
	notReady := s.router.cfg.Ready() // Q4
	var room [startMost]*request
	for part := range slices.Chunk(calls, startMost) {
		list := room[:0]
		for i := range part {
			if q := s.request(now, limits, notReady, &part[i]); q != nil {
				list = append(list, q)
			}
		}
		registered, rest, open := s.register(list)
		for _, q := range rest {
			s.account.End(q.bytes)
			q.span.End(context.Canceled)
			if open {
				s.refuse(q.id, q.req.Kind, sharelock.Invalid("id", "is in use by a call in flight"))
			}
		}
		for _, q := range registered {
			s.send(now, q, len(calls) == 1)
		}
	}
}

// request returns the request of a call. It returns nil if it has refused the call.
func (s *session) request(now time.Duration, limits sharelock.Limits, notReady error, c *sessionwire.Call) *request {
	q := &request{session: s, id: c.ID}
	var err error
	if q.req, err = callRequest(limits, c); err == nil {
		err = notReady
	}
	if err != nil {
		s.refuse(c.ID, kindOf(c.Kind), err)
		return nil
	}
	q.req.Conn, q.req.Principal, q.req.AnyHold, q.req.Trace = s.conn, s.principal, c.AnyHold, c.Trace
	q.bytes = requestBytes(&q.req)
	if !s.account.Begin(q.bytes, q.req.Kind == owner.Acquire) {
		s.refuse(c.ID, q.req.Kind, account.ErrBusy)
		return nil
	}
	if q.req.Tell {
		q.queued = func(position uint32) { s.to.Queued(q.id, position) }
	}
	q.begin(s.router, now)
	return q
}

// register adds requests to the calls of the session. It returns those that it has added, in order,
// and those that it has not: their ids are in use or, if open is false, the session is closed. It
// reuses the array of the list.
func (s *session) register(list []*request) (registered, rest []*request, open bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, list, false
	}
	registered = list[:0]
	for _, q := range list {
		if q.req.Kind == owner.Acquire && q.req.ClientID != s.client {
			s.noteClient(q.req.ClientID)
		}
		if s.calls[q.id] != nil {
			rest = append(rest, q)
			continue
		}
		s.calls[q.id] = q
		registered = append(registered, q)
	}
	return registered, rest, true
}

// send makes the first send of a request.
func (s *session) send(now time.Duration, q *request, alone bool) {
	if err := q.aim(s.router.cfg.Views.Now(), false); err != nil {
		q.finish(now, sharelock.Hold{}, err)
		return
	}
	q.send(now, &q.req, alone)
	if q.launched() {
		s.drive(q)
	}
}

// refuse answers a call that is not started.
func (s *session) refuse(id uint64, kind owner.Kind, err error) {
	s.countRefused(kind, err)
	s.to.Answer(id, sharelock.Hold{}, err)
}

// mostClients is how many client ids of a session are told apart.
const mostClients = 256

// noteClient notes who makes calls in this session. It needs s.mu.
func (s *session) noteClient(id string) {
	s.client = id
	if s.clients == nil {
		s.clients = map[string]struct{}{}
	}
	if _, known := s.clients[id]; known || s.anyone {
		return
	}
	if s.anyone = len(s.clients) == mostClients; s.anyone {
		s.clients = nil
		return
	}
	s.clients[id] = struct{}{}
}

// speaksFor reports whether a client with this id, of this principal, may be at the other end. An
// empty principal may be any.
func (s *session) speaksFor(id, principal string) bool {
	if principal != "" && s.principal != "" && principal != s.principal {
		return false
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.clients[id]
	return !s.closed && (known || s.anyone)
}

// Cancel implements api.Session.
func (s *session) Cancel(id uint64) {
	s.mu.Lock()
	q := s.calls[id]
	if q == nil {
		s.mu.Unlock()
		return
	}
	q.cancelled = true
	cancel := q.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel()
		return
	}
	if q.takeOver() {
		s.drive(q)
	}
}

// Keep implements api.Session.
func (s *session) Keep(list []sessionwire.Keep) { s.kept.Keep(list) }

// Close implements api.Session.
func (s *session) Close() {
	s.router.sessions.remove(s)
	s.kept.Close()
	s.mu.Lock()
	again := s.closed
	s.closed = true
	calls := s.calls
	s.calls = nil
	s.counted.Flush()
	s.mu.Unlock()
	if again {
		return
	}
	s.router.accounts.Close(s.account)
	s.end()
	for _, q := range calls {
		if q.takeOver() {
			s.drive(q)
		}
	}
}

// drive has a goroutine do what is left to do for a request whose first send has been made.
func (s *session) drive(q *request) {
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	q.cancel = cancel
	if q.cancelled {
		cancel()
	}
	s.mu.Unlock()
	if !s.router.cfg.Spawn(func() {
		defer cancel()
		h, err := q.do(ctx)
		q.finish(s.router.cfg.Clock(), h, err)
	}) {
		cancel() // the node is stopping
		q.finish(s.router.cfg.Clock(), sharelock.Hold{}, errLeaving)
	}
}

// finish gives the request of a session its caller's answer, which came at a time of the router's
// clock. The shard calls it during its turn when nobody drives the request.
func (q *request) finish(at time.Duration, h sharelock.Hold, err error) {
	s := q.session
	if err != nil && s.router.cfg.Context.Err() != nil && errors.Is(err, context.Canceled) {
		err = errLeaving // it was not the caller who cancelled
	}
	q.gone.Store(true)
	q.drop()
	q.span.End(err)
	s.account.End(q.bytes)
	s.mu.Lock()
	closed, revoked := s.closed, q.revoked
	delete(s.calls, q.id)
	s.count(q, at, err)
	s.mu.Unlock()
	if revoked != nil {
		h, err = q.refused(revoked, h, err)
	}
	if !closed {
		s.to.Answer(q.id, h, err)
		return
	}
	if err == nil && q.req.Kind == owner.Acquire && !q.req.OwnID {
		s.router.TakeBack(h)
	}
}

// sweep has calls driven that were not answered for as long as patient.
func (s *session) sweep(now, patient time.Duration) {
	var slow []*request
	s.mu.Lock()
	for _, q := range s.calls {
		if q.cancel == nil && now-q.began >= patient {
			slow = append(slow, q)
		}
	}
	s.mu.Unlock()
	for _, q := range slow {
		if q.takeOver() {
			s.drive(q)
		}
	}
}
