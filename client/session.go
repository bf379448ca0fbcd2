package client

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// quiet is how long a session may say nothing while calls are under way before it
	// is asked whether it is there; dead, how long before it is taken for broken.
	// gRPC's own pings take much longer.
	quiet = time.Second
	dead  = 3 * time.Second
	// showUp is how long a session says nothing, at most, while calls are under way, and
	// rest how long when none are.
	showUp = 5 * time.Second
	rest   = 10 * time.Second
)

// session is the calls to one node over one stream: whatever waits goes out as one
// message (A4), and nothing waits to be sent. A stream that breaks fails all its
// calls as if the node could not be reached, and the next call opens another.
type session struct {
	n   *node
	now func() time.Duration
	// keeper has the locks that streams keep alive.
	keeper *keeper
	// credential is the client's.
	credential *secure.Credential
	// idle are exchanges to be used again.
	idle sync.Pool
	// unaryUntil is until when the node is taken for one that knows no sessions.
	unaryUntil atomic.Int64
	// grpcUntil is until when it is taken for one that knows none without gRPC.
	grpcUntil atomic.Int64
	// ending: calls that end with the client fail; ended: all calls fail.
	ending, ended atomic.Bool
	// cur is the stream that takes calls; nil when there is none. It changes under mu.
	cur atomic.Pointer[stream]

	mu sync.Mutex
	// closed: no stream is opened any more. Guarded by mu.
	closed bool
	// failure is why the node could not be reached when it was tried last; nil when it
	// could. The next try is not before retryAt, after a pause that grows; nobody waits
	// for it, and trying: it is under way. Guarded by mu.
	failure        error
	pause, retryAt time.Duration
	trying         bool
	// looked is when the port was looked at last without a finding; 0 is never. Guarded by mu.
	looked time.Duration
	// ends counts the streams in a row that ended before the node had said anything.
	// Guarded by mu.
	ends int
	// work counts the goroutines of the streams.
	work sync.WaitGroup
	// life ends when the client lets go of its connections.
	life context.Context //nolint:containedctx // the lifetime of the streams
	end  context.CancelFunc
}

// stream is one stream of a session.
type stream struct {
	s    *session
	wake chan struct{}
	// ctx ends with the stream.
	ctx context.Context //nolint:containedctx // the lifetime of the stream
	end context.CancelFunc

	mu sync.Mutex
	// urgent is what goes before everything else, in wire format: what keeps locks alive,
	// ends them, or shows that this end is there. Behind it comes out. Before each are its
	// messages that are as large as they should get. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	// room says how much is under way, and what waits until there is less. Guarded by mu.
	room room
	// calls are those under way, by id; guarded by mu.
	calls map[uint64]*exchange
	last  uint64 // the newest id; guarded by mu
	// heard is when the node was last known to be there: it said something, or
	// nothing was asked of it before. Guarded by mu.
	heard time.Duration
	// said is when something was sent last; pinged: nothing was heard since a ping was sent.
	// Guarded by mu.
	said   time.Duration
	pinged bool
	// sent: something was handed to the connection; spoke: the node has said something.
	// Guarded by mu.
	sent, spoke bool
	// alive is about the locks that this stream keeps; guarded by mu.
	alive keeping
	// told is the token that the node has got; nil is none. Guarded by mu.
	told *secure.Token
	// asked are to be told who owns what; guarded by mu.
	asked []chan<- []byte
	// opened is closed when the node has taken the stream, or err is set.
	opened chan struct{}
	// holds is the newest id of a lock.
	holds atomic.Uint64
	// err is why the stream is broken; guarded by mu.
	err error
}

// exchange is one call under way. Its reply comes once.
type exchange struct {
	// place is what it counts among in stream.room.
	place place
	// heldFor is how long it was held back before it was sent.
	heldFor time.Duration
	done    chan struct{} // one token when the fields below it are set
	hold    sharelock.Hold
	err     error
	// at is when the reply came.
	at time.Duration
	// bound: the call ends with the client.
	bound bool
	// queued is told where the call stands in line; nil is nobody.
	queued *positions
}

