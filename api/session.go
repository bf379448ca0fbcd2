package api

import (
	"cmp"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"runtime"
	"sync"
	"sync/atomic"
	"time"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/internal/auth"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	pb "github.com/sgkandale/sharelock/proto/sharelock/v1"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
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

// session is one session of a client. Two goroutines serve it: one reads and starts calls, the
// other writes answers and sends all that are waiting as one message.
type session struct {
	stream stream
	// remote is the remote address of the stream's connection.
	remote net.Addr
	// guard authenticates the session; nil without a gate.
	guard *guard
	// trail are the calls that the audit log wants to know the end of; nil if it wants none. Without
	// a gate, witness tells of them.
	trail   *trail
	witness *witness
	// calls is the session at the node. It is nil until the first good credentials have come;
	// without a guard it never is. The reader sets it under mu; others need mu.
	calls Session
	// ring returns the owners of all partitions in wire format.
	ring func() []byte
	// drain is closed to end the session.
	drain <-chan struct{}
	// wake tells the writer that there are answers. room tells the reader that there is room for
	// more.
	wake, room chan struct{}
	// released tells the writer that all holds were released, which ends the session.
	released chan struct{}
	// ending has the error with which the node ends the session, once everything is sent.
	ending chan error
	// read receives the error with which the reader ended, and is then closed.
	read chan error
	log  *slog.Logger
	// heard is set when the client sends a message, and cleared by silent. quiet is the number of
	// calls of silent in a row without a message; only framed.closeHung uses it.
	heard atomic.Bool
	quiet int

	mu sync.Mutex
	// urgent and out are the messages being filled, in wire format. urgent is sent first: it has
	// news of attached holds, pongs, and short answers. fullUrgent and fullOut are the full
	// messages that are sent before each; fullBytes is their total size. Guarded by mu.
	urgent, out         []byte
	fullUrgent, fullOut [][]byte
	fullBytes           int
	// size is the size of the last message; guarded by mu.
	size int
	// pending is the number of calls in flight; guarded by mu.
	pending int
	unsent  unsent
	// takeBack releases a grant that can no longer be sent. It does not block.
	takeBack func(h sharelock.Hold)
	// opens is Locker.Open, for begin.
	opens func(to Sink, principal string) Session
}

var (
	_ Sink   = (*session)(nil)
	_ Remote = (*session)(nil)
)

// Session implements LockService.Session.
func (s *locks) Session(st grpc.BidiStreamingServer[pb.SessionRequest, pb.SessionResponse]) error {
	place, ending, err := s.enter(RemoteOf(st.Context()))
	if err != nil {
		return pb.ToStatus(err).Err()
	}
	defer place.Leave()
	ctx, cancel := context.WithCancel(st.Context())
	defer cancel()
	c, err := grpcCredentials(ctx)
	if err != nil && s.gate != nil {
		return pb.ToStatus(err).Err()
	}
	ss := s.open(&grpcStream{ServerStream: st}, RemoteOf(ctx), c, ending)
	// The reader ends with the stream, which ends when this handler returns. The server waits only
	// for the handler, so the reader must not use the node after close.
	err = ss.serve(ctx, clientIDFromMetadata(ctx))
	ss.close(s.node)
	return err
}

// RemoteAddr implements Remote.
func (s *session) RemoteAddr() net.Addr { return s.remote }

// open makes a session on a stream, with the credentials of its connection. It ends with the error that
// comes from ending. The caller must call its close.
func (s *locks) open(st stream, remote net.Addr, c auth.Credentials, ending chan error) *session {
	ss := &session{
		stream: st, remote: remote, drain: s.drain, ring: s.ring, log: s.log,
		wake: make(chan struct{}, 1), room: make(chan struct{}, 1), released: make(chan struct{}, 1),
		read: make(chan error, 1), ending: ending,
	}
	ss.takeBack = func(h sharelock.Hold) { s.node.TakeBack(h) }
	if ss.guard = s.gate.guard(ss, c, remote); ss.guard == nil {
		ss.witness, ss.trail = s.witness, s.witness.trail()
		ss.calls = s.node.Open(ss, "")
		return ss
	}
	ss.trail = &ss.guard.trail
	ss.opens = s.node.Open
	s.gate.register(ss.guard)
	return ss
}

// begin opens the session at the node for its principal.
func (s *session) begin(principal string) {
	calls := s.opens(s, principal)
	s.mu.Lock()
	closed := s.unsent.closed
	if !closed {
		s.calls = calls
	}
	s.mu.Unlock()
	if closed {
		calls.Close()
	}
}

// backend returns the session at the node, or nil if there is none yet.
func (s *session) backend() Session {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.calls
}

// end ends the session with an error, once everything is sent.
func (s *session) end(err error) { offer(s.ending, err) }

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

// urgentBuffer returns urgent, and outBuffer returns out, ready to be appended to. mu must be held.
func (s *session) urgentBuffer() []byte { return s.lane(&s.urgent, &s.fullUrgent) }
func (s *session) outBuffer() []byte    { return s.lane(&s.out, &s.fullOut) }

// lane returns the message of a lane, ready to be appended to. It moves a full message to full, and
// allocates a new one if there is none: an idle session has none. mu must be held.
func (s *session) lane(lane *[]byte, full *[][]byte) []byte {
	if len(*lane) >= fullMessage {
		*full, s.fullBytes = append(*full, *lane), s.fullBytes+len(*lane)
		*lane = nil
	}
	if *lane == nil {
		*lane = make([]byte, 0, min(max(s.size, 64), maxFrame))
	}
	return *lane
}

// Answer implements Sink.
func (s *session) Answer(id uint64, h sharelock.Hold, err error) {
	r := sessionwire.Reply{ID: id, Hold: h}
	if err != nil {
		r.Status = statusBytes(err)
	}
	s.mu.Lock()
	if len(r.Status) <= maxUrgent {
		s.urgent = sessionwire.AppendReply(s.urgentBuffer(), &r)
	} else {
		s.out = sessionwire.AppendReply(s.outBuffer(), &r)
	}
	s.pending--
	lost := s.unsent.answered(id, &h, err == nil, s.unsent.taken+uint64(len(s.fullUrgent)))
	s.mu.Unlock()
	if s.trail != nil {
		s.trail.answered(id, h.Token, err)
	}
	if lost {
		s.takeBack(h)
	}
	notify(s.wake)
}

// Renewed implements Sink.
func (s *session) Renewed(keepalive uint64, ids []uint64) {
	s.mu.Lock()
	s.urgent = sessionwire.AppendRenewed(s.urgentBuffer(), keepalive, ids)
	s.mu.Unlock()
	notify(s.wake)
}

// Ended implements Sink.
func (s *session) Ended(id uint64, err error) {
	status := statusBytes(err)
	s.mu.Lock()
	s.urgent = sessionwire.AppendEnd(s.urgentBuffer(), id, status)
	s.mu.Unlock()
	notify(s.wake)
}

// Forced implements Sink.
func (s *session) Forced(key string, token sharelock.Token, reason string) {
	s.mu.Lock()
	s.urgent = sessionwire.AppendForced(s.urgentBuffer(), key, token, reason)
	s.mu.Unlock()
	notify(s.wake)
}

// Queued implements Sink.
func (s *session) Queued(id uint64, position uint32) {
	s.mu.Lock()
	if len(s.out)+s.fullBytes <= maxUnsent {
		s.out = sessionwire.AppendQueued(s.outBuffer(), id, position)
	}
	s.mu.Unlock()
	notify(s.wake)
}

// Released implements Sink.
func (s *session) Released() { notify(s.released) }

func statusBytes(err error) []byte {
	b, merr := proto.Marshal(pb.ToStatus(err).Proto())
	if merr != nil {
		b, _ = proto.Marshal(status.New(codes.Internal, "the error cannot be encoded").Proto()) //nolint:errcheck // two scalars can be encoded
	}
	return b
}

func notify(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// receive reads messages from the stream until it ends.
func (s *session) receive(ctx context.Context, who string) error {
	var (
		reader sessionwire.CallReader
		batch  []sessionwire.Call
		keeps  keeps
	)
	for {
		if err := s.awaitRoom(ctx); err != nil {
			return err
		}
		message, err := s.stream.Recv()
		if err != nil {
			return err
		}
		s.heard.Store(true)
		if s.guard != nil {
			if err := s.guard.hear(ctx, message); err != nil {
				return err
			}
		}
		reader.Reset(message)
		for more := true; more; {
			var err error
			if batch, more, err = s.next(&reader, batch, who); err != nil {
				return status.Error(codes.InvalidArgument, err.Error())
			}
			// Refusals are much longer than the calls that they refuse.
			if err := s.awaitRoom(ctx); err != nil {
				return err
			}
			s.start(batch)
			clear(batch)
			batch = batch[:0]
		}
		ping := reader.Ping
		if reader.Keeps {
			alive, err := s.keep(ctx, &keeps, message)
			if err != nil {
				return err
			}
			ping = ping || alive
		}
		if ping {
			s.pong()
		}
	}
}

// keep processes the requests of a message other than its calls. It reports whether a keepalive was
// among them.
func (s *session) keep(ctx context.Context, k *keeps, data []byte) (alive bool, err error) {
	k.reader.Reset(data)
	ring := false
	for more := true; more; {
		if err := s.awaitRoom(ctx); err != nil {
			return false, err
		}
		for more && len(k.batch) < maxStart {
			var one sessionwire.Keep
			if more, err = k.reader.Next(&one); err != nil {
				return false, status.Error(codes.InvalidArgument, err.Error())
			}
			switch {
			case !more:
			case one.Kind == sessionwire.KeepRing:
				ring = true
			case one.Kind == sessionwire.KeepAttach && s.refuses(&one):
			default:
				k.batch = append(k.batch, one)
				alive = alive || one.Kind == sessionwire.KeepAlive
			}
		}
		if len(k.batch) > 0 && s.calls != nil {
			s.calls.Keep(k.batch)
		}
		clear(k.batch)
		k.batch = k.batch[:0]
	}
	if ring {
		s.sendRing()
	}
	return alive, nil
}

// refuses tells the client that a hold is not attached if the session is at no node yet; otherwise it
// puts into the hold whether its caller may have it.
func (s *session) refuses(k *sessionwire.Keep) bool {
	if s.guard == nil {
		return false
	}
	if s.guard.checkHold(k); s.calls == nil {
		s.Ended(k.ID, k.Err)
	}
	return s.calls == nil
}

// sendRing sends the owners of all partitions, if the client may know them.
func (s *session) sendRing() {
	var ring []byte
	if s.guard == nil || s.guard.mayReadRing() {
		ring = s.ring()
	}
	s.mu.Lock()
	s.out = sessionwire.AppendRing(s.outBuffer(), ring)
	s.mu.Unlock()
	notify(s.wake)
}

// keeps holds buffers that keep reuses.
type keeps struct {
	reader sessionwire.KeepReader
	batch  []sessionwire.Keep
}

// maxStart is the maximum number of calls that are started together.
const maxStart = 256

// next reads calls that are started together. At a cancel it first starts the calls before it, and
// then cancels at once. more is false at the end of the message.
func (s *session) next(r *sessionwire.CallReader, batch []sessionwire.Call, who string) (_ []sessionwire.Call, more bool, err error) {
	for len(batch) < maxStart {
		batch = append(batch, sessionwire.Call{})
		c := &batch[len(batch)-1]
		more, err = r.Next(c)
		if err != nil || !more {
			return batch[:len(batch)-1], more, err
		}
		if c.Kind == sessionwire.CallCancel {
			id := c.ID
			batch = batch[:len(batch)-1]
			s.start(batch)
			clear(batch)
			batch = batch[:0]
			if s.calls != nil {
				s.calls.Cancel(id)
			}
			continue
		}
		if c.ClientID == "" {
			c.ClientID = who
		}
	}
	return batch, true, nil
}

// pong answers a ping. If other urgent messages are waiting, they serve as the answer.
func (s *session) pong() {
	s.mu.Lock()
	if len(s.urgent) == 0 {
		s.urgent = sessionwire.AppendPing(s.urgentBuffer())
	}
	s.mu.Unlock()
	notify(s.wake)
}

// start starts calls, or refuses them.
func (s *session) start(calls []sessionwire.Call) {
	if len(calls) == 0 {
		return
	}
	s.mu.Lock()
	before := s.pending
	s.pending += len(calls)
	s.unsent.begin(calls)
	s.mu.Unlock()
	select {
	case <-s.drain:
		for i := range calls {
			s.Answer(calls[i].ID, sharelock.Hold{}, errDraining)
		}
		return
	default:
	}
	if before+len(calls) > maxPending {
		calls = s.admit(before, calls)
	}
	switch {
	case s.guard != nil:
		s.guard.checkCalls(calls)
	case s.trail != nil:
		s.witness.follow(s.trail, s.remote, calls)
	}
	if s.calls == nil { // all of them are refused
		for i := range calls {
			s.Answer(calls[i].ID, sharelock.Hold{}, cmp.Or(calls[i].Err, error(errDraining)))
		}
		return
	}
	s.calls.Start(calls)
}

// admit refuses the calls for which there is no room beside the before calls in flight, and
// returns the others.
func (s *session) admit(before int, calls []sessionwire.Call) []sessionwire.Call {
	list := calls[:0]
	for i := range calls {
		most := maxPendingAll
		if calls[i].Kind == sessionwire.CallAcquire {
			most = maxPending
		}
		if before+len(list) >= most {
			s.Answer(calls[i].ID, sharelock.Hold{}, errBusy)
		} else {
			list = append(list, calls[i])
		}
	}
	return list
}

// awaitRoom blocks while too many bytes of answers wait for the client to read them.
func (s *session) awaitRoom(ctx context.Context) error {
	for {
		s.mu.Lock()
		full := s.fullBytes+len(s.out)+len(s.urgent) > maxUnsent
		s.mu.Unlock()
		if !full {
			return nil
		}
		select {
		case <-s.room:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

// write sends answers until the stream ends, or until the server drains and no call is in flight.
func (s *session) write(ctx context.Context) error {
	drain := s.drain
	var idle <-chan time.Time
	released := false
	var ending error
	for {
		select {
		case <-s.wake:
		case <-s.released:
			released = true
		case ending = <-s.ending:
		case err := <-s.read:
			if errors.Is(err, io.EOF) {
				return nil // the client has closed the stream; its calls are cancelled
			}
			return err
		case <-ctx.Done():
			return ctx.Err()
		case <-drain:
			drain = nil
			t := time.NewTicker(drainPoll)
			defer t.Stop()
			idle = t.C
		case <-idle:
		}
		runtime.Gosched()
		for {
			data, quiet := s.nextMessage()
			if data == nil {
				if released || ending != nil {
					return ending
				}
				if quiet && drain == nil && s.drain != nil {
					return status.Error(codes.Unavailable, "the node is leaving")
				}
				break
			}
			if err := s.stream.Send(data); err != nil {
				return err
			}
			notify(s.room)
		}
	}
}

// drainPoll is the interval at which a draining session checks whether its last call was answered.
const drainPoll = 20 * time.Millisecond

// nextMessage returns the next message to send, urgent messages first. It combines both lanes if
// the result is not too large. quiet reports that nothing is waiting and no call is in flight. The
// message that nextMessage returned before must have been sent.
func (s *session) nextMessage() (data []byte, quiet bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.unsent.sent()
	if len(s.fullUrgent) > 0 || len(s.urgent) > 0 {
		s.unsent.taken++ // every case below takes an urgent message first
	}
	switch {
	case len(s.fullUrgent) > 0:
		data, s.fullUrgent = s.fullUrgent[0], s.fullUrgent[1:]
		s.fullBytes -= len(data)
		return data, false
	case len(s.urgent) > 0 && (len(s.fullOut) > 0 || len(s.urgent)+len(s.out) > fullMessage):
		data, s.urgent = s.urgent, nil
	case len(s.fullOut) > 0:
		data, s.fullOut = s.fullOut[0], s.fullOut[1:]
		s.fullBytes -= len(data)
		return data, false
	case len(s.urgent) > 0:
		data = append(s.urgent, s.out...)
		s.urgent, s.out = nil, nil
	case len(s.out) > 0:
		data, s.out = s.out, nil
	default:
		return nil, s.pending == 0
	}
	s.size = len(data)
	return data, false
}
