package session

import (
	"context"
	"errors"
	"net"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock"
	"github.com/sgkandale/sharelock/client/internal/secure"
	"github.com/sgkandale/sharelock/internal/clienthook"
	"github.com/sgkandale/sharelock/internal/frame"
	"github.com/sgkandale/sharelock/internal/sessionwire"
	sharelockv1 "github.com/sgkandale/sharelock/proto/sharelock/v1"
)

const (
	// Relearn is how long it is remembered that a node has sessions only over gRPC, or none.
	Relearn = 5 * time.Minute
	// MaxEnds is the number of streams without gRPC in a row that were closed before the node had sent
	// anything, after which gRPC is used: a proxy in front of the node closes what is not HTTP/2.
	MaxEnds = 3
)

// GRPCOnly reports whether streams go over gRPC, for the time being.
func (s *Session) GRPCOnly() bool {
	until := s.grpcUntil.Load()
	return until != 0 && s.Now() < time.Duration(until)
}

// isUnary reports whether calls go one by one, for the time being.
func (s *Session) isUnary() bool {
	until := s.unaryUntil.Load()
	return until != 0 && s.Now() < time.Duration(until)
}

// connect opens a stream to the node, which ends with ctx. told is the bearer token that was sent with it.
// Errors are gRPC statuses.
func (s *Session) connect(ctx context.Context) (f clienthook.Frames, told *secure.Token, err error) {
	if !s.GRPCOnly() {
		if s.Credential != nil {
			if _, err := s.Credential.Fresh(ctx); err != nil {
				return nil, nil, err
			}
		}
		f, err = s.plain(ctx)
		s.mu.Lock()
		if s.ends++; !hungUp(err) {
			s.ends = 0
		}
		unknown := s.ends >= MaxEnds || errors.Is(err, sessionwire.ErrNoSession)
		s.mu.Unlock()
		switch {
		case errors.Is(err, sharelock.ErrWrongPort):
			return nil, nil, sharelockv1.ToStatus(err).Err()
		case unknown:
			s.Debug("a node has sessions by gRPC alone", "addr", s.Addr, "err", err)
			s.grpcUntil.Store(int64(s.Now() + Relearn))
		case err != nil:
			return nil, nil, asStatus(err)
		}
	}
	if f == nil {
		told = s.Credential.Newest() // the call has this one, or a newer one
		rpcCtx, cancel := context.WithCancel(ctx)
		rpc, err := s.locks.Session(rpcCtx, grpc.ForceCodecV2(sessionwire.RawCodec{}))
		if err != nil {
			cancel()
			return nil, nil, err
		}
		// Calling Context commits the stream and so disables gRPC's transparent retry, which would make
		// Send and Recv block on each other when the node refuses the stream.
		rpc.Context()
		f = &grpcFrames{rpc: rpc, cancel: cancel}
	}
	if wrap := s.Wrap; wrap != nil {
		f = wrap(s.Addr, f)
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

// plain opens a stream without gRPC, within ConnectTime.
func (s *Session) plain(ctx context.Context) (clienthook.Frames, error) {
	ctx, cancel := context.WithTimeout(ctx, s.ConnectTime)
	defer cancel()
	conn, err := s.hail(ctx)
	if err != nil {
		return nil, err
	}
	return plainFrames{frame.New(conn, sessionwire.MaxSessionFrame, Dead)}, nil
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

// connError is the failure of a connection, as a gRPC status.
type connError struct{ error }

// Unwrap returns the reason.
func (e connError) Unwrap() error { return e.error }

// GRPCStatus returns the error as an Unavailable status.
func (e connError) GRPCStatus() *status.Status { return status.New(codes.Unavailable, e.Error()) }

// hello makes the handshake of a session.
func hello(conn net.Conn) error {
	if _, err := conn.Write(sessionwire.AppendHello(nil)); err != nil {
		return err
	}
	return sessionwire.ReadWelcome(conn)
}
