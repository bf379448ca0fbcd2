package client

import (
	"context"
	"errors"
	"net"
	"slices"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

// longestConnect bounds how long a node may take to take a stream, and shortestConnect is the
// least that it has for that, however short the patience is and however many the addresses.
const (
	longestConnect  = 2 * time.Second
	shortestConnect = 100 * time.Millisecond
)

// Transport is how sessions reach a node. 0 is TransportPlain, but TransportGRPC if there are
// DialOptions: they may be what the way to the nodes demands.
type Transport uint8

// The transports.
const (
	// TransportGRPC is the bidirectional stream of LockService.Session.
	TransportGRPC Transport = iota + 1
	// TransportPlain is the same messages on a stream of their own, at the same port, which costs
	// less. A node that does not speak so is reached by gRPC, if it, or what stands before
	// it, refuses a stream that is no HTTP/2; where such a stream is swallowed no node is
	// reached. DialOptions do not count for it: it is in clear text, and opened by Dialer.
	TransportPlain
)

const (
	// relearn is how long a node that knows gRPC alone, or no sessions, is taken for one.
	relearn = 5 * time.Minute
	// mostEnds is after how many streams in a row that ended without a word something
	// stands before the node that does not know what they are.
	mostEnds = 3
)

// grpcOnly: streams are gRPC's, for the time being.
func (s *session) grpcOnly() bool {
	until := s.grpcUntil.Load()
	return until != 0 && s.now() < time.Duration(until)
}

// unary: calls go one by one, for the time being.
func (s *session) unary() bool {
	until := s.unaryUntil.Load()
	return until != 0 && s.now() < time.Duration(until)
}

// connect opens a stream to the node, which ends with ctx. told is the token that the node has got.
// Errors are statuses.
func (s *session) connect(ctx context.Context) (f clienthook.Frames, told *secure.Token, err error) {
	if !s.grpcOnly() {
		if s.credential != nil {
			if _, err := s.credential.Fresh(ctx); err != nil {
				return nil, nil, err
			}
		}
		f, err = s.plain(ctx)
		s.mu.Lock()
		if s.ends++; !hungUp(err) {
			s.ends = 0
		}
		unknown := s.ends >= mostEnds || errors.Is(err, sessionwire.ErrNoSession)
		s.mu.Unlock()
		switch {
		case errors.Is(err, sharelock.ErrWrongPort):
			return nil, nil, sharelockv1.ToStatus(err).Err()
		case unknown:
			s.keeper.c.log.debug("a node has sessions by gRPC alone", "addr", s.n.addr, "err", err)
			s.grpcUntil.Store(int64(s.now() + relearn))
		case err != nil:
			return nil, nil, asStatus(err)
		}
	}
	if f == nil {
		told = s.credential.Newest() // the call carries it, or a newer one
		rpcCtx, cancel := context.WithCancel(ctx)
		rpc, err := s.n.locks.Session(rpcCtx, grpc.ForceCodecV2(sessionwire.RawCodec{}))
		if err != nil {
			cancel()
			return nil, nil, err
		}
		// This has gRPC never open the stream once more by itself, as it may when the node
		// has refused it: while whoever receives waits for a connection to do so, whoever
		// sends would wait for that.
		rpc.Context()
		f = &grpcFrames{rpc: rpc, cancel: cancel}
	}
	if wrap := s.keeper.c.hooks.Sessions; wrap != nil {
		f = wrap(s.n.addr, f)
	}
	context.AfterFunc(ctx, func() { _ = f.Close() })
	return f, told, nil
}

// grpcFrames is a stream of gRPC.
type grpcFrames struct {
	rpc    grpc.BidiStreamingClient[sharelockv1.SessionRequest, sharelockv1.SessionResponse]
	cancel context.CancelFunc
	frame  sessionwire.Frame
}

// Send implements clienthook.Frames.
func (f *grpcFrames) Send(message []byte) error {
	return f.rpc.SendMsg(&sessionwire.Frame{Data: message})
}

// Recv implements clienthook.Frames.
func (f *grpcFrames) Recv() ([]byte, error) {
	err := f.rpc.RecvMsg(&f.frame)
	return f.frame.Data, err
}

// Close implements clienthook.Frames.
func (f *grpcFrames) Close() error {
	f.cancel()
	return nil
}

// plain opens a stream without gRPC.
func (s *session) plain(ctx context.Context) (clienthook.Frames, error) {
	ctx, cancel := context.WithTimeout(ctx, s.keeper.c.connectTime)
	defer cancel()
	conn, err := s.hail(ctx)
	if err != nil {
		return nil, err
	}
	return plainFrames{frame.New(conn, sessionwire.MaxSessionFrame, dead)}, nil
}

// plainFrames is a stream without gRPC.
type plainFrames struct{ *frame.Conn }

// Send implements clienthook.Frames.
func (f plainFrames) Send(message []byte) error { return asStatus(f.Conn.Send(message)) }

// Recv implements clienthook.Frames.
func (f plainFrames) Recv() ([]byte, error) {
	message, err := f.Conn.Recv()
	return message, asStatus(err)
}

func asStatus(err error) error {
	if err == nil {
		return nil
	}
	return connError{err}
}

// connError is the failure of a connection.
type connError struct{ error }

// Unwrap returns the reason.
func (e connError) Unwrap() error { return e.error }

// GRPCStatus makes it one for gRPC, too.
func (e connError) GRPCStatus() *status.Status { return status.New(codes.Unavailable, e.Error()) }

// hello begins a session.
func hello(conn net.Conn) error {
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		return err
	}
	return sessionwire.ReadWelcome(conn)
}

