package mesh

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api"
	"github.com/sgkandale/sharelock/owner"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// session is the calls of one client stream. A call has no goroutine while all it
// waits for is the first answer of its owner, which is all that most calls ever do:
// that answer goes straight to the sink. A call that turns out to need more (it
// stands in line, the owner moved, it was cancelled, nothing came for a while) is
// driven by a goroutine from then on, like a unary call.
type session struct {
	node *Node
	to   api.Sink
	ctx  context.Context //nolint:containedctx // the lifetime of the session
	end  context.CancelFunc

	mu     sync.Mutex
	calls  map[uint64]*started // not answered yet; guarded by mu
	closed bool                // guarded by mu
	// client is the client id of the newest acquire; clients are all that acquires have
	// named, and anyone is set if they were more than mostClients. Guarded by mu.
	client  string
	clients map[string]struct{}
	anyone  bool

	// conn is the connection that it is on; see Node.connection. account is the
	// connection's.
	conn    uint32
	account *account

	keeping keeping // guarded by renewals.mu
}

var _ api.Session = (*session)(nil)

// started is a call of a session.
type started struct {
	acquire
	call    call
	session *session
	id      uint64
	// bytes is what it takes of the connection's account.
	bytes int64
	// cancel ends the goroutine that drives the call; nil while none does. cancelled:
	// it was asked for. Guarded by session.mu.
	cancel    context.CancelFunc
	cancelled bool
}

// Open implements api.Locker.
func (n *Node) Open(to api.Sink) api.Session {
	s := &session{node: n, to: to, calls: map[uint64]*started{}}
	if r, knows := to.(api.Remote); knows {
		s.conn = n.connection(r.RemoteAddr())
	}
	s.account = n.accounts.open(s.conn)
	s.ctx, s.end = context.WithCancel(n.ctx)
	n.sessions.add(s)
	return s
}

// Start implements api.Session.
func (s *session) Start(calls []sharelockv1.Call) {
	now, limits := s.node.clock(), s.node.limits()
	notReady := s.node.member.ready() // Q4
	for i := range calls {
		s.start(now, limits, notReady, &calls[i], len(calls) == 1)
	}
}