func newSession(n *node, k *keeper) *session {
	s := &session{n: n, now: k.c.now, keeper: k, credential: k.c.credential}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// do makes one call and waits for its answer, which came at a time that is given, too.
// Errors are statuses of gRPC, as the unary call's. bound: the end of the client ends
// it besides ctx.
func (s *session) do(ctx context.Context, bound bool, c *sessionwire.Call) (h sharelock.Hold, at time.Duration, err error) {
	return s.doQueued(ctx, bound, c, nil)
}

// doQueued is do of a call that wants to know where it stands in line.
func (s *session) doQueued(ctx context.Context, bound bool, c *sessionwire.Call, queued *positions) (h sharelock.Hold, at time.Duration, err error) {
	if !s.unary() {
		st, err := s.open()
		if err != nil {
			return sharelock.Hold{}, s.now(), unsent{err}
		}
		h, at, err = st.do(ctx, bound, c, queued)
		if err == nil || !s.unary() || status.Code(err) != codes.Unimplemented {
			return h, at, err
		}
	}
	h, err = s.n.unary(ctx, bound, c)
	return h, s.now(), err
}

// unsent marks the error of a call of which nothing has left the client.
type unsent struct{ error }

func (u unsent) Unwrap() error { return u.error }

func isUnsent(err error) bool {
	_, ok := errors.AsType[unsent](err)
	return ok
}

// errClient is why a call fails that ends with the client.
var errClient = status.Error(codes.Canceled, ErrClosed.Error())

// open gives the stream that takes calls. A node that could not be reached fails them at
// once, until it can be.
func (s *session) open() (*stream, error) {
	if st := s.cur.Load(); st != nil {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClient
	}
	if st := s.cur.Load(); st != nil {
		return st, nil
	}
	if now := s.now(); s.failure != nil && (s.trying || now < s.retryAt+staleTry) {
		if !s.trying && now >= s.retryAt {
			s.trying = true
			s.begin()
		}
		return nil, s.failure
	}
	st := s.begin()
	s.cur.Store(st)
	return st, nil
}

// begin begins to open a stream. mu is held.
func (s *session) begin() *stream {
	st := &stream{s: s, wake: make(chan struct{}, 1), opened: make(chan struct{}), calls: map[uint64]*exchange{}}
	st.heard = s.now()
	st.ctx, st.end = context.WithCancel(s.life)
	s.work.Go(st.run)
	return st
}

// The pauses between two tries to reach a node: each is twice as long as the one before.
// What was found out so long ago does not count any more.
const (
	firstTry   = 50 * time.Millisecond
	longestTry = time.Second
	staleTry   = 10 * time.Second
)

// failed notes that the node could not be reached.
func (s *session) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.trying = err, false
	s.pause = min(max(2*s.pause, firstTry), longestTry)
	s.retryAt = s.now() + jitter(s.pause)
}

// reached notes that it was, and has calls take the stream.
func (s *session) reached(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.trying, s.pause = nil, false, 0
	s.cur.Store(st)
}

// drop makes the next call open another stream.
func (s *session) drop(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur.CompareAndSwap(st, nil)
}

// abort fails the calls that end with the client, or all, now and from now on.
func (s *session) abort(all bool) {
	s.ending.Store(true)
	if all {
		s.ended.Store(true)
	}
	if st := s.cur.Load(); st != nil {
		st.abort(all)
	}
}

// idleNow reports whether no call of the session is under way, and it keeps no lock.
func (s *session) idleNow() bool {
	st := s.cur.Load()
	if st == nil {
		return true
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.calls) == 0 && len(st.alive.locks) == 0
}

