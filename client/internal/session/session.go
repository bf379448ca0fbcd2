package session

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/connectivity"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/dial"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// Config is what a session needs of its client. Fields are required unless they say otherwise.
type Config struct {
	// Addr is the node's address, host:port.
	Addr string
	// Conn is the gRPC connection to the node, for streams over gRPC.
	Conn *grpc.ClientConn
	// GRPC makes all streams streams of gRPC.
	GRPC bool
	// Opaque: nobody but gRPC knows how to reach the node, so its port is not examined.
	Opaque bool
	// Dialer opens the connections of streams without gRPC, and TLS secures them. ConnectTime bounds
	// how long the node may take to accept such a stream.
	Dialer      *dial.Dialer
	TLS         *secure.Transport
	ConnectTime time.Duration
	// Handshake returns the failure of the last TLS handshake of Conn, or nil.
	Handshake func() *secure.Error
	// Credential is what the client shows to nodes; nil if it shows nothing.
	Credential *secure.Credential
	// MaxCalls is the number of calls in flight at which no other acquire that waits in line is sent;
	// 0 is a default below what nodes accept.
	MaxCalls int
	// Now is the client's clock: the time since an arbitrary start.
	Now func() time.Duration
	// Beat is called every half second with the time, while there is a stream.
	Beat func(now time.Duration)
	// Unary makes a call of its own, for a node that knows no sessions. bound: the end of the client
	// ends it.
	Unary func(ctx context.Context, bound bool, c *sessionwire.Call) (sharelock.Hold, error)
	// Keeper is told what becomes of the locks that streams keep alive.
	Keeper Keeper
	// Wrap may put something between the session and each stream; nil is nothing.
	Wrap func(addr string, f clienthook.Frames) clienthook.Frames
	// Debug logs for developers.
	Debug func(text string, args ...any)
}

// Session carries the calls to one node. It is safe for concurrent use.
type Session struct {
	Config

	locks sharelockv1.LockServiceClient
	// exchanges are to be used again.
	exchanges sync.Pool
	// unaryUntil is until when the node is taken for one that knows no sessions, and grpcUntil until when
	// for one that knows none without gRPC, by Now; 0 is not at all.
	unaryUntil, grpcUntil atomic.Int64
	// ending: calls that end with the client fail; ended: all calls fail.
	ending, ended atomic.Bool
	// cur is the stream that takes calls, or nil before the first and after one has ended. It is stored under mu.
	cur atomic.Pointer[stream]

	mu sync.Mutex
	// closed: no stream is opened any more. Guarded by mu.
	closed bool
	// failure is why the node could not be reached when that was tried last; nil if it was reached. It is
	// tried again at retryAt at the earliest, after a pause that grows, and no call waits for that. trying is
	// set meanwhile. Guarded by mu.
	failure        error
	pause, retryAt time.Duration
	trying         bool
	// looked is when the port was last examined and nothing was found; 0 is never. Guarded by mu.
	looked time.Duration
	// ends counts the streams in a row that ended before the node had said anything. Guarded by mu.
	ends int
	// work counts the goroutines of the streams.
	work sync.WaitGroup
	// life ends with Close.
	life context.Context //nolint:containedctx // the lifetime of the streams
	end  context.CancelFunc
}

// New returns a session, which opens no stream before the first call. Close ends it.
func New(config Config) *Session {
	s := &Session{Config: config, locks: sharelockv1.NewLockServiceClient(config.Conn)}
	if s.MaxCalls == 0 {
		s.MaxCalls = maxCalls
	}
	if s.GRPC {
		s.grpcUntil.Store(math.MaxInt64)
	}
	s.life, s.end = context.WithCancel(context.Background())
	return s
}

// open returns the stream that takes calls. While the node cannot be reached it fails at once with the last
// failure.
func (s *Session) open() (*stream, error) {
	if st := s.cur.Load(); st != nil {
		return st, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return nil, errClosed
	}
	if st := s.cur.Load(); st != nil {
		return st, nil
	}
	if now := s.Now(); s.failure != nil && (s.trying || now < s.retryAt+staleTry) {
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

// begin starts to open a stream. mu must be held.
func (s *Session) begin() *stream {
	st := &stream{s: s, wake: make(chan struct{}, 1), opened: make(chan struct{}), greeted: make(chan struct{}), calls: map[uint64]*exchange{}}
	st.heard = s.Now()
	st.ctx, st.end = context.WithCancel(s.life)
	s.work.Go(st.run)
	return st
}

// Each pause between two attempts to reach a node is twice as long as the one before, from firstTry to
// longestTry. After staleTry without an attempt a failure is ignored, and the next call waits for the result
// of a new one.
const (
	firstTry   = 50 * time.Millisecond
	longestTry = time.Second
	staleTry   = 10 * time.Second
)

// failed records that the node could not be reached.
func (s *Session) failed(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.trying = err, false
	s.pause = min(max(2*s.pause, firstTry), longestTry)
	s.retryAt = s.Now() + Jitter(s.pause)
}

// Jitter spreads clients that failed together over the second half of d.
func Jitter(d time.Duration) time.Duration {
	return d/2 + time.Duration(rand.Int64N(int64(d/2)+1)) //nolint:gosec // spreads calls over time, and is no secret
}

// reached records that the node was reached, and makes the stream the one that takes calls.
func (s *Session) reached(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure, s.trying, s.pause = nil, false, 0
	s.cur.Store(st)
}

// drop makes the next call open another stream.
func (s *Session) drop(st *stream) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.cur.CompareAndSwap(st, nil)
}

// Abort fails the calls that end with the client, or all, now and from now on.
func (s *Session) Abort(all bool) {
	s.ending.Store(true)
	if all {
		s.ended.Store(true)
	}
	if st := s.cur.Load(); st != nil {
		st.abort(all)
	}
}

// Idle reports whether no call of the session is in flight, it keeps no lock alive and has no watch.
func (s *Session) Idle() bool {
	st := s.cur.Load()
	if st == nil {
		return true
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return len(st.calls) == 0 && len(st.alive.locks) == 0 && len(st.watches) == 0
}

// IsThere reports whether the node has answered over the present connection.
func (s *Session) IsThere() bool {
	st := s.cur.Load()
	if st == nil {
		return s.isUnary() && s.Conn.GetState() == connectivity.Ready
	}
	st.mu.Lock()
	defer st.mu.Unlock()
	return st.spoke && st.err == nil
}

// Close ends the streams and waits for them.
func (s *Session) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	s.end()
	s.work.Wait()
}

// Reset ends the stream that takes calls, as a connection that breaks does. The next call opens another.
func (s *Session) Reset() {
	if st := s.cur.Load(); st != nil {
		st.end()
	}
}