func (s *session) start(now time.Duration, limits sharelock.Limits, notReady error, c *sharelockv1.Call, alone bool) {
	req, err := callRequest(limits, c)
	req.Conn = s.conn
	if err == nil {
		err = notReady
	}
	if err != nil {
		s.to.Answer(c.ID, sharelock.Hold{}, err)
		return
	}
	bytes := callBytes(&req)
	if !s.account.take(bytes, req.Kind) {
		s.to.Answer(c.ID, sharelock.Hold{}, errConnBusy)
		return
	}
	t := &started{session: s, id: c.ID, bytes: bytes}
	t.call.begin(s.node, now, req)
	t.call.early = t
	t.acquire = acquire{call: &t.call, wait: req.Wait}
	if req.Tell {
		t.queued = func(position uint32) { s.to.Queued(t.id, position) }
	}
	s.mu.Lock()
	if req.Kind == owner.Acquire && req.ClientID != s.client {
		s.noteClient(req.ClientID)
	}
	_, used := s.calls[c.ID]
	if !used && !s.closed {
		s.calls[c.ID] = t
	}
	closed := s.closed
	s.mu.Unlock()
	if closed || used {
		s.account.calls.Add(-bytes)
	}
	switch {
	case closed:
		return
	case used:
		s.to.Answer(c.ID, sharelock.Hold{}, sharelock.Invalid("id", "is that of a call that is under way"))
		return
	}
	if err := t.call.aimIn(s.node.views.Now(), false); err != nil {
		t.finish(sharelock.Hold{}, err)
		return
	}
	t.call.sendAt(now, &t.call.req, alone)
	if t.call.launch() {
		t.drive()
	}
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

// speaksFor reports whether a client with this id may be at the other end.
func (s *session) speaksFor(id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, known := s.clients[id]
	return !s.closed && (known || s.anyone)
}

// callRequest makes the owner's request of a call.
func callRequest(limits sharelock.Limits, c *sharelockv1.Call) (owner.Request, error) {
	if c.Err != nil {
		return owner.Request{}, c.Err
	}
	switch c.Kind {
	case sharelockv1.CallAcquire:
		r, err := acquireRequest(limits, c.Acquire)
		r.Tell = c.Tell
		return r, err
	case sharelockv1.CallGiveUp:
		return giveUpRequest(c.Acquire.Key, c.Acquire.ClientID, c.Acquire.RequestID)
	case sharelockv1.CallRenew:
		return renewRequest(limits, c.Acquire.Key, c.Token, c.Acquire.TTL, c.Acquire.Metadata)
	default:
		return releaseRequest(c.Acquire.Key, c.Token, c.SentOnce)
	}
}

// Cancel implements api.Session.
func (s *session) Cancel(id uint64) {
	s.mu.Lock()
	t := s.calls[id]
	if t == nil {
		s.mu.Unlock()
		return
	}
	t.cancelled = true
	cancel := t.cancel
	s.mu.Unlock()
	if cancel != nil {
		cancel()
		return
	}
	if t.call.takeEarly() {
		t.drive()
	}
}

// Close implements api.Session.
func (s *session) Close() {
	s.node.sessions.remove(s)
	s.node.renewals.close(s)
	s.mu.Lock()
	again := s.closed
	s.closed = true
	calls := s.calls
	s.calls = nil
	s.mu.Unlock()
	if again {
		return
	}
	s.node.accounts.close(s.account)
	s.end()
	for _, t := range calls {
		if t.call.takeEarly() {
			t.drive()
		}
	}
}

// first is the answer to a call that nobody drives; true if that was all. The shard
// calls it during its turn.
func (t *started) first(a owner.Answer) {
	switch {
	case a.Outcome == owner.Failed:
		t.finish(sharelock.Hold{}, a.Err)
	case t.call.req.Kind == owner.Acquire:
		if err := t.whole(a); err != nil {
			t.finish(sharelock.Hold{}, err)
			return
		}
		t.finish(t.hold(a), nil)
	default:
		t.finish(t.call.one(a, t.whole(a)))
	}
}

// drive has a goroutine do what is left to do for the call, whose first send has
// been made.
func (t *started) drive() {
	s := t.session
	ctx, cancel := context.WithCancel(s.ctx)
	s.mu.Lock()
	t.cancel = cancel
	if t.cancelled {
		cancel()
	}
	s.mu.Unlock()
	if !s.node.tasks.Go(func() {
		defer cancel()
		if t.call.req.Kind == owner.Acquire {
			t.finish(t.acquire.finish(ctx))
		} else {
			t.finish(t.call.one(t.call.do(ctx)))
		}
	}) {
		cancel() // the node is stopping
		t.finish(sharelock.Hold{}, errLeaving)
	}
}

// finish answers the call.
func (t *started) finish(h sharelock.Hold, err error) {
	s := t.session
	if err != nil && s.node.ctx.Err() != nil && errors.Is(err, context.Canceled) {
		err = errLeaving // it was not the caller who cancelled
	}
	t.call.gone.Store(true)
	t.call.drop()
	s.account.calls.Add(-t.bytes)
	s.mu.Lock()
	closed := s.closed
	delete(s.calls, t.id)
	s.mu.Unlock()
	if !closed {
		s.to.Answer(t.id, h, err)
		return
	}
	if err == nil && t.call.req.Kind == owner.Acquire && !t.call.req.OwnID {
		s.node.TakeBack(h)
	}
}

// sweep has calls driven that were not answered for as long as patient.
func (s *session) sweep(now, patient time.Duration) {
	var slow []*started
	s.mu.Lock()
	for _, t := range s.calls {
		if t.cancel == nil && now-t.call.began >= patient {
			slow = append(slow, t)
		}
	}
	s.mu.Unlock()
	for _, t := range slow {
		if t.call.takeEarly() {
			t.drive()
		}
	}
}

// sessions are all sessions of a node. The zero value is ready.
type sessions struct {
	mu  sync.Mutex
	all map[*session]struct{} // guarded by mu
}

func (ss *sessions) add(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	if ss.all == nil {
		ss.all = map[*session]struct{}{}
	}
	ss.all[s] = struct{}{}
}

func (ss *sessions) remove(s *session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	delete(ss.all, s)
}

// of returns the sessions at whose other end a client with this id may be.
func (ss *sessions) of(client string) (list []*session) {
	ss.mu.Lock()
	defer ss.mu.Unlock()
	for s := range ss.all {
		if s.speaksFor(client) {
			list = append(list, s)
		}
	}
	return list
}

// sweepEvery is how often calls are looked for that their owner has not answered.
const sweepEvery = 500 * time.Millisecond

// sweep looks after the calls that no goroutine drives, until ctx ends: their owner
// may be gone without a word, this node's lease over.
func (ss *sessions) sweep(ctx context.Context, clock func() time.Duration) {
	tick := time.NewTicker(sweepEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		ss.mu.Lock()
		all := make([]*session, 0, len(ss.all))
		for s := range ss.all {
			all = append(all, s)
		}
		ss.mu.Unlock()
		for _, s := range all {
			s.sweep(clock(), sweepEvery)
		}
	}
}