// isThere reports whether the node has answered over the connection that there is to it.
func (s *session) isThere() bool {
	st := s.cur.Load()
	if st == nil {
		return s.unary() && s.n.conn.GetState() == connectivity.Ready
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.spoke && st.err == nil
}

// close ends the streams and waits for them.
func (s *session) close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
}

func (st *stream) do(ctx context.Context, bound bool, c *sessionwire.Call, queued *positions) (sharelock.Hold, time.Duration, error) {
	x, ok := st.s.idle.Get().(*exchange)
	if !ok {
		x = &exchange{done: make(chan struct{}, 1)}
	}
	x.bound, x.queued = bound, queued
	st.mu.Lock()
	err := st.err
	if bound && st.s.ending.Load() || st.s.ended.Load() {
		err = errClient // abort comes, or has looked for calls already
	}
	if err != nil {
		st.mu.Unlock()
		return sharelock.Hold{}, st.s.now(), unsent{err}
	}
	st.last++
	c.ID = st.last
	if !st.waits() {
		st.heard = st.s.now()
	}
	st.calls[c.ID] = x
	if st.add(x, c) {
		st.mu.Unlock()
		return st.wait(ctx, x, c.ID, c.Wait)
	}
	st.mu.Unlock()
	st.nudge()
	select {
	case <-x.done:
		h, at, err := x.reply()
		st.s.idle.Put(x)
		return h, at, err
	case <-ctx.Done():
	}
	return st.abandon(x, c.ID, status.FromContextError(ctx.Err()).Err())
}

// abandon ends a call with err, unless it is answered in this very moment. The exchange is
// left to whoever may be answering it just now.
func (st *stream) abandon(x *exchange, id uint64, err error) (sharelock.Hold, time.Duration, error) {
	given, sent := st.giveUp(id)
	if !given {
		<-x.done
		return x.reply()
	}
	if !sent {
		return sharelock.Hold{}, st.s.now(), unsent{err}
	}
	st.nudge()
	return sharelock.Hold{}, st.s.now(), err
}

// reply takes the reply out of an exchange, which can be used again. The times of a grant
// count from when the call was made, not from when it was sent (Q3).
func (x *exchange) reply() (h sharelock.Hold, at time.Duration, err error) {
	h, at, err = x.hold, x.at, x.err
	if h.SafeFor += x.heldFor; h.EndsIn > 0 {
		h.EndsIn += x.heldFor
	}
	*x = exchange{done: x.done}
	return h, at, err
}

// giveUp ends a call without its answer and has the node told, if the call was sent; given is
// false if the answer is there, or just coming.
func (st *stream) giveUp(id uint64) (given, sent bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	x := st.calls[id]
	if x == nil {
		return false, false
	}
	return true, st.cancel(id, x)
}

// cancel takes a call out of those under way and has the node told; false if it was not sent
// yet. mu is held.
func (st *stream) cancel(id uint64, x *exchange) (sent bool) {
	delete(st.calls, id)
	if sent = x.place != heldBack; sent {
		// Behind the call: the node knows no cancel of a call that it has not got.
		st.out = sessionwire.AppendCall(st.buffer(), &sessionwire.Call{ID: id, Kind: sessionwire.CallCancel})
	}
	st.over(x)
	return sent
}

// abort fails the calls that end with the client, or all, and has the node told.
func (st *stream) abort(all bool) {
	st.mu.Lock()
	now := st.s.now()
	for id, x := range st.calls {
		if !x.bound && !all {
			continue
		}
		x.err, x.at = errClient, now
		if !st.cancel(id, x) {
			x.err = unsent{errClient}
		}
		x.done <- struct{}{} // it has room for one
	}
	st.mu.Unlock()
	st.nudge()
}

// fullMessage is how large a message gets before another is begun, in bytes; the last
// call in it comes on top. Nodes take 4 MiB.
const fullMessage = 64 << 10

// buffer is out, with room. mu is held.
func (st *stream) buffer() []byte {
	if len(st.out) >= fullMessage {
		st.fullOut = append(st.fullOut, st.out)
		st.out = make([]byte, 0, fullMessage+(4<<10))
	}
	return st.out
}

