package api

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/api/gate"
	"github.com/sgkandale/sharelock/api/remote"
	"github.com/sgkandale/sharelock/api/undelivered"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
)

// Limits of one session.
const (
	// maxPending bounds the calls in flight: beyond it, acquires are refused. Calls that end or
	// renew a lock are accepted up to maxPendingAll.
	maxPending    = 32 << 10
	maxPendingAll = 2 * maxPending
	// maxUnsent bounds the bytes of answers that the client does not read. Beyond it, no further
	// calls are read.
	maxUnsent = 256 << 10
	// maxFrame is the maximum initial capacity of a buffer for answers.
	maxFrame = fullMessage
	// fullMessage is the size in bytes from which a message is full and the next one is begun. A
	// message may exceed it by its last answer.
	fullMessage = 64 << 10
	// maxUrgent is the maximum size of a status that is urgent like a grant. A longer one names
	// holders.
	maxUrgent = 128
)

// errBusy refuses a call of a session that has too many calls in flight.
var errBusy = &sharelock.Error{Err: sharelock.ErrQuota, Message: "the session has as many calls in flight as it may"}

// errDraining refuses calls while the node stops. It makes the client use another node.
var errDraining = &sharelock.Error{Err: sharelock.ErrNotReady, Message: "this node is stopping"}

// stream carries the messages of one session. Send and Recv are called concurrently, by one
// goroutine each.
type stream interface {
	// Recv blocks until the next message arrives. The message is valid until the next Recv.
	Recv() ([]byte, error)
	// Send sends one message. The caller does not modify it afterwards.
	Send(message []byte) error
}

// directStream is a stream on which a message can be sent without blocking.
type directStream interface {
	stream
	// CanTry reports whether TrySend may send anything.
	CanTry() bool
	// TrySend is Send without blocking. If it returns false, Flush must be called before the next message
	// is sent; Flush blocks.
	TrySend(message []byte) bool
	Flush() error
}

// session is one session of a client. Two goroutines serve it: one reads and starts calls, the
// other writes answers and sends all that are waiting as one message. An answer that comes alone is
// sent by the goroutine that brings it, see Flush.
type session struct {
	stream stream
	// remote is the remote address of the stream's connection.
	remote net.Addr
	// guard authenticates the session; nil without authentication.
	guard *gate.Guard
	// trail holds the calls whose end the audit log records; nil if it records none. Without a guard,
	// gate registers them.
	trail *gate.Trail
	gate  *gate.Gate
	// calls is the session at the node. With a guard it is nil until the first valid credentials have
	// come. The reader sets it under mu; others need mu.
	calls Session
	// ring returns the owners of all partitions in wire format.
	ring func() []byte
	// watcher is the node's.
	watcher Watcher
	// drain is closed to end the session.
	drain <-chan struct{}
	// wake tells the writer that there are answers. room tells the reader that there is room for
	// more.
	wake, room chan struct{}
	// released tells the writer that all holds were released, which ends the session.
	released chan struct{}
	// ending carries the error with which the node ends the session, once everything is sent.
	ending chan error
	// read receives the error with which the reader ended, and is then closed.
	read chan error
	log  *slog.Logger
	// heard is set when the client sends a message, and cleared by silent. quiet is the number of
	// calls of silent in a row without a message; only framed.closeHung uses it.
	heard atomic.Bool
	quiet int

	// direct is the stream if TrySend works on it; otherwise nil.
	direct directStream
	// sending is held while a message is taken and sent. greeted is set when the first message was
	// sent; partial is set if the stream must be flushed; finished is set when the writer has ended, after
	// which nobody else uses the stream. They are guarded by sending.
	sending                    sync.Mutex
	greeted, partial, finished bool

	mu sync.Mutex
	// held is set if the next answers wait for Flush; guarded by mu.
	held bool
	// urgent and out are the messages being filled, in wire format. urgent is sent first: it has
	// news of attached holds, pongs, and short answers. fullUrgent and fullOut are the full
	// messages that are sent before each; fullBytes is their total size. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	fullBytes           int
	// watches are those of the session, whose events are sent when nothing of the above is waiting; nil
	// before the first. It is set once; guarded by mu.
	watches *watches
	// size is the size of the last message; guarded by mu.
	size int
	// pending is the number of calls in flight; guarded by mu.
	pending int
	unsent  undelivered.Grants
	// takeBack releases a grant that can no longer be sent. It does not block.
	takeBack func(h sharelock.Hold)
	// opens is Locker.Open, for Begin.
	opens func(to Sink, principal string) Session
}

