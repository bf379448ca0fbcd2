package session

import (
	"context"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/sgkandale/sharelock/internal/sessionwire"
)

// errRing: the node does not know who owns what.
var errRing = status.Error(codes.Unavailable, "the node does not know who owns what")

// Ring asks the node who owns what: a GetRingResponse in wire format.
func (s *Session) Ring(ctx context.Context) ([]byte, error) {
	st, err := s.open()
	if err != nil {
		return nil, err
	}
	return st.ring(ctx)
}

// Reach opens the stream unless it is open already, and waits until it is open.
func (s *Session) Reach(ctx context.Context) error {
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
			return errClosed
		}
		return st.err
	case <-ctx.Done():
		return status.FromContextError(ctx.Err()).Err()
	}
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
		st.heard = st.s.Now()
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

// tell passes the answer to all callers of ring. mu must be held.
func (st *stream) tell(ring []byte) {
	for _, c := range st.asked {
		c <- ring // does not block: the channel has a buffer of one
	}
	st.asked = nil
}