// first is urgent, with room: all locks of a client may be attached, or released, in one
// moment. mu is held.
func (st *stream) first() []byte {
	if len(st.urgent) >= fullMessage {
		st.fullUrgent = append(st.fullUrgent, st.urgent)
		st.urgent = nil
	}
	return st.urgent
}

func (st *stream) nudge() {
	select {
	case st.wake <- struct{}{}:
	default:
	}
}

// run opens the stream and sends calls until it breaks.
func (st *stream) run() {
	defer st.end()
	f, told, err := st.s.connect(st.ctx)
	if err != nil {
		st.s.failed(err)
		st.fail(err)
		return
	}
	st.mu.Lock()
	st.heard = st.s.now()
	st.said, st.told = st.heard, told
	st.mu.Unlock()
	st.s.reached(st)
	close(st.opened)
	if st.s.credential != nil {
		st.nudge() // a node ends a session that shows no credential soon
	}
	st.s.work.Go(func() { st.read(f) })
	look := time.NewTicker(quiet / 2)
	defer look.Stop()
	beat := time.NewTimer(longestPeriod)
	defer beat.Stop()
	for {
		var err error
		select {
		case <-st.wake:
		case <-beat.C:
			st.beatNow()
		case <-look.C:
			err = st.look()
		case <-st.ctx.Done():
			err = status.FromContextError(st.ctx.Err()).Err()
		}
		runtime.Gosched() // who is about to make a call makes it first (A4)
		for err == nil {
			data, next := st.take()
			if next > 0 {
				beat.Reset(next)
			}
			if data == nil {
				break
			}
			if f.Send(data) != nil {
				return // the reader hears why
			}
			// A burst may take long: what is due goes out in the middle of it.
			select {
			case <-beat.C:
				st.beatNow()
			case <-look.C:
				err = st.look()
			default:
			}
		}
		if err != nil {
			st.fail(err)
			return
		}
	}
}

// beatNow sends a keepalive if there are locks to keep.
func (st *stream) beatNow() {
	st.mu.Lock()
	defer st.mu.Unlock()
	if st.alive.period() > 0 {
		st.beat()
	}
}

// take is what waits to be sent, urgent things first, all of it if it is not much. If a keepalive is among it, next is when
// to send another.
func (st *stream) take() (data []byte, next time.Duration) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if token := st.s.credential.Newest(); token != st.told {
		st.told = token
		if data = sessionwire.AppendToken(nil, token.String()); len(data) > 0 {
			return data, 0
		}
	}
	switch {
	case len(st.fullUrgent) > 0:
		// If the keepalive that waits is behind it, another may be sent besides.
		data, st.fullUrgent = st.fullUrgent[0], st.fullUrgent[1:]
	case len(st.urgent) > 0 && (len(st.fullOut) > 0 || len(st.urgent)+len(st.out) > fullMessage):
		data, st.urgent = st.urgent, nil
	case len(st.fullOut) > 0:
		data, st.fullOut = st.fullOut[0], st.fullOut[1:]
		st.sent = true
		return data, 0
	case len(st.urgent)+len(st.out) > 0:
		// In one message it does not matter what comes first.
		data = append(st.out, st.urgent...)
		st.out = make([]byte, 0, min(max(len(data), 256), fullMessage))
		if st.urgent = st.urgent[:0]; cap(st.urgent) > 1<<12 {
			st.urgent = nil
		}
	default:
		return nil, 0
	}
	st.said, st.sent = st.s.now(), true
	if st.alive.pending {
		st.alive.pending, next = false, st.alive.period()
	}
	return data, next
}

// waits: the node has something to say. mu is held.
func (st *stream) waits() bool {
	return len(st.calls) > 0 || len(st.asked) > 0 || st.alive.unanswered || st.pinged
}