var (
	_ Sink   = (*session)(nil)
	_ Remote = (*session)(nil)

	_ gate.Session = (*session)(nil)
)

// Session implements LockService.Session.
func (s *locks) Session(st grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	place, ending, err := s.enter(remote.Addr(st.Context()))
	if err != nil {
		return pb.ToStatus(err).Err()
	}
	defer place.Leave()
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	c, err := gate.GRPCCredentials(ctx)
	if err != nil && s.gate.Authenticates() {
		return pb.ToStatus(err).Err()
	}
	ss := s.open(&grpcStream{ServerStream: st}, remote.Addr(ctx), c, ending)
	// The reader ends with the stream, which ends when this handler returns. The server waits only
	// for the handler, so the reader must not use the node after close.
	err = ss.serve(ctx, clientIDFromMetadata(ctx))
	ss.close(s.node)
	return err
}

// RemoteAddr implements Remote.
func (s *session) RemoteAddr() net.Addr { return s.remote }

// open makes a session on a stream, with the credentials of its connection. An error in ending ends the
// session with it. The caller must call its close.
func (s *locks) open(st stream, remote net.Addr, c auth.Credentials, ending chan error) *session {
	ss := &session{
		stream: st, remote: remote, drain: s.drain, ring: s.ring, watcher: s.watcher, log: s.log,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), released: make(chan struct{}, 1),
		read: make(chan error, 1), ending: ending,
	}
	if d, ok := st.(directStream); ok && d.CanTry() {
		ss.direct = d
	}
	ss.takeBack = func(h sharelock.Hold) { s.node.TakeBack(h) }
	if ss.guard = s.gate.Guard(ss, c, remote); ss.guard == nil {
		ss.gate, ss.trail = s.gate, s.gate.Trail()
		ss.calls = s.node.Open(ss, "")
		return ss
	}
	ss.trail = ss.guard.Trail()
	ss.opens = s.node.Open
	ss.guard.Register()
	return ss
}

// Begin implements gate.Session: it opens the session at the node for its principal.
func (s *session) Begin(principal string) {
	calls := s.opens(s, principal)
	s.mu.Lock()
	closed := s.unsent.Closed()
	if !closed {
		s.calls = calls
	}
	s.mu.Unlock()
	if closed {
		calls.Close()
	}
}

// Revoke implements gate.Session.
func (s *session) Revoke(allowed func(key string) (anyHold bool, err error)) {
	s.mu.Lock()
	calls := s.calls
	s.mu.Unlock()
	if calls != nil {
		calls.Revoke(allowed)
	}
}

// End implements gate.Session.
func (s *session) End(err error) { offer(s.ending, err) }

// serve reads and writes until the stream ends. The reader may continue after that until Recv
// fails; see ended. who is the client id of calls that have none.
func (s *session) serve(ctx context.Context, who string) error {
	go func() {
		defer close(s.read)
		defer func() {
			if p := recover(); p != nil {
				s.read <- pb.ToStatus(panicked(s.log, pb.LockService_Session_FullMethodName, p)).Err()
			}
		}()
		s.read <- s.receive(ctx, who)
	}()
	defer s.finish()
	return s.write(ctx)
}

// silent returns the number of calls of silent in a row, including this one, before which the
// client had sent nothing although it had calls in flight.
func (s *session) silent() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.quiet++; s.heard.Swap(false) || s.pending == 0 {
		s.quiet = 0
	}
	return s.quiet
}

// close cancels the calls and ends the watches of a session that sends nothing any more, and releases the
// grants that were not sent.
func (s *session) close(node Locker) {
	s.mu.Lock()
	grants := s.unsent.Close()
	calls := s.calls
	s.mu.Unlock()
	if s.guard != nil {
		s.guard.Leave()
	}
	s.closeWatches()
	if calls != nil {
		calls.Close()
	}
	for _, h := range grants {
		node.TakeBack(h)
	}
}

// ended waits for the reader to end. It is called after serve, when the stream has ended.
func (s *session) ended() {
	for range s.read {
	}
}

// grpcStream is a stream over gRPC.
type grpcStream struct {
	grpc.ServerStream
	frame sessionwire.Frame
}

// Recv implements stream.
func (s *grpcStream) Recv() ([]byte, error) {
	err := s.RecvMsg(&s.frame)
	return s.frame.Data, err
}

// Send implements stream.
func (s *grpcStream) Send(message []byte) error { return s.SendMsg(&sessionwire.Frame{Data: message}) }

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