// reach opens the stream, unless one is open.
func (s *session) reach(ctx context.Context) error {
	st, err := s.open()
	if err != nil {
		return err
	}
	select {
	case <-st.opened:
		return nil
	case <-st.ctx.Done():
		st.mu.Lock()
		defer st.mu.Unlock()
		if st.err == nil {
			return errClient
		}
		return st.err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
}

// errRing: the node does not know who owns what.
var errRing = status.Error(codes.Unavailable, "the node does not know who owns what")

// ring asks the node who owns what.
func (n *node) ring(ctx context.Context) (*sharelockv1.GetRingResponse, error) {
	if n.session.grpcOnly() {
		return n.mesh.GetRing(ctx, &sharelockv1.GetRingRequest{})
	}
	st, err := n.session.open()
	if err != nil {
		return nil, err
	}
	b, err := st.ring(ctx)
	if err != nil {
		return nil, err
	}
	r := new(sharelockv1.GetRingResponse)
	if err := proto.Unmarshal(b, r); err != nil {
		return nil, err
	}
	return r, nil
}

// ring asks the node who owns what, in wire format.
func (st *stream) ring(ctx context.Context) ([]byte, error) {
	told := make(chan []byte, 1)
	st.mu.Lock()
	if st.err != nil {
		defer st.mu.Unlock()
		return nil, st.err
	}
	if !st.waits() {
		st.heard = st.s.now()
	}
	st.asked = append(st.asked, told)
	st.urgent = sessionwire.AppendKeep(st.first(), &sessionwire.Keep{Kind: sessionwire.KeepRing, ID: 1})
	st.mu.Unlock()
	st.nudge()
	select {
	case b, ok := <-told:
		if !ok {
			return nil, errRing
		}
		return b, nil
	case <-ctx.Done():
		st.mu.Lock()
		defer st.mu.Unlock()
		st.asked = slices.DeleteFunc(st.asked, func(c chan<- []byte) bool { return c == told })
		return nil, status.FromContextError(ctx.Err()).Err()
	}
}

// tell takes the answer to all who have asked. mu is held.
func (st *stream) tell(ring []byte) {
	for _, c := range st.asked {
		c <- ring // it has room for one
	}
	st.asked = nil
}