// look asks the node whether it is there when it has said nothing for a while, and
// gives it up after a longer one. It also shows the node that this client is there.
func (st *stream) look() error {
	st.mu.Lock()
	defer st.mu.Unlock()
	now := st.s.now()
	st.s.keeper.c.pulse.beat(now)
	waits, silent := st.waits(), now-st.heard
	switch {
	case waits && silent >= dead:
		return status.Error(codes.Unavailable, "the node has not answered for "+dead.String())
	case waits && silent >= quiet, waits && now-st.said >= showUp, now-st.said >= rest:
		if !waits {
			st.heard = now
		}
		st.pinged = true
		st.urgent = sessionwire.AppendPing(st.first())
	}
	return nil
}

// read delivers answers until the stream breaks.
func (st *stream) read(f clienthook.Frames) {
	defer st.end()
	var (
		reader sessionwire.ReplyReader
		reply  sessionwire.Reply
		ready  []*exchange
		news   []keptNews
	)
	for {
		message, err := f.Recv()
		if err != nil {
			st.fail(err)
			return
		}
		reader.Reset(message)
		now := st.s.now()
		st.mu.Lock()
		st.heard, st.spoke, st.pinged, st.alive.unanswered = now, true, false, false
		for {
			var more bool
			if more, err = reader.Next(&reply); !more {
				break
			}
			x := st.calls[reply.ID]
			if x == nil {
				continue // it was given up
			}
			delete(st.calls, reply.ID)
			st.over(x)
			x.at = now
			if x.hold = reply.Hold; reply.Status != nil {
				x.err = statusError(reply.Status)
			}
			ready = append(ready, x)
		}
		if err == nil && reader.Kept {
			news, err = st.kept(message, news[:0])
		}
		st.mu.Unlock()
		for i, x := range ready {
			x.done <- struct{}{}
			ready[i] = nil
		}
		ready = ready[:0]
		st.s.keeper.news(st, news)
		clear(news)
		news = news[:0]
		if err != nil {
			if closed, ok := errors.AsType[closedByNode](err); ok {
				err = closed.error
			} else {
				err = status.Error(codes.Unavailable, err.Error())
			}
			st.fail(err)
			return
		}
	}
}

// statusError is the error of a status in wire format.
func statusError(b []byte) error {
	var p spb.Status
	if err := proto.Unmarshal(b, &p); err != nil {
		return status.Error(codes.Internal, "malformed status")
	}
	if err := status.ErrorProto(&p); err != nil {
		return err
	}
	return status.Error(codes.Internal, "a failure without a code")
}

// fail ends the stream: all its calls fail. Whatever the reason, it says nothing of
// them, so they may be tried again.
func (st *stream) fail(err error) {
	st.s.drop(st)
	switch code := status.Code(err); {
	case code == codes.Unimplemented:
		st.s.unaryUntil.Store(int64(st.s.now() + relearn))
	case code != codes.Unavailable && !denied(sharelockv1.FromError(err)) && !errors.Is(sharelockv1.FromError(err), sharelock.ErrWrongPort):
		err = status.Errorf(codes.Unavailable, "the session ended: %v", err)
	}
	st.mu.Lock()
	if st.err != nil {
		st.mu.Unlock()
		return
	}
	st.err = err
	calls, locks, spoke, asked := st.calls, st.alive.locks, st.spoke, st.asked
	callErr := err
	if !st.sent {
		callErr = unsent{err}
	}
	st.calls, st.alive.locks, st.asked = map[uint64]*exchange{}, nil, nil
	st.room = room{}
	st.mu.Unlock()
	st.end()
	for _, c := range asked {
		close(c)
	}
	if len(locks) > 0 {
		why := err
		if spoke {
			why = errBroken
		}
		st.s.keeper.broke(st, locks, why)
	}
	now := st.s.now()
	for _, x := range calls {
		if x.err, x.at = callErr, now; x.place == heldBack {
			x.err = unsent{err}
		}
		x.done <- struct{}{}
	}
}
